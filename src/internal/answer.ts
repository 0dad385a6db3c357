/** Turns what a workspace answered, or did not, into a `DatabricksError`. */
import { Duration, Effect, Option, Schema } from "effect"
import type { HttpClientError, HttpClientRequest, HttpClientResponse } from "effect/http"
import * as E from "../DatabricksError.ts"

/**
 * What to call a request in a message: its method and path, without the query.
 */
export const endpointOf = (request: HttpClientRequest.HttpClientRequest): string =>
  `${request.method} ${request.url.replace(/^https?:\/\/[^/]+/, "").replace(/[?#].*$/, "")}`

/**
 * The error for a request that got no answer.
 */
export const fromHttpClientError = (error: HttpClientError.HttpClientError): E.DatabricksError =>
  connection(endpointOf(error.request), error.reason.cause)

/**
 * The error for a request that `cause` kept from being answered.
 */
export const connection = (endpoint: string, cause: unknown): E.DatabricksError => {
  const code = codeOf(cause)
  return E.make(
    new E.ConnectionError({
      message: `No answer to ${endpoint}${code === undefined ? "" : ` (${code})`}: check that the workspace at DATABRICKS_HOST can be reached`,
      // The request that hangs on the client's error carries the credential: only the innermost cause goes on.
      cause: code
    })
  )
}

/**
 * The error that an HTTP answer outside 2xx stands for.
 */
export const fromResponse = (
  request: HttpClientRequest.HttpClientRequest,
  response: HttpClientResponse.HttpClientResponse
): Effect.Effect<E.DatabricksError> =>
  Effect.map(
    Effect.catch(response.text, () => Effect.succeed("")),
    (body) => fromAnswer({ endpoint: endpointOf(request), status: response.status, headers: response.headers, body })
  )

/**
 * An HTTP answer outside 2xx, however it was received.
 */
export interface Answer {
  readonly endpoint: string
  readonly status: number
  readonly headers: Readonly<Record<string, string | undefined>>
  readonly body: string
}

/**
 * Classifies an answer by status and code; by its message only where Databricks has no code for it.
 */
export const fromAnswer = (answer: Answer): E.DatabricksError => {
  const { endpoint, status } = answer
  const body = Option.getOrUndefined(decodeBody(answer.body))
  const said = (
    body?.message ??
    body?.error_description ??
    body?.error ??
    body?.detail ??
    plainText(answer.body)
  ).trim()
  const errorCode =
    typeof body?.error_code === "string" ? body.error_code : (body?.error ?? body?.scimType ?? undefined)
  const details = body?.details ?? []
  const fields = {
    message: `${endpoint} answered ${status}${said === "" ? "" : `: ${said}`}`,
    status,
    errorCode,
    requestId: details.find((_) => _.request_id !== undefined)?.request_id ?? answer.headers["x-request-id"],
    retryAfter: retryAfter(answer.headers["retry-after"], details.find((_) => _.retry_delay !== undefined)?.retry_delay)
  }
  const scope = /required scopes?: ([\w.:, -]*[\w:])/.exec(said)?.[1]
  if (status === 403 && scope !== undefined) {
    return E.make(
      new E.MissingScopeError({
        ...fields,
        scope,
        message: `${endpoint} needs the scope "${scope}", which the token lacks: add it to the app's user_api_scopes, and sign in to the app again`
      })
    )
  }
  if (status === 401 || (status === 403 && said === "Invalid access token.")) {
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

const ErrorBody = Schema.fromJsonString(
  Schema.Struct({
    error_code: Schema.optional(Schema.Union([Schema.String, Schema.Number])),
    message: Schema.optional(Schema.String),
    error: Schema.optional(Schema.String),
    error_description: Schema.optional(Schema.String),
    detail: Schema.optional(Schema.String),
    scimType: Schema.optional(Schema.NullOr(Schema.String)),
    details: Schema.optional(
      Schema.Array(
        Schema.Struct({
          request_id: Schema.optional(Schema.String),
          retry_delay: Schema.optional(Schema.String)
        })
      )
    )
  })
)

const decodeBody = Schema.decodeUnknownOption(ErrorBody)

// A page of HTML says nothing to whoever reads the message.
const plainText = (body: string) => (/^\s*</.test(body) || /^\s*[{[]/.test(body) ? "" : body.slice(0, 300))

const retryAfter = (header: string | undefined, delay: string | undefined) => {
  const seconds = /^\s*\d+\s*$/.test(header ?? "")
    ? Number(header)
    : /^[\d.]+s$/.test(delay ?? "")
      ? parseFloat(delay!)
      : undefined
  return seconds === undefined ? undefined : Duration.seconds(seconds)
}

const codeOf = (cause: unknown): string | undefined => {
  for (let at = cause, depth = 0; at instanceof Error && depth < 5; at = at.cause, depth++) {
    if ("code" in at && typeof at.code === "string") return at.code
  }
  return cause instanceof Error ? cause.name : typeof cause === "string" ? cause : undefined
}
