/**
 * Fails for rows that Effect would write differently than given. Effect takes the columns of `sql.insert` and
 * `sql.updateValues` from the first row: it drops other keys of later rows, writes NULL for missing ones, and dies
 * without rows. It also binds NULL for a fragment of SQL. Remove when "drops the keys …" fails in
 * driver.upstream.test.ts.
 */
import { type SqlError, Statement } from "effect/sql"
import { refused } from "./failure.ts"

type Row = Readonly<Record<string, unknown>>

/** Returns the mistake in the rows of a statement, if any. */
export const mistakeIn = (segments: ReadonlyArray<Statement.Segment>): SqlError.SqlError | undefined => {
  for (const segment of segments) {
    const message = messageFor(segment)
    if (message === undefined) continue
    return refused(message, "compile")
  }
  return undefined
}

const messageFor = (segment: Statement.Segment): string | undefined => {
  switch (segment._tag) {
    case "RecordInsertHelper":
      return inRows("sql.insert", segment.value)
    case "RecordUpdateHelper":
      return inRows("sql.updateValues", segment.value)
    case "RecordUpdateHelperSingle":
      return inValues("sql.update", segment.value)
  }
  return undefined
}

const inRows = (helper: string, rows: ReadonlyArray<Row>): string | undefined => {
  const [first] = rows
  if (first === undefined) return `${helper} got no rows: run the statement only if there are rows`
  const keys = Object.keys(first)
  for (const [index, row] of rows.entries()) {
    const missing =
      keys.find((key) => !Object.hasOwn(row, key)) ?? Object.keys(row).find((key) => !Object.hasOwn(first, key))
    if (missing !== undefined) {
      return `${helper}: of the rows 1 and ${index + 1} only one has the key "${missing}": give all rows the same keys`
    }
    const wrong = inValues(helper, row)
    if (wrong !== undefined) return wrong
  }
  return undefined
}

const inValues = (helper: string, row: Row): string | undefined => {
  const key = Object.keys(row).find((key) => isStatement(row[key]))
  return key === undefined
    ? undefined
    : `${helper}: the value of "${key}" is a fragment of SQL, which cannot be bound: write the statement out`
}

/** Whether a value is a fragment other than a value of `sql.json`. */
const isStatement = (value: unknown) => {
  if (!Statement.isFragment(value)) return false
  const [only, ...others] = value.segments
  return others.length > 0 || (only?._tag !== "Custom" && only?._tag !== "Parameter")
}
