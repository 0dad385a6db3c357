import * as App from "effect-databricks/App"
import * as Telemetry from "effect-databricks/Telemetry"
import { AsUser, Failures, ServiceContext, SqlWarehouse } from "effect-databricks"
import { LocalWorkspace } from "effect-databricks/testing"
import { Config, Effect, Layer, Option } from "effect"
import { HttpRouter } from "effect/http"
import { HttpApiBuilder, HttpApiSwagger } from "effect/http-api"
import { Api } from "./Api.ts"
import { Handlers } from "./handlers.ts"
import * as Page from "./Page.ts"
import * as Show from "./Show.ts"

const Routes = Layer.mergeAll(
  HttpApiBuilder.layer(Api, { openapiPath: "/openapi.json" }),
  HttpApiSwagger.layer(Api)
).pipe(Layer.provide(Handlers), Layer.provide([AsUser.layer, Failures.layer]))

/** What Databricks Apps runs: everything from the environment. */
const Deployed = HttpRouter.serve(Layer.merge(Routes, Page.layer(""))).pipe(
  Layer.provide([App.layerHttpServer(), SqlWarehouse.layer]),
  Layer.provide(ServiceContext.layerConfig)
)

const ServiceContextLocal = Layer.unwrap(
  Effect.map(LocalWorkspace.LocalWorkspace, ({ host, servicePrincipal, warehouseId, workspaceId }) =>
    ServiceContext.layer({ host, workspaceId, warehouseId, ...servicePrincipal })
  )
)

/** The same application with a workspace of its own beside it. */
const Local = Layer.effectDiscard(Show.announce).pipe(
  Layer.provide(HttpRouter.serve(Layer.merge(Routes, Show.layerRoutes))),
  Layer.provide([App.layerHttpServer({ host: "127.0.0.1" }), SqlWarehouse.layer]),
  Layer.provide([ServiceContextLocal, Show.layerIdentities, Show.layerRecorder]),
  Layer.provide(LocalWorkspace.layer())
)

const Main = Layer.unwrap(
  Effect.map(Config.option(Config.NonEmptyString("DATABRICKS_HOST")), (host) =>
    Option.isSome(host) ? Deployed : Local
  )
).pipe(Layer.provide(Telemetry.layerConfig))

App.runMain(Main)
