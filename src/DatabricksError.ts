/**
 * What a Databricks workspace can answer instead of what was asked for: one error with a tagged reason.
 *
 * @since 0.1.0
 */
import { type Duration, Schema } from "effect"

const Fields = {
  /** A sentence that says what happened and, where something can be done, what. */
  message: Schema.String,
  /** The HTTP status that the workspace answered with. */
  status: Schema.optional(Schema.Int),
  /** The workspace's own code, such as `RESOURCE_DOES_NOT_EXIST`. */
  errorCode: Schema.optional(Schema.String),
  /** The id that Databricks support asks for. */
  requestId: Schema.optional(Schema.String),
  /** How long the workspace asked to be left alone. */
  retryAfter: Schema.optional(Schema.Duration)
}

/**
 * The workspace does not accept the credential: none was sent, or it is wrong or expired (401, or 403 for a bad token).
 *
 * @since 0.1.0
 * @category reasons
 */
export class InvalidCredentialError extends Schema.TaggedError<InvalidCredentialError>(
  "effect-databricks/DatabricksError/InvalidCredentialError"
)("InvalidCredentialError", Fields) {
  get isRetryable(): boolean {
    return false
  }
}

/**
 * The token is valid but was not granted the scope that this API needs (403).
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
    return false
  }
}

/**
 * The caller is known and may not do this (403).
 *
 * @since 0.1.0
 * @category reasons
 */
export class PermissionDeniedError extends Schema.TaggedError<PermissionDeniedError>(
  "effect-databricks/DatabricksError/PermissionDeniedError"
)("PermissionDeniedError", Fields) {
  get isRetryable(): boolean {
    return false
  }
}

/**
 * The warehouse id is unknown to this workspace (400).
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
    return false
  }
}

/**
 * What was asked for does not exist, or not for this caller (404).
 *
 * @since 0.1.0
 * @category reasons
 */
export class NotFoundError extends Schema.TaggedError<NotFoundError>("effect-databricks/DatabricksError/NotFoundError")(
  "NotFoundError",
  Fields
) {
  get isRetryable(): boolean {
    return false
  }
}

/**
 * The request makes no sense to the workspace (any other 4xx).
 *
 * @since 0.1.0
 * @category reasons
 */
export class InvalidRequestError extends Schema.TaggedError<InvalidRequestError>(
  "effect-databricks/DatabricksError/InvalidRequestError"
)("InvalidRequestError", Fields) {
  get isRetryable(): boolean {
    return false
  }
}

/**
 * Too many requests (429); `retryAfter` says when to come back.
 *
 * @since 0.1.0
 * @category reasons
 */
export class RateLimitedError extends Schema.TaggedError<RateLimitedError>(
  "effect-databricks/DatabricksError/RateLimitedError"
)("RateLimitedError", Fields) {
  get isRetryable(): boolean {
    return true
  }
}

/**
 * The workspace is unavailable for the moment (503); `retryAfter` says when to come back.
 *
 * @since 0.1.0
 * @category reasons
 */
export class UnavailableError extends Schema.TaggedError<UnavailableError>(
  "effect-databricks/DatabricksError/UnavailableError"
)("UnavailableError", Fields) {
  get isRetryable(): boolean {
    return true
  }
}

/**
 * The workspace failed (any other 5xx).
 *
 * @since 0.1.0
 * @category reasons
 */
export class WorkspaceFailedError extends Schema.TaggedError<WorkspaceFailedError>(
  "effect-databricks/DatabricksError/WorkspaceFailedError"
)("WorkspaceFailedError", Fields) {
  get isRetryable(): boolean {
    return false
  }
}

/**
 * No answer came: the connection was refused, reset or never made.
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
    return true
  }
}

/**
 * An answer came that is not what the API promises: HTML, half a JSON document, a missing field, a redirect.
 *
 * @since 0.1.0
 * @category reasons
 */
export class InvalidResponseError extends Schema.TaggedError<InvalidResponseError>(
  "effect-databricks/DatabricksError/InvalidResponseError"
)("InvalidResponseError", Fields) {
  get isRetryable(): boolean {
    return false
  }
}

/**
 * A SQL statement failed; `sqlState` is its SQLSTATE where the warehouse told one.
 *
 * @since 0.1.0
 * @category reasons
 */
export class StatementFailedError extends Schema.TaggedError<StatementFailedError>(
  "effect-databricks/DatabricksError/StatementFailedError"
)("StatementFailedError", {
  ...Fields,
  statementId: Schema.String,
  sqlState: Schema.optional(Schema.String)
}) {
  get isRetryable(): boolean {
    return false
  }
}

/**
 * A SQL statement was cancelled, or its result closed, by somebody else before it was read; or its result is no longer
 * kept, an hour after its end (`EXPIRED`).
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
    return false
  }
}

/**
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
  StatementGoneError
])

/**
 * @since 0.1.0
 * @category reasons
 */
export type Reason = typeof Reason.Type

/**
 * A call to a Databricks workspace failed; branch on `reason` with `Effect.catchReason`.
 *
 * @since 0.1.0
 * @category errors
 */
export class DatabricksError extends Schema.TaggedError<DatabricksError>("effect-databricks/DatabricksError")(
  "DatabricksError",
  {
    reason: Reason,
    /** Whom the call ran as: a refusal of the service principal is not for the user to mend. */
    context: Schema.optional(Schema.Literals(["service", "user"]))
  }
) {
  override get message(): string {
    return this.reason.message
  }

  /** Whether the same call may succeed later, by the rule of the official SDKs: 429, 503 and lost connections. */
  get isRetryable(): boolean {
    return this.reason.isRetryable
  }

  get status(): number | undefined {
    return this.reason.status
  }

  get requestId(): string | undefined {
    return this.reason.requestId
  }

  get retryAfter(): Duration.Duration | undefined {
    return this.reason.retryAfter
  }
}

/**
 * @since 0.1.0
 * @category constructors
 */
export const make = (reason: Reason): DatabricksError => new DatabricksError({ reason })
