/**
 * Maps each HTTP status of the workspace to our response, and each status of ours to the code of a server-sent event
 * for it. This module loads nothing.
 */
import type { Reason, StatementFailedError } from "../../DatabricksError.ts"
import type { ErrorCode } from "../../http/ErrorData.ts"
import type { Row } from "./sqlState.ts"

type Tag = Reason["_tag"]

/** The reason for a response, by its status or the class of its status. */
export const tagOf = (status: number) =>
  tags[status] ??
  (status < 400 ? "InvalidResponseError" : status < 500 ? "InvalidRequestError" : "WorkspaceFailedError")

const tags: {
  readonly [status: number]:
    | "InvalidCredentialError"
    | "PermissionDeniedError"
    | "NotFoundError"
    | "RateLimitedError"
    | "UnavailableError"
    | "WorkspaceFailedError"
} = {
  401: "InvalidCredentialError",
  403: "PermissionDeniedError",
  404: "NotFoundError",
  // A timeout of a gateway or a model's endpoint: the request may have run.
  408: "WorkspaceFailedError",
  429: "RateLimitedError",
  503: "UnavailableError"
}

const row = (status: number, isRetryable = false): Pick<Row, "isRetryable" | "status"> => ({ status, isRetryable })

/** A row for each reason of a `DatabricksError`. The row of a failed statement applies if it has no SQLSTATE. */
export const reasons: { readonly [Name in Tag]: Pick<Row, "isRetryable" | "status"> } = {
  InvalidCredentialError: row(401),
  MissingScopeError: row(403),
  PermissionDeniedError: row(403),
  NotFoundError: row(404),
  InvalidRequestError: row(400),
  RateLimitedError: row(429, true),
  UnavailableError: row(503, true),
  ConnectionError: row(503, true),
  InvalidResponseError: row(502),
  WorkspaceFailedError: row(502),
  UnknownWarehouseError: row(500),
  StatementFailedError: row(500),
  StatementGoneError: row(409),
  WorkspaceMismatchError: row(500)
}

/** Whether a statement that only reads failed because its warehouse was busy or unavailable, and so is retryable. */
export const foundBusy = ({ errorCode, readOnly }: Pick<StatementFailedError, "errorCode" | "readOnly">): boolean =>
  readOnly === true && busy.has(errorCode)

// Members of ServiceErrorCode of the statement API.
const busy = new Set<unknown>([
  "TEMPORARILY_UNAVAILABLE",
  "WORKSPACE_TEMPORARILY_UNAVAILABLE",
  "SERVICE_UNDER_MAINTENANCE",
  "RESOURCE_EXHAUSTED"
])

/** The code of a stream's `error` event, by the status that the response would have had. */
export const eventCodeOf = (status: number, isRetryable = false): ErrorCode =>
  codes[status] ?? (status >= 500 ? "INTERNAL_ERROR" : isRetryable ? "TEMPORARY_UNAVAILABLE" : "INVALID_REQUEST")

const codes: { readonly [status: number]: ErrorCode } = {
  401: "STREAM_FORBIDDEN",
  403: "STREAM_FORBIDDEN",
  408: "TIMEOUT",
  429: "TEMPORARY_UNAVAILABLE",
  502: "UPSTREAM_ERROR",
  503: "TEMPORARY_UNAVAILABLE",
  504: "TIMEOUT"
}
