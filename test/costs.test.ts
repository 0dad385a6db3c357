import * as NodeHttpServer from "@effect/platform-node/NodeHttpServer"
import { assert, layer } from "@effect/vitest"
import { AsUser, Failures, Lakebase, Middleware, OperationCache, SqlWarehouse } from "effect-databricks"
import { LocalWorkspace } from "effect-databricks/testing"
import { Context, Effect, Layer, Metric, Schema, Tracer } from "effect"
import { HttpClient, HttpRouter } from "effect/http"
import { HttpApi, HttpApiBuilder, HttpApiEndpoint, HttpApiGroup } from "effect/http-api"
import { lakebase, schema } from "./fixtures/lakebaseClient.ts"
import { credentials, door } from "./fixtures/lakebaseFaults.ts"
import { makeRecorder } from "./fixtures/spans.ts"
import { alice, bob, requestOf } from "./fixtures/people.ts"
import { Workspace } from "./fixtures/workspace.ts"
import { me } from "./fixtures/wire.ts"

const Who = Schema.Struct({ who: Schema.String })
const Everybody = Schema.Array(Who)

class Api extends HttpApi.make("costs")
  .add(
    HttpApiGroup.make("mine")
      .add(
        HttpApiEndpoint.get("lakebase", "/lakebase", { success: Everybody }),
        HttpApiEndpoint.get("warehouse", "/warehouse", { success: Everybody }),
        HttpApiEndpoint.get("cached", "/cached", { success: Everybody })
      )
      .middleware(AsUser)
  )
  .middleware(Failures) {}

const Handlers = HttpApiBuilder.group(Api, "mine", (handlers) =>
  handlers
    .handle("lakebase", () => Effect.flatMap(Lakebase.user, (sql) => sql<{ who: string }>`SELECT current_user AS who`))
    .handle("warehouse", () => SqlWarehouse.query(Who)`SELECT current_user AS who`)
    .handle("cached", () => SqlWarehouse.query(Who, { cache: {} })`SELECT current_user AS who`)
)

/** What the application has opened and begun. */
class Counts extends Context.Service<
  Counts,
  {
    readonly spans: () => number
    readonly fibers: () => number
    readonly logins: Effect.Effect<number>
    readonly roundTrips: Effect.Effect<number>
  }
>()("test/Counts") {}

const Application = Layer.unwrap(
  Effect.gen(function* () {
    const { logins, port, roundTrips } = yield* door
    const { spans, tracer } = makeRecorder()
    let fibers = 0
    const recordFiberStart = () => void fibers++
    return HttpRouter.serve(HttpApiBuilder.layer(Api).pipe(Layer.provide(Handlers), Layer.provide(Middleware.layer)), {
      disableListenLog: true,
      disableLogger: true
    }).pipe(
      Layer.provide([lakebase({ port }), SqlWarehouse.layer, OperationCache.layer()]),
      // Not those of the workspace or the HTTP client, which run in this process too.
      Layer.provide(Layer.succeed(Tracer.Tracer, tracer)),
      Layer.provide(Layer.succeed(Metric.FiberRuntimeMetrics, { recordFiberStart, recordFiberEnd: () => {} })),
      Layer.provideMerge(Layer.succeed(Counts, { spans: () => spans.length, fibers: () => fibers, logins, roundTrips }))
    )
  })
).pipe(
  Layer.provideMerge(NodeHttpServer.layerTest),
  Layer.provide(Layer.effectDiscard(schema)),
  Layer.provideMerge(Workspace)
)

const requests = 20

layer(Application, { excludeTestServices: true, timeout: "60 seconds" })("A known user's request", (it) => {
  /** What 20 requests of two users cost, after three of each. */
  const costs = Effect.fnUntraced(function* (path: string) {
    const workspace = yield* LocalWorkspace.LocalWorkspace
    const counts = yield* Counts
    const users = yield* Effect.forEach([alice, bob], (user) =>
      Effect.map(requestOf(user), (headers) => ({ user, headers }))
    )
    const all = (times: number) =>
      Effect.forEach(Array.from({ length: times }), () =>
        Effect.forEach(users, ({ headers, user }) =>
          Effect.gen(function* () {
            const response = yield* HttpClient.get(path, { headers })
            assert.deepStrictEqual(yield* response.json, [{ who: user }])
          })
        )
      )
    const seen = Effect.gen(function* () {
      const asked = yield* workspace.requests
      return {
        spans: counts.spans(),
        fibers: counts.fibers(),
        logins: yield* counts.logins,
        roundTrips: yield* counts.roundTrips,
        connections: yield* workspace.connections,
        calls: asked.length,
        identities: asked.filter((_) => _.path === me).length,
        credentials: asked.filter((_) => _.path === credentials).length,
        timers: process.getActiveResourcesInfo().filter((_) => _ === "Timeout").length
      }
    })
    yield* all(3)
    const before = yield* seen
    yield* all(requests / 2)
    const after = yield* seen
    // The keys are those of `before`.
    return Object.fromEntries(
      Object.entries(after).map(([name, count]) => [name, count - before[name as keyof typeof before]])
    ) as typeof before
  })

  /** Only a user's first request costs these. */
  const nothing = { logins: 0, connections: 0, identities: 0, credentials: 0 }

  it.effect("costs 1 round trip to Lakebase, 2 spans and no workspace call", () =>
    Effect.gen(function* () {
      const { fibers, timers, ...exact } = yield* costs("/lakebase")
      // Spans: the request, the operation.
      assert.deepStrictEqual(exact, { ...nothing, calls: 0, roundTrips: requests, spans: 2 * requests })
      assert.isAtMost(fibers, 2 * requests)
      assert.isAtMost(timers, 2)
    })
  )

  it.effect("costs 1 workspace call and 3 spans for a warehouse query, and no new connection", () =>
    Effect.gen(function* () {
      const { fibers, timers, ...exact } = yield* costs("/warehouse")
      // Spans: the request, the operation, the call.
      assert.deepStrictEqual(exact, { ...nothing, calls: requests, roundTrips: 0, spans: 3 * requests })
      assert.isAtMost(fibers, 3 * requests)
      // The workspace, which is in this process too, keeps each result for an hour.
      assert.isAtMost(timers - requests, 2)
    })
  )

  it.effect("costs 2 spans and no I/O for a cached warehouse query", () =>
    Effect.gen(function* () {
      const { fibers, timers, ...exact } = yield* costs("/cached")
      assert.deepStrictEqual(exact, { ...nothing, calls: 0, roundTrips: 0, spans: 2 * requests })
      assert.isAtMost(fibers, requests)
      assert.isAtMost(timers, 2)
    })
  )
})
