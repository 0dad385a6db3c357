/** The measured server: an application as in README.md, which verifies, traces, logs and lets requests finish. */
import { Config, Effect, Layer, Schema } from "effect"
import { HttpRouter } from "effect/http"
import { HttpApi, HttpApiBuilder, HttpApiEndpoint, HttpApiGroup } from "effect/http-api"
import {
  App,
  AsUser,
  Failures,
  Lakebase,
  Logs,
  Middleware,
  OperationCache,
  ServiceContext,
  SqlWarehouse,
  Telemetry
} from "../../src/index.ts"

const Order = Schema.Struct({ item: Schema.String, amount: Schema.Int })
const Sale = Schema.Struct({ item: Schema.String, region: Schema.String })

class Mine extends HttpApiGroup.make("mine")
  .add(
    HttpApiEndpoint.get("orders", "/orders", { success: Schema.Array(Order) }),
    HttpApiEndpoint.get("sales", "/sales", { success: Schema.Array(Sale) }),
    HttpApiEndpoint.get("cached", "/cached", { success: Schema.Array(Sale) })
  )
  .middleware(AsUser) {}

class Health extends HttpApiGroup.make("health").add(
  HttpApiEndpoint.get("health", "/health", { success: Schema.Struct({ status: Schema.Literal("ok") }) })
) {}

class Api extends HttpApi.make("bench").add(Mine, Health).middleware(Failures) {}

const orders = Effect.flatMap(
  Lakebase.user,
  (sql) => sql<typeof Order.Type>`SELECT item, amount FROM desk.orders ORDER BY id`
)
const sales = SqlWarehouse.query(Sale)`SELECT item, region FROM sales`
const cached = SqlWarehouse.query(Sale, { cache: {} })`SELECT item, region FROM sales`

const MineLive = HttpApiBuilder.group(Api, "mine", (handlers) =>
  handlers
    .handle("orders", () => orders)
    .handle("sales", () => sales)
    .handle("cached", () => cached)
)

const HealthLive = HttpApiBuilder.group(Api, "health", (handlers) =>
  handlers.handle("health", () => Effect.succeed({ status: "ok" as const }))
)

const Routes = HttpApiBuilder.layer(Api).pipe(Layer.provide([MineLive, HealthLive]), Layer.provide(Middleware.layer))

const Database = Layer.unwrap(
  Effect.gen(function* () {
    const options = yield* Lakebase.config
    const maxConnections = yield* Config.Int("BENCH_CONNECTIONS")
    // On one machine all logins share the processor.
    return Lakebase.layer({ ...options, maxConnections, acquireTimeout: "60 seconds" })
  })
)

/** `BENCH_LOGS=false` is for the cost of the line of a request. */
const Log = Layer.unwrap(
  Effect.map(Config.withDefault(Config.Boolean("BENCH_LOGS"), true), (on) => (on ? Logs.layerConfig() : Layer.empty))
)

App.runMain(
  // Effect's own log of requests, which `Logs` replaces.
  HttpRouter.serve(Routes, { disableLogger: true }).pipe(
    Layer.provide(App.layerHttpServer({ host: "127.0.0.1" })),
    Layer.provide([SqlWarehouse.layer, Database, OperationCache.layer()]),
    Layer.provide(ServiceContext.layerConfig()),
    Layer.provide([Telemetry.layerConfig(), Log])
  )
)
