/** `SCIM Me`: the workspace's own word on who holds a credential. */
import { Effect, Schema } from "effect"
import { HttpClientRequest } from "effect/http"
import { type Credential, json, maxShortAnswer, type Send } from "./transport.ts"

export const path = "/api/2.0/preview/scim/v2/Me"

/** False for the `123@456` that the Apps proxy sends as a user. */
export const isEmail = (text: string): boolean => /^[^@]+@\d*[^@\d][^@]*$/.test(text)

export class Identity extends Schema.Class<Identity>("effect-databricks/Identity")({
  id: Schema.NonEmptyString,
  userName: Schema.NonEmptyString,
  emails: Schema.optional(Schema.Array(Schema.Struct({ value: Schema.optional(Schema.String) })))
}) {
  get email(): string | undefined {
    return (
      this.emails?.find((_) => _.value !== undefined)?.value ?? (isEmail(this.userName) ? this.userName : undefined)
    )
  }

  /** Whether this e-mail address is one of this person's. */
  owns(email: string): boolean {
    const wanted = email.toLowerCase()
    return this.userName.toLowerCase() === wanted || (this.emails ?? []).some((_) => _.value?.toLowerCase() === wanted)
  }
}

export const me = Effect.fnUntraced(function* (send: Send, credential: Credential) {
  const response = yield* send(credential, HttpClientRequest.get(path))
  return { identity: yield* decode(response), workspaceId: response.headers["x-databricks-org-id"] }
})

const decode = json(Identity, maxShortAnswer)
