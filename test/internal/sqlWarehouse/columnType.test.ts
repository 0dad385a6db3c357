import { assert, describe, it } from "@effect/vitest"
import { Schema } from "effect"
import { type ColumnType, parse } from "../../../src/internal/sqlWarehouse/columnType.ts"
import { print, Type } from "../../fixtures/columnTypes.ts"

describe("columnType.parse", () => {
  it("parses decimals, arrays, structs and maps as a manifest writes them", () => {
    assert.deepStrictEqual(parse("decimal(10, 2)"), { _tag: "Decimal", precision: 10, scale: 2 })
    assert.deepStrictEqual(parse("DECIMAL"), { _tag: "Decimal", precision: 10, scale: 0 })
    assert.deepStrictEqual(
      parse("ARRAY<STRUCT<a:INT NOT NULL COMMENT 'it''s, > \\' so', `b ``:`: MAP<STRING, BIGINT>>>"),
      {
        _tag: "Array",
        element: {
          _tag: "Struct",
          fields: [
            { name: "a", type: { _tag: "Integer", bits: 32 } },
            {
              name: "b `:",
              type: { _tag: "Map", key: { _tag: "Text", text: "STRING" }, value: { _tag: "Integer", bits: 64 } }
            }
          ]
        }
      }
    )
    assert.deepStrictEqual(parse("STRUCT<>"), { _tag: "Struct", fields: [] })
  })

  it("returns Text for unknown and malformed types, also inside other types", () => {
    for (const text of [
      "STRING",
      "VARCHAR(10)",
      "INTERVAL DAY TO SECOND",
      "GEOMETRY(4326)",
      "STRING COLLATE UNICODE",
      "NEW"
    ]) {
      const type: ColumnType = { _tag: "Text", text }
      assert.deepStrictEqual(parse(text), type)
      assert.deepStrictEqual(parse(`ARRAY<${text}>`), { _tag: "Array", element: type })
    }
    for (const text of [
      "",
      "ARRAY<",
      "ARRAY<INT>>",
      "MAP<INT>",
      "STRUCT<a INT>",
      "STRUCT<a: >",
      "STRUCT<a: INT COMMENT 'x>"
    ]) {
      assert.deepStrictEqual(parse(text), { _tag: "Text", text })
    }
  })

  it("parses 50 levels of nesting, and returns Text for 100,000", () => {
    const nested = (depth: number) => `${"ARRAY<".repeat(depth)}INT${">".repeat(depth)}`
    assert.strictEqual(parse(nested(50))._tag, "Array")
    assert.strictEqual(parse(nested(100_000))._tag, "Text")
  })

  it.prop("parses every type back from its text", { type: Type }, ({ type }) => {
    assert.deepStrictEqual(parse(print(type)), type)
  })

  const piece = Schema.Literals([
    "ARRAY<",
    "MAP<",
    "STRUCT<",
    ">",
    ",",
    ":",
    "`",
    "'",
    "(",
    ")",
    " NOT NULL",
    "INT",
    "a",
    " "
  ])

  it.prop(
    "never throws, for any text",
    { pieces: Schema.Array(Schema.Union([piece, Schema.String])) },
    ({ pieces }) => {
      assert.isString(parse(pieces.join(""))._tag)
    },
    { arbitrary: { runs: 1_000 } }
  )
})
