/** Asks the warehouse for the columns of a query, without running it. */
import { Data, Effect, Schema } from "effect"
import { sampled } from "../../internal/queries/bind.ts"
import type { Definition, Problem } from "../../Queries.ts"
import * as SqlWarehouse from "../../SqlWarehouse.ts"
import { type Column, problemOf } from "./types.ts"

/** The columns of a query cannot be used: the warehouse refuses its statement, or a name among them. */
export class Undescribed extends Data.TaggedError("Undescribed")<{ readonly problem: Problem }> {}

export type Options = Pick<SqlWarehouse.Options, "warehouseId" | "catalog" | "schema" | "onProgress">

const Described = Schema.Struct({ col_name: Schema.String, data_type: Schema.String })

/** Parameters are bound: as their samples, or else as NULLs of their types. Waits for a warehouse that starts. */
export const describe: (
  definition: Definition,
  options: Options
) => Effect.Effect<
  ReadonlyArray<Column>,
  Undescribed | SqlWarehouse.Failure | SqlWarehouse.RowDecodeError,
  SqlWarehouse.SqlWarehouse
> = Effect.fnUntraced(function* (definition, options) {
  const { parameters, text } = sampled(definition)
  // On the first line, so that the lines in the warehouse's messages are those of the file.
  const described = yield* SqlWarehouse.queryText(Described, options)(`DESCRIBE QUERY ${text}`, parameters).pipe(
    Effect.catchIf(isRefused, ({ message }) => refuse(definition, message))
  )
  const columns = described.map(({ col_name: name, data_type: type }): Column => ({ name, type }))
  const problem = columns.length === 0 ? "the statement returns no columns" : problemOf(columns)
  return problem === undefined ? columns : yield* refuse(definition, problem)
})

const isRefused = (error: { readonly _tag: string; readonly reason?: { readonly _tag: string } }) =>
  error._tag === "SqlParameterError" || error.reason?._tag === "StatementFailedError"

const refuse = ({ path, statement }: Definition, reason: string) => {
  const first = statement.slice(0, statement.search(/\S/)).split("\n").length
  const [, line = first] = /\bline (\d+)/.exec(reason) ?? []
  return Effect.fail(
    new Undescribed({ problem: { file: path, line: Number(line), reason: reason.replaceAll(/\s*\n\s*/g, " ") } })
  )
}
