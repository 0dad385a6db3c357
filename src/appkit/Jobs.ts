/**
 * The routes of AppKit's jobs plugin, below `/api/jobs`.
 *
 * User authorization has no scope for jobs, so each run is the app's. A policy decides what the sender of a request may
 * do with it. By default a user may read runs, and may start or cancel none.
 *
 * ```ts
 * import { Effect, Layer, Schema } from "effect"
 * import { Jobs } from "effect-databricks"
 * import * as JobRoutes from "effect-databricks/appkit/Jobs"
 *
 * const report = Jobs.job({
 *   id: "1121234567890123457",
 *   taskType: "notebook",
 *   parameters: Schema.Struct({ day: Schema.String })
 * })
 *
 * export const Routes = JobRoutes.layer({
 *   jobs: {
 *     report: {
 *       job: report,
 *       policy: (action, _, caller) => Effect.succeed(action !== "cancel" && caller !== undefined)
 *     }
 *   }
 * }).pipe(Layer.provide(Jobs.layer))
 * ```
 *
 * @since 0.1.0
 */
import { Effect, Layer, type Schema } from "effect"
import type { HttpRouter } from "effect/http"
import * as Clients from "../internal/appkit/jobs/clientConfig.ts"
import * as Routes from "../internal/appkit/jobs/routes.ts"
import type * as Jobs from "../Jobs.ts"
import type { ServiceContext } from "../ServiceContext.ts"
import { ClientConfig } from "./ClientConfig.ts"
import type * as Policy from "./Policy.ts"

/**
 * The actions of the routes. `run` and `cancel` change something.
 *
 * @since 0.1.0
 * @category models
 */
export type Action = "run" | "cancel" | "list" | "status"

/**
 * The object of an action.
 *
 * @since 0.1.0
 * @category models
 */
export interface Resource {
  /** The job's key in `Options.jobs`. */
  readonly job: string
  /** The run of `cancel`, and of `status` for a certain run. */
  readonly runId?: string | undefined
  /** The decoded parameters of `run`. */
  readonly parameters?: unknown
}

/**
 * A job for a front end.
 *
 * @since 0.1.0
 * @category models
 */
export interface Definition {
  /** A job of `Jobs.job`. The Schema of its parameters needs no services. */
  readonly job: {
    readonly id: string
    readonly taskType: Jobs.TaskType
    readonly parameters: Schema.ConstraintCodec<unknown, unknown>
    readonly with: (parameters: never) => Jobs.Order
  }
  /** Decides in place of `Options.policy`. */
  readonly policy?: Policy.Policy<Action, Resource> | undefined
}

/**
 * The jobs of a front end.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options {
  /** The jobs by the key that stands in the path of their routes. */
  readonly jobs: Readonly<Record<string, Definition>>
  /** Defaults to `Policy.readOnly`, which allows no `run` and no `cancel`. */
  readonly policy?: Policy.Policy<Action, Resource> | undefined
}

/**
 * Adds the routes, and `{ jobs: { [key]: { params, taskType } } }` to the client config.
 *
 * - `POST /api/jobs/:job/run` with `{ params? }` responds with `{ runId }`. With `?stream=true` it responds with events
 *   `{ status, timestamp, run }`, one for each change until the run ends.
 * - `GET /api/jobs/:job/runs?limit=20` responds with `{ runs }`, the newest first, 1 to 100.
 * - `GET /api/jobs/:job/runs/:runId` responds with the run, `GET /api/jobs/:job/status` with `{ status, run }` of the
 *   newest run, or with `null` for both.
 * - `DELETE /api/jobs/:job/runs/:runId` cancels the run and responds with 204.
 *
 * A run has the names of the Jobs API, such as `run_id` and `state.life_cycle_state`. Ids are strings, because the ids of
 * Databricks do not fit a number. Nothing is cached. A run of another job is a 404.
 *
 * A request with `?requestId=` or the header `Idempotency-Key` starts one run for each user and job, however often it is
 * repeated. A stream continues in any process: the id of its last event leads a repeated request to the same run. A
 * client that leaves does not cancel the run.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (
  options: Options
): Layer.Layer<never, never, HttpRouter.HttpRouter | Jobs.Jobs | ServiceContext | ClientConfig> =>
  Layer.merge(
    Routes.layer(options),
    Layer.effectDiscard(Effect.flatMap(ClientConfig, (config) => config.add("jobs", { config: Clients.of(options) })))
  )
