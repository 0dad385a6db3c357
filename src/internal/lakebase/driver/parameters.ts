/**
 * Binds a number with the type that Postgres gives to it in a statement (int4, int8 or numeric), and a list without a
 * single type as text, whose type the server infers. The driver would bind a fraction as float8, which rounds in
 * numeric, and refuse lists of mixed, nested or no elements. Remove when "rounds a number …" and "refuses lists …" fail
 * in driver.upstream.test.ts.
 */
import * as PgTypes from "@effect/sql-pg/PgTypes"
import { Data } from "effect"

const { OID } = PgTypes

export type Parameter = PgTypes.Parameter

/** The most parameters of a statement in this driver. */
export const maxParameters = 32_767

/** A refused value. The message contains the parameter's number and no value. */
export class ParameterError extends Data.TaggedError("ParameterError")<{
  readonly message: string
  /** Postgres's SQLSTATE for such a value, if the sender of a request can cause it. */
  readonly code?: string | undefined
}> {}

/** Gives each value its type, or none if the server infers it. Throws a `ParameterError` that names the parameter. */
export const bind = (values: ReadonlyArray<unknown>): ReadonlyArray<Parameter> => {
  if (values.length > maxParameters) {
    throw new ParameterError({
      message: `A statement may have at most ${maxParameters} parameters, and this one has ${values.length}: send fewer rows at a time, or bind one array for each column and unnest it`
    })
  }
  return values.map((value, index) => {
    try {
      return Array.isArray(value) ? list(value) : scalar(value)
    } catch (error) {
      if (!(error instanceof ParameterError)) throw error
      throw new ParameterError({ message: `Parameter $${index + 1} ${error.message}`, code: error.code })
    }
  })
}

const parameter = (oid: number, value: unknown): Parameter => ({
  [PgTypes.ParameterTypeId]: PgTypes.ParameterTypeId,
  oid,
  value
})

const untyped = 0

const sqlNull = parameter(untyped, null)

const scalar = (value: unknown): Parameter => {
  if (value === null || value === undefined) return sqlNull
  switch (typeof value) {
    case "string":
      return parameter(untyped, wellFormed(value))
    case "boolean":
      return parameter(OID.bool, value)
    case "number":
      // Only float8 has a negative zero, and an infinity that casts to every other type.
      return Object.is(value, -0) || !Number.isFinite(value)
        ? parameter(OID.float8, value)
        : typed(value, numeral(value))
    case "bigint":
      return typed(value, numeral(value))
  }
  if (PgTypes.isParameter(value)) return value.value === undefined ? fail(noJson) : value
  const oid = oidOf(value)
  return oid === untyped ? refuse(value) : typed(value, oid)
}

const typed = (value: unknown, oid: number) => parameter(oid, encodable(value, oid))

/** The type that Postgres gives to this number in a statement. */
const numeral = (value: number | bigint): number => {
  if (typeof value === "bigint") return BigInt.asIntN(64, value) === value ? OID.int8 : OID.numeric
  if (!Number.isInteger(value)) return OID.numeric
  if (value >= -(2 ** 31) && value < 2 ** 31) return OID.int4
  // By its text rather than its bits: JavaScript prints 2^60 as 1152921504606847000.
  return Math.abs(value) < 1e21 ? numeral(BigInt(String(value))) : OID.numeric
}

const encodable = (value: unknown, oid: number): unknown => {
  if (oid === OID.int8) return BigInt(String(value))
  if (oid === OID.numeric) return String(value)
  if (value instanceof Date && Number.isNaN(value.getTime())) return fail("is an invalid Date, or contains one")
  return value instanceof Int8Array ? bytesOf(value) : value
}

/** Returns the type of an element, if it has one of its own. */
const oidOf = (value: unknown): number => {
  if (typeof value === "boolean") return OID.bool
  if (typeof value === "bigint" || (typeof value === "number" && !Object.is(value, -0))) return numeral(value)
  if (value instanceof Date) return OID.timestamptz
  if (value instanceof Uint8Array || value instanceof Int8Array) return OID.bytea
  return PgTypes.isParameter(value) ? value.oid : untyped
}

const numerals: ReadonlyArray<number> = [OID.int4, OID.int8, OID.numeric]

/** Returns the wider type of two numbers, or the common type of two other values. */
const common = (a: number, b: number): number => {
  if (a === b) return a
  const widest = Math.max(numerals.indexOf(a), numerals.indexOf(b))
  return numerals.includes(a) && numerals.includes(b) ? numerals[widest]! : untyped
}

const list = (values: ReadonlyArray<unknown>): Parameter => {
  const present = values.filter((value) => value !== null && value !== undefined)
  const oid = present.length === 0 ? untyped : present.map(oidOf).reduce(common)
  const arrayOid = PgTypes.arrayOidFor(oid)
  if (arrayOid === undefined) return parameter(untyped, literal(values))
  return parameter(
    arrayOid,
    values.map((value) =>
      value === null || value === undefined ? null : PgTypes.isParameter(value) ? value.value : encodable(value, oid)
    )
  )
}

/** Formats a list as Postgres does. */
const literal = (values: ReadonlyArray<unknown>): string => `{${values.map(element).join(",")}}`

const element = (value: unknown): string => {
  if (value === null || value === undefined) return "NULL"
  if (Array.isArray(value)) return literal(value)
  switch (typeof value) {
    case "string":
      return quoted(wellFormed(value))
    case "number":
      return Object.is(value, -0) ? "-0" : String(value)
    case "bigint":
    case "boolean":
      return String(value)
  }
  if (value instanceof Date) return quoted(timestamp(value))
  if (value instanceof Uint8Array || value instanceof Int8Array) {
    return quoted(`\\x${Buffer.from(bytesOf(value)).toString("hex")}`)
  }
  return refuse(value)
}

const quoted = (text: string) => `"${text.replace(/["\\]/g, "\\$&")}"`

/** Formats as ISO 8601, but with the years of Postgres. */
const timestamp = (date: Date) => {
  if (Number.isNaN(date.getTime())) return fail("is an invalid Date, or contains one")
  const year = date.getUTCFullYear()
  const rest = date.toISOString().slice(-20)
  return `${String(year > 0 ? year : 1 - year).padStart(4, "0")}${rest}${year > 0 ? "" : " BC"}`
}

const bytesOf = ({ buffer, byteOffset, byteLength }: Uint8Array | Int8Array) =>
  new Uint8Array(buffer, byteOffset, byteLength)

// UTF-8 has no lone surrogates, which the encoder would replace by U+FFFD.
const wellFormed = (text: string) =>
  text.isWellFormed() ? text : fail("contains half of a surrogate pair, which is not valid text", "22021")

const refuse = (value: unknown): never =>
  fail(
    typeof value === "object"
      ? "is an object, or contains one, for which Postgres has no type: bind JSON with sql.json"
      : `is a ${typeof value}, or contains one, for which Postgres has no type`
  )

const noJson = "is sql.json(undefined), which has no JSON: bind sql.json(null), or null for NULL"

const fail = (message: string, code?: string): never => {
  throw new ParameterError({ message, code })
}
