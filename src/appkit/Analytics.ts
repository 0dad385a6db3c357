/**
 * The routes of `useAnalyticsQuery`, `useChartData`, the charts, the tables and `useMetricView` of
 * `@databricks/appkit-ui`.
 *
 * ```ts
 * import { Layer } from "effect"
 * import { MetricView, Queries } from "effect-databricks"
 * import * as Analytics from "effect-databricks/appkit/Analytics"
 *
 * export const Routes = Layer.mergeAll(
 *   Analytics.layer({ keys: ["orders_by_day"] }).pipe(Layer.provide(Queries.layer({ directory: "config/queries" }))),
 *   Analytics.layerMetricViews().pipe(
 *     Layer.provide(MetricView.layer({ file: "config/metric-views/definitions.json" }))
 *   )
 * )
 * ```
 *
 * @since 0.1.0
 */
import { type Config, type Duration, Effect, Layer } from "effect"
import type { HttpRouter } from "effect/http"
import { ResumableStreams } from "../http/ResumableStreams.ts"
import * as Columns from "../internal/appkit/analytics/columns.ts"
import * as Metric from "../internal/appkit/analytics/metric.ts"
import * as Query from "../internal/appkit/analytics/query.ts"
import * as Routes from "../internal/appkit/routes.ts"
import * as Bounds from "../internal/bounds.ts"
import { MetricView } from "../MetricView.ts"
import { Queries } from "../Queries.ts"
import type { ServiceContext } from "../ServiceContext.ts"
import { SqlWarehouse } from "../SqlWarehouse.ts"
import type { Policy } from "./Policy.ts"

/**
 * The resource of a policy: the key of a query or metric view.
 *
 * @since 0.1.0
 * @category models
 */
export interface Resource {
  readonly key: string
}

/**
 * The options of the routes.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options<Action extends "query" | "metric"> {
  /** The keys that are served; any other is a 404. Defaults to all. */
  readonly keys?: ReadonlyArray<string> | undefined
  /** Decides about what runs as the app: `key.sql` and the executor `app_service_principal`. Defaults to `readOnly`. */
  readonly policy?: Policy<Action, Resource> | undefined
  /** Time limit of a statement, without the start of the warehouse. Defaults to that of `SqlWarehouse`. */
  readonly timeout?: Duration.Input | undefined
  /** Time limit for the start of the warehouse. Defaults to 10 minutes. */
  readonly startTimeout?: Duration.Input | undefined
}

const checked = (options: Options<never>) =>
  Bounds.check("Analytics", options, { timeout: Bounds.duration(), startTimeout: Bounds.duration() })

/**
 * Adds the routes of named queries: `POST /api/analytics/query/:key` and `GET /api/analytics/columns/:statementId`.
 *
 * `key.obo.sql` runs as the verified user, or is a 401. `key.sql` runs as the app, if the policy allows it. A result as
 * JSON has the text of each value, or `null`. A result that is incomplete, or too large for the page, is an error.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (
  options: Options<"query"> = {}
): Layer.Layer<
  never,
  Config.ConfigError,
  HttpRouter.HttpRouter | Queries | ResumableStreams | ServiceContext | SqlWarehouse
> =>
  Layer.unwrap(
    Effect.gen(function* () {
      yield* checked(options)
      const columns = yield* Columns.make
      return Routes.layer(
        "analytics",
        [Queries, ResumableStreams, SqlWarehouse],
        [Query.route(options, columns), Columns.route(columns)]
      )
    })
  )

/**
 * Adds the route of metric views: `POST /api/analytics/metric/:key`.
 *
 * A view with the executor `user` runs as the verified user, or is a 401. Any other runs as the app, if the policy allows
 * it.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerMetricViews = (
  options: Options<"metric"> = {}
): Layer.Layer<
  never,
  Config.ConfigError,
  HttpRouter.HttpRouter | MetricView | ResumableStreams | ServiceContext | SqlWarehouse
> =>
  Layer.unwrap(
    Effect.as(
      checked(options),
      Routes.layer("analytics", [MetricView, ResumableStreams, SqlWarehouse], [Metric.route(options)])
    )
  )
