/** Converts an error response of the workspace, or a missing one, to a `DatabricksError`. */
import { Duration, Effect, Option, Predicate, Redacted, Schema, Stream } from "effect"
import { identity } from "effect/Function"
import { Headers, type HttpClientError, type HttpClientRequest, type HttpClientResponse } from "effect/http"
import * as E from "../../DatabricksError.ts"
import { tagOf } from "../failures/httpStatus.ts"
import { advice } from "../unreachable.ts"

/** Names a request in a message: its method and path, without the query. */
export const endpointOf = (request: HttpClientRequest.HttpClientRequest): string =>
  `${request.method} ${request.url.replace(/^https?:\/\/[^/]+/, "").replace(/[?#].*$/, "")}`

/** Returns the error of a request without a response. */
export const fromHttpClientError = ({ reason, request }: HttpClientError.HttpClientError): E.DatabricksError => {
  const code = codeOf(reason.cause)
  return code !== undefined && neverSent.has(code) && reason.cause instanceof Error
    ? E.make(
        new E.InvalidRequestError({
          message: `${endpointOf(request)} cannot be sent: ${oneLine(reason.cause.message)}`
        })
      )
    : connection(endpointOf(request), code)
}

// undici refuses to send these requests. Its messages name a header but do not contain its value.
const neverSent = new Set(["UND_ERR_INVALID_ARG", "UND_ERR_NOT_SUPPORTED", "UND_ERR_REQ_CONTENT_LENGTH_MISMATCH"])

const stalled = new Set(["UND_ERR_HEADERS_TIMEOUT", "UND_ERR_BODY_TIMEOUT"])

/** Returns the error of a request without a response, with the code of the failure: `ECONNREFUSED`, `timeout`. */
export const connection = (endpoint: string, code: string | undefined): E.DatabricksError =>
  E.make(
    new E.ConnectionError({
      message: `No response to ${endpoint}${code === undefined ? "" : ` (${code})`}: ${code !== undefined && stalled.has(code) ? "the connection has stalled, or the workspace takes longer than 6 minutes" : advice(code, "check that the workspace at DATABRICKS_HOST can be reached")}`,
      // Only the code: the client's error contains the request with its credential.
      cause: code
    })
  )

/** Returns the error of a response that is not a 2xx, without the credential that the response may quote. */
export const fromResponse = (
  request: HttpClientRequest.HttpClientRequest,
  response: HttpClientResponse.HttpClientResponse,
  authorization?: Redacted.Redacted
): Effect.Effect<E.DatabricksError> =>
  Effect.map(head(response), (body) =>
    fromAnswer(
      { endpoint: endpointOf(request), status: response.status, headers: response.headers, body },
      redactor(authorization)
    )
  )

/** Removes the credential of a call from its response's text. */
export type Redact = (said: string) => string

const redactor = (authorization: Redacted.Redacted | undefined): Redact => {
  const secrets = secretsIn(authorization)
  return (said) => secrets.reduce((text, secret) => text.replaceAll(secret, "<redacted>"), said)
}

/** The credentials of 2xx responses, whose bodies may still report a failure. */
const credentials = new WeakMap<HttpClientResponse.HttpClientResponse, Redacted.Redacted>()

/** Remembers the credential with which the request of this response was sent. */
export const answers = (response: HttpClientResponse.HttpClientResponse, authorization: Redacted.Redacted): void =>
  void credentials.set(response, authorization)

export const redactorOf = (response: HttpClientResponse.HttpClientResponse): Redact =>
  redactor(credentials.get(response))

/** Returns the headers of a response without the credential, for spans and errors. */
export const redactedHeaders = (headers: Headers.Headers, authorization: Redacted.Redacted): Headers.Headers => {
  const secrets = secretsIn(authorization)
  return Object.values(headers).some((value) => secrets.some((secret) => value.includes(secret)))
    ? Headers.fromInput(Object.entries(headers).map(([name, value]) => [name, redactor(authorization)(value)] as const))
    : headers
}

/** Returns the token of `Bearer …`, or the credential of `Basic …` and its password. */
const secretsIn = (authorization: Redacted.Redacted | undefined): ReadonlyArray<string> => {
  if (authorization === undefined) return []
  const [scheme, credential = ""] = Redacted.value(authorization).split(" ")
  const password = scheme === "Basic" ? Buffer.from(credential, "base64").toString().split(/:(.*)/s)[1] : undefined
  // A shorter text may be a word of a sentence.
  return [credential, password ?? ""].filter((secret) => secret.length >= 8)
}

/** A response that is not a 2xx, from any client. */
export interface Answer {
  readonly endpoint: string
  readonly status: number
  readonly headers: Readonly<Record<string, string | undefined>>
  readonly body: string
}

/** Classifies a response by status and code, and by its message only where Databricks has no code for it. */
export const fromAnswer = (
  { body: text, endpoint, headers, status }: Answer,
  redact: Redact = identity
): E.DatabricksError => {
  const body = parse(text)
  const {
    code,
    details: inner,
    message: error
  } = Predicate.isObject(body["error"])
    ? body["error"]
    : { code: body["error"], details: undefined, message: body["error"] }
  const said = oneLine(
    // Redacted after decoding, because JSON may escape a character of the credential.
    redact(
      stringOf(body["message"]) ??
        stringOf(body["error_description"]) ??
        stringOf(error) ??
        stringOf(body["detail"]) ??
        plainText(text)
    )
  )
  const known = codeIn(body["error_code"]) ?? codeIn(code) ?? codeIn(body["scimType"])
  const details = [body["details"], inner].filter(Array.isArray).flat().filter(Predicate.isObject)
  const detail = (name: string) => details.map((_) => stringOf(_[name])).find((_) => _ !== undefined)
  const errorCode = known && redact(known)
  const errorReason = codeIn(detail("reason"))
  const requestIdSaid = detail("request_id")
  const requestId = requestIdSaid === undefined ? headers["x-request-id"] : redact(requestIdSaid)
  const fields = {
    message: `${endpoint} answered ${status}${said === "" ? "" : `: ${said}`}`,
    status,
    errorCode,
    errorReason: errorReason && redact(errorReason),
    requestId: requestId?.slice(0, 200),
    retryAfter: retryAfter(headers, detail("retry_delay"))
  }
  const scope = /required scopes?: ([\w:.-]*\w(?:, ?[\w:.-]*\w)*)/.exec(said)?.[1]
  if (status === 403 && scope !== undefined) {
    return E.make(
      new E.MissingScopeError({
        ...fields,
        scope,
        message: `${endpoint} needs the scope "${scope}", which the token lacks: add it to the app's user_api_scopes, and sign in to the app again`
      })
    )
  }
  if (
    status === 401 ||
    errorCode === "invalid_client" ||
    ((status === 403 || status === 400) && isDeadToken(status, errorCode, said))
  ) {
    return E.make(new E.InvalidCredentialError(fields))
  }
  if (status < 400) {
    return E.make(
      new E.InvalidResponseError({ ...fields, message: `${endpoint} answered with a redirect (${status})` })
    )
  }
  if (status === 400 && errorCode === "INVALID_PARAMETER_VALUE" && said.includes("is not a valid endpoint id")) {
    return E.make(
      new E.UnknownWarehouseError({
        ...fields,
        warehouseId: /(\S+) is not a valid endpoint id/.exec(said)?.[1],
        message: `The workspace has no such SQL warehouse (${said}): check DATABRICKS_WAREHOUSE_ID`
      })
    )
  }
  return E.make(new byTag[tagOf(status)](fields))
}

const byTag = {
  InvalidCredentialError: E.InvalidCredentialError,
  PermissionDeniedError: E.PermissionDeniedError,
  NotFoundError: E.NotFoundError,
  RateLimitedError: E.RateLimitedError,
  UnavailableError: E.UnavailableError,
  WorkspaceFailedError: E.WorkspaceFailedError,
  InvalidRequestError: E.InvalidRequestError,
  InvalidResponseError: E.InvalidResponseError
}

// Databricks has many codes and messages for an invalid token. A message that begins with the token is about it,
// unlike one about a permission, or about a table of that name.
const deadCode =
  /^(?:UNAUTHENTICATED|(?:invalid|expired)_?(?:access_?|authentication_?)?(?:token|jwt)|(?:token|jwt)_?(?:invalid|expired))(?:_?(?:error|exception))?$/i

const which =
  "(?:(?:the|your|this|provided|user|access|bearer|oauth|personal|authentication|session|refresh|api|aad|jwt|id) )*"
const dead = "(?:invalid|expired|revoked|malformed|inactive)"

const deadToken = new RegExp(
  `^(?:\\w+: |[\\w ]*\\bauth\\w*: )?${which}(?:${[
    `${dead}(?: or ${dead})? ${which}(?:token|jwt)(?=$|[.,:;!]| [([])`,
    `(?:token|jwt) (?:is |was |has |been )*(?:${dead}|expir|not valid|no longer valid)`
  ].join("|")})`,
  "i"
)

/** Whether the credential was refused, for a response whose status is not 401. */
const isDeadToken = (status: number, errorCode: string | undefined, said: string) =>
  deadCode.test(errorCode ?? "") ||
  (status === 403 && (deadCode.test(said) || deadToken.test(said))) ||
  /^\S*ExpiredJwt/.test(said)

// The first bytes contain the error, even if the response is endless.
const maxErrorBytes = 64 * 1024

const head = (response: HttpClientResponse.HttpClientResponse): Effect.Effect<string> =>
  Effect.suspend(() => {
    let bytes = 0
    return response.stream.pipe(
      Stream.takeUntil((chunk) => (bytes += chunk.length) >= maxErrorBytes),
      Stream.decodeText,
      Stream.mkString
    )
  }).pipe(Effect.catch(() => Effect.succeed("")))

// Field by field, so that one unexpected field does not hide the others.
const parse = (text: string): Readonly<Record<string, unknown>> =>
  Option.getOrElse(Option.filter(decodeJson(text), Predicate.isObject), () => ({}))

const decodeJson = Schema.decodeUnknownOption(Schema.fromJsonString(Schema.Unknown))

// SCIM sometimes sends the word "null".
const stringOf = (value: unknown) => (typeof value === "string" && value !== "" && value !== "null" ? value : undefined)

// Old endpoints repeat the status as the code, or send a sentence in place of a code.
const codeIn = (value: unknown) =>
  typeof value === "string" && /^[A-Za-z][\w.]{0,199}$/.test(value) ? value : undefined

const oneLine = (said: string) => said.trim().replace(/\s+/g, " ").slice(0, 1000)

// Omits HTML pages and truncated documents, except for the reason on Jetty's pages.
const plainText = (body: string) =>
  /^\s*[<{[]/.test(body) ? (/Reason:\s*<pre>([^<]{0,1000})/.exec(body)?.[1] ?? "") : body

const retryAfter = (headers: Answer["headers"], delay: string | undefined) => {
  const header = headers["retry-after"]?.trim() ?? ""
  const seconds = /^\d+(\.\d+)?$/.test(header)
    ? Number(header)
    : header.endsWith("GMT")
      ? // A date is relative to the workspace's clock, which the response contains; ours may differ.
        (Date.parse(header) - Date.parse(headers["date"] ?? "")) / 1000
      : /^\d+(\.\d+)?s$/.test(delay ?? "")
        ? Number.parseFloat(delay!)
        : Number.NaN
  return Number.isFinite(seconds) ? Duration.seconds(Math.min(Math.max(0, seconds), longestRetryAfter)) : undefined
}

// One day: a longer wait is of no use to a request.
const longestRetryAfter = 86_400

/** Returns the system's code of a failed request. */
export const codeOf = (cause: unknown): string | undefined => {
  for (let at = cause, depth = 0; at instanceof Error && depth < 5; at = at.cause, depth++) {
    if ("code" in at && typeof at.code === "string") return at.code
  }
  return cause instanceof Error ? cause.name : undefined
}
