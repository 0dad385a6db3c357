/** A query of an index as SQL: words by `tsvector`, vectors by cosine, both by reciprocal rank fusion. */
import type { Index } from "../../LocalSearch.ts"
import * as Replies from "../http/replies.ts"
import { type Command, quoted } from "../postgres/session.ts"
import { whereOf } from "./filters.ts"

/** The body of a query. */
export interface Query {
  readonly columns: ReadonlyArray<string>
  readonly query_type?: string | undefined
  readonly query_text?: string | undefined
  readonly query_vector?: ReadonlyArray<number> | undefined
  readonly filters_json?: string | undefined
  readonly num_results?: number | undefined
  readonly score_threshold?: number | undefined
}

// The constant of reciprocal rank fusion.
const k = 60

/** Returns the statement whose rows are JSON arrays of the columns and the score; throws a refusal. */
export const commandOf = (index: Index, query: Query): Command => {
  const values: Array<string> = []
  const bind = (value: string) => `$${values.push(value)}`
  const type = query.query_type ?? "ANN"
  if (!["ANN", "HYBRID", "FULL_TEXT"].includes(type)) throw Replies.invalidParameter(`Invalid query type: ${type}`)
  const { query_text: text, query_vector: given } = query
  const vector = given ?? (text === undefined || type === "FULL_TEXT" ? undefined : index.embed?.(text))
  if (text === undefined && (vector === undefined || type !== "ANN")) {
    throw Replies.invalidParameter("Either query_text or query_vector must be specified for this query type.")
  }

  const byWords = () => {
    const document = `to_tsvector('simple', concat_ws(' ', ${(index.text ?? []).map(quoted).join(", ") || "''"}))`
    const words = `replace(plainto_tsquery('simple', ${bind(text ?? "")})::text, '&', '|')::tsquery`
    return `CASE WHEN ${document} @@ ${words} THEN ts_rank(${document}, ${words})::float8 END`
  }
  const byVector = () => {
    if (index.vector === undefined) throw Replies.invalidParameter("The index has no vectors.")
    const other = `${bind(`{${vector?.join(",")}}`)}::float8[]`
    return `(SELECT sum(a * b) / nullif(sqrt(sum(a * a)) * sqrt(sum(b * b)), 0) FROM unnest(${quoted(index.vector)}, ${other}) AS pair (a, b))`
  }
  const usesWords = type !== "ANN" || vector === undefined
  const usesVector = type !== "FULL_TEXT" && vector !== undefined
  const rank = (score: string) => `coalesce(1.0 / (${k} + rank() OVER (ORDER BY ${score} DESC NULLS LAST)), 0)`
  const found = `SELECT *, ${usesWords ? byWords() : "NULL"} AS "$words", ${usesVector ? byVector() : "NULL"} AS "$vector" FROM (${index.source}) AS source WHERE ${whereOf(query.filters_json, bind)}`
  const score =
    usesWords && usesVector
      ? ['"$words"', '"$vector"'].map((_) => `CASE WHEN ${_} IS NULL THEN 0 ELSE ${rank(_)} END`).join(" + ")
      : usesWords
        ? '"$words"'
        : '"$vector"'
  const columns = query.columns.map((column) => `"$scored".${quoted(column)}`)
  return {
    sql: `SELECT json_build_array(${[...columns, '"$score"'].join(", ")})::text FROM (SELECT *, (${score})::float8 AS "$score" FROM (${found}) AS found WHERE "$words" IS NOT NULL OR "$vector" IS NOT NULL) AS "$scored" WHERE "$score" >= ${bind(String(query.score_threshold ?? 0))} ORDER BY "$score" DESC, ${quoted(index.primaryKey)} LIMIT ${bind(String(query.num_results ?? 10))}`,
    types: values.map(() => 0),
    values,
    maxRows: 0
  }
}
