import { assert, describe, it } from "@effect/vitest"
import { Result } from "effect"
import { SqlParameter } from "effect-databricks"

const bound = (input: SqlParameter.Input) => {
  const { type, value } = Result.getOrThrow(SqlParameter.bind({ x: input }))[0]!
  return [type, value]
}

const problem = (input: SqlParameter.Input) => {
  const result = SqlParameter.bind({ x: input })
  return Result.isFailure(result) ? result.failure.message : `bound as ${JSON.stringify(bound(input))}`
}

describe("SqlParameter", () => {
  it("infers STRING, BOOLEAN, BIGINT and TIMESTAMP from plain values", () => {
    assert.deepStrictEqual(bound("x"), ["STRING", "x"])
    assert.deepStrictEqual(bound(""), ["STRING", ""])
    assert.deepStrictEqual(bound(true), ["BOOLEAN", "true"])
    assert.deepStrictEqual(bound(9007199254740993n), ["BIGINT", "9007199254740993"])
    assert.deepStrictEqual(bound(null), [undefined, null])
    assert.deepStrictEqual(bound(new Date("2026-01-31T12:00:00.250Z")), ["TIMESTAMP", "2026-01-31T12:00:00.250Z"])
  })

  it("binds a number as INT, else BIGINT, else DOUBLE", () => {
    assert.deepStrictEqual(bound(10), ["INT", "10"])
    assert.deepStrictEqual(bound(-0), ["INT", "0"])
    assert.deepStrictEqual(bound(2 ** 31 - 1), ["INT", "2147483647"])
    assert.deepStrictEqual(bound(2 ** 31), ["BIGINT", "2147483648"])
    assert.deepStrictEqual(bound(-(2 ** 53) + 1), ["BIGINT", "-9007199254740991"])
    assert.deepStrictEqual(bound(2 ** 53), ["DOUBLE", "9007199254740992"])
    assert.deepStrictEqual(bound(0.1), ["DOUBLE", "0.1"])
    assert.deepStrictEqual(bound(Number.NaN), ["DOUBLE", "NaN"])
  })

  it("takes the precision and scale of a decimal from its digits", () => {
    assert.deepStrictEqual(bound(SqlParameter.decimal("12.50")), ["DECIMAL(4,2)", "12.50"])
    assert.deepStrictEqual(bound(SqlParameter.decimal("-0.05")), ["DECIMAL(2,2)", "-0.05"])
    assert.deepStrictEqual(bound(SqlParameter.decimal("0")), ["DECIMAL(1,0)", "0"])
    assert.deepStrictEqual(bound(SqlParameter.decimal(7n)), ["DECIMAL(1,0)", "7"])
    assert.match(problem(SqlParameter.decimal("1e3")), /a decimal such as/)
    assert.match(problem(SqlParameter.decimal("9".repeat(39))), /at most 38 digits/)
  })

  it("binds a typed NULL with its type", () => {
    assert.deepStrictEqual(bound(SqlParameter.date(null)), ["DATE", null])
    assert.deepStrictEqual(bound(SqlParameter.int(null)), ["INT", null])
  })

  it("refuses a value that does not match its type, and names the parameter", () => {
    for (const input of [
      SqlParameter.date("2026-02-30"),
      SqlParameter.date("31.01.2026"),
      SqlParameter.timestamp("2026-01-31T25:00:00Z"),
      SqlParameter.timestamp("yesterday"),
      SqlParameter.timestamp(new Date("x")),
      new Date("x"),
      SqlParameter.int(2 ** 31),
      SqlParameter.int(1.5),
      SqlParameter.bigint(2 ** 53),
      SqlParameter.bigint(2n ** 63n),
      2n ** 63n
    ]) {
      assert.match(problem(input), /^The parameter :x cannot be sent: /)
    }
    for (const value of [undefined, { toString: () => "1" }, [1], Symbol.iterator]) {
      // Callers without types can give anything.
      assert.match(problem(value as never), /^The parameter :x cannot be sent: it must be/)
      assert.match(problem(SqlParameter.double(value as never)), /^The parameter :x cannot be sent: a DOUBLE must be/)
    }
    assert.match(problem(SqlParameter.string(1 as never)), /a STRING must be a string/)
    assert.deepStrictEqual(bound(SqlParameter.timestamp("2026-01-31 12:00")), ["TIMESTAMP", "2026-01-31 12:00"])
  })

  it("refuses a parameter name that is not an identifier", () => {
    for (const name of ["", "1a", "a-b", "a b", ":a", "ä"]) {
      const result = SqlParameter.bind({ ok: 1, [name]: 1 })
      assert.isTrue(Result.isFailure(result) && result.failure.parameter === name, name)
    }
  })
})
