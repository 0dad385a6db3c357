/** Answers `DESCRIBE QUERY` with the fields that Postgres reports for a statement, which it does not run. */
import type { FieldDescription } from "@effect/sql-pg/PgProtocol"
import type { Outcome, PostgresError } from "../postgres/session.ts"
import type { Collector } from "./results.ts"
import { columnOf, textOid } from "./types.ts"

/** Returns the query of a `DESCRIBE QUERY`. Blanks stand in the place of the words, so that positions are kept. */
export const queryOf = (sql: string): string | undefined => {
  const [words] = /^\s*(?:DESCRIBE|DESC)\s+QUERY\b/i.exec(sql) ?? []
  return words === undefined ? undefined : words.replaceAll(/\S/g, " ") + sql.slice(words.length)
}

const fields: ReadonlyArray<FieldDescription> = ["col_name", "data_type", "comment"].map((name, index) => ({
  name,
  tableOid: 0,
  columnAttributeNumber: index,
  dataTypeOid: textOid,
  dataTypeSize: -1,
  typeModifier: -1,
  format: 0
}))

/** Collects a row for each field of the outcome, with the type in lower case as Spark has it. */
export const outcomeOf = (outcome: Outcome, collector: Collector): Outcome => {
  for (const [index, field] of (outcome.fields ?? []).entries()) {
    const { name, type_text } = columnOf(field, index)
    collector.row([name, type_text.toLowerCase(), null], fields)
  }
  return { fields, rows: [], tag: "SELECT" }
}

/** Adds the place of an error to its message, as Spark does. */
export const located = ({ message, position }: PostgresError, sql: string): string => {
  if (position === undefined) return message
  const before = Array.from(sql)
    .slice(0, position - 1)
    .join("")
    .split("\n")
  return `${message}; line ${before.length} pos ${before.at(-1)!.length}`
}
