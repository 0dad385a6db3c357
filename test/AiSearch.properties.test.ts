import { assert, layer } from "@effect/vitest"
import type { AiSearch } from "effect-databricks"
import { Effect, Schema } from "effect"
import { idsOf, Live, Local, seeds } from "./fixtures/search.ts"

const orders = ["<", "<=", ">", ">="] as const

const Lang = Schema.Literals(["en", "de", "fr", "es"])
const Year = Schema.Literals([2022, 2023, 2024, 2025])
const Tag = Schema.Literals(["a", "b", "d"])
const Body = Schema.Literals(["money", "in", "mon"])

const OfYear = Schema.Union([
  Year,
  Schema.Struct({ NOT: Year }),
  Schema.Struct({ ">=": Year }),
  Schema.Struct({ ">": Year, "<=": Year }),
  Schema.Struct({ "<": Year })
])

const many = <S extends Schema.Constraint>(item: S) =>
  Schema.Array(item).check(Schema.isMinLength(1), Schema.isMaxLength(3))

const Filters = Schema.Struct({
  lang: Schema.optionalKey(Schema.Union([Lang, many(Lang), Schema.Struct({ NOT: Lang })])),
  year: Schema.optionalKey(Schema.Union([OfYear, many(Year)])),
  paid: Schema.optionalKey(Schema.Boolean),
  tags: Schema.optionalKey(Schema.Union([Tag, many(Tag)])),
  body: Schema.optionalKey(Schema.Struct({ LIKE: Body }))
})

const AnyOf = Schema.Struct({
  lang: Lang,
  year: OfYear,
  tags: Schema.optionalKey(Tag)
})

type Row = Readonly<Record<string, unknown>>

const equals = (actual: unknown, value: unknown) => (Array.isArray(actual) ? actual.includes(value) : actual === value)

/** Whether a row meets each comparison of a filter. */
const comparisonsOf = (column: string, filter: unknown): ReadonlyArray<(row: Row) => boolean> => {
  if (Array.isArray(filter)) return [(row) => filter.some((value) => equals(row[column], value))]
  if (typeof filter !== "object" || filter === null) return [(row) => equals(row[column], filter)]
  return Object.entries(filter).map(([operator, value]) => (row: Row) => {
    const actual = row[column]
    if (operator === "NOT") return !equals(actual, value)
    if (operator === "LIKE") return String(actual).split(" ").includes(String(value))
    const order = Number(actual) - Number(value)
    return [order < 0, order <= 0, order > 0, order >= 0][orders.indexOf(operator as (typeof orders)[number])]!
  })
}

const conditions = (filters: object) =>
  Object.entries(filters).flatMap(([column, filter]) => comparisonsOf(column, filter))

layer(Local, { timeout: "120 seconds", excludeTestServices: true })("AiSearch", (it) => {
  it.layer(Live)("filters", (it) => {
    it.effect.prop(
      "find exactly the rows that meet each filter, and one condition of anyOf",
      { filters: Filters, anyOf: Schema.UndefinedOr(AnyOf) },
      ({ anyOf, filters }) =>
        Effect.gen(function* () {
          const expected = seeds.filter(
            (row) =>
              conditions(filters).every((meets) => meets(row)) &&
              (anyOf === undefined || conditions(anyOf).some((meets) => meets(row)))
          )
          const search: AiSearch.Search = { vector: [1, 1], filters, anyOf }
          assert.sameMembers(
            yield* idsOf(search),
            expected.map(({ id }) => id)
          )
        })
    )
  })
})
