/** What can keep a caller from a connection, as the `SqlError` of a `SqlClient` with a sentence of its own inside. */
import { Duration, Predicate, Schema } from "effect"
import { SqlError } from "effect/sql"
import type { DatabricksError } from "../../DatabricksError.ts"

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
 * The database does not let the caller in: their token has expired or was refused (401).
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

const failed =
  (Reason: new (props: { cause: unknown; message: string; operation: string }) => SqlError.SqlErrorReason) =>
  (cause: Error) =>
    new SqlError.SqlError({ reason: new Reason({ cause, message: cause.message, operation: "connect" }) })

const unavailable = failed(SqlError.ConnectionError)
const unauthorized = failed(SqlError.AuthorizationError)
const unauthenticated = failed(SqlError.AuthenticationError)

export const exhausted = (waited: Duration.Duration) =>
  unavailable(
    new PoolExhaustedError({
      message: `No database connection came free within ${Duration.format(waited)}: raise maxConnections, or shorten what holds them`
    })
  )

const unanswered = (waited: Duration.Duration) =>
  unavailable(
    new PoolExhaustedError({
      message: `No database connection opened within ${Duration.format(waited)}: the database does not answer, or too much of that time went by before there was a place for it`
    })
  )

export const closing = unavailable(
  new PoolExhaustedError({ message: "The application is closing its database connections" })
)

export const nothingToLogInWith = unauthenticated(
  new LoginError({ message: "There is nothing to log in to the database with: set LAKEBASE_ENDPOINT" })
)

const forbidden: ReadonlySet<string> = new Set(["MissingScopeError", "PermissionDeniedError"])

export const noToken = (error: DatabricksError) => {
  if (error.reason._tag === "InvalidCredentialError") {
    return unauthenticated(new LoginError({ message: `The database gives no token: ${error.message}` }))
  }
  if (forbidden.has(error.reason._tag)) return unauthorized(error)
  return error.isRetryable ? unavailable(error) : failed(SqlError.UnknownError)(error)
}

const codeOf = ({ reason }: SqlError.SqlError): unknown =>
  Predicate.hasProperty(reason.cause, "code") ? reason.cause.code : undefined

const said = ({ reason }: SqlError.SqlError) => (Predicate.isError(reason.cause) ? reason.cause.message : "")

const lacksRole = (error: SqlError.SqlError) =>
  codeOf(error) === "28000" && /role ".*" does not exist/.test(said(error))

export const isRefusedLogin = (error: SqlError.SqlError) =>
  codeOf(error) === "28P01" || (codeOf(error) === "28000" && !lacksRole(error))

const full = "53300"

const passing = new Set<unknown>([full, "57P03", "57P01", "ECONNREFUSED", "ECONNRESET", "EPIPE"])

/** Whether the database may take the same login in a moment: it is full, wakes up, restarts, or nobody listens. */
export const isPassing = (error: SqlError.SqlError) => passing.has(codeOf(error)) || isCutOff(error)

// A server that shuts down may close a connection that it has not let in yet without a word.
const isCutOff = (error: SqlError.SqlError) =>
  error.reason._tag === "ConnectionError" && said(error) === "Connection closed unexpectedly"

/** What a caller gets who has waited so long for the database to let them in, which it last refused with this. */
export const waitedInVain = (last: SqlError.SqlError | undefined, waited: Duration.Duration) =>
  last === undefined ? unanswered(waited) : codeOf(last) === full ? exhausted(waited) : last

export const explain = (error: SqlError.SqlError, role: string) =>
  lacksRole(error)
    ? unauthorized(
        new MissingRoleError({
          role,
          message: `The database has no role "${role}": create it with databricks_create_role('${role}', …) and grant it what it needs`
        })
      )
    : isRefusedLogin(error)
      ? unauthenticated(
          new LoginError({
            message: `The database refused the login of "${role}" (${said(error)}): its token is expired or was minted for somebody else, or the role does not take tokens`
          })
        )
      : error

const ended = new Set<unknown>(["57P01", "57P02", "57P03"])

/** What a caller is told of a statement that failed, retryable where the connection ended. */
export const told = (error: SqlError.SqlError): SqlError.SqlError =>
  withoutValues(
    // The driver has no reason of its own for a server that says it stops.
    ended.has(codeOf(error)) && error.reason._tag !== "ConnectionError"
      ? new SqlError.SqlError({
          reason: new SqlError.ConnectionError({
            cause: error.reason.cause,
            message: error.reason.message,
            operation: error.reason.operation
          })
        })
      : error
  )

/**
 * Takes the values out of what Postgres says, which would end up in logs and spans: `Key (email)=(…) already exists`,
 * `invalid input syntax for type integer: "…"`.
 */
const withoutValues = (error: SqlError.SqlError): SqlError.SqlError => {
  const { cause } = error.reason
  // The driver makes a plain Error of what the server sent, with its fields.
  if (!(cause instanceof Error) || !Predicate.hasProperty(cause, "code")) return error
  Object.assign(cause, { detail: undefined, where: undefined })
  if (String(cause.code).startsWith("22")) {
    const full = cause.message
    cause.message = full.replace(/:? ".*"/s, "")
    if (cause.stack !== undefined) cause.stack = cause.stack.replace(full, () => cause.message)
  }
  return error
}
