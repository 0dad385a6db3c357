/** The function of a query in code: bind → compare with the file → run as its identity. */
import { Effect, Schema } from "effect"
import type { ParametersSchema, Queries, Query, RunsAs } from "../../Queries.ts"
import { SqlWarehouse } from "../../SqlWarehouse.ts"
import { UserContext } from "../../UserContext.ts"
import * as Run from "./run.ts"

export const make = <W extends RunsAs, P extends ParametersSchema, S extends Schema.Constraint>(
  queries: Effect.Effect<Queries["Service"], never, Queries>,
  definition: { readonly key: string; readonly runsAs: W; readonly parameters?: P; readonly rows: S }
): Query<W, P, S> => {
  const { key, parameters = Schema.Struct({}), rows, runsAs } = definition
  const { run, stream } = Run.callsOf(
    Effect.fnUntraced(function* (given: object | undefined) {
      const { bind } = yield* queries
      const warehouse = yield* SqlWarehouse
      const { statement } = yield* Run.matching(bind(key, { ...given }), runsAs)
      const user = runsAs === "user" ? yield* UserContext : undefined
      return { rows, statement, warehouse: Run.warehouseAs(warehouse, key, user) }
    })
  )
  // The compiler cannot see that only a query of the user requires a user, and options without `cache` no cache.
  return Object.assign(run, { key, runsAs, parameters, rows, stream }) as unknown as Query<W, P, S>
}
