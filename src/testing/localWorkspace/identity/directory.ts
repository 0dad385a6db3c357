/** Everybody who can call the workspace, with what they call it with. */
import { Redacted } from "effect"
import { createHash, createHmac, randomBytes, timingSafeEqual } from "node:crypto"
import type { User } from "../../LocalWorkspace.ts"
import { type Principal, servicePrincipal, user } from "./principals.ts"

/** What a token stands for while it lives. */
export interface Grant {
  readonly principal: Principal
  readonly scopes: ReadonlySet<string>
  readonly expiresAt: number
}

// Postgres's radius method carries passwords of 128 bytes at most. That leaves no room for an e-mail address or a whole
// signature, so `sub` is the SCIM id and the signature is cut to 128 bits; the registry below decides, not the signature.
const signatureBytes = 16

const base64url = (value: string | Uint8Array) => Buffer.from(value).toString("base64url")

const digest = (text: string) => createHash("sha256").update(text).digest()

const sameText = (left: string, right: string) => timingSafeEqual(digest(left), digest(right))

export const make = (users: ReadonlyArray<User>, now: () => number) => {
  const service = servicePrincipal("local-app")
  const principals: ReadonlyMap<string, Principal> = new Map(
    [service, ...users.map(user)].map((principal) => [principal.userName, principal])
  )
  const clientSecret = Redacted.make(`dose${randomBytes(16).toString("hex")}`)
  /** Opens any role in Postgres; it never leaves this process. */
  const masterKey = randomBytes(24).toString("base64url")
  const signingKey = randomBytes(32)
  const grants = new Map<string, Grant>()

  /** The live grant behind a token. */
  const grant = (token: string): Grant | undefined => {
    const found = grants.get(token)
    return found !== undefined && found.expiresAt > now() ? found : undefined
  }

  return {
    service,
    principals,
    clientSecret,
    masterKey,
    grant,
    mint: (principal: Principal, ttlMillis: number, scopes: ReadonlyArray<string>): Redacted.Redacted<string> => {
      const expiresAt = now() + ttlMillis
      for (const [token, { expiresAt }] of grants) if (expiresAt <= now()) grants.delete(token)
      const payload = { sub: principal.id, exp: Math.ceil(expiresAt / 1000), jti: randomBytes(3).toString("hex") }
      const signed = `${base64url(JSON.stringify({ alg: "HS256" }))}.${base64url(JSON.stringify(payload))}`
      const signature = createHmac("sha256", signingKey).update(signed).digest().subarray(0, signatureBytes)
      const token = `${signed}.${base64url(signature)}`
      grants.set(token, { principal, scopes: new Set(scopes), expiresAt })
      return Redacted.make(token, { label: "token" })
    },
    isClient: (id: string, secret: string) => id === service.userName && sameText(secret, Redacted.value(clientSecret)),
    /** Whether Postgres lets this password in as this role. */
    mayLogIn: (role: string, password: string) =>
      sameText(password, masterKey) || grant(password)?.principal.userName === role
  }
}

export type Directory = ReturnType<typeof make>
