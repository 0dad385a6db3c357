/**
 * The reasons for which a request is not let in; a browser can import this module.
 *
 * @since 0.1.0
 */
import { Schema } from "effect"

/**
 * The request does not say who sent it, or the workspace does not accept the access token (401).
 *
 * @since 0.1.0
 * @category errors
 */
export class AuthenticationError extends Schema.TaggedError<AuthenticationError>(
  "effect-databricks/AuthenticationError"
)("AuthenticationError", { message: Schema.String }, { httpApiStatus: 401 }) {}

/**
 * A forwarded header names another person than the access token proves (403).
 *
 * @since 0.1.0
 * @category errors
 */
export class IdentityMismatchError extends Schema.TaggedError<IdentityMismatchError>(
  "effect-databricks/IdentityMismatchError"
)("IdentityMismatchError", { message: Schema.String }, { httpApiStatus: 403 }) {}

/**
 * The workspace could not be asked who holds the access token (503); tokens proven before are still accepted.
 *
 * @since 0.1.0
 * @category errors
 */
export class IdentityUnavailableError extends Schema.TaggedError<IdentityUnavailableError>(
  "effect-databricks/IdentityUnavailableError"
)("IdentityUnavailableError", { message: Schema.String }, { httpApiStatus: 503 }) {}

/**
 * @since 0.1.0
 * @category errors
 */
export type IdentityError = AuthenticationError | IdentityMismatchError | IdentityUnavailableError
