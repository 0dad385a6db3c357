/** Runs the requests of metric views as their executors: look up → describe → check names → build → run. */
import { Duration, Effect } from "effect"
import type { Caller } from "../../Caller.ts"
import { asService } from "../../ExecutionContext.ts"
import { runAsOwner } from "../owner.ts"
import * as MetricRequest from "../../MetricRequest.ts"
import type { Definition, MetricView } from "../../MetricView.ts"
import { UnknownMetricViewError } from "../../MetricViewError.ts"
import * as OperationCache from "../../OperationCache.ts"
import type { ServiceContext } from "../../ServiceContext.ts"
import type { SqlWarehouse } from "../../SqlWarehouse.ts"
import * as Queries from "../queries/run.ts"
import * as Descriptions from "./description.ts"
import * as Statement from "./statement.ts"

export const make = (
  definitions: ReadonlyMap<string, Definition>,
  options: {
    readonly cache: OperationCache.OperationCache["Service"]
    readonly service: ServiceContext["Service"]
    readonly timeToLive: Duration.Input
    readonly warehouse: SqlWarehouse["Service"]
  }
): MetricView["Service"] => {
  const { cache, service, warehouse } = options
  const timeToLive = Duration.fromInputUnsafe(options.timeToLive)

  const found = Effect.fnUntraced(function* (key: string) {
    const definition = definitions.get(key)
    if (definition === undefined) {
      return yield* new UnknownMetricViewError({
        metricView: key,
        message: `No metric view has the key ${JSON.stringify(key)}`
      })
    }
    const { executor, source } = definition
    const user = executor === "user" ? yield* Queries.userOf(`metric view ${key}`) : undefined
    return { source, user }
  })

  const described = (source: string, user: Caller | undefined, timeout?: Duration.Input) => {
    const { queryText } = Queries.queries(Queries.warehouseAs(warehouse, source, user))
    const asked = queryText(Descriptions.Row, { timeout })(Descriptions.statementOf(source))
    const key = OperationCache.keyOf(user ?? service.principal, "metric_view.describe", [source])
    const cached = cache.get(key, timeToLive, Effect.map(asked, Descriptions.descriptionOf))
    // As the same identity, also for calls that share the answer.
    return Effect.map(user === undefined ? asService(cached) : runAsOwner(cached, user), ({ value }) => value)
  }

  return {
    definitions,
    describe: (key) => Effect.flatMap(found(key), ({ source, user }) => described(source, user)),
    execute: (key, given, options) =>
      Effect.gen(function* () {
        const { source, user } = yield* found(key)
        const request = yield* Effect.fromResult(parse(source, given))
        const view = yield* described(source, user, options?.timeout)
        const unknown = Descriptions.unknownName(request, view)
        if (unknown !== undefined) return yield* Effect.fail(Statement.refusal(source, unknown))
        const own = Queries.warehouseAs(warehouse, source, user)
        const bounded = { rowLimit: MetricRequest.limits.limit, ...options } as typeof options // a limit changes no type
        const table = yield* own.execute(Statement.statementOf(source, request), bounded)
        return { ...table, metadata: Descriptions.columnsOf(request, view) }
      })
  }
}

const parse = Statement.parser(MetricRequest.MetricRequest)
