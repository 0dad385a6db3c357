import * as App from "effect-databricks/App"
import * as Telemetry from "effect-databricks/Telemetry"
import { Lakebase, Middleware, ServiceContext, SqlWarehouse } from "effect-databricks"
import { LocalWorkspace } from "effect-databricks/testing"
import { Config, Effect, Layer, Option } from "effect"
import { HttpRouter } from "effect/http"
import { HttpApiBuilder, HttpApiSwagger } from "effect/http-api"
import { Api, ApiWithDesk } from "./Api.ts"
import * as Burst from "./Burst.ts"
import { Handlers, HandlersWithDesk } from "./handlers.ts"
import { Orders } from "./Orders.ts"
import * as Page from "./Page.ts"
import * as Show from "./Show.ts"

const openapi = { openapiPath: "/openapi.json" } as const

const Routes = Layer.mergeAll(HttpApiBuilder.layer(Api, openapi), HttpApiSwagger.layer(Api)).pipe(
  Layer.provide(Handlers),
  Layer.provide(Middleware.layer)
)

const RoutesWithDesk = Layer.mergeAll(
  HttpApiBuilder.layer(ApiWithDesk, openapi),
  HttpApiSwagger.layer(ApiWithDesk),
  Page.layerDesk
).pipe(Layer.provide(HandlersWithDesk), Layer.provide(Middleware.layer))

const isSet = (name: string) => Effect.map(Config.option(Config.NonEmptyString(name)), Option.isSome)

/** What Databricks Apps runs: everything from the environment, and the orders desk if the app has a database. */
const Deployed = Layer.unwrap(
  Effect.map(isSet("PGHOST"), (hasDatabase) =>
    hasDatabase
      ? HttpRouter.serve(Layer.merge(RoutesWithDesk, Page.layer(Page.desk))).pipe(
          Layer.provide(Orders.layer),
          Layer.provide(Lakebase.layerConfig())
        )
      : HttpRouter.serve(Layer.merge(Routes, Page.layer("")))
  )
).pipe(Layer.provide([App.layerHttpServer(), SqlWarehouse.layer]), Layer.provide(ServiceContext.layerConfig()))

const ServiceContextLocal = Layer.unwrap(
  Effect.map(LocalWorkspace.LocalWorkspace, ({ host, servicePrincipal, warehouseId, workspaceId }) =>
    ServiceContext.layer({ host, workspaceId, warehouseId, ...servicePrincipal })
  )
)

/** The same application with a workspace of its own beside it. */
const Local = Layer.effectDiscard(Show.announce).pipe(
  Layer.provide(HttpRouter.serve(Layer.mergeAll(RoutesWithDesk, Show.layerRoutes, Burst.layerRoutes))),
  Layer.provide([App.layerHttpServer({ host: "127.0.0.1" }), SqlWarehouse.layer, Orders.layer]),
  Layer.provide([Burst.layerLakebase, Show.layerIdentities, Show.layerRecorder]),
  Layer.provide(ServiceContextLocal),
  Layer.provide(LocalWorkspace.layer({ users: [...Show.people, ...Burst.crowd].map((userName) => ({ userName })) }))
)

const Main = Layer.unwrap(Effect.map(isSet("DATABRICKS_HOST"), (host) => (host ? Deployed : Local))).pipe(
  Layer.provide(Telemetry.layerConfig())
)

App.runMain(Main)
