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
import { type Config, Effect, Layer } from "effect"
import { HttpRouter, HttpServerResponse } from "effect/http"
import * as Middleware from "../http/Middleware.ts"
import * as Environment from "../internal/appkit/environment.ts"
import * as JobsService from "../Jobs.ts"
import * as ClientConfig from "./ClientConfig.ts"
import * as Jobs from "./Jobs.ts"
import * as Page from "./Page.ts"

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

/**
 * Provides the services that plugins share: `ClientConfig`.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer: Layer.Layer<ClientConfig.ClientConfig, Config.ConfigError> = ClientConfig.layer

/**
 * The options of `layerConfig`, beside the environment.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options {
  /** The built page. Without it no page is served. */
  readonly page?: Page.Options | undefined
  /** Further jobs, which replace those of the environment with the same key, and the policy of all. */
  readonly jobs?: Partial<Jobs.Options> | undefined
}

/**
 * Adds the routes of all that the environment names, with the services that they need, and `GET /health`, which responds
 * with `{ status: "ok" }`.
 *
 * `DATABRICKS_JOB_<KEY>` is the id of a job, with its key in lower case; that of `DATABRICKS_JOB_ID` is `default`. A
 * request may send no parameters to such a job, because the environment has no Schema of them: define the job in the
 * options. A blank variable counts as absent; a wrong one fails the start with a `ConfigError` that names it.
 *
 * Other routes of the application share its `ClientConfig` if they are provided with `AppKit.layer`.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerConfig = (options: Options = {}) =>
  Layer.mergeAll(
    Layer.unwrap(
      Effect.map(Environment.jobs, (found) => {
        const jobs = { ...found, ...options.jobs?.jobs }
        return mounted(
          Object.keys(jobs).length > 0,
          Layer.provide(Jobs.layer({ ...options.jobs, jobs }), JobsService.layer)
        )
      })
    ),
    mounted(options.page !== undefined, Page.layer({ root: "", ...options.page })),
    Middleware.layerFailures,
    HttpRouter.add("GET", "/health", HttpServerResponse.jsonUnsafe({ status: "ok" }))
  ).pipe(Layer.provide(layer))

/** Returns the layer, or an empty one of the same type. */
const mounted = <E, R>(isNamed: boolean, routes: Layer.Layer<never, E, R>): Layer.Layer<never, E, R> =>
  isNamed ? routes : Layer.empty
