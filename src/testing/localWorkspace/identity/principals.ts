import { Redacted } from "effect"
import { createHash, createHmac, randomBytes, randomUUID, timingSafeEqual } from "node:crypto"

/** A user or a service principal of the workspace. */
export interface Principal {
  readonly kind: "user" | "service"
  /** The SCIM id: a decimal string. */
  readonly id: string
  /** The SCIM user name and the Postgres role: an e-mail address, or the client UUID. */
  readonly userName: string
  readonly displayName: string
  /** What the Apps proxy puts before the `@`; deliberately not the SCIM id, as nobody may assume that it is. */
  readonly forwardedId: string
}

/** What a token stands for while it lives. */
export interface Grant {
  readonly principal: Principal
  readonly scopes: ReadonlySet<string>
  readonly expiresAt: number
}

export const ALL_SCOPES = "all-apis"

const decimalId = (prefix: string, index: number) => `${prefix}${String(index).padStart(16 - prefix.length, "0")}`

export const user = (index: number, userName: string, displayName: string | undefined): Principal => ({
  kind: "user",
  id: decimalId("40", index + 1),
  userName,
  displayName: displayName ?? userName.split("@")[0] ?? userName,
  forwardedId: decimalId("70", index + 1)
})

export const servicePrincipal = (displayName: string): Principal => ({
  kind: "service",
  id: decimalId("30", 1),
  userName: randomUUID(),
  displayName,
  forwardedId: decimalId("60", 1)
})

// Postgres's radius method carries passwords of 128 bytes at most. That leaves no room for an e-mail address or a whole
// signature, so `sub` is the SCIM id and the signature is cut to 128 bits; the registry below decides, not the signature.
const SIGNATURE_BYTES = 16

const base64url = (value: string | Uint8Array) => Buffer.from(value).toString("base64url")

const digest = (text: string) => createHash("sha256").update(text).digest()

const sameText = (left: string, right: string) => timingSafeEqual(digest(left), digest(right))

/** Everybody who can call the workspace, with what they call it with. */
export class Directory {
  readonly principals: ReadonlyMap<string, Principal>
  readonly service: Principal
  readonly clientSecret = Redacted.make(`dose${randomBytes(16).toString("hex")}`)
  /** Opens any role in Postgres; it never leaves this process. */
  readonly masterKey = randomBytes(24).toString("base64url")
  private readonly signingKey = randomBytes(32)
  private readonly grants = new Map<string, Grant>()
  private readonly now: () => number

  constructor(service: Principal, users: ReadonlyArray<Principal>, now: () => number) {
    this.service = service
    this.principals = new Map([service, ...users].map((principal) => [principal.userName, principal]))
    this.now = now
  }

  mint(principal: Principal, ttlMillis: number, scopes: ReadonlyArray<string>): Redacted.Redacted<string> {
    const expiresAt = this.now() + ttlMillis
    for (const [token, grant] of this.grants) if (grant.expiresAt <= this.now()) this.grants.delete(token)
    const payload = { sub: principal.id, exp: Math.ceil(expiresAt / 1000), jti: randomBytes(3).toString("hex") }
    const signed = `${base64url(JSON.stringify({ alg: "HS256" }))}.${base64url(JSON.stringify(payload))}`
    const signature = createHmac("sha256", this.signingKey).update(signed).digest().subarray(0, SIGNATURE_BYTES)
    const token = `${signed}.${base64url(signature)}`
    this.grants.set(token, { principal, scopes: new Set(scopes), expiresAt })
    return Redacted.make(token, { label: "token" })
  }

  /** The live grant behind a token. */
  grant(token: string): Grant | undefined {
    const grant = this.grants.get(token)
    return grant !== undefined && grant.expiresAt > this.now() ? grant : undefined
  }

  isClient(id: string, secret: string): boolean {
    return id === this.service.userName && sameText(secret, Redacted.value(this.clientSecret))
  }

  /** Whether Postgres lets this password in as this role. */
  mayLogIn(role: string, password: string): boolean {
    return sameText(password, this.masterKey) || this.grant(password)?.principal.userName === role
  }
}
