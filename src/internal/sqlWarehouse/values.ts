/**
 * From the text of a column to the value of its type, and from that to JSON.
 *
 * DATE and TIMESTAMP_NTZ stay text, in ISO form: they have no time zone, and every JavaScript type for a day has one.
 */
import { BigDecimal, DateTime, Result } from "effect"
import { Base64 } from "effect/encoding"
import { type ColumnType, parse } from "./columnType.ts"
import type { Column, Json, Value } from "../../SqlWarehouse.ts"
import type { Mismatch } from "./rows.ts"
import type { TextRow } from "./wire.ts"

/** `undefined` for a value that does not match the type. */
export type Read<A> = (from: A) => Value | undefined

/** The rows in the order of the columns, since two columns may have the same name; `before` is how many have been. */
export const valuesOf = (columns: ReadonlyArray<Column>) => {
  const readers = columns.map(({ type_text }) => reader(parse(type_text)))
  return (
    rows: ReadonlyArray<TextRow>,
    before: number
  ): Result.Result<ReadonlyArray<ReadonlyArray<Value>>, Mismatch> => {
    const decoded: Array<ReadonlyArray<Value>> = []
    for (const row of rows) {
      const values: Array<Value> = []
      for (let index = 0; index < readers.length; index++) {
        const text = row[index] ?? null
        const value = text === null ? null : readers[index]!(text)
        if (value === undefined) return Result.fail(mismatch(columns[index]!, before + decoded.length + 1))
        values.push(value)
      }
      decoded.push(values)
    }
    return Result.succeed(decoded)
  }
}

// Without the value, which is somebody's data and may end in a log.
const mismatch = ({ name, type_text }: Column, row: number): Mismatch => ({
  row,
  column: name,
  message: `Row ${row}, column "${name}": the value does not match ${type_text}`
})

/** For the text of a whole column. */
export const reader = (type: ColumnType): Read<string> => {
  switch (type._tag) {
    case "Variant":
    case "Array":
    case "Map":
    case "Struct": {
      const read = nested(type)
      return (text) => {
        try {
          return read(JSON.parse(text, exactly))
        } catch {
          // No JSON, or nested deeper than the stack.
          return undefined
        }
      }
    }
    default:
      return scalar(type)
  }
}

/** A number that JavaScript would write otherwise than it was sent, such as an integer beyond 2^53. */
class Exact {
  readonly source: string
  constructor(source: string) {
    this.source = source
  }
}

// TypeScript's library does not have the third argument yet.
const exactly = ((_key: string, value: unknown, { source }: { readonly source?: string }) =>
  typeof value === "number" && String(value) !== source ? new Exact(source ?? String(value)) : value) as (
  key: string,
  value: unknown
) => unknown

const nested = (type: ColumnType): Read<unknown> => {
  const read = notNull(type)
  return (json) => (json === null ? null : read(json))
}

const notNull = (type: ColumnType): Read<unknown> => {
  switch (type._tag) {
    case "Variant":
      return variant
    case "Array":
      return all(nested(type.element))
    case "Map": {
      const entries = all(all(nested(type.key), nested(type.value)))
      return (json) => {
        const read = entries(pairsOf(json))
        // Two to an entry, as `pairsOf` gives them.
        return read === undefined ? undefined : new Map(read as unknown as ReadonlyArray<readonly [Value, Value]>)
      }
    }
    case "Struct": {
      const fields = type.fields.map(({ name, type }) => [name, nested(type)] as const)
      return (json) => {
        if (!isRecord(json)) return undefined
        const struct: Array<readonly [string, Value]> = []
        for (const [name, read] of fields) {
          // Spark leaves a field out when it is NULL.
          const value = Object.hasOwn(json, name) ? read(json[name]) : null
          if (value === undefined) return undefined
          struct.push([name, value])
        }
        return Object.fromEntries(struct)
      }
    }
    default: {
      const read = scalar(type)
      return (json) => {
        const text = textOf(json)
        return text === undefined ? undefined : read(text)
      }
    }
  }
}

/** The readers take turns. */
const all =
  (...readers: ReadonlyArray<Read<unknown>>): ((json: unknown) => ReadonlyArray<Value> | undefined) =>
  (json) => {
    if (!Array.isArray(json)) return undefined
    const values: Array<Value> = []
    for (const [index, item] of json.entries()) {
      const value = readers[index % readers.length]!(item)
      if (value === undefined) return undefined
      values.push(value)
    }
    return values
  }

/** A map is an object, a list of `{key, value}` (where its keys are no strings), or a list of pairs. */
const pairsOf = (json: unknown): unknown =>
  Array.isArray(json)
    ? json.map((entry) =>
        Array.isArray(entry)
          ? entry.length === 2 && entry
          : isRecord(entry) && Object.hasOwn(entry, "key") && [entry["key"], entry["value"] ?? null]
      )
    : isRecord(json) && Object.entries(json)

const variant = (json: unknown): Value => {
  if (json instanceof Exact) return /^-?\d+$/.test(json.source) ? integerOf(json.source) : Number(json.source)
  if (Array.isArray(json)) return json.map(variant)
  if (isRecord(json)) return Object.fromEntries(Object.entries(json).map(([name, value]) => [name, variant(value)]))
  // JSON has nothing else.
  return json as null | string | boolean | number
}

const integerOf = (text: string) => {
  const value = Number(text)
  return Number.isSafeInteger(value) ? value : BigInt(text)
}

const isRecord = (json: unknown): json is Readonly<Record<string, unknown>> =>
  typeof json === "object" && json !== null && !Array.isArray(json) && !(json instanceof Exact)

const textOf = (json: unknown): string | undefined =>
  typeof json === "string"
    ? json
    : json instanceof Exact
      ? json.source
      : typeof json === "number" || typeof json === "boolean"
        ? String(json)
        : undefined

const scalar = (type: ColumnType): Read<string> => {
  switch (type._tag) {
    case "Integer":
      return type.bits === 64 ? long : integer(2 ** (type.bits - 1))
    case "Float":
      return float
    case "Decimal":
      return decimal
    case "Boolean":
      return (text) => (text === "true" ? true : text === "false" ? false : undefined)
    case "Binary":
      return (text) => Result.getOrUndefined(Base64.decode(text))
    case "Date":
      return (text) => (date.test(text) ? text : undefined)
    case "Timestamp":
      return timestamp
    case "TimestampNtz":
      return (text) => (local.test(text) ? text.replace(" ", "T") : undefined)
    case "Void":
      return () => undefined
    default:
      return (text) => text
  }
}

const integer =
  (limit: number): Read<string> =>
  (text) => {
    const value = /^-?\d+$/.test(text) ? Number(text) : Number.NaN
    return value >= -limit && value < limit ? value : undefined
  }

const long: Read<string> = (text) => {
  if (!/^-?\d{1,19}$/.test(text)) return undefined
  const value = BigInt(text)
  return BigInt.asIntN(64, value) === value ? value : undefined
}

const float: Read<string> = (text) =>
  /^(?:NaN|-?Infinity|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)$/.test(text) ? Number(text) : undefined

// At most three digits for the exponent: a decimal is written out, and a warehouse has no longer ones.
const decimal: Read<string> = (text) => {
  if (!/^-?\d+(?:\.\d+)?(?:[eE][+-]?\d{1,3})?$/.test(text)) return undefined
  if (/[eE]/.test(text)) return BigDecimal.fromStringUnsafe(text)
  const point = text.indexOf(".")
  return point === -1
    ? BigDecimal.make(BigInt(text), 0)
    : BigDecimal.make(BigInt(text.slice(0, point) + text.slice(point + 1)), text.length - point - 1)
}

const day = "\\d{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12]\\d|3[01])"
const time = "(?:[01]\\d|2[0-3]):[0-5]\\d:[0-5]\\d"
const date = new RegExp(`^${day}$`)
const local = new RegExp(`^${day}[T ]${time}(?:\\.\\d+)?$`)
const moment = new RegExp(`^${day}[T ]${time}(?:\\.\\d+)?(?:Z|[+-]\\d\\d:\\d\\d)$`)

// By the places of its digits: Date.parse takes most of the time of a row.
const timestamp: Read<string> = (text) => {
  if (!moment.test(text)) return undefined
  const year = two(text, 0) * 100 + two(text, 2)
  const zone = text.endsWith("Z") ? text.length - 1 : text.length - "+00:00".length
  let millis = 0
  for (let at = 20, unit = 100; at < zone && unit >= 1; at++, unit /= 10) millis += unit * (text.charCodeAt(at) - 48)
  // Date.UTC takes the years before 100 for others; 400 years later the calendar is the same.
  const shift = year < 100 ? 400 : 0
  const local = Date.UTC(
    year + shift,
    two(text, 5) - 1,
    two(text, 8),
    two(text, 11),
    two(text, 14),
    two(text, 17),
    millis
  )
  const offset = zone === text.length - 1 ? 0 : (two(text, zone + 1) * 60 + two(text, zone + 4)) * 60_000
  return DateTime.makeUnsafe(local - shift * yearMillis + (text[zone] === "-" ? offset : -offset))
}

// On average, over 400 years.
const yearMillis = 365.2425 * 86_400_000

const two = (text: string, at: number) => text.charCodeAt(at) * 10 + text.charCodeAt(at + 1) - 11 * 48

/** A reader of the value's type makes the value of its JSON again. */
export const toJson = (value: Value): Json => {
  switch (typeof value) {
    case "bigint":
      return String(value)
    case "number":
      return Object.is(value, -0) ? "-0" : Number.isFinite(value) ? value : String(value)
    case "string":
    case "boolean":
      return value
  }
  if (value === null) return null
  if (BigDecimal.isBigDecimal(value)) return decimalText(value)
  if (DateTime.isDateTime(value)) return DateTime.formatIso(value)
  if (value instanceof Uint8Array) return Base64.encode(value)
  if (value instanceof Map) return Array.from(value, (pair: [Value, Value]) => pair.map(toJson))
  if (Array.isArray(value)) return value.map(toJson)
  return Object.fromEntries(Object.entries(value).map(([name, field]) => [name, toJson(field)]))
}

/** All digits of the scale: BigDecimal.format drops its zeros, and writes an exponent from 16 decimals on. */
export const decimalText = ({ scale, value }: Pick<BigDecimal.BigDecimal, "scale" | "value">): string => {
  if (scale <= 0) return String(value * 10n ** BigInt(-scale))
  const digits = String(value < 0n ? -value : value).padStart(scale + 1, "0")
  return `${value < 0n ? "-" : ""}${digits.slice(0, -scale)}.${digits.slice(-scale)}`
}
