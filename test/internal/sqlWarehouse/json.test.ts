import { assert, describe, it } from "@effect/vitest"
import { Schema } from "effect"
import { partsOf } from "../../../src/internal/sqlWarehouse/json.ts"

const parts = (text: string) => Array.from(partsOf(Buffer.from(text)))

const Rows = Schema.Array(Schema.Array(Schema.NullOr(Schema.String)))

describe("json.partsOf", () => {
  it("parses a chunk of 10,000 rows in parts of at most 1,024 rows", () => {
    const rows = Array.from({ length: 10_000 }, (_, index) => [String(index), `],["\\ é\u2028${index}`, null])
    const read = parts(JSON.stringify(rows))
    assert.deepStrictEqual(read.flat(), rows)
    assert.isAbove(read.length, 3)
    for (const part of read) assert.isAtMost(part.length, 1024)
  })

  it("parses each part when it is pulled", () => {
    const half = `[${`["${"x".repeat(100)}"],`.repeat(2000)}`
    const read = partsOf(Buffer.from(half))
    assert.isAbove((read.next().value as ReadonlyArray<unknown>).length, 100)
    assert.throws(() => Array.from(read))
  })

  it.prop("returns the rows of any JSON_ARRAY chunk", { rows: Rows }, ({ rows }) => {
    assert.deepStrictEqual(parts(JSON.stringify(rows, undefined, rows.length % 3)).flat(), rows as Array<unknown>)
  })

  it.prop(
    "throws for a chunk that is cut off or continues after its end",
    { rows: Rows, at: Schema.Int },
    ({ at, rows }) => {
      const text = JSON.stringify(rows)
      const bytes = Buffer.from(text)
      const broken = bytes.subarray(0, Math.abs(at) % bytes.length)
      assert.throws(() => Array.from(partsOf(broken)))
      assert.throws(() => parts(`${text}x`))
      assert.throws(() => parts(`${text}[]`))
    }
  )

  it("throws for bytes that are not UTF-8, and for JSON other than an array of rows", () => {
    assert.throws(() => Array.from(partsOf(Buffer.from([0x5b, 0x5b, 0x22, 0xff, 0x22, 0x5d, 0x5d]))))
    for (const text of ["", "null", "{}", `"[]"`, "[[}]", "]"]) assert.throws(() => parts(text))
  })
})
