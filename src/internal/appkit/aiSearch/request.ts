/** The query of a front end, within the columns, filters and number of hits that the application allows. */
import { Effect, Schema } from "effect"
import type { Index } from "../../../appkit/AiSearch.ts"
import type { Comparison, Search, Value } from "../../../AiSearch.ts"
import type { HttpFailure } from "../../../http/HttpFailure.ts"
import * as Failure from "../failure.ts"

const Scalar = Schema.Union([Schema.String, Schema.Finite, Schema.BigInt, Schema.Boolean])

export const Query = Schema.Struct({
  queryText: Schema.optional(Schema.String),
  queryVector: Schema.optional(Schema.Array(Schema.Finite)),
  columns: Schema.optional(Schema.Array(Schema.String)),
  numResults: Schema.optional(Schema.Int.check(Schema.isGreaterThan(0))),
  queryType: Schema.optional(Schema.Literals(["ann", "hybrid", "full_text"])),
  filters: Schema.optional(Schema.Record(Schema.String, Schema.Union([Scalar, Schema.Array(Scalar)]))),
  reranker: Schema.optional(Schema.Boolean)
})

export const NextPage = Schema.Struct({ pageToken: Schema.String })

/** A query that an index allows. */
export interface Allowed {
  readonly columns: ReadonlyArray<string>
  readonly queryType: NonNullable<Search["queryType"]>
  readonly rerank: ReadonlyArray<string> | undefined
  readonly search: Search
}

export const defaultMaxResults = 100

/** Returns the query, or fails with a 400 that names what the index does not allow. */
export const allowed = (index: Index, query: typeof Query.Type): Effect.Effect<Allowed, HttpFailure> =>
  Effect.suspend(() => {
    const { maxResults = defaultMaxResults } = index
    const { numResults = Math.min(index.numResults ?? 10, maxResults), queryType = index.queryType ?? "ann" } = query
    const columns = [...new Set(query.columns ?? index.columns)]
    const text = query.queryText || undefined
    const vector = query.queryVector?.length === 0 ? undefined : query.queryVector
    const given = text === undefined ? vector && { vector } : { text, vector }
    const filters = filtersOf(new Set(index.filters), query.filters ?? {})

    if (given === undefined) return refuse("queryText or queryVector is required")
    if (columns.length === 0) return refuse("columns: name at least one, or leave it out")
    const other = columns.find((column) => !index.columns.includes(column))
    if (other !== undefined) return refuse(`columns: this app does not show "${other}"`)
    if (numResults > maxResults) return refuse(`numResults: this app shows at most ${maxResults}`)
    if (typeof filters === "string") return refuse(`filters: ${filters}`)
    if (query.reranker === true && index.rerank === undefined) return refuse("reranker: this app has none")
    const rerank = query.reranker === false ? undefined : index.rerank
    return Effect.succeed({ columns, queryType, rerank, search: { ...given, queryType, numResults, filters } })
  })

const refuse = (what: string) => Effect.fail(Failure.refusal(400, what))

type Filter = Value | ReadonlyArray<Value> | Comparison

const operators = new Set(["<", "<=", ">", ">=", "NOT", "LIKE"])

/** Reads filters such as `{ team: ["a", "b"], "year >=": 2020 }`; a text is the reason of a refusal. */
const filtersOf = (
  columns: ReadonlySet<string>,
  given: Readonly<Record<string, Value | ReadonlyArray<Value>>>
): Readonly<Record<string, Filter>> | string => {
  const equal = new Map<string, Filter>()
  const compared = new Map<string, Record<string, unknown>>()
  for (const [key, value] of Object.entries(given)) {
    const [column = "", ...operator] = key.split(" ")
    if (!columns.has(column)) return `this app does not filter by "${column}"`
    if (operator.length === 0) {
      if (Array.isArray(value) && value.length === 0) return `"${key}" has no value`
      equal.set(column, value)
    } else if (!operators.has(operator.join(" "))) {
      return `"${key}" has an unknown operator`
    } else if (Array.isArray(value)) {
      return `"${key}" takes one value`
    } else {
      compared.set(column, { ...compared.get(column), [operator.join(" ")]: value })
    }
  }
  const both = [...equal.keys()].find((column) => compared.has(column))
  return both === undefined ? Object.fromEntries([...equal, ...compared]) : `"${both}" is both equal and compared`
}
