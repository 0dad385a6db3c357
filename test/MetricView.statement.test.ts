import { assert, describe, it } from "@effect/vitest"
import { Result, Schema } from "effect"
import { MetricRequest, MetricView, MetricViewError } from "effect-databricks"
import { tokensOf } from "../src/internal/sql/tokens.ts"

const source = "main.shop.sales"
const build = (request: MetricRequest.MetricRequest) => Result.getOrThrow(MetricView.statement(source, request))

/** Texts that break out of quotes, comments and markers where they are pasted. */
const Text = Schema.Array(
  Schema.Literals([
    "`",
    "``",
    "'",
    '"',
    "--",
    "/*",
    "*/",
    "\\",
    ";",
    ":f_0",
    ":",
    "$$",
    "%",
    "_",
    ")",
    ",",
    " ",
    "ö",
    "x"
  ])
)
const names = (drawn: ReadonlyArray<ReadonlyArray<string>>) => [...new Set(["m", ...drawn.map((_) => _.join(""))])]

const operators = ["equals", "notEquals", "gt", "contains", "notContains", "in", "notIn", "set", "notSet"] as const

/** A request with these names and values, of a form that depends on their number only. */
const requestOf = (
  [measure = "", ...dimensions]: ReadonlyArray<string>,
  values: ReadonlyArray<string | number>,
  drawn: ReadonlyArray<(typeof operators)[number]>
): MetricRequest.MetricRequest => {
  const predicates = drawn.map((operator, index): MetricRequest.Filter => {
    const [value = "v"] = values.slice(index)
    const given = { set: [], notSet: [], in: [value, ...values], notIn: [value], contains: [String(value)] }
    return {
      member: dimensions[index % Math.max(dimensions.length, 1)] ?? measure,
      operator,
      values:
        operator in given ? given[operator as keyof typeof given] : [operator === "notContains" ? String(value) : value]
    }
  })
  const filter = predicates
    .slice(1, 8)
    .reduce<MetricRequest.Filter | undefined>(
      (inner, one, index) => inner && (index % 2 === 0 ? { and: [inner, one] } : { or: [one, inner, one] }),
      predicates[0]
    )
  return {
    measures: [measure],
    dimensions,
    filter,
    timeGrain: dimensions.length > 0 ? "month" : undefined,
    timeDimension: dimensions[0],
    orderBy: dimensions.length > 1 ? [{ field: dimensions[1]!, direction: "DESC" }, { field: measure }] : undefined,
    limit: 10
  }
}

/** The names in backticks, and the statement with a mark in the place of each. */
const readBack = (text: string) => {
  const identifiers: Array<string> = []
  const rest: Array<string> = []
  let end = -1
  for (const token of tokensOf(text)) {
    const written = text.slice(token.start, token.end)
    if (token.kind !== "quoted") rest.push(`${token.kind} ${written}`)
    // A doubled backtick ends one token and begins the next.
    else if (token.start === end) identifiers.push(`${identifiers.pop()}\`${written.slice(1, -1)}`)
    else {
      identifiers.push(written.slice(1, -1))
      rest.push("name")
    }
    end = token.kind === "quoted" ? token.end : -1
  }
  return { identifiers, rest }
}

describe("MetricView.statement", () => {
  it("selects measures and dimensions, and groups by all dimensions", () => {
    assert.deepStrictEqual(build({ measures: ["a", "b"] }), {
      text: "SELECT MEASURE(`a`) AS `a`, MEASURE(`b`) AS `b` FROM `main`.`shop`.`sales`",
      parameters: {}
    })
    assert.strictEqual(
      build({ measures: ["a"], dimensions: ["d", "t"], timeGrain: "month", timeDimension: "t" }).text,
      "SELECT MEASURE(`a`) AS `a`, `d`, date_trunc('MONTH', `t`) AS `t` FROM `main`.`shop`.`sales` GROUP BY ALL"
    )
    assert.strictEqual(
      build({ measures: ["a"], dimensions: ["t"], timeDimension: "t" }).text,
      "SELECT MEASURE(`a`) AS `a`, `t` FROM `main`.`shop`.`sales` GROUP BY ALL"
    )
  })

  it("orders by aliases, and by the remaining dimensions where there is a limit", () => {
    const request = { measures: ["a"], dimensions: ["d", "e", "f"], orderBy: [{ field: "e" }] }
    const order = (more: Partial<MetricRequest.MetricRequest>) =>
      build({ ...request, ...more }).text.replace(/^.*GROUP BY ALL ?/, "")
    assert.strictEqual(order({}), "ORDER BY `e` ASC")
    assert.strictEqual(order({ limit: 5 }), "ORDER BY `e` ASC, `d`, `f` LIMIT 5")
    assert.strictEqual(
      order({ limit: 5, orderBy: [{ field: "a", direction: "DESC" }] }),
      "ORDER BY `a` DESC, `d`, `e`, `f` LIMIT 5"
    )
    assert.strictEqual(order({ limit: 5, orderBy: [] }), "ORDER BY `d`, `e`, `f` LIMIT 5")
    assert.strictEqual(
      build({ measures: ["a"], limit: 5 }).text,
      "SELECT MEASURE(`a`) AS `a` FROM `main`.`shop`.`sales` LIMIT 5"
    )
  })

  it("writes each operator, binds each value, and puts groups in parentheses", () => {
    const where = (filter: MetricRequest.Filter) => {
      const { parameters, text } = build({ measures: ["a"], filter })
      return [text.replace(/^.* WHERE /, ""), ...Object.values(parameters ?? {})]
    }
    const is = (operator: MetricRequest.Operator, ...values: ReadonlyArray<string | number>) =>
      where({ member: "d", operator, values })
    assert.deepStrictEqual(is("equals", "x"), ["`d` = :f_0", "x"])
    assert.deepStrictEqual(is("notEquals", 1), ["`d` <> :f_0", 1])
    assert.deepStrictEqual(is("gt", 1.5), ["`d` > :f_0", 1.5])
    assert.deepStrictEqual(is("gte", 1), ["`d` >= :f_0", 1])
    assert.deepStrictEqual(is("lt", 1), ["`d` < :f_0", 1])
    assert.deepStrictEqual(is("lte", 1), ["`d` <= :f_0", 1])
    assert.deepStrictEqual(is("contains", "5%_\\"), ["`d` LIKE :f_0", "%5\\%\\_\\\\%"])
    assert.deepStrictEqual(is("notContains", "x"), ["`d` NOT LIKE :f_0", "%x%"])
    assert.deepStrictEqual(is("in", "x", 2), ["`d` IN (:f_0, :f_1)", "x", 2])
    assert.deepStrictEqual(is("notIn", "x"), ["`d` NOT IN (:f_0)", "x"])
    assert.deepStrictEqual(is("set"), ["`d` IS NOT NULL"])
    assert.deepStrictEqual(is("notSet"), ["`d` IS NULL"])
    const [d, e] = ["d", "e"].map((member) => ({ member, operator: "equals", values: [member] }) as const)
    assert.deepStrictEqual(where({ and: [{ or: [d!, e!] }, d!] }), [
      "((`d` = :f_0 OR `e` = :f_1) AND `d` = :f_2)",
      "d",
      "e",
      "d"
    ])
    assert.deepStrictEqual(where({ or: [d!] }), ["(`d` = :f_0)", "d"])
  })

  it.prop(
    "writes any name as one quoted identifier, and any value as a bound parameter",
    {
      drawn: Schema.Array(Text).check(Schema.isMaxLength(6)),
      values: Schema.Array(Schema.Union([Text, Schema.Finite])).check(Schema.isMaxLength(6)),
      operators: Schema.Array(Schema.Literals(operators)).check(Schema.isMaxLength(8))
    },
    ({ drawn, operators, values }) => {
      const given = names(drawn.filter((_) => _.length > 0))
      const bound = values.map((value) => (typeof value === "number" ? value : value.join("")))
      const plainNames = given.map((_, index) => `n${index}`)
      const plainValues = bound.map((value) => (typeof value === "number" ? 1 : "v"))
      const { parameters = {}, text } = build(requestOf(given, bound, operators))
      const plain = build(requestOf(plainNames, plainValues, operators))

      // The statement is that of harmless names and values, except for what stands in backticks.
      const [read, expected] = [readBack(text), readBack(plain.text)]
      assert.deepStrictEqual(read.rest, expected.rest)
      assert.deepStrictEqual(
        read.identifiers.map((name) => (given.includes(name) ? plainNames[given.indexOf(name)] : name)),
        expected.identifiers
      )
      assert.deepStrictEqual(Object.keys(parameters), Object.keys(plain.parameters ?? {}))
      for (const value of Object.values(parameters)) {
        const shown =
          typeof value === "string" ? value.replace(/^%(.*)%$/, "$1").replaceAll(/\\([\\%_])/g, "$1") : value
        assert.isTrue([...bound, "v"].some((one) => one === value || String(one) === shown))
      }
    },
    { arbitrary: { runs: 500 } }
  )

  // In quadratic time it would take half an hour, and stop the server for all users.
  it("binds 100,000 values in linear time", () => {
    const values = Array.from({ length: MetricRequest.limits.values }, () => "EMEA")
    const predicate = { member: "region", operator: "in", values } as const
    const filter = { and: Array.from({ length: MetricRequest.limits.children }, () => predicate) }
    const { parameters = {} } = build({ measures: ["m"], filter })
    assert.lengthOf(Object.keys(parameters), MetricRequest.limits.values * MetricRequest.limits.children)
  })

  it("quotes a source with backticks", () =>
    assert.match(
      Result.getOrThrow(MetricView.statement("a.b`; DROP TABLE x --.c", { measures: ["m"] })).text,
      /FROM `a`\.`b``; DROP TABLE x --`\.`c`$/
    ))

  it("refuses what is not a request", () => {
    const error = Result.getOrThrow(Result.flip(MetricView.statement(source, { measures: [] })))
    assert.instanceOf(error, MetricViewError.MetricRequestError)
    assert.match(error.message, /^The request of the metric view main\.shop\.sales is refused: .* at \["measures"\]$/)
  })
})
