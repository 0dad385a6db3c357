/**
 * Runs of Databricks jobs, as the app.
 *
 * User authorization has no scope for jobs, so each call runs as the service principal, with the app's permissions. A
 * user's route says so: it takes the service from `Jobs.asService`. In a user's call the methods of the service `Jobs`
 * itself die, and send nothing. Before a run starts, the route decides whether this user may start it.
 *
 * ```ts
 * import { Effect, Schema } from "effect"
 * import { Jobs } from "effect-databricks"
 *
 * const report = Jobs.job({
 *   id: "1121234567890123457",
 *   parameters: Schema.Struct({ day: Schema.String, limit: Schema.Int })
 * })
 *
 * // Starts one run, however often a request is repeated with the same key.
 * export const start = (requestId: string) =>
 *   Effect.gen(function* () {
 *     const jobs = yield* Jobs.asService
 *     return yield* jobs.run(report.with({ day: "2026-01-31", limit: 10 }), { key: requestId })
 *   })
 * ```
 *
 * @since 0.1.0
 */
import { Context, type DateTime, type Duration, Effect, Layer, type Schema, Stream } from "effect"
import type { DatabricksError } from "./DatabricksError.ts"
import * as ExecutionContext from "./ExecutionContext.ts"
import * as Client from "./internal/jobs/client.ts"
import * as Parameters from "./internal/jobs/parameters.ts"
import type { JobParametersError, Run, RunFailedError, RunSummary, TaskOutput } from "./JobRun.ts"
import type * as Operation from "./Operation.ts"
import { ServiceContext } from "./ServiceContext.ts"
import { WorkspaceClient } from "./WorkspaceClient.ts"

/**
 * The type of task that reads the parameters, and the field of the request in which they are sent.
 *
 * `job`: `job_parameters`, which every task may read. `notebook`: `notebook_params`. `python_wheel`:
 * `python_named_params`. `spark_python`: `python_params`. `spark_jar`: `jar_params`. `sql`: `sql_params`.
 *
 * @since 0.1.0
 * @category models
 */
export type TaskType = "job" | "notebook" | "python_wheel" | "spark_python" | "spark_jar" | "sql"

/**
 * The definition of a job in the application.
 *
 * @since 0.1.0
 * @category models
 */
export interface Definition<S extends Schema.Constraint> {
  /** The job's id in the workspace, in digits. */
  readonly id: string
  /** The type of task that reads the parameters. Defaults to `job`. */
  readonly taskType?: TaskType | undefined
  /**
   * The Schema of the parameters. Each encoded value is sent as text; one that is absent or `undefined` is left out.
   *
   * `spark_python` and `spark_jar` take an array of values, all others a struct or a record. A value that is itself an
   * array or an object needs `Schema.fromJsonString`.
   */
  readonly parameters: S
}

/**
 * A job with its parameters, for `run`.
 *
 * @since 0.1.0
 * @category models
 */
export interface Order<R = never> {
  /** The job's id in the workspace, in digits. */
  readonly jobId: string
  /** Encodes the parameters. */
  readonly parameters: Effect.Effect<Readonly<Record<string, unknown>>, JobParametersError, R>
}

/**
 * A job of the application.
 *
 * @since 0.1.0
 * @category models
 */
export interface Job<S extends Schema.Constraint> {
  readonly id: string
  readonly taskType: TaskType
  readonly parameters: S
  /** Returns the job with these parameters, for `run`. */
  readonly with: (parameters: S["Type"]) => Order<S["EncodingServices"]>
}

/**
 * Defines a job of the application, with the Schema of its parameters.
 *
 * @since 0.1.0
 * @category constructors
 */
export const job = <S extends Schema.Constraint>({ id, parameters, taskType = "job" }: Definition<S>): Job<S> => {
  const encode = Parameters.encoder(id, taskType, parameters)
  return { id, taskType, parameters, with: (values) => ({ jobId: id, parameters: encode(values) }) }
}

/**
 * The options of `run`.
 *
 * @since 0.1.0
 * @category models
 */
export interface RunOptions extends Operation.Policy {
  /**
   * The idempotency token, at most 64 characters. Defaults to a new one for each call.
   *
   * The workspace starts one run for a key, and answers a repeated request with the id of that run, whatever its
   * parameters. All users of the app share the keys: put the user's id into the key of a run that is for one user.
   */
  readonly key?: string | undefined
}

/**
 * The options of `watch`.
 *
 * @since 0.1.0
 * @category models
 */
export interface WatchOptions {
  /** The delay before the second poll. It grows by half with each poll, and varies by 20 %. Defaults to 1 second. */
  readonly delay?: Duration.Input | undefined
  /** The longest delay between two polls. Defaults to 15 seconds. */
  readonly maxDelay?: Duration.Input | undefined
  /**
   * Whether to cancel the run if its caller is interrupted, by a timeout too, ends the stream early, or can no longer
   * watch it because a poll failed. Off by default: the run goes on without its caller.
   */
  readonly cancelOnInterrupt?: boolean | undefined
}

/**
 * The options of `runAndWait`. The time limits cover the start and the whole run; `retry` applies to the start.
 *
 * @since 0.1.0
 * @category models
 */
export interface RunAndWaitOptions extends RunOptions, WatchOptions {}

/**
 * The options of `list`. `timeout` and `retry` apply to each page.
 *
 * @since 0.1.0
 * @category models
 */
export interface ListOptions extends Omit<Operation.Policy, "totalTimeout"> {
  /** The job of the runs. Defaults to every job that the app may see. */
  readonly jobId?: string | undefined
  /** Only runs that are active, or only those that have ended. Defaults to both. */
  readonly only?: "active" | "completed" | undefined
  /** Only runs that started at this time or later. */
  readonly startedFrom?: DateTime.DateTime | undefined
  /** Only runs that started at this time or earlier. */
  readonly startedTo?: DateTime.DateTime | undefined
  /** The number of runs in one response of the workspace, from 1 to 24. Defaults to 20. */
  readonly pageSize?: number | undefined
}

/**
 * The errors of every call.
 *
 * @since 0.1.0
 * @category errors
 */
export type Failure = DatabricksError | Operation.OperationTimeoutError

/**
 * The service that starts, watches and cancels runs of jobs, as the service principal.
 *
 * Its methods run in the app's own calls: at start-up, under the middleware `AsService`, or in `asService`. In a user's
 * call they die, on the development fallback too: use `Jobs.asService` there. Nothing is cached, so a state is the one
 * that the workspace has now. Ids are digits, exact beyond 2^53.
 *
 * A missing job or run fails with the reason `NotFoundError`; so does one that the service principal may not see.
 *
 * @since 0.1.0
 * @category services
 */
export class Jobs extends Context.Service<
  Jobs,
  {
    /**
     * Starts a run of a job, given by its id or by `job(…).with(…)`, and returns the id of the run.
     *
     * By default a start is sent up to 3 times within 30 seconds, after a lost connection or a 5xx too: all attempts
     * have the same idempotency token, so they start one run. `retry` replaces these retries.
     */
    readonly run: <R = never>(
      job: string | Order<R>,
      options?: RunOptions
    ) => Effect.Effect<string, Failure | JobParametersError, R>
    /**
     * Streams a run: as it is now, on each change of its state or of a task's, and last as it ended.
     *
     * A failed run does not fail the stream. A poll that fails is retried for up to 5 minutes.
     */
    readonly watch: (runId: string, options?: WatchOptions) => Stream.Stream<Run, Failure>
    /**
     * Starts a run, and waits until it has ended. Fails with `RunFailedError` unless it succeeded.
     *
     * A call that is interrupted before the start was answered may leave a run behind; with `cancelOnInterrupt` it waits
     * up to 5 seconds for the answer and cancels that run.
     */
    readonly runAndWait: <R = never>(
      job: string | Order<R>,
      options?: RunAndWaitOptions
    ) => Effect.Effect<Run, Failure | JobParametersError | RunFailedError, R>
    /** Returns a run with all its tasks. */
    readonly get: (runId: string, options?: Operation.Policy) => Effect.Effect<Run, Failure>
    /** Streams runs, the newest first, page by page. */
    readonly list: (options?: ListOptions) => Stream.Stream<RunSummary, Failure>
    /** Cancels a run, and returns before it has ended: `watch` it to its end. */
    readonly cancel: (runId: string, options?: Operation.Policy) => Effect.Effect<void, Failure>
    /**
     * Streams the output of each task of a run, one request a task. `timeout` and `retry` apply to each request.
     *
     * A task that has not ended has no result yet.
     */
    readonly output: (
      runId: string,
      options?: Omit<Operation.Policy, "totalTimeout">
    ) => Stream.Stream<TaskOutput, Failure>
  }
>()("effect-databricks/Jobs") {}

/**
 * Makes the service.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make: Effect.Effect<Jobs["Service"], never, ServiceContext | WorkspaceClient> = Effect.map(
  Effect.all([ServiceContext, WorkspaceClient]),
  ([service, client]) => Client.make(service, client)
)

/**
 * Provides the service.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer: Layer.Layer<Jobs, never, ServiceContext | WorkspaceClient> = Layer.effect(Jobs, make)

/**
 * Returns the service whose calls run as the service principal, in a user's call too. Their spans say
 * `execution.context` `"service"`.
 *
 * The app's permissions apply, and not the user's: check first whether this user may start, see or cancel the run.
 *
 * @since 0.1.0
 * @category accessors
 */
export const asService: Effect.Effect<Jobs["Service"], never, Jobs> = Jobs.useSync((jobs) => {
  const streamed = Stream.provideService(ExecutionContext.ExecutionContext, undefined)
  return {
    run: (job, options) => ExecutionContext.asService(jobs.run(job, options)),
    watch: (runId, options) => streamed(jobs.watch(runId, options)),
    runAndWait: (job, options) => ExecutionContext.asService(jobs.runAndWait(job, options)),
    get: (runId, options) => ExecutionContext.asService(jobs.get(runId, options)),
    list: (options) => streamed(jobs.list(options)),
    cancel: (runId, options) => ExecutionContext.asService(jobs.cancel(runId, options)),
    output: (runId, options) => streamed(jobs.output(runId, options))
  }
})
