/** Turns what a workspace answered, or did not, into a `DatabricksError`. */
import { Duration, Effect, Option, Predicate, Redacted, Schema, Stream } from "effect"
import type { HttpClientError, HttpClientRequest, HttpClientResponse } from "effect/http"
import * as E from "../../DatabricksError.ts"

/** What to call a request in a message: its method and path, without the query. */
export const endpointOf = (request: HttpClientRequest.HttpClientRequest): string =>
  `${request.method} ${request.url.replace(/^https?:\/\/[^/]+/, "").replace(/[?#].*$/, "")}`

/** The error for a request that got no answer. */
export const fromHttpClientError = (error: HttpClientError.HttpClientError): E.DatabricksError =>
  connection(endpointOf(error.request), codeOf(error.reason.cause))

/** The error for a request that got no answer, with the code that says why: `ECONNREFUSED`, `timeout`. */
export const connection = (endpoint: string, code: string | undefined): E.DatabricksError =>
  E.make(
    new E.ConnectionError({
      message: `No answer to ${endpoint}${code === undefined ? "" : ` (${code})`}: check that the workspace at DATABRICKS_HOST can be reached`,
      // The request that hangs on the client's error carries the credential: only the code goes on.
      cause: code
    })
  )

/** The error that an HTTP answer outside 2xx stands for; it repeats no credential that the answer repeats. */
export const fromResponse = (
  request: HttpClientRequest.HttpClientRequest,
  response: HttpClientResponse.HttpClientResponse,
  authorization?: Redacted.Redacted
): Effect.Effect<E.DatabricksError> =>
  Effect.map(head(response), (body) =>
    fromAnswer({
      endpoint: endpointOf(request),
      status: response.status,
      headers: response.headers,
      body: secretsIn(authorization).reduce((text, secret) => text.replaceAll(secret, "<redacted>"), body)
    })
  )

/** The token of `Bearer …`; the password of `Basic …`, and what stands for it. */
const secretsIn = (authorization: Redacted.Redacted | undefined): ReadonlyArray<string> => {
  if (authorization === undefined) return []
  const [scheme, credential = ""] = Redacted.value(authorization).split(" ")
  const password = scheme === "Basic" ? Buffer.from(credential, "base64").toString().split(/:(.*)/s)[1] : undefined
  // What is shorter is a word of any sentence, and nobody's secret.
  return [credential, password ?? ""].filter((secret) => secret.length >= 8)
}

/** An HTTP answer outside 2xx, however it was received. */
export interface Answer {
  readonly endpoint: string
  readonly status: number
  readonly headers: Readonly<Record<string, string | undefined>>
  readonly body: string
}

/** Classifies an answer by status and code; by its message only where Databricks has no code for it. */
export const fromAnswer = ({ body: text, endpoint, headers, status }: Answer): E.DatabricksError => {
  const body = parse(text)
  const error = Predicate.isObject(body["error"]) ? body["error"]["message"] : body["error"]
  const said = oneLine(
    stringOf(body["message"]) ??
      stringOf(body["error_description"]) ??
      stringOf(error) ??
      stringOf(body["detail"]) ??
      plainText(text)
  )
  const errorCode = codeIn(body["error_code"]) ?? codeIn(body["error"]) ?? codeIn(body["scimType"])
  const details = Array.isArray(body["details"]) ? body["details"].filter(Predicate.isObject) : []
  const detail = (name: string) => details.map((_) => stringOf(_[name])).find((_) => _ !== undefined)
  const fields = {
    message: `${endpoint} answered ${status}${said === "" ? "" : `: ${said}`}`,
    status,
    errorCode,
    requestId: (detail("request_id") ?? headers["x-request-id"])?.slice(0, 200),
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
  if (status === 401 || errorCode === "invalid_client" || (status === 403 && /^Invalid access token\b/.test(said))) {
    return E.make(new E.InvalidCredentialError(fields))
  }
  if (status === 403) return E.make(new E.PermissionDeniedError(fields))
  if (status === 404) return E.make(new E.NotFoundError(fields))
  if (status === 429) return E.make(new E.RateLimitedError(fields))
  if (status === 503) return E.make(new E.UnavailableError(fields))
  if (status >= 500) return E.make(new E.WorkspaceFailedError(fields))
  if (status < 400) {
    return E.make(
      new E.InvalidResponseError({ ...fields, message: `${endpoint} answered with a redirect (${status})` })
    )
  }
  if (errorCode === "INVALID_PARAMETER_VALUE" && said.includes("is not a valid endpoint id")) {
    return E.make(
      new E.UnknownWarehouseError({
        ...fields,
        warehouseId: /(\S+) is not a valid endpoint id/.exec(said)?.[1],
        message: `The workspace has no such SQL warehouse (${said}): check DATABRICKS_WAREHOUSE_ID`
      })
    )
  }
  return E.make(new E.InvalidRequestError(fields))
}

// An error says what it has to say in its first bytes, whatever it goes on to send.
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

// Field by field, because one of an unforeseen shape must not hide what the others say.
const parse = (text: string): Readonly<Record<string, unknown>> =>
  Option.getOrElse(Option.filter(decodeJson(text), Predicate.isObject), () => ({}))

const decodeJson = Schema.decodeUnknownOption(Schema.fromJsonString(Schema.Unknown))

// SCIM has been seen to send the word "null".
const stringOf = (value: unknown) => (typeof value === "string" && value !== "" && value !== "null" ? value : undefined)

// Old endpoints repeat the status as their code, or send a sentence where a code belongs.
const codeIn = (value: unknown) =>
  typeof value === "string" && /^[A-Za-z][\w.]{0,199}$/.test(value) ? value : undefined

const oneLine = (said: string) => said.trim().replace(/\s+/g, " ").slice(0, 1000)

// A page of HTML, or half a document, says nothing to whoever reads the message.
const plainText = (body: string) => (/^\s*[<{[]/.test(body) ? "" : body)

const retryAfter = (headers: Answer["headers"], delay: string | undefined) => {
  const header = headers["retry-after"]?.trim() ?? ""
  const seconds = /^\d+(\.\d+)?$/.test(header)
    ? Number(header)
    : header.endsWith("GMT")
      ? // A date is one on the workspace's clock, which its answer tells; ours may differ.
        (Date.parse(header) - Date.parse(headers["date"] ?? "")) / 1000
      : /^\d+(\.\d+)?s$/.test(delay ?? "")
        ? Number.parseFloat(delay!)
        : Number.NaN
  return Number.isFinite(seconds) ? Duration.seconds(Math.min(Math.max(0, seconds), longestRetryAfter)) : undefined
}

// A day: whoever is told more has been told that it is not for this request to wait.
const longestRetryAfter = 86_400

/** What the system calls what kept a request from its answer. */
export const codeOf = (cause: unknown): string | undefined => {
  for (let at = cause, depth = 0; at instanceof Error && depth < 5; at = at.cause, depth++) {
    if ("code" in at && typeof at.code === "string") return at.code
  }
  return cause instanceof Error ? cause.name : undefined
}
