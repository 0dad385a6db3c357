/**
 * The headers in which the Databricks Apps proxy names the sender of a request.
 *
 * @since 0.1.0
 */
import { Effect, Predicate, Redacted } from "effect"
import { isUtf8 } from "node:buffer"
import * as Crypto from "node:crypto"
import { AuthenticationError } from "./IdentityError.ts"

/**
 * A request's headers: an Effect or Node record, or a web `Headers`.
 *
 * @since 0.1.0
 * @category models
 */
export type HeadersInput =
  | { readonly get: (name: string) => string | null }
  | { readonly [name: string]: string | ReadonlyArray<string> | undefined }

/**
 * The argument of `asUser`: an Effect `HttpServerRequest`, a web `Request`, a Node or Express request, or its headers.
 *
 * @since 0.1.0
 * @category models
 */
export type Source = { readonly headers: HeadersInput } | HeadersInput

/**
 * The headers of the proxy, not verified yet.
 *
 * @since 0.1.0
 * @category models
 */
export type ForwardedHeaders = WithToken | WithoutToken

/**
 * Headers without an access token.
 *
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
 * Headers with an access token. Only `decode` makes them.
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

  // Wrapped on access: wrapping takes longer than reading all four headers.
  /** The access token. */
  get accessToken(): Redacted.Redacted {
    return Redacted.make(this.#token, { label: "x-forwarded-access-token" })
  }

  /** The value of the `Authorization` header for requests to the workspace. */
  get authorization(): Redacted.Redacted {
    return Redacted.make(`Bearer ${this.#token}`)
  }

  /** The SHA-256 of the token in base64url, for caches that must not keep the token. */
  get tokenDigest(): string {
    return Crypto.hash("sha256", this.#token, "base64url")
  }
}

/**
 * Reads the four forwarded headers, in any letter case. A blank header counts as absent.
 *
 * Fails with `AuthenticationError` if a header was sent twice, contains a comma (servers join repeated headers with
 * one) or a control character, or is longer than 16 KiB. The token may contain visible ASCII characters only. A
 * preferred username that breaks these rules counts as absent instead: it may be a display name such as "Doe, Jane".
 *
 * @since 0.1.0
 * @category decoding
 */
export const decode = (source: Source): Effect.Effect<ForwardedHeaders, AuthenticationError> =>
  Effect.suspend(() => decodeEager(source))

/**
 * `decode` without suspension.
 *
 * @internal
 */
export const decodeEager = (source: Source): Effect.Effect<ForwardedHeaders, AuthenticationError> => {
  const values = read(isWithHeaders(source) ? source.headers : source)
  for (let i = 0; i < names.length; i++) {
    const value = values[i] ?? ""
    const isToken = names[i] === "x-forwarded-access-token"
    if (isUsual(value, isToken ? usual.token : usual.text)) continue
    const isValue = isHeaderValue(value)
    if (!isValue && names[i] !== "x-forwarded-preferred-username") {
      return refuse(
        `The header ${names[i]} was sent twice, or contains a comma, a control character or more than ${maxLength} characters`
      )
    }
    values[i] = !isValue || value.trim() === "" ? undefined : textOf(value)
    if (isToken && values[i] !== undefined) return refuse(`The header ${names[i]} does not contain an access token`)
  }
  const [user, email, preferredUsername, token] = values as Array<string | undefined> // each has been checked
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

// The four lengths differ, so the length alone excludes most other headers.
const ofLength: ReadonlyMap<number, number> = new Map(names.map((name, i) => [name.length, i]))

const maxLength = 16 * 1024

// Printable ASCII without a comma, which needs no decoding. A token has only the characters of an Authorization header.
const usual = { text: /^[!-+\--~][ -+\--~]*$/, token: /^[!-+\--~]+$/ }

const isUsual = (value: unknown, pattern: RegExp): boolean =>
  Predicate.isString(value) && value.length <= maxLength && pattern.test(value)

const isHeaderValue = (value: unknown): value is string =>
  // oxlint-disable-next-line no-control-regex -- control characters are refused here
  Predicate.isString(value) && value.length <= maxLength && /^[^,\u0000-\u001f\u007f]*$/.test(value)

// Node and web Headers give each byte as one character; the proxy sends UTF-8.
const textOf = (value: string) => {
  if (!/[\u0080-\u00ff]/.test(value)) return value
  const bytes = Buffer.from(value, "latin1")
  return isUtf8(bytes) && bytes.toString("latin1") === value ? bytes.toString() : value
}

const isWithHeaders = (source: Source): source is { readonly headers: HeadersInput } =>
  Predicate.hasProperty(source, "headers") && Predicate.isObject(source.headers)

const isGetter = (headers: HeadersInput): headers is { readonly get: (name: string) => string | null } =>
  Predicate.hasProperty(headers, "get") && Predicate.isFunction(headers.get)

// Callers without TypeScript may pass any value, which must be refused rather than throw.
const read = (headers: HeadersInput): Array<unknown> => {
  if (isGetter(headers)) return names.map((name) => headers.get(name))
  const found: Array<unknown> = [undefined, undefined, undefined, undefined]
  for (const key in headers) {
    const i = ofLength.get(key.length)
    if (i === undefined || (key !== names[i] && key.toLowerCase() !== names[i])) continue
    const value = headers[key]
    const one: unknown = Array.isArray(value) && value.length < 2 ? value[0] : value
    // A repeated header becomes an array, which isHeaderValue refuses.
    if (Predicate.isNotNullish(one)) found[i] = found[i] === undefined ? one : [found[i], one]
  }
  // AsUser makes the token non-enumerable, to keep it out of logs.
  if (found[3] === undefined && Predicate.hasProperty(headers, names[3]) && Predicate.isString(headers[names[3]])) {
    found[3] = headers[names[3]]
  }
  return found
}
