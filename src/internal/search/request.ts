/** The body of a query: the columns and the reranker of the code, and the search with its filters. */
import { Effect, Predicate } from "effect"
import type { Comparison, Criteria, Search, Value } from "../../AiSearch.ts"
import { type DatabricksError, InvalidRequestError, make as databricksError } from "../../DatabricksError.ts"
import * as ExactJson from "../workspace/exactJson.ts"

/** Encodes a query. Fails, and so sends nothing, where a part of the search would be lost or mean something else. */
export const encode = (
  index: string,
  columns: ReadonlyArray<string>,
  rerank: ReadonlyArray<string> | undefined,
  { queryType = "ann", text, vector, ...criteria }: Search
): Effect.Effect<string, DatabricksError> =>
  Effect.suspend(() => {
    const wrong: Array<string> = []
    const refuse = (what: string) => void wrong.push(what)
    if (columns.length === 0) refuse("it has no columns: give the option columns, or a Schema with fields")
    if (!text && (vector === undefined || vector.length === 0)) refuse("it has neither a text nor a vector")
    const exact = (value: unknown) =>
      ExactJson.stringify(value, (name, number) => {
        if (!Number.isFinite(number)) refuse(`"${name}" is ${String(number)}, which JSON cannot represent`)
        return number
      })
    const filters = filtersOf(criteria, refuse)
    const body = exact({
      columns,
      query_type: queryType.toUpperCase(),
      query_text: text || undefined,
      query_vector: vector?.length === 0 ? undefined : vector,
      filters_json: filters.size === 0 ? undefined : exact(Object.fromEntries(filters)),
      num_results: criteria.numResults,
      score_threshold: criteria.scoreThreshold,
      reranker: rerank && { model: "databricks_reranker", parameters: { columns_to_rerank: rerank } },
      // Asks for the response time.
      debug_level: 1
    })
    return wrong.length === 0
      ? Effect.succeed(body)
      : Effect.fail(
          databricksError(
            new InvalidRequestError({ message: `The query of the index ${index} was not sent: ${wrong[0]}` })
          )
        )
  })

type Refuse = (what: string) => void

/** The filters in Databricks' form: `{ "year >=": 2024, "a OR b <": [1, 2] }`. */
const filtersOf = ({ anyOf, filters = {} }: Criteria, refuse: Refuse): ReadonlyMap<string, unknown> => {
  const all = new Map<string, unknown>()
  if (!isOfColumns(filters) || (anyOf !== undefined && !isOfColumns(anyOf))) {
    refuse("filters and anyOf are objects whose names are columns")
    return all
  }
  for (const [column, filter] of Object.entries(filters)) {
    if (Array.isArray(filter)) {
      if (filter.length === 0) refuse(`the filter of "${column}" is an empty list, which no row matches`)
      all.set(
        nameOf(column, refuse),
        filter.map((value: unknown) => valueOf(column, value, refuse))
      )
    } else {
      for (const [key, value] of conditionsOf(column, filter as Value | Comparison, refuse)) all.set(key, value)
    }
  }
  if (anyOf !== undefined) {
    const conditions = Object.entries(anyOf).flatMap(([column, filter]) => conditionsOf(column, filter, refuse))
    // A single condition could replace one of `filters`, because its key has no OR.
    if (conditions.length < 2) refuse("anyOf has fewer than two conditions: put a single one into filters")
    const keys = conditions.map(([key]) => key)
    all.set(
      keys.join(" OR "),
      conditions.map(([, value]) => value)
    )
  }
  return all
}

// A list or a Map, such as one that a request sent, has no entries by column and would filter nothing.
const isOfColumns = (given: unknown) => Predicate.isObject(given) && !Predicate.isIterable(given)

const operators = new Set(["<", "<=", ">", ">=", "NOT", "LIKE"])

const conditionsOf = (
  column: string,
  filter: Value | Comparison,
  refuse: Refuse
): ReadonlyArray<readonly [key: string, value: unknown]> => {
  const name = nameOf(column, refuse)
  if (typeof filter !== "object" || filter === null) return [[name, valueOf(column, filter, refuse)]]
  const comparisons = Object.entries(filter)
  if (comparisons.length === 0) refuse(`the filter of "${column}" has no comparison`)
  return comparisons.map(([operator, value]) => {
    if (!operators.has(operator)) refuse(`the filter of "${column}" has the unknown operator "${operator}"`)
    return [`${name} ${operator}`, valueOf(column, value, refuse)]
  })
}

// A space would end the name, and what follows it would be an operator.
const nameOf = (column: string, refuse: Refuse): string => {
  if (!/^\S+$/.test(column)) refuse(`"${column}" is not the name of a column: it has a space, or is empty`)
  return column
}

const valueOf = (column: string, value: unknown, refuse: Refuse): unknown => {
  if (!["string", "number", "bigint", "boolean"].includes(typeof value)) {
    const given = value === null ? "null" : `a value of type ${typeof value}`
    refuse(`the filter of "${column}" has ${given}, which no row matches`)
  }
  if (ExactJson.isRounded(value)) refuse(`the filter of "${column}" is not exact: give an integer as bigint`)
  return value
}
