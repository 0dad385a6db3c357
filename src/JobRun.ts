/**
 * The models of a job's runs, and the errors of `Jobs` that a caller acts on. This module loads nothing but `effect`,
 * so that an application's Api can declare them.
 *
 * @since 0.1.0
 */
import { Schema } from "effect"

/**
 * The state of a run or of one of its tasks, in the words of Databricks. A state that Databricks adds is a string too.
 *
 * @since 0.1.0
 * @category models
 */
export const RunState = Schema.Struct({
  /** `QUEUED`, `BLOCKED`, `PENDING`, `RUNNING`, `WAITING_FOR_RETRY`, `TERMINATING`, or one of the terminal states. */
  lifeCycleState: Schema.String,
  /** `SUCCESS`, `SUCCESS_WITH_FAILURES`, `FAILED`, `TIMEDOUT`, `CANCELED` and more; absent before a run ends. */
  resultState: Schema.optional(Schema.String),
  /** The text that Databricks gives for the state. */
  message: Schema.optional(Schema.String)
})

/**
 * The state of a run or of one of its tasks.
 *
 * @since 0.1.0
 * @category models
 */
export type RunState = typeof RunState.Type

const Common = {
  /** The id of the run, or of the task's own run. */
  runId: Schema.String,
  state: RunState,
  /** The page of the run in the workspace. */
  pageUrl: Schema.optional(Schema.String),
  startTime: Schema.optional(Schema.DateTimeUtc),
  endTime: Schema.optional(Schema.DateTimeUtc)
}

/**
 * One task of a run, which has a run id of its own.
 *
 * @since 0.1.0
 * @category models
 */
export const TaskRun = Schema.Struct({
  taskKey: Schema.String,
  /** The number of the attempt, from 0. */
  attempt: Schema.Int,
  ...Common
})

/**
 * One task of a run, which has a run id of its own.
 *
 * @since 0.1.0
 * @category models
 */
export type TaskRun = typeof TaskRun.Type

const Summary = {
  ...Common,
  jobId: Schema.optional(Schema.String),
  name: Schema.optional(Schema.String)
}

/**
 * A run as `list` returns it, without its tasks.
 *
 * @since 0.1.0
 * @category models
 */
export const RunSummary = Schema.Struct(Summary)

/**
 * A run as `list` returns it, without its tasks.
 *
 * @since 0.1.0
 * @category models
 */
export type RunSummary = typeof RunSummary.Type

/**
 * A run of a job with all its tasks.
 *
 * @since 0.1.0
 * @category models
 */
export const Run = Schema.Struct({ ...Summary, tasks: Schema.Array(TaskRun) })

/**
 * A run of a job with all its tasks.
 *
 * @since 0.1.0
 * @category models
 */
export type Run = typeof Run.Type

/**
 * The output of one task. Databricks keeps it for 60 days.
 *
 * @since 0.1.0
 * @category models
 */
export const TaskOutput = Schema.Struct({
  taskKey: Schema.optional(Schema.String),
  runId: Schema.String,
  state: RunState,
  /** The value that a notebook passed to `dbutils.notebook.exit`, at most its first 5 MB. */
  result: Schema.optional(Schema.String),
  /** The last 5 MB that a script, wheel or JAR wrote to its standard streams. */
  logs: Schema.optional(Schema.String),
  /** Whether `result` or `logs` is cut. */
  truncated: Schema.Boolean,
  /** The error of a task that failed. */
  error: Schema.optional(Schema.String),
  /** The stack of that error. */
  errorTrace: Schema.optional(Schema.String)
})

/**
 * The output of one task.
 *
 * @since 0.1.0
 * @category models
 */
export type TaskOutput = typeof TaskOutput.Type

/**
 * Whether a run, or a task, has ended: `TERMINATED`, `SKIPPED` or `INTERNAL_ERROR`.
 *
 * @since 0.1.0
 * @category guards
 */
export const hasEnded = ({ state }: { readonly state: RunState }): boolean => terminal.has(state.lifeCycleState)

const terminal = new Set(["TERMINATED", "SKIPPED", "INTERNAL_ERROR"])

/**
 * Whether a run, or a task, has ended with `SUCCESS` or `SUCCESS_WITH_FAILURES`. After the latter each leaf task
 * succeeded, and another task failed.
 *
 * @since 0.1.0
 * @category guards
 */
export const hasSucceeded = ({ state }: { readonly state: RunState }): boolean =>
  state.lifeCycleState === "TERMINATED" &&
  (state.resultState === "SUCCESS" || state.resultState === "SUCCESS_WITH_FAILURES")

/**
 * A run ended without success (500): its state, Databricks' message for it, and its page.
 *
 * Not retryable, because another attempt is another run: start it with `run` if the job may run twice.
 *
 * @since 0.1.0
 * @category errors
 */
export class RunFailedError extends Schema.TaggedError<RunFailedError>("effect-databricks/RunFailedError")(
  "RunFailedError",
  {
    message: Schema.String,
    runId: Schema.String,
    jobId: Schema.optional(Schema.String),
    /** The state of the run, with the message of Databricks. */
    state: RunState,
    pageUrl: Schema.optional(Schema.String)
  },
  { httpApiStatus: 500 }
) {
  get isRetryable(): boolean {
    return false
  }
}

/**
 * The parameters of a job do not match their Schema (400). No request was sent.
 *
 * @since 0.1.0
 * @category errors
 */
export class JobParametersError extends Schema.TaggedError<JobParametersError>("effect-databricks/JobParametersError")(
  "JobParametersError",
  {
    message: Schema.String,
    jobId: Schema.String,
    /** The name of the parameter, or its index, if the error concerns a single one. */
    parameter: Schema.optional(Schema.String)
  },
  { httpApiStatus: 400 }
) {
  get isRetryable(): boolean {
    return false
  }
}
