/**
 * Maps each SQLSTATE of Postgres and of SQL warehouses to our response and to the state of the connection: one row for
 * a class, and one for each code that differs from its class. This module loads nothing.
 */
import { Predicate } from "effect"

/** A row of the table. The code of a server-sent event follows from it: see httpStatus.ts. */
export interface Row {
  /** The HTTP status of the response. */
  readonly status: number
  /** Whether the same call may succeed later. */
  readonly isRetryable: boolean
  /** Whether the connection may run another statement. */
  readonly keepsConnection: boolean
}

const row = (status: number, isRetryable: boolean, keepsConnection = true): Row => ({
  status,
  isRetryable,
  keepsConnection
})

/** The statement or the database is wrong, which the sender of the request cannot mend. */
const mistake = row(500, false)
/** A value of the request is wrong. */
const invalid = row(400, false)
const forbidden = row(403, false)
/** The change conflicts with another row. */
const conflict = row(409, false)
/** The transaction conflicted with another one and may succeed as a whole when it runs again. */
const again = row(409, true)
const timeout = row(504, true)
const unavailable = row(503, true)
const ended = row(503, true, false)

const classes = {
  "00": mistake,
  "01": mistake,
  "02": mistake,
  "03": mistake,
  "07": mistake,
  "08": ended,
  "09": mistake,
  "0A": mistake,
  "0B": mistake,
  "0F": mistake,
  "0K": mistake,
  "0L": mistake,
  "0P": mistake,
  "0Z": mistake,
  "10": mistake,
  "20": mistake,
  "21": mistake,
  "22": invalid,
  "23": invalid,
  "24": mistake,
  "25": mistake,
  "26": mistake,
  "27": mistake,
  "28": mistake,
  "2B": mistake,
  "2D": mistake,
  "2F": mistake,
  "34": mistake,
  "38": mistake,
  "39": mistake,
  "3B": mistake,
  "3D": mistake,
  "3F": mistake,
  "40": again,
  "42": mistake,
  "44": invalid,
  "45": mistake,
  "46": mistake,
  "53": unavailable,
  "54": mistake,
  "55": mistake,
  "56": mistake,
  "57": unavailable,
  "58": mistake,
  "72": again,
  "82": mistake,
  F0: mistake,
  HV: mistake,
  HY: mistake,
  KD: mistake,
  P0: mistake,
  XX: mistake
} satisfies Readonly<Record<string, Row>>

const codes = {
  // A protocol violation, such as too many values: the server refused the message and continues.
  "08P01": mistake,
  "23001": conflict,
  "23503": conflict,
  "23505": conflict,
  "23P01": conflict,
  "25P03": ended,
  "25P04": ended,
  // The warehouse's code for concurrent changes of a table.
  "2D521": again,
  "40002": invalid,
  // The statement may have run.
  "40003": mistake,
  "42501": forbidden,
  "55P03": again,
  "57014": timeout,
  "57P01": ended,
  "57P02": ended,
  "57P03": ended,
  "57P04": ended,
  "57P05": ended
} satisfies Readonly<Record<string, Row>>

/** All rows, by class (two characters) and by code (five characters), which takes precedence. */
export const table: ReadonlyMap<string, Row> = new Map(Object.entries({ ...classes, ...codes }))

/**
 * Returns the row of a SQLSTATE, else that of an internal error. If the statement has no bound values, a wrong value is
 * the statement's own or the database's: a mistake of the application.
 */
export const rowOf = (sqlState: string, bound?: number): Row =>
  bound === 0 && sqlState.startsWith("22")
    ? mistake
    : (table.get(sqlState) ?? table.get(sqlState.slice(0, 2)) ?? mistake)

/** An error of Postgres, as the driver passes it on. */
interface PostgresError {
  readonly code: string
  readonly message?: unknown
  readonly routine?: unknown
  readonly severity?: unknown
  readonly severityUnlocalized?: unknown
}

/** Whether an error is Postgres's: the codes of socket errors have no digit. */
export const isPostgresError = (cause: unknown): cause is PostgresError =>
  Predicate.hasProperty(cause, "code") && Predicate.isString(cause.code) && /^(?=.*\d)[0-9A-Z]{5}$/.test(cause.code)

/** Returns the row of a Postgres error. Its fields distinguish the meanings of an ambiguous code. */
export const rowOfPostgresError = (said: PostgresError, bound?: number): Row => {
  const found = isStale(said) ? again : rowOf(said.code, bound)
  return isFatal(said) ? { ...found, keepsConnection: false } : found
}

/** Whether the error ends the connection. */
export const isFatal = ({
  severity,
  severityUnlocalized = severity
}: Pick<PostgresError, "severity" | "severityUnlocalized">): boolean =>
  severityUnlocalized === "FATAL" || severityUnlocalized === "PANIC"

/**
 * Whether a statement that the driver had prepared is stale or gone. The driver prepares it again, but not in a
 * transaction, which has already failed.
 */
const isStale = ({ code, message, routine }: PostgresError): boolean =>
  (code === "0A000" && routine === "RevalidateCachedQuery") ||
  // Only for the driver's own names: EXECUTE of an unknown name is a mistake of the application.
  (code === "26000" && /\beffect_[0-9a-f]{16}_\d+\b/.test(String(message)))

/** The equivalent SQLSTATE of a `SqlError`'s reason, for errors without one. */
const equivalents: Readonly<Record<string, string>> = {
  AuthorizationError: "42501",
  ConnectionError: "08000",
  ConstraintError: "23000",
  DeadlockError: "40P01",
  LockTimeoutError: "55P03",
  SerializationError: "40001",
  StatementTimeoutError: "57014",
  UniqueViolation: "23505"
}

/** Returns the row of a `SqlError`'s reason. */
export const rowOfReason = (reason: { readonly _tag: string; readonly cause: unknown }, bound?: number): Row =>
  isPostgresError(reason.cause) ? rowOfPostgresError(reason.cause, bound) : rowOf(equivalents[reason._tag] ?? "XX000")
