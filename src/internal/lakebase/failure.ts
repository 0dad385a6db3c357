/** The `SqlError` of a caller that gets no connection, and of a failed statement. */
import { Predicate } from "effect"
import { SqlError } from "effect/sql"
import { PoolExhaustedError } from "../../LakebaseError.ts"
import * as SqlState from "../failures/sqlState.ts"
import { withoutBound, withoutValues } from "../failures/values.ts"

type Reason = new (props: {
  cause: unknown
  message: string | undefined
  operation: string | undefined
}) => SqlError.SqlErrorReason

/** Returns a failure to connect for this reason, with the message of its cause. */
export const failed = (Reason: Reason) => (cause: Error) =>
  new SqlError.SqlError({ reason: new Reason({ cause, message: cause.message, operation: "connect" }) })

/** Returns the failure of a statement that we refuse, or whose result we cannot read. */
export const refused = (message: string, operation: string | undefined) =>
  new SqlError.SqlError({ reason: new SqlError.UnknownError({ cause: new Error(message), message, operation }) })

export const unavailable = failed(SqlError.ConnectionError)

export const closing = unavailable(
  new PoolExhaustedError({ message: "The application is closing its database connections" })
)

/** Returns the SQLSTATE of the server, or the code of a socket error. */
export const codeOf = ({ reason }: SqlError.SqlError): unknown =>
  Predicate.hasProperty(reason.cause, "code") ? reason.cause.code : undefined

/** Returns the error of a failed statement as the caller sees it: retryable by the table, and without these values. */
export const sanitized = (error: SqlError.SqlError, values: ReadonlyArray<unknown> = []): SqlError.SqlError => {
  const { cause, message, operation } = error.reason
  if (isUnread(cause)) return unread(operation)
  if (cause instanceof Error) conceal(cause, values)
  const row = SqlState.rowOfReason(error.reason)
  if (row.isRetryable === error.reason.isRetryable) return new SqlError.SqlError({ reason: error.reason })
  // The driver has no reason for most codes.
  const Reason: Reason = row.isRetryable
    ? row.status === 409
      ? SqlError.SerializationError
      : SqlError.ConnectionError
    : SqlError.UnknownError
  return new SqlError.SqlError({ reason: new Reason({ cause, message, operation }) })
}

/** The fields of a Postgres error that contain names. The others quote rows, parameters and literals. */
const named: ReadonlySet<string> = new Set([
  "severity",
  "severityUnlocalized",
  "code",
  "message",
  "position",
  "schema",
  "table",
  "column",
  "dataType",
  "constraint",
  "file",
  "line",
  "routine"
])

/** Removes the values from an error of the server, or of a codec of the driver. */
const conceal = (cause: Error, values: ReadonlyArray<unknown>) => {
  // The number in this message is the parameter's.
  if (tagOf(cause) === "ParameterError") return
  const isOfServer = SqlState.isPostgresError(cause)
  if (isOfServer) for (const field of Object.keys(cause)) if (!named.has(field)) Reflect.deleteProperty(cause, field)
  const full = cause.message
  const isAboutValues = isOfServer ? cause.code.startsWith("22") : tagOf(cause) === "PgTypesCodecError"
  const message = withoutBound(isAboutValues ? withoutValues(full) : full, values)
  if (message === full) return
  cause.message = message
  if (cause.stack !== undefined) cause.stack = cause.stack.replace(full, () => message)
}

const tagOf = (cause: unknown) => (Predicate.hasProperty(cause, "_tag") ? cause._tag : undefined)

/** The largest message of the server, such as a row, in bytes. The same limit as for responses of the workspace. */
export const maxMessage = 64 * 1024 * 1024

const isUnread = (cause: unknown) => tagOf(cause) === "PgProtocolParseError"

const unread = (operation: string | undefined) =>
  refused(
    `The database sent a row or a notice that cannot be read: a row may have at most ${maxMessage / 1024 / 1024} MiB. Select fewer columns, or parts of a value with substr()`,
    operation
  )
