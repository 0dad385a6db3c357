/** `SCIM Me`, by which the workspace identifies the holder of a credential. */
import { Effect, Predicate, Schema } from "effect"
import { HttpClientRequest } from "effect/http"
import { type Credential, json, maxShortAnswer, type Send } from "./transport.ts"

export const path = "/api/2.0/preview/scim/v2/Me"

/** Parses the `123@456` that the Apps proxy sends as a user: the SCIM id and the workspace's id. */
export const forwardedId = (text: string): { readonly id: string; readonly workspaceId: string } | undefined => {
  const [, id, workspaceId] = /^(\d+)@(\d+)$/.exec(text) ?? []
  return id === undefined || workspaceId === undefined ? undefined : { id, workspaceId }
}

/** Whether a text is an e-mail address, which `123@456` is not. */
export const isEmail = (text: string): boolean => /^[^@]+@\d*[^@\d][^@]*$/.test(text)

export class Identity extends Schema.Class<Identity>("effect-databricks/Identity")({
  id: Schema.NonEmptyString,
  userName: Schema.NonEmptyString,
  active: Schema.optional(Schema.Unknown),
  // Read one by one: addresses in an unexpected form are ignored, and do not refuse the user.
  emails: Schema.optional(Schema.Unknown)
}) {
  #addresses: ReadonlyArray<string> | undefined

  get addresses(): ReadonlyArray<string> {
    return (this.#addresses ??= [this.emails].flat().flatMap((email) => {
      const value = Predicate.hasProperty(email, "value") ? email.value : email
      return Predicate.isString(value) && value !== "" ? [value] : []
    }))
  }

  get email(): string | undefined {
    return this.addresses[0] ?? (isEmail(this.userName) ? this.userName : undefined)
  }

  /** `false` for a deactivated user. A response without the field counts as active. */
  get isActive(): boolean {
    return this.active === undefined || this.active === null || this.active === true
  }

  /** Whether this is the user name, or one of the e-mail addresses, of the person. */
  owns(name: string): boolean {
    if (name === this.userName) return true
    const wanted = comparable(name)
    return [this.userName, ...this.addresses].some((_) => comparable(_) === wanted)
  }
}

// A letter with an accent may be encoded as one character or two.
const comparable = (email: string) => email.normalize("NFC").toLowerCase()

export const me = Effect.fnUntraced(function* (send: Send, credential: Credential) {
  const response = yield* send(credential, HttpClientRequest.get(path))
  return { identity: yield* decode(response), workspaceId: response.headers["x-databricks-org-id"] }
})

const decode = json(Identity, maxShortAnswer)
