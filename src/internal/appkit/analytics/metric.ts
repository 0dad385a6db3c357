/** The route of metric views: find → admit → read the body → wait for the warehouse → run. */
import { Effect, Stream } from "effect"
import { HttpRouter } from "effect/http"
import * as MetricView from "../../../MetricView.ts"
import * as Failure from "../failure.ts"
import * as Routes from "../routes.ts"
import * as Body from "./body.ts"
import * as Identity from "./identity.ts"
import * as Result from "./result.ts"

export const route = (options: Identity.Options<"metric">) =>
  Routes.asEither(
    "POST",
    "/metric/:key",
    Effect.gen(function* () {
      const { key = "" } = yield* HttpRouter.params
      const { definitions, execute } = yield* MetricView.MetricView
      const definition = options.keys?.includes(key) === false ? undefined : definitions.get(key)
      if (definition === undefined) return yield* Failure.refusal(404, "Metric not found", "NotFound")
      const runsAs = definition.executor === "user" ? "user" : "service"
      yield* Identity.admit(runsAs, options, "metric", key)
      const request = yield* Body.ofMetric
      const result = Effect.flatMap(execute(key, request, { timeout: options.timeout }), (table) =>
        Effect.map(Result.collect(Stream.succeed(table)), (result) => ({ ...result, metadata: table.metadata }))
      )
      return yield* Result.respond(Identity.ready(runsAs, options), result)
    })
  )
