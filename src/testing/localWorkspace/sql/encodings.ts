/** Encodes results as JSON, Arrow and CSV. */
import * as Arrow from "@uwdata/flechette"
import type { Column } from "./types.ts"

/** The values of a row in the format of the statement API. */
export type Row = ReadonlyArray<string | null>

export type Format = "JSON_ARRAY" | "ARROW_STREAM" | "CSV"

/** Encodes a chunk of rows; `texts` has the same rows, each as JSON. */
export type Encoding = (
  columns: ReadonlyArray<Column>,
  rows: ReadonlyArray<Row>,
  texts: ReadonlyArray<string>,
  index: number
) => Uint8Array

interface Storage {
  readonly type: Arrow.DataType
  /** The type to build instead, if the type's own builder would round: a timestamp is stored as an integer. */
  readonly built?: Arrow.DataType
  readonly parse: (text: string) => unknown
}

const unrepresentable = (text: string, type: string) =>
  new RangeError(`${text} is not a value of the Arrow type ${type}`)

const millis = (text: string, type: string) => {
  // In JavaScript a year with a sign has six digits.
  const time = Date.parse(text.replace(/^[+-]/, "$&00").replace(/^([+-])0*(\d{6}-)/, "$1$2"))
  if (Number.isNaN(time)) throw unrepresentable(text, type)
  return time
}

const micros = (text: string) => {
  const [, seconds, fraction = ""] = /^(.*:\d\d)(?:\.(\d+))?Z?$/.exec(text) ?? []
  return BigInt(millis(`${seconds}Z`, "timestamp[us]")) * 1000n + BigInt(fraction.padEnd(6, "0"))
}

/** Returns the decimal's unscaled integer. Halves round away from zero. */
const unscaled = (text: string, precision: number, scale: number) => {
  const [, sign, whole, fraction = ""] = /^(-?)(\d+)(?:\.(\d+))?$/.exec(text) ?? []
  if (whole === undefined) throw unrepresentable(text, `decimal128(${precision},${scale})`)
  const digits = BigInt(whole + fraction.slice(0, scale).padEnd(scale, "0"))
  const rounded = (fraction[scale] ?? "0") >= "5" ? digits + 1n : digits
  if (rounded >= 10n ** BigInt(precision)) throw unrepresentable(text, `decimal128(${precision},${scale})`)
  return sign === "-" ? -rounded : rounded
}

const string: Storage = { type: Arrow.utf8(), parse: (text) => text }

// Nested values and intervals are text, in the format of JSON_ARRAY (inferred).
const storageOf = (column: Column): Storage => {
  switch (column.type_name) {
    case "BOOLEAN":
      return { type: Arrow.bool(), parse: (text) => text === "true" }
    case "SHORT":
      return { type: Arrow.int16(), parse: Number }
    case "INT":
      return { type: Arrow.int32(), parse: Number }
    case "LONG":
      return { type: Arrow.int64(), parse: BigInt }
    case "FLOAT":
      return { type: Arrow.float32(), parse: Number }
    case "DOUBLE":
      return { type: Arrow.float64(), parse: Number }
    case "DECIMAL": {
      const { type_precision: precision = 38, type_scale: scale = 0 } = column
      return { type: Arrow.decimal128(precision, scale), parse: (text) => unscaled(text, precision, scale) }
    }
    case "BINARY":
      return { type: Arrow.binary(), parse: (text) => Buffer.from(text, "base64") }
    case "DATE":
      return { type: Arrow.dateDay(), parse: (text) => millis(text, "date32") }
    case "TIMESTAMP":
      return { type: Arrow.timestamp(Arrow.TimeUnit.MICROSECOND, "UTC"), built: Arrow.int64(), parse: micros }
    case "TIMESTAMP_NTZ":
      return { type: Arrow.timestamp(Arrow.TimeUnit.MICROSECOND), built: Arrow.int64(), parse: micros }
    default:
      return string
  }
}

const arrow: Encoding = (columns, rows) => {
  const storages = columns.map(storageOf)
  const children = storages.map(({ type, built = type, parse }, i) =>
    Arrow.columnFromArray(
      rows.map((row) => {
        const text = row[i] ?? null
        return text === null ? null : parse(text)
      }),
      built
    )
  )
  const fields = columns.map(({ name }, i) => Arrow.field(name, storages[i]?.type ?? string.type))
  const schema = { version: Arrow.Version.V5, endianness: Arrow.Endianness.Little, fields, metadata: null }
  return Arrow.tableToIPC(new Arrow.Table(schema, children), { format: "stream" }) ?? new Uint8Array()
}

const jsonArray: Encoding = (_columns, _rows, texts) => Buffer.from(`[${texts.join()}]`)

const csvField = (text: string) => (/[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text)

// Only the first chunk has the names, and NULL is a word.
const csv: Encoding = (columns, rows, _texts, index) => {
  const lines = rows.map((row) => row.map((text) => (text === null ? "null" : csvField(text))).join())
  if (index === 0) lines.unshift(columns.map(({ name }) => csvField(name)).join())
  return Buffer.from(lines.map((line) => `${line}\r\n`).join(""))
}

export const encodings: Readonly<Record<Format, Encoding>> = { JSON_ARRAY: jsonArray, ARROW_STREAM: arrow, CSV: csv }

export const contentTypes: Readonly<Record<Format, string>> = {
  JSON_ARRAY: "application/json",
  ARROW_STREAM: "application/vnd.apache.arrow.stream",
  CSV: "text/csv"
}
