/** The measured server of what streams, and of the shared cache: the routes of docs/appkit-plugins.md and docs/http.md. */
import { Clock, Duration, Effect, Layer, Option, Schema, Stream } from "effect"
import { HttpRouter, HttpServerResponse } from "effect/http"
import { SqlClient } from "effect/sql"
import * as AppKit from "../../src/appkit/AppKit.ts"
import {
  App,
  ExecutionContext,
  Files,
  Lakebase,
  Logs,
  Middleware,
  ModelServing,
  OperationCache,
  ServerSentEvents,
  ServiceContext,
  SqlWarehouse,
  Telemetry
} from "../../src/index.ts"

const Sale = Schema.Struct({ item: Schema.String, region: Schema.String })
const Tick = Schema.Struct({ n: Schema.Int, at: Schema.Finite })

const ticks = Stream.tick("20 millis").pipe(
  Stream.mapEffect((_, n) => Effect.map(Clock.currentTimeNanos, (nanos) => ({ n, at: Number(nanos) / 1e6 }))),
  ServerSentEvents.toResponse({ schema: Tick, event: "tick", resume: {} })
)

const quiet = ServerSentEvents.toResponse(Stream.never, { schema: Tick, resume: {} })

const kept = Effect.map(
  SqlWarehouse.query(Sale, { cache: {} })`SELECT item, region FROM sales`,
  HttpServerResponse.jsonUnsafe
)

const Mine = Layer.mergeAll(
  HttpRouter.add("GET", "/ticks", ticks),
  HttpRouter.add("GET", "/quiet", quiet),
  HttpRouter.add("GET", "/kept", kept)
).pipe(Layer.provide(Middleware.asUser.layer))

const Routes = Layer.mergeAll(
  HttpRouter.add("GET", "/health", Effect.succeed(HttpServerResponse.jsonUnsafe({ status: "ok" }))),
  Mine,
  AppKit.serving({ endpoints: { llm: "model" } }),
  AppKit.files({ volumes: { files: "/Volumes/main/default/files" } })
).pipe(Layer.provideMerge(Middleware.layerFailures))

/** A table of the service principal, as AppKit has one. Entries of users are told apart by their keys. */
const store = Effect.gen(function* () {
  const sql = yield* SqlClient.SqlClient
  yield* sql`CREATE SCHEMA IF NOT EXISTS cache`
  yield* sql`CREATE TABLE IF NOT EXISTS cache.kept (
    id text PRIMARY KEY, caller text, name text, operation text, value text, expires timestamptz)`
  const store: OperationCache.Store = {
    get: ({ id }) =>
      Effect.map(
        ExecutionContext.asService(
          sql<{ readonly value: string }>`SELECT value FROM cache.kept WHERE id = ${id} AND expires > now()`
        ),
        ([row]) => Option.fromUndefinedOr(row && (JSON.parse(row.value) as unknown))
      ),
    set: ({ caller, id, name, operation }, value, timeToLive) =>
      ExecutionContext.asService(sql`
        INSERT INTO cache.kept VALUES (${id}, ${caller}, ${name}, ${operation}, ${JSON.stringify(value)},
          now() + ${Duration.toMillis(timeToLive)} * interval '1 millisecond')
        ON CONFLICT (id) DO UPDATE SET value = excluded.value, expires = excluded.expires`),
    remove: (which) =>
      ExecutionContext.asService(
        sql`DELETE FROM cache.kept WHERE ${sql.and(
          Object.entries(which).map(([name, value]) => sql`${sql(name)} = ${value}`)
        )}`
      )
  }
  return store
})

App.runMain(
  HttpRouter.serve(Routes, { disableLogger: true }).pipe(
    Layer.provide(App.layerHttpServer({ host: "127.0.0.1" })),
    Layer.provide([
      AppKit.layer,
      Files.layer,
      ModelServing.layer,
      SqlWarehouse.layer,
      Layer.provide(OperationCache.layerStore(store), Lakebase.layerConfig())
    ]),
    Layer.provide(ServiceContext.layerConfig()),
    Layer.provide([Telemetry.layerConfig(), Logs.layerConfig()])
  )
)
