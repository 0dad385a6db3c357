/**
 * The errors of a request whose sender is not verified. Browser-safe.
 *
 * @since 0.1.0
 */
import { Schema } from "effect"

/**
 * The request lacks the forwarded headers, or the workspace does not accept its access token (401).
 *
 * @since 0.1.0
 * @category errors
 */
export class AuthenticationError extends Schema.TaggedError<AuthenticationError>(
  "effect-databricks/AuthenticationError"
)("AuthenticationError", { message: Schema.String }, { httpApiStatus: 401 }) {}

/**
 * A forwarded header names another person than the holder of the access token (403).
 *
 * @since 0.1.0
 * @category errors
 */
export class IdentityMismatchError extends Schema.TaggedError<IdentityMismatchError>(
  "effect-databricks/IdentityMismatchError"
)("IdentityMismatchError", { message: Schema.String }, { httpApiStatus: 403 }) {}

/**
 * The workspace could not be reached to verify the access token (503). Tokens that are already verified are accepted.
 *
 * @since 0.1.0
 * @category errors
 */
export class IdentityUnavailableError extends Schema.TaggedError<IdentityUnavailableError>(
  "effect-databricks/IdentityUnavailableError"
)("IdentityUnavailableError", { message: Schema.String }, { httpApiStatus: 503 }) {}

/**
 * Any failure to verify the sender of a request.
 *
 * @since 0.1.0
 * @category errors
 */
export type IdentityError = AuthenticationError | IdentityMismatchError | IdentityUnavailableError
