/** Translates statements over metric views to the dialect of Postgres, which has no MEASURE and no GROUP BY ALL. */
import * as Replies from "../http/replies.ts"
import { quoted } from "../postgres/session.ts"
import type { Column, View } from "../../LocalMetricView.ts"

// Blanks, strings, names in backticks, parameters, words, numbers, operators of two characters, and single characters.
const token = /\s+|'(?:[^'\\]|\\[^]|'')*'|`(?:[^`]|``)*`|:\w+|\d+\.\d+|[\w$]+|<>|<=|>=|!=|::|[^]/g

const nameOf = (text = "") => (text.startsWith("`") ? text.slice(1, -1).replaceAll("``", "`") : text)
const is = (text: string | undefined, word: string) => text?.toUpperCase() === word
const own = (columns: View["measures"], name: string) => {
  const column = Object.hasOwn(columns, name) ? columns[name] : undefined
  return typeof column === "string" ? { expression: column } : column
}

/** Returns the statement for Postgres, unchanged if it is not over a metric view, or the mistake in it. */
export const translate = (sql: string, views: ReadonlyArray<View>): string | Replies.StatementError => {
  const tokens = (sql.match(token) ?? []).filter((text) => !/^\s+$/.test(text))
  const isDescribe = is(tokens[0], "DESCRIBE") && is(tokens[1], "TABLE") && is(tokens[2], "EXTENDED")
  const start = isDescribe ? 3 : tokens.findIndex((text) => is(text, "FROM")) + 1
  const source = [0, 2, 4].map((offset) => nameOf(tokens[start + offset])).join(".")
  const view = views.find((view) => is(source, view.source.toUpperCase()))
  return view === undefined ? sql : isDescribe ? describe(view) : select(tokens, start - 1, view)
}

const select = (tokens: ReadonlyArray<string>, from: number, view: View): string | Replies.StatementError => {
  const out: Array<string> = []
  const groups: Array<number> = []
  let clause = ""
  let depth = 0
  let items = 0
  let item: { readonly hasMeasure?: boolean; readonly name?: string } = {}
  const endItem = () => {
    items++
    if (item.name !== undefined) out.push("AS", quoted(item.name))
    if (item.hasMeasure !== true) groups.push(items)
    item = {}
  }
  for (let index = 0; index < tokens.length; index++) {
    const text = tokens[index]!
    if (text === "(") depth++
    if (text === ")") depth--
    if (depth === 0 && /^(?:SELECT|FROM|WHERE|GROUP|ORDER|LIMIT)$/i.test(text)) {
      clause = text.toUpperCase()
      if (clause === "FROM") {
        endItem()
        out.push("FROM", view.from, "AS source")
        index = from + 5
      } else if (clause === "GROUP") {
        if (!is(tokens[index + 2], "ALL")) return notAll
        // By position, because Postgres prefers a column of the table to one of the result.
        if (groups.length > 0) out.push("GROUP BY", groups.join(", "))
        index += 2
      } else out.push(text)
    } else if (clause === "SELECT" && depth === 0 && text === ",") {
      endItem()
      out.push(text)
    } else if (is(text, "MEASURE") && tokens[index + 1] === "(") {
      const name = nameOf(tokens[index + 2])
      const measure = own(view.measures, name)
      if (measure === undefined) return unresolved(name)
      item = { hasMeasure: true }
      out.push(`(${measure.expression})`)
      index += 3
    } else if (is(text, "AS")) {
      item = { ...item, name: nameOf(tokens[++index]) }
    } else if (text.startsWith("`") && clause !== "ORDER") {
      const name = nameOf(text)
      const dimension = own(view.dimensions, name)
      if (dimension === undefined) return own(view.measures, name) === undefined ? unresolved(name) : bare(name)
      item = { ...item, name }
      out.push(`(${dimension.expression})`)
    } else out.push(text.startsWith("`") ? quoted(nameOf(text)) : text)
  }
  return out.join(" ")
}

const notAll = Replies.statementError(
  "UNSUPPORTED_IN_LOCAL_WORKSPACE",
  "A metric view is grouped with GROUP BY ALL only.",
  "0A000"
)

const unresolved = (name: string) =>
  Replies.statementError("UNRESOLVED_COLUMN", `A column with name ${name} cannot be resolved.`, "42703")

// Inferred.
const bare = (name: string) =>
  Replies.statementError("METRIC_VIEW_MISSING_MEASURE_FUNCTION", `The measure ${name} needs MEASURE.`, "42000")

/** The types of Postgres, as Databricks describes them. */
const types = JSON.stringify({
  smallint: { name: "smallint" },
  integer: { name: "int" },
  bigint: { name: "bigint" },
  real: { name: "float" },
  "double precision": { name: "double" },
  numeric: { name: "decimal", precision: 38, scale: 18 },
  boolean: { name: "boolean" },
  date: { name: "date" },
  "timestamp with time zone": { name: "timestamp_ltz" },
  "timestamp without time zone": { name: "timestamp_ntz" }
})

const literal = (text: string) => `'${text.replaceAll("'", "''")}'`

/** Writes a query of the one row that DESCRIBE TABLE EXTENDED … AS JSON returns. It asks Postgres for the types. */
const describe = (view: View) => {
  const columnsOf = (columns: View["measures"], isMeasure: boolean) =>
    Object.keys(columns).map((name) => {
      const { comment, displayName, expression, format } = own(columns, name) as Exclude<Column, string>
      const known = { name, is_measure: isMeasure || undefined, comment, display_name: displayName, format }
      const type = `pg_typeof((SELECT ${expression} FROM ${view.from} AS source LIMIT 0))::text`
      return `${literal(JSON.stringify(known))}::jsonb || jsonb_build_object('type', coalesce(${literal(types)}::jsonb -> ${type}, '{"name":"string"}'))`
    })
  const [catalog_name, schema_name, table_name] = view.source.split(".")
  const known = { catalog_name, schema_name, table_name, type: "METRIC_VIEW" }
  const columns = [...columnsOf(view.dimensions, false), ...columnsOf(view.measures, true)]
  return `SELECT (${literal(JSON.stringify(known))}::jsonb || jsonb_build_object('columns', jsonb_build_array(${columns.join(", ")})))::text AS json_metadata`
}
