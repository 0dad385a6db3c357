/**
 * The routes and the page of a front end that is built with `@databricks/appkit-ui`.
 *
 * ```ts
 * import { Effect, Layer } from "effect"
 * import { HttpRouter } from "effect/http"
 * import { App, ServiceContext } from "effect-databricks"
 * import * as AppKit from "effect-databricks/appkit/AppKit"
 *
 * const Routes = AppKit.layerConfig({
 *   page: { root: "client/dist" },
 *   jobs: { policy: (_action, _resource, caller) => Effect.succeed(caller !== undefined) }
 * })
 *
 * export const Main = HttpRouter.serve(Routes).pipe(
 *   Layer.provide(App.layerHttpServer()),
 *   Layer.provide(ServiceContext.layerConfig())
 * )
 * ```
 *
 * @since 0.1.0
 */
import { type Config, Effect, FileSystem, Layer } from "effect"
import { HttpRouter, HttpServerResponse } from "effect/http"
import * as FilesService from "../Files.ts"
import * as GenieService from "../Genie.ts"
import * as Middleware from "../http/Middleware.ts"
import * as ResumableStreams from "../http/ResumableStreams.ts"
import * as Environment from "../internal/appkit/environment.ts"
import { endpointsOf } from "../internal/appkit/serving/routes.ts"
import * as JobsService from "../Jobs.ts"
import * as MetricView from "../MetricView.ts"
import * as ModelServing from "../ModelServing.ts"
import * as Queries from "../Queries.ts"
import * as SqlWarehouse from "../SqlWarehouse.ts"
import * as Analytics from "./Analytics.ts"
import * as ClientConfig from "./ClientConfig.ts"
import * as Files from "./Files.ts"
import * as Genie from "./Genie.ts"
import * as Jobs from "./Jobs.ts"
import * as Page from "./Page.ts"
import * as Serving from "./Serving.ts"

export {
  /**
   * Adds the routes of AI Search indexes: `AiSearch.layer`.
   *
   * @since 0.1.0
   * @category layers
   */
  layer as aiSearch
} from "./AiSearch.ts"

export {
  /**
   * Adds the routes of named queries: `Analytics.layer`.
   *
   * @since 0.1.0
   * @category layers
   */
  layer as analytics,
  /**
   * Adds the route of metric views: `Analytics.layerMetricViews`.
   *
   * @since 0.1.0
   * @category layers
   */
  layerMetricViews as metricViews
} from "./Analytics.ts"

export {
  /**
   * Adds the routes of volumes: `Files.layer`.
   *
   * @since 0.1.0
   * @category layers
   */
  layer as files
} from "./Files.ts"

export {
  /**
   * Adds the routes of Genie spaces: `Genie.layer`.
   *
   * @since 0.1.0
   * @category layers
   */
  layer as genie
} from "./Genie.ts"

export {
  /**
   * Adds the routes of jobs: `Jobs.layer`.
   *
   * @since 0.1.0
   * @category layers
   */
  layer as jobs
} from "./Jobs.ts"

export {
  /**
   * Serves the built page with the client config: `Page.layer`.
   *
   * @since 0.1.0
   * @category layers
   */
  layer as page
} from "./Page.ts"

export {
  /**
   * Adds the routes of model serving endpoints: `Serving.layer`.
   *
   * @since 0.1.0
   * @category layers
   */
  layer as serving
} from "./Serving.ts"

/**
 * Provides the services that plugins share: `ClientConfig` and `ResumableStreams`.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer: Layer.Layer<ClientConfig.ClientConfig | ResumableStreams.ResumableStreams, Config.ConfigError> =
  Layer.merge(ClientConfig.layer, ResumableStreams.layer)

/**
 * The options of `layerConfig`, beside the environment. They replace what the environment names with the same key.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options {
  /** Options of the named queries, and their folder. Without it `config/queries` is served, if it exists. */
  readonly analytics?: (Analytics.Options<"query"> & { readonly directory?: string | undefined }) | undefined
  /** Options of the metric views, and their file. Without it `config/metric-views/definitions.json` is, if it exists. */
  readonly metricViews?: (Analytics.Options<"metric"> & { readonly file?: string | undefined }) | undefined
  /** The built page. Without it no page is served. */
  readonly page?: Page.Options | undefined
  /** Further volumes. */
  readonly files?: Partial<Files.Options> | undefined
  /** Further Genie spaces. */
  readonly genie?: Partial<Genie.Options> | undefined
  /** Further jobs, and the policy of all. */
  readonly jobs?: Partial<Jobs.Options> | undefined
  /** Further model serving endpoints. */
  readonly serving?: Serving.Options | undefined
}

/**
 * Adds the routes of all that the environment names, with the services that they need, and `GET /health`, which responds
 * with `{ status: "ok" }`.
 *
 * - `config/queries` has the named queries, and `config/metric-views/definitions.json` the metric views. Both run at
 *   `DATABRICKS_WAREHOUSE_ID`, without which they fail the start.
 * - `DATABRICKS_GENIE_SPACE_ID` is the Genie space `default`.
 * - `DATABRICKS_VOLUME_<KEY>` is the path of a volume, with its key in lower case. Its calls run as the user.
 * - `DATABRICKS_SERVING_ENDPOINT_NAME` is the model serving endpoint of hooks that name no alias.
 * - `DATABRICKS_JOB_<KEY>` is the id of a job, with its key in lower case; that of `DATABRICKS_JOB_ID` is `default`. A
 *   request may send no parameters to such a job, because the environment has no Schema of them: define the job in the
 *   options.
 *
 * Each plugin that is mounted is logged at the start, such as `AppKit serves volumes: uploads`.
 *
 * A blank variable counts as absent; a wrong one fails the start with a `ConfigError` that names it. Other routes of the
 * application share its `ClientConfig` if they are provided with `AppKit.layer`.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerConfig = (options: Options = {}) =>
  Layer.mergeAll(
    atWarehouse("queries", options.analytics, options.analytics?.directory ?? "config/queries", (directory) =>
      Layer.provide(Analytics.layer(options.analytics), Queries.layer({ directory }))
    ),
    atWarehouse(
      "metric views",
      options.metricViews,
      options.metricViews?.file ?? "config/metric-views/definitions.json",
      (file) => Layer.provide(Analytics.layerMetricViews(options.metricViews), MetricView.layer({ file }))
    ),
    named("Genie spaces", Environment.spaces, options.genie?.spaces, (spaces) =>
      Layer.provide(Genie.layer({ ...options.genie, spaces }), GenieService.layer)
    ),
    named("volumes", Environment.volumes, options.files?.volumes, (volumes) =>
      Layer.provide(Files.layer({ ...options.files, volumes }), FilesService.layer)
    ),
    named("jobs", Environment.jobs, options.jobs?.jobs, (jobs) =>
      Layer.provide(Jobs.layer({ ...options.jobs, jobs }), JobsService.layer)
    ),
    Layer.unwrap(
      Effect.map(Environment.endpoint, (found) => {
        const serving = { default: found, ...options.serving }
        const isNamed = found !== undefined || options.serving !== undefined
        const aliases = [...endpointsOf(serving).keys()]
        return mounted("model endpoints", isNamed && aliases, Layer.provide(Serving.layer(serving), ModelServing.layer))
      })
    ),
    mounted("the page", options.page && [options.page.root], Page.layer({ root: "", ...options.page })),
    Middleware.layerFailures,
    HttpRouter.add("GET", "/health", HttpServerResponse.jsonUnsafe({ status: "ok" }))
  ).pipe(Layer.provide([layer, SqlWarehouse.layer]))

/** Mounts what this path has, if there are options or it exists. It needs a warehouse. */
const atWarehouse = <E, R>(
  what: string,
  options: unknown,
  path: string,
  routes: (path: string) => Layer.Layer<never, E, R>
) =>
  Layer.unwrap(
    Effect.gen(function* () {
      const files = yield* FileSystem.FileSystem
      const isNamed = options !== undefined || (yield* files.exists(path))
      if (isNamed) yield* Environment.warehouseFor(path)
      return mounted(what, isNamed && [path], routes(path))
    })
  )

/** Mounts what the environment and the options name, if it is anything. */
const named = <A, B, E, R>(
  what: string,
  found: Effect.Effect<Readonly<Record<string, A>>, Config.ConfigError>,
  given: Readonly<Record<string, B>> | undefined,
  routes: (all: Readonly<Record<string, A | B>>) => Layer.Layer<never, E, R>
) =>
  Layer.unwrap(
    Effect.map(found, (found) => {
      const all: Readonly<Record<string, A | B>> = { ...found, ...given }
      const keys = Object.keys(all)
      return mounted(what, keys.length > 0 && keys, routes(all))
    })
  )

/** Returns the layer, which logs what it serves, or an empty one of the same type. */
const mounted = <E, R>(
  what: string,
  names: ReadonlyArray<string> | false | undefined,
  routes: Layer.Layer<never, E, R>
): Layer.Layer<never, E, R> =>
  names ? Layer.tap(routes, () => Effect.logInfo(`AppKit serves ${what}: ${names.join(", ")}`)) : Layer.empty
