import { assert, describe, it } from "@effect/vitest"
import { BigDecimal, DateTime, Result, Schema } from "effect"
import { toJson, valuesOf } from "../../../src/internal/sqlWarehouse/values.ts"
import type { Value } from "../../../src/SqlWarehouse.ts"
import { distinct, print, sample, Type } from "../../fixtures/columnTypes.ts"

const column = (type_text: string, name = "x") => ({ name, type_text, type_name: "" })

const decode = (type: string, text: string | null) =>
  Result.map(valuesOf([column(type)])([[text]], 0), (rows) => rows[0]![0]!)

const value = (type: string, text: string | null) => Result.getOrThrow(decode(type, text))

describe("values.valuesOf", () => {
  it("decodes each value by the type of its column", () => {
    assert.strictEqual(value("TINYINT", "-128"), -128)
    assert.strictEqual(value("BIGINT", "9007199254740993"), 9007199254740993n)
    assert.strictEqual(value("DOUBLE", "1.5E-10"), 1.5e-10)
    assert.isNaN(value("DOUBLE", "NaN"))
    assert.strictEqual(value("FLOAT", "-Infinity"), -Infinity)
    assert.deepStrictEqual(value("DECIMAL(38,18)", "-0.050000000000000001"), BigDecimal.make(-50000000000000001n, 18))
    assert.strictEqual(value("BOOLEAN", "false"), false)
    assert.deepStrictEqual(value("BINARY", "aGk="), new Uint8Array([104, 105]))
    assert.strictEqual(value("DATE", "2026-01-31"), "2026-01-31")
    assert.deepStrictEqual(
      value("TIMESTAMP", "2026-01-31T12:00:00.123456+02:00"),
      DateTime.makeUnsafe("2026-01-31T10:00:00.123Z")
    )
    assert.strictEqual(value("TIMESTAMP_NTZ", "2026-03-29 02:30:00.123456"), "2026-03-29T02:30:00.123456")
    assert.strictEqual(value("INTERVAL DAY", "3 00:00:00"), "3 00:00:00")
    assert.strictEqual(value("GEOMETRY(4326)", "POINT(1 2)"), "POINT(1 2)")
    assert.strictEqual(value("VOID", null), null)
    assert.strictEqual(value("BIGINT", null), null)
  })

  it("decodes nested values exactly, in arrays, structs, maps and variants", () => {
    assert.deepStrictEqual(value("ARRAY<BIGINT>", "[9007199254740993, null]"), [9007199254740993n, null])
    assert.deepStrictEqual(value("ARRAY<DECIMAL(20,2)>", "[123456789012345678.10]"), [
      BigDecimal.make(12345678901234567810n, 2)
    ])
    assert.deepStrictEqual(
      value("STRUCT<`__proto__`: INT, b: ARRAY<STRING>, c: DATE>", '{"__proto__": 1, "b": ["x"]}'),
      Object.fromEntries<Value>([
        ["__proto__", 1],
        ["b", ["x"]],
        ["c", null]
      ])
    )
    const map = new Map([
      [1n, true],
      [2n, null]
    ])
    for (const text of ['{"1": true, "2": null}', '[{"key":1,"value":true},{"key":2}]', '[["1",true],["2",null]]']) {
      assert.deepStrictEqual(value("MAP<BIGINT, BOOLEAN>", text), map)
    }
    assert.deepStrictEqual(value("VARIANT", '{"a":[1,1.0,9007199254740993,"1",null]}'), {
      a: [1, 1, 9007199254740993n, "1", null]
    })
  })

  it("fails with row, column and type for a value that does not match its type", () => {
    for (const [type, text] of [
      ["TINYINT", "128"],
      ["INT", "1.5"],
      ["INT", ""],
      ["BIGINT", "9223372036854775808"],
      ["DOUBLE", ""],
      ["DECIMAL(3,1)", "1e9999"],
      ["BOOLEAN", "1"],
      ["BINARY", "!"],
      ["DATE", "31.01.2026"],
      ["TIMESTAMP", "2026-01-31 12:00:00"],
      ["TIMESTAMP_NTZ", "2026-01-31 12:00:00Z"],
      ["ARRAY<INT>", '["x"]'],
      ["ARRAY<INT>", "[1"],
      ["MAP<STRING, INT>", "[[1]]"],
      ["STRUCT<a: INT>", "[1]"],
      ["VARIANT", "[".repeat(1_000_000)]
    ] as const) {
      const result = valuesOf([column("STRING", "a"), column(type, "b")])(
        [
          ["", null],
          ["", text]
        ],
        0
      )
      if (Result.isSuccess(result)) return assert.fail(`${type} took ${text}`)
      assert.deepInclude(result.failure, { row: 2, column: "b" })
      assert.include(result.failure.message, type)
    }
  })

  it("returns the values of all columns that share a name", () => {
    const rows = valuesOf([column("INT", "id"), column("BIGINT", "id")])([["1", "2"]], 0)
    assert.deepStrictEqual(Result.getOrThrow(rows), [[1, 2n]])
    assert.deepStrictEqual(Result.getOrThrow(valuesOf([])([], 0)), [])
  })

  it.prop(
    "never throws, for any type and text",
    { type: Type, text: Schema.Union([Schema.String, Schema.fromJsonString(Schema.Json).pipe(Schema.toEncoded)]) },
    ({ text, type }) => {
      assert.isString(decode(print(type), text)._tag)
    }
  )
})

describe("values.toJson", () => {
  it("writes exact numbers as text, bytes as base64 and maps as pairs", () => {
    assert.strictEqual(toJson(2n ** 63n - 1n), "9223372036854775807")
    assert.strictEqual(toJson(BigDecimal.make(-1250n, 2)), "-12.50")
    assert.strictEqual(toJson(BigDecimal.make(5n, 20)), "0.00000000000000000005")
    assert.strictEqual(toJson(BigDecimal.make(5n, -2)), "500")
    assert.deepStrictEqual(toJson([Number.NaN, -Infinity, -0, 1]), ["NaN", "-Infinity", "-0", 1])
    assert.deepStrictEqual(toJson({ a: new Uint8Array([104, 105]), b: new Map([[1n, "x"]]) }), {
      a: "aGk=",
      b: [["1", "x"]]
    })
    assert.strictEqual(toJson(DateTime.makeUnsafe(0)), "1970-01-01T00:00:00.000Z")
  })

  it.prop(
    "writes JSON that valuesOf decodes to the same values",
    { type: Type, seed: Schema.Int },
    ({ seed, type: any }) => {
      const type = distinct(any)
      const sent = { x: sample(type, Math.abs(seed)) }
      const text = JSON.stringify(toJson(sent))
      assert.deepStrictEqual(value(`STRUCT<x: ${print(type)}>`, text), sent)
    },
    { arbitrary: { runs: 1_000 } }
  )
})
