/**
 * The headers with which the Databricks Apps proxy says who sent a request.
 *
 * @since 0.1.0
 */
import { Effect, Predicate, Redacted } from "effect"
import * as Crypto from "node:crypto"
import { AuthenticationError } from "./IdentityError.ts"

/**
 * A request's headers in any of the shapes that servers have: an Effect or Node record, or a web `Headers`.
 *
 * @since 0.1.0
 * @category models
 */
export type HeadersInput =
  | { readonly get: (name: string) => string | null }
  | { readonly [name: string]: string | ReadonlyArray<string> | undefined }

/**
 * What `asUser` takes: an Effect `HttpServerRequest`, a web `Request`, a Node or Express request, or bare headers.
 *
 * @since 0.1.0
 * @category models
 */
export type Source = { readonly headers: HeadersInput } | HeadersInput

/**
 * What the proxy says, which proves nothing yet.
 *
 * @since 0.1.0
 * @category models
 */
export type ForwardedHeaders = WithToken | WithoutToken

/**
 * @since 0.1.0
 * @category models
 */
export interface WithoutToken {
  readonly user: string | undefined
  readonly email: string | undefined
  readonly preferredUsername: string | undefined
  readonly accessToken: undefined
}

/**
 * Headers with a token; only `decode` makes them.
 *
 * @since 0.1.0
 * @category models
 */
export class WithToken {
  readonly user: string | undefined
  readonly email: string | undefined
  readonly preferredUsername: string | undefined
  readonly #token: string

  /** @internal */
  constructor({ email, preferredUsername, user }: WithoutToken, token: string) {
    this.user = user
    this.email = email
    this.preferredUsername = preferredUsername
    this.#token = token
  }

  /** Wrapped when it is asked for: to wrap it takes longer than to read all four. */
  get accessToken(): Redacted.Redacted {
    return Redacted.make(this.#token, { label: "x-forwarded-access-token" })
  }

  /** What the `Authorization` header of its requests holds. */
  get authorization(): Redacted.Redacted {
    return Redacted.make(`Bearer ${this.#token}`)
  }

  /** The SHA-256 of the token, in base64url: what to know it by without keeping it. */
  get tokenDigest(): string {
    return Crypto.hash("sha256", this.#token, "base64url")
  }
}

/**
 * Reads the four headers, in any letter case; a blank one counts as absent.
 *
 * Refused with `AuthenticationError`: a header that was sent twice, one with a comma (that is how servers join two) or
 * a control character, one longer than 16 KiB, and a token with anything but visible ASCII characters. A preferred
 * username of that kind counts as absent: it proves nothing, and may well be a display name such as "Doe, Jane".
 *
 * @since 0.1.0
 * @category decoding
 */
export const decode = (source: Source): Effect.Effect<ForwardedHeaders, AuthenticationError> =>
  Effect.suspend(() => decodeEager(source))

/**
 * `decode`, at once.
 *
 * @internal
 */
export const decodeEager = (source: Source): Effect.Effect<ForwardedHeaders, AuthenticationError> => {
  const values = read(isWithHeaders(source) ? source.headers : source)
  for (let i = 0; i < names.length; i++) {
    const value = values[i] ?? ""
    const isValue = isHeaderValue(value)
    if (!isValue && names[i] !== "x-forwarded-preferred-username") {
      return refuse(
        `The header ${names[i]} was sent twice, or holds a comma, a control character or more than ${maxLength} characters`
      )
    }
    values[i] = !isValue || value.trim() === "" ? undefined : value
  }
  const [user, email, preferredUsername, token] = values as Array<string | undefined> // each has been looked at
  if (token !== undefined && !isToken(token)) return refuse(`The header ${names[3]} does not hold an access token`)
  const headers = { user, email, preferredUsername, accessToken: undefined }
  return Effect.succeed(token === undefined ? headers : new WithToken(headers, token))
}

const refuse = (message: string) => Effect.fail(new AuthenticationError({ message }))

const names = [
  "x-forwarded-user",
  "x-forwarded-email",
  "x-forwarded-preferred-username",
  "x-forwarded-access-token"
] as const

// No two are as long as each other, so that one look tells of most headers that they are none of these.
const ofLength: ReadonlyMap<number, number> = new Map(names.map((name, i) => [name.length, i]))

const maxLength = 16 * 1024

const isHeaderValue = (value: unknown): value is string =>
  // oxlint-disable-next-line no-control-regex -- control characters are what this refuses
  Predicate.isString(value) && value.length <= maxLength && /^[^,\u0000-\u001f\u007f]*$/.test(value)

// What an Authorization header can carry.
const isToken = (token: string) => /^[\x21-\x7e]+$/.test(token)

const isWithHeaders = (source: Source): source is { readonly headers: HeadersInput } =>
  Predicate.hasProperty(source, "headers") && Predicate.isObject(source.headers)

const isGetter = (headers: HeadersInput): headers is { readonly get: (name: string) => string | null } =>
  Predicate.hasProperty(headers, "get") && Predicate.isFunction(headers.get)

// What comes from outside TypeScript may hold anything, and is to be refused rather than to throw.
const read = (headers: HeadersInput): Array<unknown> => {
  if (isGetter(headers)) return names.map((name) => headers.get(name))
  const found: Array<unknown> = names.map(() => undefined)
  for (const key in headers) {
    const i = ofLength.get(key.length)
    if (i === undefined || (key !== names[i] && key.toLowerCase() !== names[i])) continue
    const value = headers[key]
    const one: unknown = Array.isArray(value) && value.length < 2 ? value[0] : value
    // Two are no header value, whatever they are.
    if (Predicate.isNotNullish(one)) found[i] = found[i] === undefined ? one : [found[i], one]
  }
  return found
}
