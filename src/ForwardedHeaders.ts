/**
 * The headers with which the Databricks Apps proxy says who sent a request.
 *
 * @since 0.1.0
 */
import { Effect, Predicate, Redacted, Schema } from "effect"

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
 * @since 0.1.0
 * @category models
 */
export interface ForwardedHeaders {
  readonly user: string | undefined
  readonly email: string | undefined
  readonly preferredUsername: string | undefined
  readonly accessToken: Redacted.Redacted | undefined
}

/**
 * The request does not say who sent it, or the workspace does not accept their token (401).
 *
 * @since 0.1.0
 * @category errors
 */
export class AuthenticationError extends Schema.TaggedError<AuthenticationError>(
  "effect-databricks/AuthenticationError"
)("AuthenticationError", { message: Schema.String }, { httpApiStatus: 401 }) {}

/**
 * Reads the four headers; an empty one counts as absent.
 *
 * Refused with `AuthenticationError`: a header that was sent twice, one with a comma (that is how servers join two) or
 * a control character, and one longer than 16 KiB.
 *
 * @since 0.1.0
 * @category decoding
 */
export const decode = (source: Source): Effect.Effect<ForwardedHeaders, AuthenticationError> =>
  Effect.suspend(() => {
    const headers = isWithHeaders(source) ? source.headers : source
    const values: Array<string | undefined> = []
    for (const name of names) {
      const found = read(headers, name)
      if (found.length > 1 || (found.length === 1 && !isHeaderValue(found[0]))) {
        return Effect.fail(
          new AuthenticationError({
            message: `The header ${name} was sent twice, or holds a comma, a control character or more than ${maxLength} characters`
          })
        )
      }
      values.push(found[0] === "" ? undefined : found[0])
    }
    const [user, email, preferredUsername, token] = values
    return Effect.succeed({
      user,
      email,
      preferredUsername,
      accessToken: token === undefined ? undefined : Redacted.make(token, { label: "x-forwarded-access-token" })
    })
  })

const names = [
  "x-forwarded-user",
  "x-forwarded-email",
  "x-forwarded-preferred-username",
  "x-forwarded-access-token"
] as const

const maxLength = 16 * 1024

const isHeaderValue = Schema.is(
  // oxlint-disable-next-line no-control-regex -- control characters are what this refuses
  Schema.String.check(Schema.isPattern(/^[^,\u0000-\u001f\u007f]*$/), Schema.isMaxLength(maxLength))
)

const isWithHeaders = (source: Source): source is { readonly headers: HeadersInput } =>
  Predicate.hasProperty(source, "headers") && Predicate.isObject(source.headers)

const isGetter = (headers: HeadersInput): headers is { readonly get: (name: string) => string | null } =>
  Predicate.hasProperty(headers, "get") && Predicate.isFunction(headers.get)

const read = (headers: HeadersInput, name: string): ReadonlyArray<string> => {
  if (isGetter(headers)) {
    const value = headers.get(name)
    return value === null ? [] : [value]
  }
  const found: Array<string> = []
  for (const key in headers) {
    if (key.length !== name.length || key.toLowerCase() !== name) continue
    const value = headers[key]
    if (typeof value === "string") found.push(value)
    else if (value !== undefined) found.push(...value)
  }
  return found
}
