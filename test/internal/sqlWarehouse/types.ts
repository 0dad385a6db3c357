import { Schema } from "effect"
import type { ColumnType } from "../../../src/internal/sqlWarehouse/columnType.ts"

const leaves = Schema.Union([
  Schema.Struct({ _tag: Schema.Literal("Integer"), bits: Schema.Literals([8, 16, 32, 64]) }),
  Schema.Struct({ _tag: Schema.Literal("Float"), bits: Schema.Literals([32, 64]) }),
  Schema.Struct({
    _tag: Schema.Literal("Decimal"),
    precision: Schema.Literals([1, 10, 38]),
    scale: Schema.Literals([0, 1])
  }),
  Schema.Struct({
    _tag: Schema.Literals(["Boolean", "Binary", "Date", "Timestamp", "TimestampNtz", "Variant", "Void"])
  }),
  Schema.Struct({
    _tag: Schema.Literal("Text"),
    text: Schema.Literals(["STRING", "CHAR(3)", "INTERVAL YEAR TO MONTH"])
  })
])

const nested = (of: Schema.Codec<ColumnType>): Schema.Codec<ColumnType> =>
  Schema.Union([
    leaves,
    Schema.Struct({ _tag: Schema.Literal("Array"), element: of }),
    Schema.Struct({ _tag: Schema.Literal("Map"), key: leaves, value: of }),
    Schema.Struct({
      _tag: Schema.Literal("Struct"),
      fields: Schema.Array(Schema.Struct({ name: Schema.String, type: of }))
    })
  ])

export const Type = nested(nested(nested(leaves)))

const integers = { 8: "TINYINT", 16: "SMALLINT", 32: "INT", 64: "BIGINT" }

export const print = (type: ColumnType): string => {
  switch (type._tag) {
    case "Integer":
      return integers[type.bits]
    case "Float":
      return type.bits === 32 ? "FLOAT" : "DOUBLE"
    case "Decimal":
      return `DECIMAL(${type.precision},${type.scale})`
    case "Text":
      return type.text
    case "TimestampNtz":
      return "TIMESTAMP_NTZ"
    case "Array":
      return `ARRAY<${print(type.element)}>`
    case "Map":
      return `MAP<${print(type.key)}, ${print(type.value)}>`
    case "Struct":
      return `STRUCT<${type.fields.map((_) => `\`${_.name.replaceAll("`", "``")}\`: ${print(_.type)}`).join(", ")}>`
    default:
      return type._tag.toUpperCase()
  }
}
