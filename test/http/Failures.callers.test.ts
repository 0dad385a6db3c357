import { assert, layer } from "@effect/vitest"
import {
  AsService,
  AsUser,
  Failures,
  HttpFailure,
  Lakebase,
  Middleware,
  ServerSentEvents,
  type ServiceContext,
  SqlWarehouse,
  type UserContext
} from "effect-databricks"
import { LocalWorkspace } from "effect-databricks/testing"
import { Data, Effect, Layer, Schema, Stream } from "effect"
import { HttpRouter, HttpServerResponse } from "effect/http"
import { HttpApi, HttpApiBuilder, HttpApiEndpoint, HttpApiGroup } from "effect/http-api"
import { lakebase } from "../fixtures/lakebaseClient.ts"
import { alice } from "../fixtures/people.ts"
import { serve, Served } from "./harness.ts"

class NoReport extends Data.TaggedError("NoReport")<{ readonly cause: unknown }> {}

const bug = Effect.die(new Error("a bug"))
const wrong = Effect.fail(
  new HttpFailure.HttpFailure({ status: 500, body: { _tag: "Wrong", message: "Nothing of ours" } })
)
const divided = "SELECT 1 / 0 AS v"
const text = "SELECT 'x' AS v"
const Row = Schema.Struct({ v: Schema.Number })
const divide = Effect.flatMap(Lakebase.user, (sql) => sql.unsafe(divided))
const done = Effect.as(HttpServerResponse.empty())

type Handler = Effect.Effect<
  HttpServerResponse.HttpServerResponse,
  unknown,
  Lakebase.Lakebase | ServiceContext.ServiceContext | SqlWarehouse.SqlWarehouse | UserContext
>

/** What each route does as a user; and the operation and text of the statement that its line in the log has to name. */
const routes: Readonly<Record<`/${string}`, readonly [handler: Handler, operation?: string, text?: string]>> = {
  "/bug": [done(bug)],
  "/wrong": [done(wrong)],
  "/wrapped": [done(Effect.mapError(divide, (cause) => new NoReport({ cause }))), "lakebase.query", divided],
  "/wrapped/twice": [
    done(Effect.orDie(Effect.mapError(divide, (cause) => new NoReport({ cause: new Error("no", { cause }) })))),
    "lakebase.query",
    divided
  ],
  "/row": [done(SqlWarehouse.queryText(Row)(text)), "sql.query", text],
  "/row/stream": [done(Stream.runDrain(SqlWarehouse.streamText(Row)(text))), "sql.stream", text],
  "/events": [ServerSentEvents.toResponse(Stream.concat(Stream.make(1), Stream.fromEffect(bug)))],
  "/events/row": [ServerSentEvents.toResponse(SqlWarehouse.streamText(Row)(text)), "sql.stream", text]
}

const Plain = HttpRouter.addAll(
  Object.entries(routes).map(([path, [handler]]) => HttpRouter.route("GET", path as `/${string}`, handler))
).pipe(Layer.provide(Middleware.asUser.layer))

const endpoints = (prefix: "/user" | "/service") =>
  [HttpApiEndpoint.get("bug", `${prefix}/bug`), HttpApiEndpoint.get("wrong", `${prefix}/wrong`)] as const

class Mine extends HttpApiGroup.make("mine")
  .add(...endpoints("/user"))
  .middleware(AsUser) {}
class Ours extends HttpApiGroup.make("ours")
  .add(...endpoints("/service"))
  .middleware(AsService) {}
class Api extends HttpApi.make("test").add(Mine).add(Ours).middleware(Failures) {}

const Live = HttpApiBuilder.layer(Api).pipe(
  Layer.provide([
    HttpApiBuilder.group(Api, "mine", (_) => _.handle("bug", () => bug).handle("wrong", () => wrong)),
    HttpApiBuilder.group(Api, "ours", (_) => _.handle("bug", () => bug).handle("wrong", () => wrong))
  ])
)

const Routes = Layer.mergeAll(Live, Plain).pipe(Layer.provide(Middleware.layer))

layer(LocalWorkspace.layer(), { timeout: "60 seconds", excludeTestServices: true })(
  "A failure under Failures",
  (it) => {
    it.layer(serve(Routes, { services: Layer.merge(SqlWarehouse.layer, lakebase()) }))((it) => {
      /** What the one line in the log says beside its message. */
      const told = Effect.fnUntraced(function* (path: string) {
        const { call, logs } = yield* Served
        const { headers } = yield* LocalWorkspace.LocalWorkspace
        const before = logs.length
        yield* call("GET", path, { headers: yield* headers(alice) })
        const errors = logs.slice(before).filter((_) => _.level === "Error")
        assert.lengthOf(errors, 1, path)
        return JSON.parse(errors[0]!.text.split("\n")[0]!).annotations as Record<string, unknown>
      })

      it.effect(
        "is logged once with the user, and with its statement also where an error wraps it or a row does not match",
        () =>
          Effect.gen(function* () {
            const { headers } = yield* LocalWorkspace.LocalWorkspace
            const id = (yield* headers(alice))["x-forwarded-user"]!
            for (const [path, [, operation, query]] of Object.entries(routes)) {
              assert.deepStrictEqual(
                yield* told(path),
                {
                  method: "GET",
                  route: path,
                  "execution.context": "user",
                  "caller.id": id,
                  "enduser.id": id.split("@")[0],
                  ...(operation !== undefined && { "operation.name": operation }),
                  ...(query !== undefined && { "db.query.text": query })
                },
                path
              )
            }
          })
      )

      it.effect("is logged with the caller of its endpoint", () =>
        Effect.gen(function* () {
          const { servicePrincipal } = yield* LocalWorkspace.LocalWorkspace
          for (const [path, context] of [
            ["/user/bug", "user"],
            ["/user/wrong", "user"],
            ["/service/bug", "service"],
            ["/service/wrong", "service"]
          ] as const) {
            const annotations = yield* told(path)
            assert.strictEqual(annotations["execution.context"], context, path)
            assert.strictEqual(annotations["enduser.id"] === servicePrincipal.id, context === "service", path)
          }
        })
      )
    })
  }
)
