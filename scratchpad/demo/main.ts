import * as App from "effect-databricks/App"
import * as Logs from "effect-databricks/Logs"
import * as Telemetry from "effect-databricks/Telemetry"
import { Files, Genie, Jobs, Lakebase, ModelServing, Queries, ServiceContext, SqlWarehouse } from "effect-databricks"
import { LocalWorkspace } from "effect-databricks/testing"
import { Config, Effect, Layer, Option, Path } from "effect"
import { HttpRouter } from "effect/http"
import * as Burst from "./Burst.ts"
import { model } from "./chat/local.ts"
import { seed, space } from "./genie/local.ts"
import { job } from "./jobs/local.ts"
import * as Page from "./Page.ts"
import * as Show from "./Show.ts"
import * as Subjects from "./Subjects.ts"

const queries = Effect.flatMap(Path.Path, ({ fromFileUrl }) => fromFileUrl(new URL("queries", import.meta.url)))

const Services = Layer.unwrap(Effect.map(queries, (directory) => Queries.layer({ directory }))).pipe(
  Layer.provideMerge(
    Layer.mergeAll(App.layerHttpServer(), SqlWarehouse.layer, Files.layer, Jobs.layer, Genie.layer, ModelServing.layer)
  )
)

// Names of files may be longer than 100 characters, the default.
const routerConfig = { maxParamLength: 200 }

/** The application of Databricks Apps, configured by the environment. */
const Deployed = Layer.unwrap(
  Effect.map(Subjects.make(Lakebase.layerConfig()), ({ routes, screens }) =>
    HttpRouter.serve(Layer.merge(routes, Page.layer(screens)), { routerConfig })
  )
).pipe(Layer.provide(Services), Layer.provide(ServiceContext.layerConfig()))

/** The same application with the screens of `Show.ts`, behind a proxy at this origin. */
const shown = (origin: string) =>
  Layer.effectDiscard(Show.announce(origin)).pipe(
    Layer.provide(
      Layer.unwrap(
        Effect.map(Subjects.make(Burst.layerLakebase), ({ routes, screens }) =>
          HttpRouter.serve(Layer.mergeAll(routes, Show.layerRoutes([...screens, Page.budget]), Burst.layerRoutes), {
            routerConfig
          })
        )
      )
    ),
    Layer.provide(Services),
    Layer.provide([Burst.layerLakebase, Show.layerRecorder]),
    Layer.provide(ServiceContext.layerConfig())
  )

const volume = "/Volumes/main/demo/files"

const Local = Layer.unwrap(
  Effect.map(Config.withDefault(Config.Port("DATABRICKS_APP_PORT"), 8000), (port) =>
    LocalWorkspace.dev(shown(`http://localhost:${port}`), {
      port,
      directory: false,
      users: [...Show.people, ...Burst.crowd].map((userName) => ({ userName })),
      files: { volumes: [{ path: volume }] },
      jobs: [job],
      genie: [space],
      serving: { model },
      seed,
      env: {
        DATABRICKS_VOLUME: volume,
        DATABRICKS_JOB_ID: job.id,
        DATABRICKS_GENIE_SPACE_ID: space.spaceId,
        DATABRICKS_SERVING_ENDPOINT_NAME: "model"
      }
    })
  )
)

const isConfigured = Effect.map(Config.option(Config.NonEmptyString("DATABRICKS_HOST")), Option.isSome)

const Main = Layer.unwrap(Effect.map(isConfigured, (isConfigured) => (isConfigured ? Deployed : Local))).pipe(
  Layer.provide([Telemetry.layerConfig(), Logs.layerConfig()])
)

App.runMain(Main)
