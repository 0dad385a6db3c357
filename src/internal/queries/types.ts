/** The types of parameters, and the values that each accepts. */
import { Hex } from "effect/encoding"
import { Result } from "effect"
import * as SqlParameter from "../../SqlParameter.ts"

/** Makes a parameter of a value, or of its text. The value comes from a request: the parameter says its problem. */
export type Read = (value: unknown) => SqlParameter.SqlParameter

/** Returns the name of a type as Databricks writes it, and its reader; `undefined` if parameters have no such type. */
export const typeOf = (text: string): { readonly type: string; readonly read: Read } | undefined => {
  const [, name = "", precision, scale = "0"] =
    /^([A-Z_]+)(?:\s*\(\s*(\d+)\s*(?:,\s*(\d+)\s*)?\))?$/.exec(text.toUpperCase()) ?? []
  const type = synonyms[name] ?? name
  const read = readers[type]
  if (read === undefined) return undefined
  if (precision === undefined) return { type, read }
  const [digits, decimals] = [Number(precision), Number(scale)]
  if (type !== "DECIMAL" || digits < 1 || digits > 38 || decimals > digits) return undefined
  return { type: `DECIMAL(${digits},${decimals})`, read: decimalOf(digits, decimals) }
}

// The constructors check the values again, whatever their static types say.
const reader =
  (of: (value: never) => SqlParameter.SqlParameter, parse: (text: string) => unknown = (text) => text): Read =>
  (value) =>
    of((typeof value === "string" ? parse(value) : value) as never)

const whole = (text: string) => (/^[+-]?\d{1,19}$/.test(text) ? BigInt(text.replace(/^\+/, "")) : text)

// Not `1e999`, which a double cannot represent.
const number = (text: string) =>
  /^(?:NaN|-?Infinity)$/.test(text) ||
  (/^[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?$/.test(text) && Number.isFinite(Number(text)))
    ? Number(text)
    : text

const truth = (text: string) => (/^(?:true|false)$/i.test(text) ? text.toLowerCase() === "true" : text)

/** Bytes, or their hexadecimal digits. */
const binary: Read = (value) => {
  const bytes = typeof value === "string" ? Result.getOrElse(Hex.decode(value), () => value) : value
  const read = SqlParameter.binary(bytes as Uint8Array | null) // checked by `binary`
  return read.problem === undefined ? read : { ...read, problem: "a BINARY must be bytes, or their hexadecimal digits" }
}

const decimalOf =
  (precision: number, scale: number): Read =>
  (value) => {
    const read = SqlParameter.decimal(value as string | null) // checked by `decimal`
    const type = `DECIMAL(${precision},${scale})`
    const [, digits = 0, decimals = 0] = /^DECIMAL\((\d+),(\d+)\)$/.exec(read.type ?? "")?.map(Number) ?? []
    return read.problem !== undefined || read.value === null
      ? { ...read, type }
      : decimals > scale || digits - decimals > precision - scale
        ? {
            ...read,
            type,
            value: null,
            problem: `a ${type} has at most ${precision - scale} digits before the point and ${scale} after it`
          }
        : { ...read, type }
  }

const readers: { readonly [type: string]: Read } = {
  STRING: reader(SqlParameter.string),
  BOOLEAN: reader(SqlParameter.boolean, truth),
  TINYINT: reader(SqlParameter.tinyint, whole),
  SMALLINT: reader(SqlParameter.smallint, whole),
  INT: reader(SqlParameter.int, whole),
  BIGINT: reader(SqlParameter.bigint, whole),
  FLOAT: reader(SqlParameter.float, number),
  DOUBLE: reader(SqlParameter.double, number),
  DECIMAL: reader(SqlParameter.decimal),
  DATE: reader(SqlParameter.date),
  TIMESTAMP: reader(SqlParameter.timestamp),
  TIMESTAMP_NTZ: reader(SqlParameter.timestampNtz),
  BINARY: binary
}

const synonyms: { readonly [name: string]: string } = {
  INTEGER: "INT",
  LONG: "BIGINT",
  REAL: "FLOAT",
  DEC: "DECIMAL",
  NUMERIC: "DECIMAL"
}

/** The types, for the message that one is wrong. */
export const names = Object.keys(readers).join(", ")
