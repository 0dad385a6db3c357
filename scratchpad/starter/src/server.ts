/** The app: its routes and the services that they need. Importing this module starts nothing. */
import { Effect, Layer } from "effect"
import { HttpRouter } from "effect/http"
import { HttpApiBuilder } from "effect/http-api"
import {
  App,
  Lakebase,
  Logs,
  Middleware,
  Queries,
  ServiceContext,
  SqlWarehouse,
  StaticFiles,
  Telemetry,
  UserContext
} from "effect-databricks"
import { Api } from "./Api.ts"
import { Expenses } from "./Expenses.ts"
import { fares } from "./Fares.ts"

const Mine = HttpApiBuilder.group(Api, "mine", (handlers) =>
  Effect.map(Expenses, ({ add, mine }) =>
    handlers
      .handle("me", () => Effect.map(UserContext, ({ userName }) => ({ userName })))
      .handle("expenses", () => mine)
      .handle("add", ({ payload }) => add(payload))
      .handle("fares", () => fares)
  )
)

const Everyone = HttpApiBuilder.group(Api, "everyone", (handlers) =>
  Effect.map(Expenses, ({ totals }) => handlers.handle("totals", () => totals))
)

const System = HttpApiBuilder.group(Api, "system", (handlers) =>
  handlers.handle("health", () => Effect.succeed("ok" as const))
)

const Routes = Layer.mergeAll(
  HttpApiBuilder.layer(Api).pipe(Layer.provide([Mine, Everyone, System])),
  StaticFiles.layer({ root: "public" })
).pipe(Layer.provide(Middleware.layer))

const Migrated = Layer.effectDiscard(Lakebase.migrate({ schema: "expenses", directory: "migrations" }))

export const Main = HttpRouter.serve(Routes).pipe(
  Layer.provide([Expenses.layer, Queries.layer({ directory: "config/queries" }), SqlWarehouse.layer]),
  Layer.provide(Migrated),
  Layer.provideMerge(App.layerHttpServer()),
  Layer.provide(Lakebase.layerConfig()),
  Layer.provide(ServiceContext.layerConfig()),
  Layer.provide([Telemetry.layerConfig(), Logs.layerConfig()])
)
