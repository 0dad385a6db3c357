/** The principals of the workspace and their tokens. */
import { Redacted } from "effect"
import { createHash, createHmac, randomBytes, timingSafeEqual } from "node:crypto"
import type { User, UserChange } from "../../LocalWorkspace.ts"
import { type Principal, servicePrincipal, user } from "./principals.ts"

/** The principal and scopes of a live token. */
export interface Grant {
  readonly principal: Principal
  readonly scopes: ReadonlySet<string>
  readonly expiresAt: number
}

// Postgres's radius method limits passwords to 128 bytes, too few for an e-mail address or a whole signature. Therefore
// `sub` is the SCIM id and the signature has 128 bits; the registry below decides, not the signature.
const signatureBytes = 16

const base64url = (value: string | Uint8Array) => Buffer.from(value).toString("base64url")

const digest = (text: string) => createHash("sha256").update(text).digest()

const sameText = (left: string, right: string) => timingSafeEqual(digest(left), digest(right))

const redacted = String(Redacted.make(""))

export const make = (users: ReadonlyArray<User>, now: () => number, clientId?: string) => {
  const service = servicePrincipal("local-app", clientId)
  const principals = new Map([service, ...users.map(user)].map((principal) => [principal.userName, principal]))
  const clientSecret = Redacted.make(`dose${randomBytes(16).toString("hex")}`)
  /** The password for any role in Postgres, which never leaves this process. */
  const masterKey = randomBytes(24).toString("base64url")
  const signingKey = randomBytes(32)
  const grants = new Map<string, Grant>()

  /** Returns the live grant of a token. */
  const grant = (token: string): Grant | undefined => {
    const found = grants.get(token)
    return found !== undefined && found.expiresAt > now() ? found : undefined
  }

  return {
    service,
    principals: principals as ReadonlyMap<string, Principal>,
    /** Renames a principal, or sets whether they are active. They keep their tokens. */
    update: (principal: Principal, { active, userName }: UserChange) => {
      principals.delete(principal.userName)
      principal.active = active ?? principal.active
      principal.userName = userName ?? principal.userName
      principals.set(principal.userName, principal)
    },
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
    /** A text without the tokens and the secrets in it. */
    redact: (text: string): string =>
      text
        .replaceAll(/\beyJ[\w-]+\.[\w-]+\.[\w-]*/g, redacted)
        .replaceAll(Redacted.value(clientSecret), redacted)
        .replaceAll(/\b(client_secret|client_assertion|refresh_token|code|password)=[^&]*/g, `$1=${redacted}`),
    revoke: (token: string): void => void grants.delete(token),
    isClient: (id: string, secret: string) => id === service.userName && sameText(secret, Redacted.value(clientSecret)),
    /** Whether Postgres accepts this password for this role. */
    mayLogIn: (role: string, password: string) =>
      sameText(password, masterKey) || grant(password)?.principal.userName === role
  }
}

export type Directory = ReturnType<typeof make>
