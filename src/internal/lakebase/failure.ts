/** The `SqlError` of a caller who gets no connection, and of a statement that failed. */
import { Duration, Predicate } from "effect"
import { SqlError } from "effect/sql"
import { PoolExhaustedError } from "../../LakebaseError.ts"

/** A failure to connect for this reason, which says what its cause says. */
export const failed =
  (Reason: new (props: { cause: unknown; message: string; operation: string }) => SqlError.SqlErrorReason) =>
  (cause: Error) =>
    new SqlError.SqlError({ reason: new Reason({ cause, message: cause.message, operation: "connect" }) })

export const unavailable = failed(SqlError.ConnectionError)

export const exhausted = (waited: Duration.Duration) =>
  unavailable(
    new PoolExhaustedError({
      message: `No database connection came free within ${Duration.format(waited)}: raise maxConnections, or shorten what holds them`
    })
  )

export const closing = unavailable(
  new PoolExhaustedError({ message: "The application is closing its database connections" })
)

/** The SQLSTATE of the server, or the code of a socket's error. */
export const codeOf = ({ reason }: SqlError.SqlError): unknown =>
  Predicate.hasProperty(reason.cause, "code") ? reason.cause.code : undefined

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
