/** Reads the rows of an ARROW_STREAM chunk as text, in the format of JSON_ARRAY. */
import * as Arrow from "@uwdata/flechette"
import { Base64 } from "effect/encoding"
import { shortest } from "../float32.ts"
import { isoOf } from "./dateTime.ts"
import { decimalText } from "./values.ts"
import type { TextRow } from "./wire.ts"

const rowsPerPart = 256

const exact = { useBigInt: true, useBigIntTimestamp: true, useDecimalInt: true }

/** Throws if the bytes are not an Arrow stream, a type has no text form, or a value is out of its bounds. */
export function* partsOf(bytes: Uint8Array): Generator<ReadonlyArray<TextRow>> {
  const table = Arrow.tableFromIPC(bytes, exact)
  const columns = table.schema.fields.map(({ type }, index) => ({
    text: textOf(type),
    // A table without batches has nothing to read.
    batches: table.getChildAt(index).data
  }))
  for (let batch = 0; batch < (columns[0]?.batches.length ?? 0); batch++) {
    const cells = columns.map(({ batches, text }) => ({ text, batch: batches[batch]! }))
    const { length } = cells[0]!.batch
    for (let from = 0; from < length; from += rowsPerPart) {
      yield Array.from({ length: Math.min(rowsPerPart, length - from) }, (_, index) =>
        cells.map(({ batch, text }) => text(batch, from + index))
      )
    }
  }
}

type Batch = Arrow.Batch<unknown>

/** Reads the value of a batch at an index. */
type ReadOf<A> = (batch: Batch, index: number) => A | null

const textOf = (type: Arrow.DataType): ReadOf<string> => {
  const scalar = scalarOf(type)
  if (scalar !== undefined) return valueOf(scalar)
  const json = jsonOf(type)
  return (batch, index) => {
    const value = json(batch, index)
    return value === null ? null : JSON.stringify(value)
  }
}

const valueOf =
  <A>(convert: (value: never) => A): ReadOf<A> =>
  (batch, index) => {
    const value = batch.at(index)
    if (value === undefined) throw new RangeError("A column is shorter than its rows")
    return value === null ? null : convert(value as never) // the column's type
  }

/** Returns `undefined` for nested types. The JavaScript types of the values follow from the type of the column. */
const scalarOf = (type: Arrow.DataType): ((value: never) => string) | undefined => {
  switch (type.typeId) {
    case Arrow.Type.Dictionary:
      return scalarOf(type.dictionary)
    case Arrow.Type.Null:
    case Arrow.Type.Int:
    case Arrow.Type.Bool:
    case Arrow.Type.Utf8:
    case Arrow.Type.LargeUtf8:
    case Arrow.Type.Utf8View:
      return String
    case Arrow.Type.Float:
      return type.precision === Arrow.Precision.DOUBLE ? float : (value: number) => float(shortest(value))
    case Arrow.Type.Decimal:
      return (value: bigint | number) => decimalText({ value: BigInt(value), scale: type.scale })
    case Arrow.Type.Binary:
    case Arrow.Type.LargeBinary:
    case Arrow.Type.BinaryView:
    case Arrow.Type.FixedSizeBinary:
      return Base64.encode
    case Arrow.Type.Date:
      return (millis: number) => isoOf(millis / 1000).slice(0, -"T00:00:00".length)
    case Arrow.Type.Timestamp:
      return moment(type.unit, type.timezone === null ? "" : "Z")
    case Arrow.Type.Interval:
      return type.unit === Arrow.IntervalUnit.YEAR_MONTH ? months : undefined
    case Arrow.Type.Duration:
      return duration(type.unit)
    default:
      return undefined
  }
}

type Json = null | boolean | number | string | ReadonlyArray<Json> | { readonly [field: string]: Json }

const jsonOf = (type: Arrow.DataType): ReadOf<Json> => {
  const within =
    (read: (batch: Batch, index: number) => Json): ReadOf<Json> =>
    (batch, index) =>
      batch.at(index) === null ? null : read(batch, index)
  switch (type.typeId) {
    case Arrow.Type.List:
    case Arrow.Type.LargeList: {
      const element = jsonOf(type.children[0].type)
      return within((batch, index) => spanOf(batch, index).map((at) => element(batch.children[0]!, at)))
    }
    case Arrow.Type.Map: {
      // Its one child is a struct of keys and values.
      const [key, value] = childrenOf(type.children[0].type).map((field) => jsonOf(field.type))
      return within((batch, index) => {
        const [keys, values] = batch.children[0]!.children
        return spanOf(batch, index).map((at) => [key!(keys!, at), value!(values!, at)])
      })
    }
    case Arrow.Type.Struct: {
      const fields = type.children.map((field) => [field.name, jsonOf(field.type)] as const)
      return within((batch, index) =>
        Object.fromEntries(fields.map(([name, read], field) => [name, read(batch.children[field]!, index)]))
      )
    }
    case Arrow.Type.Bool:
      return valueOf((value: boolean) => value)
    case Arrow.Type.Int:
      return valueOf((value: number | bigint) => (typeof value === "bigint" ? String(value) : value))
    default: {
      const scalar = scalarOf(type)
      if (scalar === undefined)
        throw new TypeError(`Values of the Arrow type ${type.typeId} cannot be converted to text`)
      return valueOf(scalar)
    }
  }
}

const childrenOf = (type: Arrow.DataType): ReadonlyArray<Arrow.Field> => ("children" in type ? type.children : [])

const spanOf = ({ children, offsets }: Batch, index: number): ReadonlyArray<number> => {
  const from = Number(offsets[index])
  const length = Number(offsets[index + 1]) - from
  if (!(from >= 0 && length >= 0 && from + length <= children[0]!.length)) {
    throw new RangeError("A list is longer than its elements")
  }
  return Array.from({ length }, (_, at) => from + at)
}

// With a decimal point, as in a warehouse's JSON.
const float = (value: number) => {
  const text = Object.is(value, -0) ? "-0" : String(value)
  return /^-?\d+$/.test(text) ? `${text}.0` : text
}

const split = (value: bigint, unit: number) => {
  const perSecond = 10n ** BigInt(3 * unit)
  const fraction = ((value % perSecond) + perSecond) % perSecond
  const digits = unit === Arrow.TimeUnit.SECOND ? "" : String(fraction).padStart(3 * unit, "0")
  return { seconds: Number((value - fraction) / perSecond), digits }
}

// At least three decimals, without trailing zeros after them.
const moment = (unit: number, zone: string) => (value: bigint) => {
  const { digits, seconds } = split(value, unit)
  return `${isoOf(seconds)}.${digits.replace(/0+$/, "").padEnd(3, "0")}${zone}`
}

// Both in Spark's format (inferred).
const months = (value: number) => `${value < 0 ? "-" : ""}${Math.trunc(Math.abs(value) / 12)}-${Math.abs(value) % 12}`

const duration = (unit: number) => (value: bigint) => {
  const { digits, seconds } = split(value < 0n ? -value : value, unit)
  const clock = new Date((seconds % 86_400) * 1000).toISOString().slice("1970-01-01T".length, -".000Z".length)
  return `${value < 0n ? "-" : ""}${Math.floor(seconds / 86_400)} ${clock}.${digits.padEnd(9, "0")}`
}
