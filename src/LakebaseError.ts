/**
 * Why a caller gets no connection to Lakebase. This module loads no database driver.
 *
 * A statement fails with a `SqlError`, as every statement of a `SqlClient` does, and has one of these as `reason.cause`.
 *
 * @since 0.1.0
 */
import { Schema } from "effect"

/**
 * No connection came free within the acquire timeout, or the application is closing (503).
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
 * The database refuses the caller's login: their token has expired or is not accepted (401).
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
