/** The routes of AppKit's front end over the services of this application. Importing this module starts nothing. */
import { Config, Effect, Layer, Path, Schema } from "effect"
import { HttpRouter, HttpServerResponse } from "effect/http"
import {
  AiSearch,
  App,
  Files,
  Genie,
  Jobs,
  MetricView,
  Middleware,
  ModelServing,
  Queries,
  SqlWarehouse
} from "effect-databricks"
import * as AppKit from "effect-databricks/appkit/AppKit"
import { readings } from "./queries.ts"

/** A route of the application's own, which `ArrowClient` of AppKit reads. */
const Readings = HttpRouter.add(
  "GET",
  "/api/readings.arrow",
  Effect.map(Queries.executeArrow(readings.key), ({ body }) =>
    HttpServerResponse.stream(body, { contentType: "application/vnd.apache.arrow.stream" })
  )
).pipe(Layer.provide(Middleware.asUser.layer))

const settings = Config.all({
  index: Config.NonEmptyString("DATABRICKS_VS_INDEX_NAME"),
  jobId: Config.NonEmptyString("DATABRICKS_JOB_REPORT"),
  endpoint: Config.NonEmptyString("DATABRICKS_SERVING_ENDPOINT_NAME"),
  spaceId: Config.NonEmptyString("DATABRICKS_GENIE_SPACE_ID"),
  volume: Config.NonEmptyString("DATABRICKS_VOLUME_DOCUMENTS")
})

const Routes = Layer.unwrap(
  Effect.gen(function* () {
    const { endpoint, index, jobId, spaceId, volume } = yield* settings
    const { fromFileUrl } = yield* Path.Path
    const report = Jobs.job({ id: jobId, taskType: "notebook", parameters: Schema.Struct({ day: Schema.String }) })
    return Layer.mergeAll(
      AppKit.analytics(),
      AppKit.metricViews(),
      AppKit.genie({ spaces: { sales: spaceId } }),
      AppKit.files({ volumes: { documents: volume } }),
      AppKit.serving({ endpoints: { model: endpoint } }),
      AppKit.aiSearch({
        indexes: { articles: { index, columns: ["id", "title", "body"], queryType: "full_text", pagination: true } }
      }),
      // Every user may start it, and none may cancel another's run.
      AppKit.jobs({
        jobs: {
          report: {
            job: report,
            policy: (action, _, caller) => Effect.succeed(action !== "cancel" && caller !== undefined)
          }
        }
      }),
      AppKit.page({ root: yield* fromFileUrl(new URL("web/dist", import.meta.url)) }),
      Readings
    )
  })
)

const config = (path: string) =>
  Effect.flatMap(Path.Path, ({ fromFileUrl }) => fromFileUrl(new URL(`config/${path}`, import.meta.url)))

const Statements = Layer.mergeAll(
  Layer.unwrap(Effect.map(config("queries"), (directory) => Queries.layer({ directory }))),
  Layer.unwrap(Effect.map(config("metric-views/definitions.json"), (file) => MetricView.layer({ file })))
)

/** The application, without the `ServiceContext`. */
export const Main = HttpRouter.serve(Routes, { routerConfig: { maxParamLength: 200 } }).pipe(
  Layer.provide([Statements, AppKit.layer]),
  Layer.provide([SqlWarehouse.layer, Files.layer, Genie.layer, ModelServing.layer, AiSearch.layer, Jobs.layer]),
  Layer.provide(App.layerHttpServer())
)
