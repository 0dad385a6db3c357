/** The route of named queries: find → admit → read the body → bind → wait for the warehouse → run. */
import { Effect, Stream } from "effect"
import { HttpRouter, HttpServerResponse } from "effect/http"
import { DatabricksError } from "../../../DatabricksError.ts"
import * as Queries from "../../../Queries.ts"
import * as Failure from "../failure.ts"
import * as Routes from "../routes.ts"
import * as Body from "./body.ts"
import type { Columns } from "./columns.ts"
import * as Identity from "./identity.ts"
import * as Result from "./result.ts"

export const route = (options: Identity.Options<"query">, { header }: Columns) =>
  Routes.asEither(
    "POST",
    "/query/:key",
    Effect.gen(function* () {
      const { key = "" } = yield* HttpRouter.params
      const { definitions } = yield* Queries.Queries
      const definition = options.keys?.includes(key) === false ? undefined : definitions.get(key)
      if (definition === undefined) return yield* Failure.refusal(404, "Query not found", "NotFound")
      const { runsAs } = definition
      yield* Identity.admit(runsAs, options, "query", key)
      const { isArrow, parameters } = yield* Body.ofQuery(definition)
      // A wrong parameter is a 400, before the stream begins.
      const { statement, warehouse } = yield* Queries.bound(key, parameters)
      const { timeout } = options
      const states = Identity.ready(runsAs, options)
      if (!isArrow) {
        return yield* Result.respond(states, Result.collect(warehouse.executeStream(statement, { timeout })))
      }
      yield* Stream.runDrain(states)
      const result = yield* Effect.catchIf(warehouse.executeArrow(statement, { timeout }), isUnsupported, (error) =>
        Effect.andThen(Effect.logError("The SQL warehouse does not deliver Arrow", error), unsupported)
      )
      if (result.truncated) return yield* Result.incomplete
      return HttpServerResponse.stream(result.body, {
        contentType: "application/vnd.apache.arrow.stream",
        headers: { "cache-control": "private, no-store", ...(yield* header(result)) }
      })
    })
  )

const isUnsupported = (error: Queries.Failure) =>
  error instanceof DatabricksError &&
  error.reason._tag === "InvalidRequestError" &&
  /ARROW_STREAM|EXTERNAL_LINKS/.test(error.reason.message)

const unsupported = Effect.fail(
  Failure.refusal(
    501,
    "The SQL warehouse of this app does not deliver Arrow: ask for JSON (format JSON_ARRAY)",
    "ARROW_DELIVERY_UNSUPPORTED"
  )
)
