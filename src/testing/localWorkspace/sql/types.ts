/** Maps types of Postgres to those of Databricks, and values to the format of the statement API. */
import type { FieldDescription } from "@effect/sql-pg/PgProtocol"

/** A column of a manifest. */
export interface Column {
  readonly name: string
  readonly type_text: string
  readonly type_name: string
  readonly position: number
  readonly type_precision?: number
  readonly type_scale?: number
}

interface TypeOf {
  readonly name: string
  readonly text: string
  readonly precision?: number
  readonly scale?: number
}

/** The type of text in Postgres. */
export const textOid = 25

const Oid = {
  bool: 16,
  bytea: 17,
  int8: 20,
  int2: 21,
  int4: 23,
  text: textOid,
  oid: 26,
  float4: 700,
  float8: 701,
  date: 1082,
  timestamp: 1114,
  timestamptz: 1184,
  interval: 1186,
  numeric: 1700,
  void: 2278
} as const

const simple: Readonly<Record<number, readonly [name: string, text: string]>> = {
  [Oid.bool]: ["BOOLEAN", "BOOLEAN"],
  [Oid.bytea]: ["BINARY", "BINARY"],
  [Oid.int8]: ["LONG", "BIGINT"],
  [Oid.int2]: ["SHORT", "SMALLINT"],
  [Oid.int4]: ["INT", "INT"],
  [Oid.oid]: ["LONG", "BIGINT"],
  [Oid.float4]: ["FLOAT", "FLOAT"],
  [Oid.float8]: ["DOUBLE", "DOUBLE"],
  [Oid.date]: ["DATE", "DATE"],
  [Oid.timestamp]: ["TIMESTAMP_NTZ", "TIMESTAMP_NTZ"],
  [Oid.timestamptz]: ["TIMESTAMP", "TIMESTAMP"],
  [Oid.interval]: ["INTERVAL", "INTERVAL"],
  [Oid.void]: ["NULL", "VOID"]
}

const elementOf: Readonly<Record<number, number>> = {
  1000: Oid.bool,
  1001: Oid.bytea,
  1005: Oid.int2,
  1007: Oid.int4,
  1009: Oid.text,
  1014: Oid.text,
  1015: Oid.text,
  1016: Oid.int8,
  1021: Oid.float4,
  1022: Oid.float8,
  1115: Oid.timestamp,
  1182: Oid.date,
  1185: Oid.timestamptz,
  1231: Oid.numeric
}

// A numeric without a precision is wider than any DECIMAL; this is the widest that keeps many decimals (inferred).
const unconstrainedDecimal = { precision: 38, scale: 18 }

const typeOf = (oid: number, modifier: number): TypeOf => {
  if (oid === Oid.numeric) {
    const packed = modifier - 4
    const { precision, scale } =
      modifier < 4 ? unconstrainedDecimal : { precision: (packed >> 16) & 0xffff, scale: packed & 0x7ff }
    return { name: "DECIMAL", text: `DECIMAL(${precision},${scale})`, precision, scale }
  }
  const element = elementOf[oid]
  if (element !== undefined) return { name: "ARRAY", text: `ARRAY<${typeOf(element, modifier).text}>` }
  const [name, text] = simple[oid] ?? ["STRING", "STRING"]
  return { name, text }
}

export const columnOf = (field: FieldDescription, position: number): Column => {
  const type = typeOf(field.dataTypeOid, field.typeModifier)
  return {
    name: field.name,
    type_text: type.text,
    type_name: type.name,
    position,
    ...(type.precision !== undefined && { type_precision: type.precision }),
    ...(type.scale !== undefined && { type_scale: type.scale })
  }
}

/** Formats a day as Spark does: the year 10000 has a sign, and 44 BC is the year -43. */
const day = (text: string) => {
  const [, year, rest, bc] = /^(\d+)(-\d\d-\d\d)( BC)?$/.exec(text) ?? []
  if (year === undefined) return text
  const number = bc === undefined ? Number(year) : 1 - Number(year)
  const sign = number < 0 ? "-" : number > 9999 ? "+" : ""
  return `${sign}${String(Math.abs(number)).padStart(4, "0")}${rest}`
}

// At least milliseconds, and microseconds if there are any, so that no digit is lost (inferred).
const isoTimestamp = (text: string, suffix: string) => {
  const match = /^(\d+-\d\d-\d\d) (\d\d:\d\d:\d\d)(?:\.(\d+))?(?:\+00)?( BC)?$/.exec(text)
  return match === null
    ? text
    : `${day(`${match[1]}${match[4] ?? ""}`)}T${match[2]}.${(match[3] ?? "").padEnd(3, "0")}${suffix}`
}

// Spark writes a whole floating-point number with a decimal point.
const floating = (text: string) => (/^-?\d+$/.test(text) ? `${text}.0` : text)

type Json = string | number | boolean | null | ReadonlyArray<Json>

/** Converts `{a,"b c",NULL,{d}}` to JSON, the format of complex values. */
const arrayToJson = (text: string, element: number): string => {
  let position = text.indexOf("{")
  const scalar = (raw: string): Json => {
    const value = formatValue(raw, element)
    const bare = element === Oid.bool || element === Oid.int2 || element === Oid.int4 || element === Oid.float8
    return bare && value !== "NaN" ? JSON.parse(value) : value
  }
  const list = (): ReadonlyArray<Json> => {
    const items: Array<Json> = []
    position++
    while (position < text.length && text[position] !== "}") {
      if (text[position] === "{") items.push(list())
      else if (text[position] === '"') {
        let value = ""
        for (position++; position < text.length && text[position] !== '"'; position++) {
          if (text[position] === "\\") position++
          value += text[position]
        }
        position++
        items.push(scalar(value))
      } else {
        const end = text.slice(position).search(/[,}]/)
        const raw = text.slice(position, position + end)
        position += end
        items.push(raw === "NULL" ? null : scalar(raw))
      }
      if (text[position] === ",") position++
    }
    position++
    return items
  }
  return JSON.stringify(list())
}

/** Converts a value from Postgres's text to the text of the statement API. */
export const formatValue = (text: string, oid: number): string => {
  switch (oid) {
    case Oid.bool:
      return text === "t" ? "true" : "false"
    case Oid.bytea:
      return Buffer.from(text.slice(2), "hex").toString("base64")
    case Oid.float4:
    case Oid.float8:
      return floating(text)
    case Oid.date:
      return day(text)
    case Oid.timestamp:
      return isoTimestamp(text, "")
    case Oid.timestamptz:
      return isoTimestamp(text, "Z")
  }
  const element = elementOf[oid]
  return element === undefined ? text : arrayToJson(text, element)
}

/** The binding of a declared parameter type: the type of the parameter, and its cast if that is more specific. */
export interface ParameterType {
  readonly oid: number
  readonly cast?: string
}

const parameterTypes: Readonly<Record<string, number>> = {
  STRING: Oid.text,
  BOOLEAN: Oid.bool,
  BYTE: Oid.int2,
  TINYINT: Oid.int2,
  SHORT: Oid.int2,
  SMALLINT: Oid.int2,
  INT: Oid.int4,
  INTEGER: Oid.int4,
  LONG: Oid.int8,
  BIGINT: Oid.int8,
  FLOAT: Oid.float4,
  REAL: Oid.float4,
  DOUBLE: Oid.float8,
  DATE: Oid.date,
  TIMESTAMP: Oid.timestamptz,
  TIMESTAMP_LTZ: Oid.timestamptz,
  TIMESTAMP_NTZ: Oid.timestamp,
  BINARY: Oid.bytea,
  INTERVAL: Oid.interval,
  VOID: Oid.text
}

// Databricks's default for DECIMAL.
const defaultDecimal = "numeric(10,0)"

/** Returns `undefined` for a type that cannot be a parameter, such as ARRAY. */
export const parameterTypeOf = (declared: string): ParameterType | undefined => {
  const type = declared.trim().toUpperCase()
  const decimal = /^(?:DECIMAL|DEC|NUMERIC)(?:\(\s*(\d+)\s*(?:,\s*(\d+)\s*)?\))?$/.exec(type)
  if (decimal !== null) {
    const cast = decimal[1] === undefined ? defaultDecimal : `numeric(${decimal[1]},${decimal[2] ?? 0})`
    return { oid: Oid.numeric, cast }
  }
  const oid = type.startsWith("INTERVAL ") ? Oid.interval : parameterTypes[type]
  return oid === undefined ? undefined : { oid }
}
