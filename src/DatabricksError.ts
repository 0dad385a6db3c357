/**
 * The error of a failed call to a Databricks workspace, with a tagged reason.
 *
 * @since 0.1.0
 */
import { type Duration, Schema } from "effect"
import { foundBusy, reasons } from "./internal/failures/httpStatus.ts"
import { rowOf } from "./internal/failures/sqlState.ts"

const Fields = {
  /** Says which call failed, why, and how to mend it where that is known. */
  message: Schema.String,
  /** The HTTP status of the workspace's error response, if there was one. */
  status: Schema.optional(Schema.Int),
  /** The workspace's own code, such as `RESOURCE_DOES_NOT_EXIST`. */
  errorCode: Schema.optional(Schema.String),
  /** The more precise reason that some APIs add to it, such as `FILES_API_DIRECTORY_IS_NOT_EMPTY`. */
  errorReason: Schema.optional(Schema.String),
  /** The request id of the workspace, for Databricks support. */
  requestId: Schema.optional(Schema.String),
  /** The delay of the workspace's `Retry-After`. */
  retryAfter: Schema.optional(Schema.Duration)
}

/**
 * The credential is missing, wrong or expired (401, or 403 for a bad token).
 *
 * @since 0.1.0
 * @category reasons
 */
export class InvalidCredentialError extends Schema.TaggedError<InvalidCredentialError>(
  "effect-databricks/DatabricksError/InvalidCredentialError"
)("InvalidCredentialError", Fields) {
  get isRetryable(): boolean {
    return reasons.InvalidCredentialError.isRetryable
  }
}

/**
 * The token is valid but lacks the scope that this API requires (403).
 *
 * @since 0.1.0
 * @category reasons
 */
export class MissingScopeError extends Schema.TaggedError<MissingScopeError>(
  "effect-databricks/DatabricksError/MissingScopeError"
)("MissingScopeError", {
  ...Fields,
  scope: Schema.String
}) {
  get isRetryable(): boolean {
    return reasons.MissingScopeError.isRetryable
  }
}

/**
 * The caller is authenticated but lacks the permission for this call (403).
 *
 * @since 0.1.0
 * @category reasons
 */
export class PermissionDeniedError extends Schema.TaggedError<PermissionDeniedError>(
  "effect-databricks/DatabricksError/PermissionDeniedError"
)("PermissionDeniedError", Fields) {
  get isRetryable(): boolean {
    return reasons.PermissionDeniedError.isRetryable
  }
}

/**
 * The workspace has no SQL warehouse with this id (400).
 *
 * @since 0.1.0
 * @category reasons
 */
export class UnknownWarehouseError extends Schema.TaggedError<UnknownWarehouseError>(
  "effect-databricks/DatabricksError/UnknownWarehouseError"
)("UnknownWarehouseError", {
  ...Fields,
  warehouseId: Schema.optional(Schema.String)
}) {
  get isRetryable(): boolean {
    return reasons.UnknownWarehouseError.isRetryable
  }
}

/**
 * The resource does not exist, or is not visible to this caller (404).
 *
 * @since 0.1.0
 * @category reasons
 */
export class NotFoundError extends Schema.TaggedError<NotFoundError>("effect-databricks/DatabricksError/NotFoundError")(
  "NotFoundError",
  Fields
) {
  get isRetryable(): boolean {
    return reasons.NotFoundError.isRetryable
  }
}

/**
 * The workspace rejected the request as invalid (any other 4xx).
 *
 * @since 0.1.0
 * @category reasons
 */
export class InvalidRequestError extends Schema.TaggedError<InvalidRequestError>(
  "effect-databricks/DatabricksError/InvalidRequestError"
)("InvalidRequestError", Fields) {
  get isRetryable(): boolean {
    return reasons.InvalidRequestError.isRetryable
  }
}

/**
 * The workspace limits the rate of requests (429). Retryable after `retryAfter`.
 *
 * @since 0.1.0
 * @category reasons
 */
export class RateLimitedError extends Schema.TaggedError<RateLimitedError>(
  "effect-databricks/DatabricksError/RateLimitedError"
)("RateLimitedError", Fields) {
  get isRetryable(): boolean {
    return reasons.RateLimitedError.isRetryable
  }
}

/**
 * The workspace is temporarily unavailable (503). Retryable after `retryAfter`.
 *
 * @since 0.1.0
 * @category reasons
 */
export class UnavailableError extends Schema.TaggedError<UnavailableError>(
  "effect-databricks/DatabricksError/UnavailableError"
)("UnavailableError", Fields) {
  get isRetryable(): boolean {
    return reasons.UnavailableError.isRetryable
  }
}

/**
 * The workspace failed to process the request or timed out (any other 5xx, and 408).
 *
 * @since 0.1.0
 * @category reasons
 */
export class WorkspaceFailedError extends Schema.TaggedError<WorkspaceFailedError>(
  "effect-databricks/DatabricksError/WorkspaceFailedError"
)("WorkspaceFailedError", Fields) {
  get isRetryable(): boolean {
    return reasons.WorkspaceFailedError.isRetryable
  }
}

/**
 * The connection to the workspace was refused, reset or never established. Retryable.
 *
 * @since 0.1.0
 * @category reasons
 */
export class ConnectionError extends Schema.TaggedError<ConnectionError>(
  "effect-databricks/DatabricksError/ConnectionError"
)("ConnectionError", {
  ...Fields,
  cause: Schema.optional(Schema.Defect())
}) {
  get isRetryable(): boolean {
    return reasons.ConnectionError.isRetryable
  }
}

/**
 * The response does not match the API: HTML, truncated JSON, a missing field or a redirect.
 *
 * @since 0.1.0
 * @category reasons
 */
export class InvalidResponseError extends Schema.TaggedError<InvalidResponseError>(
  "effect-databricks/DatabricksError/InvalidResponseError"
)("InvalidResponseError", Fields) {
  get isRetryable(): boolean {
    return reasons.InvalidResponseError.isRetryable
  }
}

/**
 * A SQL statement failed at the warehouse.
 *
 * Retryable if `sqlState` marks a transient failure, or if the statement only reads and `errorCode` says that the
 * warehouse is busy or unavailable. `sqlState` is absent if the warehouse sent none.
 *
 * @since 0.1.0
 * @category reasons
 */
export class StatementFailedError extends Schema.TaggedError<StatementFailedError>(
  "effect-databricks/DatabricksError/StatementFailedError"
)("StatementFailedError", {
  ...Fields,
  statementId: Schema.String,
  sqlState: Schema.optional(Schema.String),
  /** Whether the statement's text shows that it only reads, as defined by the `cache` option of a query. */
  readOnly: Schema.optional(Schema.Boolean)
}) {
  get isRetryable(): boolean {
    return foundBusy(this) || (this.sqlState !== undefined && rowOf(this.sqlState).isRetryable)
  }
}

/**
 * The result of a SQL statement is no longer available.
 *
 * `CANCELED`: another client cancelled the statement. `CLOSED`: the result was closed before it was read. `EXPIRED`:
 * the warehouse discarded the result, an hour after the statement ended.
 *
 * @since 0.1.0
 * @category reasons
 */
export class StatementGoneError extends Schema.TaggedError<StatementGoneError>(
  "effect-databricks/DatabricksError/StatementGoneError"
)("StatementGoneError", {
  ...Fields,
  statementId: Schema.String,
  state: Schema.Literals(["CANCELED", "CLOSED", "EXPIRED"])
}) {
  get isRetryable(): boolean {
    return reasons.StatementGoneError.isRetryable
  }
}

/**
 * The client of one workspace was used by a caller that another workspace has identified. The request was not sent.
 *
 * This is a mistake of the application (500).
 *
 * @since 0.1.0
 * @category reasons
 */
export class WorkspaceMismatchError extends Schema.TaggedError<WorkspaceMismatchError>(
  "effect-databricks/DatabricksError/WorkspaceMismatchError"
)("WorkspaceMismatchError", {
  ...Fields,
  /** The id of the workspace that identified the caller. */
  callerWorkspaceId: Schema.String,
  /** The id of the workspace that the client reaches. */
  workspaceId: Schema.String
}) {
  get isRetryable(): boolean {
    return false
  }
}

/**
 * The schema of all reasons.
 *
 * @since 0.1.0
 * @category reasons
 */
export const Reason = Schema.Union([
  InvalidCredentialError,
  MissingScopeError,
  PermissionDeniedError,
  UnknownWarehouseError,
  NotFoundError,
  InvalidRequestError,
  RateLimitedError,
  UnavailableError,
  WorkspaceFailedError,
  ConnectionError,
  InvalidResponseError,
  StatementFailedError,
  StatementGoneError,
  WorkspaceMismatchError
])

/**
 * The reason for which a call to the workspace failed.
 *
 * @since 0.1.0
 * @category reasons
 */
export type Reason = typeof Reason.Type

/**
 * A call to a Databricks workspace failed. `Effect.catchReason` branches on the `reason`.
 *
 * @since 0.1.0
 * @category errors
 */
export class DatabricksError extends Schema.TaggedError<DatabricksError>("effect-databricks/DatabricksError")(
  "DatabricksError",
  {
    reason: Reason,
    /** The execution context of the call. The user cannot mend a refusal of the service principal. */
    context: Schema.optional(Schema.Literals(["service", "user"]))
  }
) {
  override get message(): string {
    return this.reason.message
  }

  /**
   * Whether the same call may succeed later: after a 429, a 503 or a lost connection, as in the official SDKs.
   *
   * Also for a statement with a transient SQLSTATE, such as that of a concurrent change, and for a statement that only
   * reads when its warehouse was busy or unavailable.
   */
  get isRetryable(): boolean {
    return this.reason.isRetryable
  }

  /** The HTTP status of the reason. */
  get status(): number | undefined {
    return this.reason.status
  }

  /** The workspace's request id of the reason. */
  get requestId(): string | undefined {
    return this.reason.requestId
  }

  /** The delay of the workspace's `Retry-After`, if it sent one. */
  get retryAfter(): Duration.Duration | undefined {
    return this.reason.retryAfter
  }
}

/**
 * Makes the error of a reason.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (reason: Reason): DatabricksError => new DatabricksError({ reason })
