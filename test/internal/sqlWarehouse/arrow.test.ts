import { assert, describe, it } from "@effect/vitest"
import * as Arrow from "@uwdata/flechette"
import { BigDecimal, DateTime, Result, Schema } from "effect"
import { partsOf } from "../../../src/internal/sqlWarehouse/arrow.ts"
import { valuesOf } from "../../../src/internal/sqlWarehouse/values.ts"
import { encodings } from "../../../src/testing/localWorkspace/sql/encodings.ts"

const stream = (columns: Record<string, Arrow.Column<unknown>>) =>
  Arrow.tableToIPC(Arrow.tableFromColumns(columns), { format: "stream" })!

const texts = (type: Arrow.DataType, values: ReadonlyArray<unknown>) =>
  Array.from(partsOf(stream({ x: Arrow.columnFromArray([...values], type) })))
    .flat()
    .map(([text]) => text)

/** The values of an Arrow column without a Schema. */
const values = (type_text: string, type: Arrow.DataType, from: ReadonlyArray<unknown>) =>
  Result.getOrThrow(
    valuesOf([{ name: "x", type_text, type_name: "" }])(
      texts(type, from).map((text) => [text!]),
      0
    )
  ).map(([value]) => value)

describe("arrow.partsOf", () => {
  it("returns the values of nested lists, decimals, structs and maps", () => {
    assert.deepStrictEqual(values("ARRAY<BIGINT>", Arrow.list(Arrow.int64()), [[2n ** 60n, null], null, []]), [
      [2n ** 60n, null],
      null,
      []
    ])
    const decimals = Arrow.list(Arrow.decimal128(20, 2))
    assert.deepStrictEqual(values("ARRAY<DECIMAL(20,2)>", decimals, [[-1.5]]), [[BigDecimal.make(-150n, 2)]])
    const struct = Arrow.struct({ a: Arrow.int32(), b: Arrow.list(Arrow.utf8()), c: Arrow.dateDay(), d: Arrow.bool() })
    assert.deepStrictEqual(
      values("STRUCT<a: INT, b: ARRAY<STRING>, c: DATE, d: BOOLEAN>", struct, [
        { a: 1, b: ["x", null], c: new Date(0), d: false },
        { a: null, b: null, c: null, d: null }
      ]),
      [
        { a: 1, b: ["x", null], c: "1970-01-01", d: false },
        { a: null, b: null, c: null, d: null }
      ]
    )
    const map = Arrow.map(Arrow.int64(), Arrow.float64())
    assert.deepStrictEqual(values("MAP<BIGINT, DOUBLE>", map, [new Map([[1n, Number.NaN]])]), [
      new Map([[1n, Number.NaN]])
    ])
  })

  it("returns intervals as Spark writes them", () => {
    const { MICROSECOND, SECOND } = Arrow.TimeUnit
    assert.deepStrictEqual(texts(Arrow.interval(Arrow.IntervalUnit.YEAR_MONTH), [14, -14, null]), ["1-2", "-1-2", null])
    assert.deepStrictEqual(texts(Arrow.duration(SECOND), [93_784n]), ["1 02:03:04.000000000"])
    // flechette stores a duration as the integer that it is.
    assert.deepStrictEqual(texts(Arrow.duration(MICROSECOND), [-1n]), ["-0 00:00:00.000001000"])
  })

  it("returns timestamps before 1970, and 32-bit floats in their shortest form", () => {
    const moments = Arrow.timestamp(Arrow.TimeUnit.MILLISECOND, "UTC")
    assert.deepStrictEqual(values("TIMESTAMP", moments, [-1, 0]), [DateTime.makeUnsafe(-1), DateTime.makeUnsafe(0)])
    assert.deepStrictEqual(texts(Arrow.float32(), [0.1, 16_777_216, 3.4028234663852886e38, -0, Infinity]), [
      "0.1",
      "16777216.0",
      "3.4028235e+38",
      "-0.0",
      "Infinity"
    ])
  })

  it.prop("returns any 32-bit float in at most 9 digits that are the same float", { n: Schema.Number }, ({ n }) => {
    for (const value of [n, n * 2 ** -140].map(Math.fround)) {
      const [text] = texts(Arrow.float32(), [value])
      assert.isTrue(Object.is(Math.fround(Number(text)), value), `${text} for ${value}`)
      const digits = text!
        .replace(/e.*/, "")
        .replaceAll(/[-.]|\.0$/g, "")
        .replaceAll(/^0+|0+$/g, "")
      if (Number.isFinite(value)) assert.isAtMost(digits.length, 9, text!)
    }
    assert.deepStrictEqual(texts(Arrow.float32(), [2 ** -149]), ["1e-45"])
  })

  it("returns days and moments of any year, with its sign before 0 and beyond 9999", () => {
    const days = ["+010000-01-01", "-000043-03-15", "0000-02-29", "9999-12-31"].map((day) => Date.parse(day))
    assert.deepStrictEqual(texts(Arrow.dateDay(), [...days, (2 ** 31 - 1) * 86_400_000]), [
      "+10000-01-01",
      "-0043-03-15",
      "0000-02-29",
      "9999-12-31",
      "+5881580-07-11"
    ])
    const moments = Arrow.timestamp(Arrow.TimeUnit.MILLISECOND, "UTC")
    assert.deepStrictEqual(texts(moments, days.slice(0, 2)), [
      "+10000-01-01T00:00:00.000Z",
      "-0043-03-15T00:00:00.000Z"
    ])
  })

  it("throws for a chunk that is cut off or of an unknown type, or returns its first rows", () => {
    const bytes = stream({ x: Arrow.columnFromArray(["a", "b"], Arrow.utf8()) })
    for (let length = 0; length < bytes.length; length++) {
      try {
        assert.isBelow(Array.from(partsOf(bytes.slice(0, length))).flat().length, 3)
      } catch (error) {
        assert.instanceOf(error, Error)
      }
    }
    assert.throws(() => texts(Arrow.time(), [1]))
  })

  const Cell = Schema.NullOr(Schema.Int)
  const columns = [
    { name: "big", type_name: "LONG", type_text: "BIGINT", position: 0 },
    { name: "price", type_name: "DECIMAL", type_text: "DECIMAL(38,3)", position: 1, type_precision: 38, type_scale: 3 },
    { name: "word", type_name: "STRING", type_text: "STRING", position: 2 },
    { name: "rough", type_name: "DOUBLE", type_text: "DOUBLE", position: 3 },
    { name: "moment", type_name: "TIMESTAMP", type_text: "TIMESTAMP", position: 4 },
    { name: "local", type_name: "TIMESTAMP_NTZ", type_text: "TIMESTAMP_NTZ", position: 5 },
    { name: "bytes", type_name: "BINARY", type_text: "BINARY", position: 6 }
  ]
  const rowOf = (cell: number | null) =>
    cell === null
      ? columns.map(() => null)
      : [
          String(BigInt(cell) * 1023n),
          `${cell < 0 ? "-" : ""}${Math.abs(cell)}.${String(Math.abs(cell) % 1000).padStart(3, "0")}`,
          `"${cell}\u2028é`,
          String(cell / 7),
          `${new Date((cell % 1e6) * 1e6).toISOString().slice(0, -1)}Z`,
          new Date((cell % 1e6) * 1e6).toISOString().slice(0, -1),
          Buffer.from(String(cell)).toString("base64")
        ]

  it.prop("returns the same values as the same rows in JSON_ARRAY", { cells: Schema.Array(Cell) }, ({ cells }) => {
    const rows = cells.map(rowOf)
    const arrived = Array.from(partsOf(encodings.ARROW_STREAM(columns, rows, [], 0))).flat()
    assert.deepStrictEqual(valuesOf(columns)(arrived, 0), valuesOf(columns)(rows, 0))
  })
})
