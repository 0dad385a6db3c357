/** What the line of a request costs, written to a pipe that is thrown away, beside the same route without one. */
import { Effect, Logger } from "effect"
import { HttpMiddleware, HttpServerRequest, HttpServerResponse } from "effect/http"
import { openSync } from "node:fs"
import * as Format from "../src/internal/logs/format.ts"
import * as Loggers from "../src/internal/logs/loggers.ts"
import * as Requests from "../src/internal/logs/requests.ts"
import * as Writer from "../src/internal/logs/writer.ts"
import { measure } from "./harness.ts"

const main = Effect.gen(function* () {
  const writer = yield* Writer.make(openSync("/dev/null", "w"), () => "")
  const json = Format.json()
  const line = Requests.make((entry) => writer.write(json(entry)), new Set())(undefined, () => false)
  const answer = Effect.succeed(HttpServerResponse.text("here"))
  const toDevNull = Logger.make((entry) => writer.write(Logger.formatSimple.log(entry)))
  // Each run has a request of its own, as in a server: what is kept by request costs more for a new one.
  const served = <E>(app: Effect.Effect<unknown, E, HttpServerRequest.HttpServerRequest>) =>
    Effect.suspend(() => Effect.provideService(app, HttpServerRequest.HttpServerRequest, requestOf()))
  yield* measure("the line of a request", [
    { name: "a route, traced", effect: served(HttpMiddleware.tracer(answer)) },
    { name: "with Logs", effect: served(HttpMiddleware.tracer(line(answer))), goal: 5 },
    {
      name: "with Effect's logger",
      effect: Effect.provideService(
        served(HttpMiddleware.tracer(HttpMiddleware.logger(answer))),
        Logger.CurrentLoggers,
        new Set([toDevNull, Logger.tracerLogger])
      )
    }
  ])
})

/** As the proxy of Databricks Apps sends one. Making a real one would cost more than its line. */
const requestOf = () =>
  HttpServerRequest.fromWeb({
    method: "GET",
    url: "http://app.example.com/orders/1",
    headers: { "x-request-id": "8f14e45f-ceea-467f-a8d9-1b9a3c6f2e07" }
  } as unknown as Request)

await Effect.runPromise(Effect.scoped(main).pipe(Effect.provide(Loggers.layer({ prints: true }))))
