/**
 * The errors of a caller that gets no connection to Lakebase. This module loads no database driver.
 *
 * A statement fails with a `SqlError`, as with every `SqlClient`. Its `reason.cause` is one of these errors.
 *
 * @since 0.1.0
 */
import { Schema } from "effect"

/**
 * No connection is available (503). The message names the limit.
 *
 * Either no connection became free within `acquireTimeout`, or none can become free; or the call held its connection
 * for longer than `maxLifetime`; or the application is closing.
 *
 * @since 0.1.0
 * @category errors
 */
export class PoolExhaustedError extends Schema.TaggedError<PoolExhaustedError>("effect-databricks/PoolExhaustedError")(
  "PoolExhaustedError",
  { message: Schema.String },
  { httpApiStatus: 503 }
) {}

/**
 * The database refused the caller's login, because the token has expired or is not accepted (401).
 *
 * @since 0.1.0
 * @category errors
 */
export class LoginError extends Schema.TaggedError<LoginError>("effect-databricks/LoginError")(
  "LoginError",
  { message: Schema.String },
  { httpApiStatus: 401 }
) {}

/**
 * The database has no role for the caller (403).
 *
 * @since 0.1.0
 * @category errors
 */
export class MissingRoleError extends Schema.TaggedError<MissingRoleError>("effect-databricks/MissingRoleError")(
  "MissingRoleError",
  { message: Schema.String, role: Schema.String },
  { httpApiStatus: 403 }
) {}
