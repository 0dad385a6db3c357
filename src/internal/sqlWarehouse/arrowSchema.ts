/** The Arrow stream of a result without chunks, for which the warehouse sends no schema. */
import * as Arrow from "@uwdata/flechette"
import type { Column } from "../../SqlWarehouse.ts"
import { type ColumnType, parse } from "./columnType.ts"

/** Returns a stream that has the columns' types as a warehouse encodes them, and no rows. */
export const emptyOf = (columns: ReadonlyArray<Column>): Uint8Array => {
  const fields = columns.map(({ name, type_text }) => Arrow.field(name, typeOf(parse(type_text))))
  const schema = { version: Arrow.Version.V5, endianness: Arrow.Endianness.Little, fields, metadata: null }
  const table = new Arrow.Table(
    schema,
    fields.map(({ type }) => new Arrow.Column([], type))
  )
  // Without a sink the bytes are the result.
  return Arrow.tableToIPC(table, { format: "stream" })!
}

const typeOf = (type: ColumnType): Arrow.DataType => {
  switch (type._tag) {
    case "Integer":
      return Arrow.int(type.bits)
    case "Float":
      return type.bits === 32 ? Arrow.float32() : Arrow.float64()
    case "Decimal":
      return Arrow.decimal128(type.precision, type.scale)
    case "Boolean":
      return Arrow.bool()
    case "Binary":
      return Arrow.binary()
    case "Date":
      return Arrow.dateDay()
    case "Timestamp":
      return Arrow.timestamp(Arrow.TimeUnit.MICROSECOND, "UTC")
    case "TimestampNtz":
      return Arrow.timestamp(Arrow.TimeUnit.MICROSECOND)
    case "Void":
      return Arrow.nullType()
    case "Array":
      return Arrow.list(typeOf(type.element))
    case "Map":
      return Arrow.map(typeOf(type.key), typeOf(type.value))
    case "Struct":
      return Arrow.struct(type.fields.map(({ name, type }) => Arrow.field(name, typeOf(type))))
    default:
      return Arrow.utf8()
  }
}
