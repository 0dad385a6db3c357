/** The function of a metric view in code: check the names → choose the Schemas of the row → build → run as the executor. */
import { Effect, Schema } from "effect"
import * as MetricRequest from "../../MetricRequest.ts"
import type { Columns, Executor, View } from "../../MetricView.ts"
import { SqlWarehouse } from "../../SqlWarehouse.ts"
import { UserContext } from "../../UserContext.ts"
import * as Queries from "../queries/run.ts"
import * as Statement from "./statement.ts"

export const make = <E extends Executor, M extends Columns, D extends Columns>(definition: {
  readonly source: string
  readonly executor?: E
  readonly measures: M
  readonly dimensions?: D
}): View<E, M, D> => {
  const { dimensions = {}, executor = "app_service_principal", measures, source } = definition
  const columns: Columns = { ...dimensions, ...measures }
  const request = MetricRequest.make({ measures: Object.keys(measures), dimensions: Object.keys(dimensions) })
  const parse = Statement.parser(request)
  const { run, stream } = Queries.callsOf(
    Effect.fnUntraced(function* (asked: MetricRequest.MetricRequest) {
      const given = yield* Effect.fromResult(parse(source, asked))
      const warehouse = yield* SqlWarehouse
      const user = executor === "user" ? yield* UserContext : undefined
      const chosen = [...given.measures, ...(given.dimensions ?? [])]
      return {
        rows: Schema.Struct(Object.fromEntries(chosen.map((name) => [name, columns[name]!]))), // the parser knows them
        statement: Statement.statementOf(source, given),
        warehouse: Queries.warehouseAs(warehouse, source, user)
      }
    })
  )
  // The compiler cannot see which columns a request chooses, and that only a view of the user requires a user.
  return Object.assign(run, { source, executor, request, stream }) as unknown as View<E, M, D>
}
