import { assert, describe, it } from "@effect/vitest"
import { Schema } from "effect"
import { isExact, isRounded, parse, plain, stringify } from "../../../src/internal/workspace/exactJson.ts"
import { areEqual, Parts, written } from "../../fixtures/numbers.ts"

const refused = () => "refused"

describe("exactJson.isExact", () => {
  it("is true for the numbers that a double holds digit by digit", () => {
    for (const text of [
      "0",
      "-0",
      "0.0",
      "1.10",
      "1e5",
      "-9007199254740991",
      "0.1",
      "1.5e300",
      "5e-324",
      "12.00",
      "1e21"
    ]) {
      assert.isTrue(isExact(text), text)
    }
  })

  it("is false for other digits, an integer beyond 2^53, overflow, underflow and text", () => {
    for (const text of [
      "9007199254740993",
      "9007199254740992",
      "10000000000000000",
      "9007199254740992.00",
      "9007199254740993e0",
      "12345678901234567.89",
      "0.10000000000000000001",
      "4.9e-324",
      "1e400",
      "1e-400",
      "",
      " 1",
      "abc",
      "NaN",
      "0x10"
    ]) {
      assert.isFalse(isExact(text), text)
    }
  })

  it.prop(
    "is true only if the number prints as the same number",
    { parts: Parts },
    ({ parts }) => {
      const text = written(parts)
      if (isExact(text)) assert.isTrue(areEqual(String(Number(text)), text), text)
      assert.isTrue(areEqual(plain(text), text), text)
    },
    { arbitrary: { runs: 2_000 } }
  )

  it.prop("is true for the text of every double that is not an integer beyond 2^53", { n: Schema.Finite }, ({ n }) => {
    assert.strictEqual(isExact(String(n)), !isRounded(n))
  })
})

describe("exactJson.parse", () => {
  it("replaces numbers that a double does not hold wherever they stand, and keeps all else", () => {
    const text =
      `{"a":1121234567890123457,"b":[-1e400, 1.50,\\n0.12345678901234567891],"c":"[9007199254740993","__proto__":12345678901234567890}`.replace(
        "\\n",
        "\n"
      )
    const parsed = parse(text, (digits, key) => [key, digits])
    assert.deepStrictEqual(
      parsed,
      Object.fromEntries<unknown>([
        ["a", ["a", "1121234567890123457"]],
        ["b", [["0", "-1" + "0".repeat(400)], 1.5, ["2", "0.12345678901234567891"]]],
        ["c", "[9007199254740993"],
        ["__proto__", ["__proto__", "12345678901234567890"]]
      ])
    )
    assert.strictEqual(parse("9007199254740993", String), "9007199254740993")
    assert.strictEqual(parse(" \t-9007199254740993\n", String), "-9007199254740993")
  })

  it.prop(
    "parses as JSON.parse does where every number is exact",
    { json: Schema.Json, pretty: Schema.Boolean },
    (_) => {
      const text = JSON.stringify(_.json, undefined, _.pretty ? 2 : 0)
      if (/\d{16}/.test(text)) return
      assert.deepStrictEqual(parse(text, refused), JSON.parse(text))
    }
  )

  it("throws for text that is not JSON, with an inexact number before it and without", () => {
    for (const text of ["", "{", "[1", "[9007199254740993", "01", "[1e]", "NaN"])
      assert.throws(() => parse(text, String))
  })
})

describe("exactJson.stringify", () => {
  it("writes a bigint as a number, and asks about an integer beyond 2^53", () => {
    assert.strictEqual(
      stringify({ id: 2n ** 70n, x: [1.5, 1e300, null] }, refused),
      `{"id":${2n ** 70n},"x":[1.5,1e+300,null]}`
    )
    assert.strictEqual(
      stringify({ id: 2 ** 60 }, (name) => `${name}!`),
      '{"id":"id!"}'
    )
  })
})
