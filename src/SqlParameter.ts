/**
 * Typed values for the parameters of a SQL statement.
 *
 * A plain value is bound by its JavaScript type: a string as STRING, a boolean as BOOLEAN, a bigint as BIGINT, a Date as
 * TIMESTAMP, and null as NULL. A number is bound as the first of INT, BIGINT and DOUBLE that can represent it. The
 * functions of this module select another type. They never throw: a value outside of its type fails the query before it
 * is sent.
 *
 * @since 0.1.0
 */
import { Predicate, Result, Schema } from "effect"
import { Hex } from "effect/encoding"

/**
 * A value with its SQL type.
 *
 * @since 0.1.0
 * @category models
 */
export interface SqlParameter {
  /** The name of a Databricks type. Without one the warehouse reads the value as a STRING. */
  readonly type: string | undefined
  /** The value as text; `null` is NULL, or a list. */
  readonly value: string | null
  /** The elements of a list, each of which becomes a parameter of its own. */
  readonly elements?: ReadonlyArray<SqlParameter> | undefined
  /** The reason for which the value cannot be sent. */
  readonly problem?: string | undefined
  /** Whether the problem is the parameter's place in the statement rather than its value. */
  readonly misplaced?: boolean | undefined
  readonly [TypeId]: typeof TypeId
}

/**
 * The value of a parameter: typed, or a plain value that is bound by its JavaScript type.
 *
 * @since 0.1.0
 * @category models
 */
export type Input = SqlParameter | string | number | bigint | boolean | Date | null

/**
 * A parameter cannot be sent.
 *
 * Either its name is not an identifier or its value does not match its type (400). Or its interpolation stands where
 * SQL allows no value: inside quotes, backticks or a comment, or directly after a name; or it is a list and does not
 * stand as `IN (…)` (`misplaced`, 500).
 *
 * @since 0.1.0
 * @category errors
 */
export class SqlParameterError extends Schema.TaggedError<SqlParameterError>("effect-databricks/SqlParameterError")(
  "SqlParameterError",
  { message: Schema.String, parameter: Schema.String, misplaced: Schema.optional(Schema.Boolean) },
  { httpApiStatus: 400 }
) {}

const TypeId: unique symbol = Symbol.for("effect-databricks/SqlParameter")

/**
 * Makes a STRING.
 *
 * @since 0.1.0
 * @category constructors
 */
export const string = (value: string | null): SqlParameter => checked("STRING", value, isString, "a string")

/**
 * Makes a BOOLEAN.
 *
 * @since 0.1.0
 * @category constructors
 */
export const boolean = (value: boolean | null): SqlParameter => checked("BOOLEAN", value, isBoolean, "a boolean")

/**
 * Makes a TINYINT, an integer of 8 bits.
 *
 * @since 0.1.0
 * @category constructors
 */
export const tinyint = (value: number | bigint | null): SqlParameter =>
  checked("TINYINT", value, isWhole(-(2n ** 7n), 2n ** 7n - 1n), "an integer of 8 bits")

/**
 * Makes a SMALLINT, an integer of 16 bits.
 *
 * @since 0.1.0
 * @category constructors
 */
export const smallint = (value: number | bigint | null): SqlParameter =>
  checked("SMALLINT", value, isWhole(-(2n ** 15n), 2n ** 15n - 1n), "an integer of 16 bits")

/**
 * Makes an INT, an integer of 32 bits. LIMIT and OFFSET require this type.
 *
 * @since 0.1.0
 * @category constructors
 */
export const int = (value: number | bigint | null): SqlParameter =>
  checked("INT", value, isWhole(-(2n ** 31n), 2n ** 31n - 1n), "an integer of 32 bits")

/**
 * Makes a BIGINT, an integer of 64 bits. A number must be a safe integer; use a bigint beyond 2^53.
 *
 * @since 0.1.0
 * @category constructors
 */
export const bigint = (value: number | bigint | null): SqlParameter =>
  checked(
    "BIGINT",
    value,
    isWhole(-(2n ** 63n), 2n ** 63n - 1n),
    "an integer of 64 bits (beyond 2^53 pass it as a bigint)"
  )

/**
 * Makes a DOUBLE.
 *
 * @since 0.1.0
 * @category constructors
 */
export const double = (value: number | null): SqlParameter => floating("DOUBLE", value)

/**
 * Makes a FLOAT, to whose 32 bits the warehouse rounds the number.
 *
 * @since 0.1.0
 * @category constructors
 */
export const float = (value: number | null): SqlParameter => floating("FLOAT", value)

/**
 * Makes a DECIMAL with exactly these digits, at most 38, which determine precision and scale.
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
 * Makes a DATE from a day such as `"2026-01-31"`.
 *
 * @since 0.1.0
 * @category constructors
 */
export const date = (value: string | null): SqlParameter =>
  checked("DATE", value, isDay, `a day of the calendar such as "2026-01-31"`)

/**
 * Makes a TIMESTAMP from a Date, or from text such as `"2026-01-31T12:00:00Z"`. Text without a zone is in the time zone
 * of the session.
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
 * Makes a TIMESTAMP_NTZ from a day and time without a zone, such as `"2026-01-31T12:00:00"`.
 *
 * @since 0.1.0
 * @category constructors
 */
export const timestampNtz = (value: string | null): SqlParameter =>
  checked("TIMESTAMP_NTZ", value, isLocal, `a day and a time without a zone such as "2026-01-31T12:00:00"`)

/**
 * Makes a STRING of hexadecimal digits from bytes. Use it as `unhex(${SqlParameter.binary(bytes)})`, because warehouses
 * support no parameters of type BINARY.
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

/**
 * Makes a list, which stands alone in the parentheses of `IN (…)` or `NOT IN (…)`.
 *
 * `of` makes each element, and gives an empty list its type. No row is IN an empty list, and every row is NOT IN it. An
 * element must not be `null`, because `NOT IN` a list with NULL matches no row.
 *
 * ```ts
 * import { SqlParameter, SqlWarehouse } from "effect-databricks"
 *
 * export const salesIn = (regions: ReadonlyArray<string>) =>
 *   SqlWarehouse.query()`SELECT * FROM sales WHERE region IN (${SqlParameter.list(SqlParameter.string, regions)})`
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const list = <A>(of: (value: A | null) => SqlParameter, values: ReadonlyArray<A>): SqlParameter => {
  const { type } = of(null)
  if (!Array.isArray(values)) return invalid(type, `a list of ${type} must be an array`)
  const elements = values.map((value: A) => (value === null ? invalid(type, "it must not be null") : of(value)))
  const wrong = elements.findIndex(({ problem }) => problem !== undefined)
  return wrong === -1
    ? { ...make(type, null), elements }
    : invalid(type, `element ${wrong + 1} of the list: ${elements[wrong]!.problem}`)
}

const nothing: SqlParameter = { [TypeId]: TypeId, type: undefined, value: null }

export {
  /**
   * NULL without a type. For a typed NULL use `int(null)`, for example.
   *
   * @since 0.1.0
   * @category constructors
   */
  nothing as null
}

/**
 * Converts a plain value to a parameter by its JavaScript type.
 *
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
 * Converts parameters to the form of the statement API. Fails with the first one that cannot be sent.
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
      return refuse(
        name,
        `The parameter name "${name}" is not an identifier: use letters, digits and _, not a digit first`
      )
    }
    const { elements, misplaced, problem, type, value } = from(input)
    if (problem !== undefined) return refuse(name, `The parameter :${name} cannot be sent: ${problem}`, misplaced)
    if (elements !== undefined)
      return refuse(name, `The parameter :${name} cannot be sent: a list stands only as IN (:${name})`, true)
    bound.push({ name, type, value })
  }
  return Result.succeed(bound)
}

const refuse = (parameter: string, message: string, misplaced?: boolean) =>
  Result.fail(new SqlParameterError({ parameter, message, ...(misplaced && { misplaced }) }))

const make = (type: string | undefined, value: string | null): SqlParameter => ({ [TypeId]: TypeId, type, value })

const invalid = (type: string | undefined, problem: string): SqlParameter => ({ ...make(type, null), problem })

// Checks the type again: callers may be untyped, and a value may come from a request.
const checked = (type: string, value: unknown, is: (value: unknown) => boolean, wanted: string): SqlParameter =>
  value === null
    ? make(type, null)
    : is(value)
      ? make(type, String(value))
      : invalid(type, `a ${type} must be ${wanted}`)

// The text of a negative zero has no sign.
const floating = (type: string, value: number | null) =>
  Object.is(value, -0) ? make(type, "-0") : checked(type, value, isNumber, "a number")

const isSqlParameter = (u: unknown): u is SqlParameter => Predicate.hasProperty(u, TypeId)

const isString = (u: unknown) => typeof u === "string"

const isBoolean = (u: unknown) => typeof u === "boolean"

const isNumber = (u: unknown) => typeof u === "number"

const isWhole = (from: bigint, to: bigint) => (u: unknown) =>
  (typeof u === "bigint" || (typeof u === "number" && Number.isSafeInteger(u))) && u >= from && u <= to

// Date.parse reads 30 February as 2 March.
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
