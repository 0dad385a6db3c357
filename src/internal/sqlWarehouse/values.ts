/**
 * Converts the text of a column to a value of its type, and such a value to JSON.
 *
 * DATE and TIMESTAMP_NTZ remain text, in ISO form, because they have no time zone and JavaScript's Date has one.
 */
import { BigDecimal, DateTime, Result } from "effect"
import { Base64 } from "effect/encoding"
import { type ColumnType, parse as parseType } from "./columnType.ts"
import { isDate, isLocal, timestamp } from "./dateTime.ts"
import type { Column, Json, Value } from "../../SqlWarehouse.ts"
import type { Mismatch } from "./rows.ts"
import type { TextRow } from "./wire.ts"
import { isExact, parseWith, plain } from "../workspace/exactJson.ts"

/** Reads a value; `undefined` if it does not match the type. */
export type Read<A> = (from: A) => Value | undefined

/** Returns rows in the order of the columns, whose names may repeat; `before` is the number of earlier rows. */
export const valuesOf = (columns: ReadonlyArray<Column>) => {
  const readers = columns.map(({ type_text }) => reader(parseType(type_text)))
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

// Omits the value, which is personal data and may end in a log.
const mismatch = ({ name, type_text }: Column, row: number): Mismatch => ({
  row,
  column: name,
  message: `Row ${row}, column "${name}": the value does not match ${type_text}`
})

/** Returns the reader for the text of a column. */
const reader = (type: ColumnType): Read<string> => {
  switch (type._tag) {
    case "Variant":
    case "Array":
    case "Map":
    case "Struct": {
      const read = valueOf(type)
      return (text) => {
        try {
          return read(parse(text))
        } catch {
          // Not JSON, or nested deeper than the stack.
          return undefined
        }
      }
    }
    default:
      return scalar(type)
  }
}

/** A number that a double cannot represent, or that JavaScript would format differently. */
class Exact {
  readonly source: string
  constructor(source: string) {
    this.source = source
  }
}

/** Parses the JSON of a nested value. */
export const parse = (text: string): unknown =>
  parseWith(text, (value, source) => (String(value) === source && isExact(source) ? value : new Exact(source)))

/** Returns the reader for the JSON of a nested value. */
export const valueOf = (type: ColumnType): Read<unknown> => {
  const read = notNull(type)
  return (json) => (json === null ? null : read(json))
}

const notNull = (type: ColumnType): Read<unknown> => {
  switch (type._tag) {
    case "Variant":
      return variant
    case "Array":
      return all(valueOf(type.element))
    case "Map": {
      const entries = all(all(valueOf(type.key), valueOf(type.value)))
      return (json) => {
        const read = entries(pairsOf(json))
        // Two to an entry, as from `pairsOf`.
        return read === undefined ? undefined : new Map(read as unknown as ReadonlyArray<readonly [Value, Value]>)
      }
    }
    case "Struct": {
      const fields = type.fields.map(({ name, type }) => [name, valueOf(type)] as const)
      return (json) => {
        if (!isRecord(json)) return undefined
        const struct: Array<readonly [string, Value]> = []
        for (const [name, read] of fields) {
          // Spark omits a field that is NULL.
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

/** Reads a list; the readers alternate. */
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

/** A map is an object, a list of `{key, value}` (if its keys are not strings), or a list of pairs. */
export const pairsOf = (json: unknown): ReadonlyArray<readonly [unknown, unknown]> => {
  if (isRecord(json)) return Object.entries(json)
  if (!Array.isArray(json)) throw new TypeError("The value is not a map")
  return json.map((entry) => {
    if (Array.isArray(entry) && entry.length === 2) return [entry[0], entry[1]]
    if (isRecord(entry) && Object.hasOwn(entry, "key")) return [entry["key"], entry["value"] ?? null]
    throw new TypeError("The value is not a map")
  })
}

const variant = (json: unknown): Value | undefined => {
  if (json instanceof Exact) {
    if (isExact(json.source)) return Number(json.source)
    const digits = plain(json.source)
    return /^-?\d+$/.test(digits) ? BigInt(digits) : decimal(digits)
  }
  if (Array.isArray(json)) return all(variant)(json)
  if (isRecord(json)) {
    const fields = Object.entries(json).map(([name, value]) => [name, variant(value)] as const)
    return fields.some(([, value]) => value === undefined)
      ? undefined
      : (Object.fromEntries(fields) as { readonly [name: string]: Value }) // none is undefined
  }
  // JSON has no other types.
  return json as null | string | boolean | number
}

export const isRecord = (json: unknown): json is Readonly<Record<string, unknown>> =>
  typeof json === "object" && json !== null && !Array.isArray(json) && !(json instanceof Exact)

export const textOf = (json: unknown): string | undefined =>
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
      return (text) => (isDate(text) ? text : undefined)
    case "Timestamp":
      return timestamp
    case "TimestampNtz":
      return (text) => (isLocal(text) ? text.replace(" ", "T") : undefined)
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

// At most three digits of exponent: longer ones do not occur, and decimals are written out in full.
const decimal: Read<string> = (text) => {
  if (!/^-?\d+(?:\.\d+)?(?:[eE][+-]?\d{1,3})?$/.test(text)) return undefined
  if (/[eE]/.test(text)) return BigDecimal.fromStringUnsafe(text)
  const point = text.indexOf(".")
  return point === -1
    ? BigDecimal.make(BigInt(text), 0)
    : BigDecimal.make(BigInt(text.slice(0, point) + text.slice(point + 1)), text.length - point - 1)
}

/** Converts a value to JSON, from which the reader of its type makes the same value. */
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

/**
 * Formats all digits of the scale. BigDecimal.format omits trailing zeros, and uses an exponent from 16 decimals on.
 */
export const decimalText = ({ scale, value }: Pick<BigDecimal.BigDecimal, "scale" | "value">): string => {
  if (scale <= 0) return String(value * 10n ** BigInt(-scale))
  const digits = String(value < 0n ? -value : value).padStart(scale + 1, "0")
  return `${value < 0n ? "-" : ""}${digits.slice(0, -scale)}.${digits.slice(-scale)}`
}
