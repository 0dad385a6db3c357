/**
 * Typed values for the parameters of a SQL statement.
 *
 * A plain value is bound by what it is: a string as STRING, a boolean as BOOLEAN, a bigint as BIGINT, a Date as
 * TIMESTAMP, a number as INT, BIGINT or DOUBLE (whichever is the first to hold it), null as NULL. The functions here say
 * another type. None of them throws: a value that its type does not have fails the query, before anything is sent.
 *
 * @since 0.1.0
 */
import { Predicate, Result, Schema } from "effect"
import { Hex } from "effect/encoding"

/**
 * @since 0.1.0
 * @category models
 */
export interface SqlParameter {
  /** The name of a Databricks type; without one the warehouse takes the value as a STRING. */
  readonly type: string | undefined
  /** As text, which is how every value travels; `null` is NULL. */
  readonly value: string | null
  /** Why the value does not match its type. */
  readonly problem?: string | undefined
  readonly [TypeId]: typeof TypeId
}

/**
 * What may stand for a parameter.
 *
 * @since 0.1.0
 * @category models
 */
export type Input = SqlParameter | string | number | bigint | boolean | Date | null

/**
 * A parameter cannot be sent: its name is not an identifier, or its value does not match its type (400).
 *
 * @since 0.1.0
 * @category errors
 */
export class SqlParameterError extends Schema.TaggedError<SqlParameterError>("effect-databricks/SqlParameterError")(
  "SqlParameterError",
  { message: Schema.String, parameter: Schema.String },
  { httpApiStatus: 400 }
) {}

const TypeId: unique symbol = Symbol.for("effect-databricks/SqlParameter")

/**
 * @since 0.1.0
 * @category constructors
 */
export const string = (value: string | null): SqlParameter => checked("STRING", value, isString, "a string")

/**
 * @since 0.1.0
 * @category constructors
 */
export const boolean = (value: boolean | null): SqlParameter => checked("BOOLEAN", value, isBoolean, "a boolean")

/**
 * 8 bits.
 *
 * @since 0.1.0
 * @category constructors
 */
export const tinyint = (value: number | bigint | null): SqlParameter =>
  checked("TINYINT", value, isWhole(-(2n ** 7n), 2n ** 7n - 1n), "an integer of 8 bits")

/**
 * 16 bits.
 *
 * @since 0.1.0
 * @category constructors
 */
export const smallint = (value: number | bigint | null): SqlParameter =>
  checked("SMALLINT", value, isWhole(-(2n ** 15n), 2n ** 15n - 1n), "an integer of 16 bits")

/**
 * 32 bits, what LIMIT and OFFSET want.
 *
 * @since 0.1.0
 * @category constructors
 */
export const int = (value: number | bigint | null): SqlParameter =>
  checked("INT", value, isWhole(-(2n ** 31n), 2n ** 31n - 1n), "an integer of 32 bits")

/**
 * 64 bits; a number must be a safe integer.
 *
 * @since 0.1.0
 * @category constructors
 */
export const bigint = (value: number | bigint | null): SqlParameter =>
  checked(
    "BIGINT",
    value,
    isWhole(-(2n ** 63n), 2n ** 63n - 1n),
    "an integer of 64 bits (beyond 2^53 give it as a bigint)"
  )

/**
 * @since 0.1.0
 * @category constructors
 */
export const double = (value: number | null): SqlParameter => checked("DOUBLE", value, isNumber, "a number")

/**
 * 32 bits: the warehouse rounds to them.
 *
 * @since 0.1.0
 * @category constructors
 */
export const float = (value: number | null): SqlParameter => checked("FLOAT", value, isNumber, "a number")

/**
 * Exactly these digits, at most 38; precision and scale are taken from them.
 *
 * @since 0.1.0
 * @category constructors
 */
export const decimal = (value: string | number | bigint | null): SqlParameter => {
  // An object's toString could throw.
  const digits = typeof value === "object" || typeof value === "function" ? "" : String(value)
  const [, whole = "", fraction = ""] = /^-?(\d+)(?:\.(\d+))?$/.exec(digits) ?? []
  const precision = Math.max(whole.replace(/^0+/, "").length + fraction.length, 1)
  return checked(
    `DECIMAL(${precision},${fraction.length})`,
    value,
    () => whole !== "" && precision <= 38,
    `a decimal such as "12.50", of at most 38 digits`
  )
}

/**
 * A day such as `"2026-01-31"`.
 *
 * @since 0.1.0
 * @category constructors
 */
export const date = (value: string | null): SqlParameter =>
  checked("DATE", value, isDay, `a day of the calendar such as "2026-01-31"`)

/**
 * A moment; a text without a zone is in the time zone of the session.
 *
 * @since 0.1.0
 * @category constructors
 */
export const timestamp = (value: Date | string | null): SqlParameter =>
  value instanceof Date
    ? Number.isNaN(value.getTime())
      ? invalid("TIMESTAMP", "an Invalid Date is not a moment")
      : make("TIMESTAMP", value.toISOString())
    : checked("TIMESTAMP", value, isMoment, `a moment such as "2026-01-31T12:00:00Z"`)

/**
 * A day and a time of day in no time zone, such as `"2026-01-31T12:00:00"`.
 *
 * @since 0.1.0
 * @category constructors
 */
export const timestampNtz = (value: string | null): SqlParameter =>
  checked("TIMESTAMP_NTZ", value, isLocal, `a day and a time without a zone such as "2026-01-31T12:00:00"`)

/**
 * Bytes, as a STRING of hexadecimal digits: write `unhex(${SqlParameter.binary(bytes)})`, since a warehouse takes no
 * parameter of type BINARY.
 *
 * @since 0.1.0
 * @category constructors
 */
export const binary = (value: Uint8Array | null): SqlParameter =>
  value === null
    ? make("STRING", null)
    : value instanceof Uint8Array
      ? make("STRING", Hex.encode(value))
      : invalid("STRING", "a BINARY must be a Uint8Array")

const nothing: SqlParameter = { [TypeId]: TypeId, type: undefined, value: null }

export {
  /**
   * NULL of no type; `int(null)` and its like have one.
   *
   * @since 0.1.0
   * @category constructors
   */
  nothing as null
}

/**
 * @since 0.1.0
 * @category conversions
 */
export const from = (input: Input): SqlParameter => {
  switch (typeof input) {
    case "string":
      return string(input)
    case "boolean":
      return boolean(input)
    case "bigint":
      return bigint(input)
    case "number":
      return !Number.isSafeInteger(input) ? double(input) : Math.abs(input) < 2 ** 31 ? int(input) : bigint(input)
  }
  if (input === null) return nothing
  if (input instanceof Date) return timestamp(input)
  if (isSqlParameter(input)) return input
  return invalid(undefined, "it must be a string, number, bigint, boolean, Date, null or a SqlParameter")
}

/**
 * The parameters as the statement API takes them, or the first that cannot be sent.
 *
 * @since 0.1.0
 * @category conversions
 */
export const bind = (
  inputs: Readonly<Record<string, Input>>
): Result.Result<
  ReadonlyArray<{ readonly name: string; readonly type: string | undefined; readonly value: string | null }>,
  SqlParameterError
> => {
  const bound = []
  for (const [name, input] of Object.entries(inputs)) {
    if (!/^[A-Za-z_]\w*$/.test(name)) {
      return refuse(name, `"${name}" is not a name for a parameter: use letters, digits and _, and no digit first`)
    }
    const { problem, type, value } = from(input)
    if (problem !== undefined) return refuse(name, `The parameter :${name} cannot be sent: ${problem}`)
    bound.push({ name, type, value })
  }
  return Result.succeed(bound)
}

const refuse = (parameter: string, message: string) => Result.fail(new SqlParameterError({ parameter, message }))

const make = (type: string | undefined, value: string | null): SqlParameter => ({ [TypeId]: TypeId, type, value })

const invalid = (type: string | undefined, problem: string): SqlParameter => ({ ...make(type, null), problem })

// Callers without types reach this too, and a value may come from a request: its type is looked at again.
const checked = (type: string, value: unknown, is: (value: unknown) => boolean, wanted: string): SqlParameter =>
  value === null
    ? make(type, null)
    : is(value)
      ? make(type, String(value))
      : invalid(type, `a ${type} must be ${wanted}`)

const isSqlParameter = (u: unknown): u is SqlParameter => Predicate.hasProperty(u, TypeId)

const isString = (u: unknown) => typeof u === "string"

const isBoolean = (u: unknown) => typeof u === "boolean"

const isNumber = (u: unknown) => typeof u === "number"

const isWhole = (from: bigint, to: bigint) => (u: unknown) =>
  (typeof u === "bigint" || (typeof u === "number" && Number.isSafeInteger(u))) && u >= from && u <= to

// Date.parse takes 30 February for 2 March.
const isDay = (u: unknown) => {
  if (typeof u !== "string" || !/^\d{4}-\d\d-\d\d$/.test(u)) return false
  const day = new Date(`${u}T00:00:00Z`)
  return !Number.isNaN(day.getTime()) && day.toISOString().startsWith(u)
}

const isMoment = (u: unknown) => {
  if (typeof u !== "string") return false
  const [, day, hour, minute, second = "0"] =
    /^([\d-]+)[T ](\d\d):(\d\d)(?::(\d\d)(?:\.\d{1,9})?)?(?:Z|[+-]\d\d:\d\d)?$/.exec(u) ?? []
  return isDay(day) && Number(hour) < 24 && Number(minute) < 60 && Number(second) < 60
}

const isLocal = (u: unknown) => typeof u === "string" && !/(?:Z|[+-]\d\d:\d\d)$/.test(u) && isMoment(u)
