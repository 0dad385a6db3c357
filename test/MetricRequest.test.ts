import { assert, describe, it } from "@effect/vitest"
import { Result, Schema } from "effect"
import { MetricRequest } from "effect-databricks"

const { limits } = MetricRequest
const decode = Schema.decodeUnknownResult(MetricRequest.MetricRequest)
/** Whether the request is accepted, and unchanged. */
const accepts = (request: unknown) => {
  assert.deepStrictEqual(Result.getOrThrow(decode(request)), request)
  return true
}
const refusalOf = (request: unknown) => Result.getOrThrow(Result.flip(decode(request))).message

const measures = ["m"]
const many = (count: number) => Array.from({ length: count }, (_, index) => `n${index}`)
const leaf = { member: "d", operator: "set" }
const nested = (depth: number): unknown => (depth === 0 ? leaf : { and: [nested(depth - 1)] })

describe("MetricRequest", () => {
  it("accepts the form that useMetricView sends, and encodes it unchanged", () => {
    const request = {
      measures: ["revenue"],
      dimensions: ["region", "day"],
      filter: { and: [{ member: "region", operator: "in", values: ["EMEA", 7] }, { or: [leaf] }] },
      timeGrain: "month",
      timeDimension: "day",
      orderBy: [{ field: "revenue", direction: "DESC" }, { field: "region" }],
      limit: 10
    }
    assert.isTrue(accepts(request))
    assert.deepStrictEqual(
      Schema.encodeSync(MetricRequest.MetricRequest)(Result.getOrThrow(decode(request))) as unknown,
      request
    )
    assert.isTrue(accepts({ measures: ["größe `x` 'y'"], dimensions: [] }))
  })

  it("accepts each limit, and refuses one more", () => {
    assert.isTrue(accepts({ measures: many(limits.measures) }))
    assert.match(refusalOf({ measures: many(limits.measures + 1) }), /at \["measures"\]/)
    assert.isTrue(accepts({ measures, dimensions: many(limits.dimensions) }))
    assert.match(refusalOf({ measures, dimensions: many(limits.dimensions + 1) }), /at \["dimensions"\]/)
    const orderBy = (count: number) => ({
      measures: many(count),
      orderBy: many(count).map((field) => ({ field }))
    })
    assert.isTrue(accepts(orderBy(limits.orderBy)))
    assert.match(refusalOf(orderBy(limits.orderBy + 1)), /at \["orderBy"\]/)
    assert.isTrue(accepts({ measures, limit: limits.limit }))
    for (const limit of [limits.limit + 1, 0, -1, 1.5, "5"])
      assert.match(refusalOf({ measures, limit }), /at \["limit"\]/)
    assert.isTrue(accepts({ measures, filter: { or: many(limits.children).map(() => leaf) } }))
    assert.match(
      refusalOf({ measures, filter: { or: many(limits.children + 1).map(() => leaf) } }),
      /at \["filter"\]\["or"\]/
    )
    const values = (count: number) => ({ measures, filter: { member: "d", operator: "in", values: many(count) } })
    assert.isTrue(accepts(values(limits.values)))
    assert.match(refusalOf(values(limits.values + 1)), /at \["filter"\]\["values"\]/)
    assert.isTrue(accepts({ measures, filter: nested(limits.depth) }))
    assert.match(refusalOf({ measures, filter: nested(limits.depth + 1) }), /at most 8 levels of and and or/)
  })

  it("refuses a filter of any depth without recursion", () => {
    let filter: unknown = leaf
    for (let depth = 0; depth < 100_000; depth++) filter = { and: [filter] }
    assert.match(refusalOf({ measures, filter }), /at most 8 levels of and and or/)
  })

  it("refuses empty groups, and filters that are neither a predicate nor one group", () => {
    for (const group of ["and", "or"])
      assert.match(refusalOf({ measures, filter: { [group]: [] } }), new RegExp(`\\["filter"\\]\\["${group}"\\]`))
    for (const filter of [
      {},
      { member: "d" },
      { operator: "set" },
      { values: [1] },
      { and: [leaf], or: [leaf] },
      { ...leaf, and: [leaf] },
      { member: "d", and: [leaf] },
      { values: [1], or: [leaf] }
    ]) {
      assert.match(
        refusalOf({ measures, filter }),
        /is not a filter: it has a member and an operator, or and, or or\n {2}at \["filter"\]$/
      )
    }
  })

  it("refuses a wrong number of values, text for no text, and an unknown operator", () => {
    const filter = (operator: string, ...values: ReadonlyArray<unknown>) => ({
      measures,
      filter: { member: "d", operator, values }
    })
    for (const operator of ["set", "notSet"]) {
      assert.isTrue(accepts(filter(operator)))
      assert.match(refusalOf(filter(operator, 1)), /has no values/)
    }
    for (const operator of ["equals", "notEquals", "gt", "gte", "lt", "lte"]) {
      assert.isTrue(accepts(filter(operator, 1)))
      assert.isTrue(accepts(filter(operator, "1")))
      assert.match(refusalOf(filter(operator)), /has one value, not 0/)
      assert.match(refusalOf(filter(operator, 1, 2)), /has one value, not 2/)
      assert.match(refusalOf({ measures, filter: { member: "d", operator } }), /has one value, not 0/)
    }
    for (const operator of ["in", "notIn"]) {
      assert.isTrue(accepts(filter(operator, "a", 2)))
      assert.match(refusalOf(filter(operator)), /has at least one value/)
    }
    for (const operator of ["contains", "notContains"]) {
      assert.isTrue(accepts(filter(operator, "")))
      assert.match(refusalOf(filter(operator, 1)), /is text\n {2}at \["filter"\]\["values"\]\[0\]/)
    }
    for (const value of [null, true, Number.NaN, Infinity, {}])
      assert.match(refusalOf(filter("equals", value)), /\["values"\]\[0\]/)
    assert.match(refusalOf(filter("LIKE", "x")), /at \["filter"\]\["operator"\]/)
  })

  it("refuses fields of other names at every level", () => {
    assert.match(refusalOf({ measures, filters: leaf }), /is not a field of a metric request\n {2}at \["filters"\]/)
    assert.match(refusalOf({ measures, filter: { ...leaf, valeus: [1] } }), /at \["filter"\]\["valeus"\]/)
    assert.match(
      refusalOf({ measures, filter: { or: [{ ...leaf, not: true }] } }),
      /at \["filter"\]\["or"\]\[0\]\["not"\]/
    )
    assert.match(refusalOf({ measures, orderBy: [{ field: "m", dir: "DESC" }] }), /at \["orderBy"\]\[0\]\["dir"\]/)
    assert.match(refusalOf(JSON.parse('{ "measures": ["m"], "__proto__": 1 }')), /at \["__proto__"\]/)
  })

  it("refuses names with control characters, empty ones, longer ones than 255, and repeated ones", () => {
    for (const name of ["", "a\nb", "a\u0000", "a\u0085b", "x".repeat(256)]) {
      assert.match(refusalOf({ measures: [name] }), /at \["measures"\]\[0\]/)
      assert.match(refusalOf({ measures, dimensions: [name] }), /at \["dimensions"\]\[0\]/)
      assert.match(refusalOf({ measures, filter: { ...leaf, member: name } }), /at \["filter"\]\["member"\]/)
    }
    assert.isTrue(accepts({ measures: ["x".repeat(255)] }))
    assert.match(refusalOf({ measures: ["a", "a"] }), /"a" stands twice in measures and dimensions/)
    assert.match(refusalOf({ measures: ["a"], dimensions: ["a"] }), /"a" stands twice in measures and dimensions/)
  })

  it("refuses an order or a time dimension that is not chosen, and an unknown time grain", () => {
    const dimensions = ["d", "t"]
    assert.match(refusalOf({ measures, dimensions, orderBy: [{ field: "x" }] }), /at \["orderBy"\]\[0\]\["field"\]/)
    assert.match(refusalOf({ measures, orderBy: [{ field: "m" }, { field: "m" }] }), /"m" stands twice/)
    assert.match(
      refusalOf({ measures, orderBy: [{ field: "m", direction: "desc" }] }),
      /at \["orderBy"\]\[0\]\["direction"\]/
    )
    assert.match(refusalOf({ measures, dimensions, timeGrain: "day" }), /timeGrain needs a timeDimension/)
    assert.match(refusalOf({ measures, dimensions, timeDimension: "x" }), /at \["timeDimension"\]/)
    assert.match(
      refusalOf({ measures, dimensions, timeDimension: "t", timeGrain: "day', x) --" }),
      /at \["timeGrain"\]/
    )
    for (const timeGrain of ["year", "quarter", "month", "week", "day", "hour", "minute", "second"]) {
      assert.isTrue(accepts({ measures, dimensions, timeDimension: "t", timeGrain }))
    }
  })
})

describe("MetricRequest.make", () => {
  const own = Schema.decodeUnknownResult(MetricRequest.make({ measures: ["m"], dimensions: ["d"] }))

  it("refuses the names of other columns", () => {
    assert.isTrue(Result.isSuccess(own({ measures: ["m"], dimensions: ["d"], filter: leaf })))
    for (const request of [
      { measures: ["d"] },
      { measures: ["m"], dimensions: ["m"] },
      { measures: ["m"], filter: { ...leaf, member: "m" } },
      { measures: ["m"], filter: { or: [{ ...leaf, member: "toString" }] } },
      { measures: ["m"], dimensions: ["d"], timeDimension: "x" }
    ]) {
      assert.isTrue(Result.isFailure(own(request)), JSON.stringify(request))
    }
  })
})
