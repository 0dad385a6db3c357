/**
 * Jobs of a local workspace, whose tasks are Effects of the test's.
 *
 * @since 0.1.0
 */
import type { Duration, Effect } from "effect"

/**
 * What a task of a run gets.
 *
 * @category models
 * @since 0.1.0
 */
export interface TaskInput {
  readonly jobId: string
  /** The id of the task's own run. */
  readonly runId: string
  /** The parameters with a name: `job_parameters`, `notebook_params`, `python_named_params` and `sql_params`. */
  readonly parameters: Readonly<Record<string, string>>
  /** The parameters in order: `python_params` or `jar_params`. */
  readonly args: ReadonlyArray<string>
}

/**
 * A task of a job.
 *
 * @category models
 * @since 0.1.0
 */
export interface TaskDefinition {
  readonly key: string
  /**
   * Runs the task on the Effect clock. Its text is the task's output: a notebook's result, or the log of a script. A
   * failure fails the task, a defect ends it with `INTERNAL_ERROR`, and `Effect.never` never ends.
   */
  readonly run: (input: TaskInput) => Effect.Effect<string | void, unknown>
  /** Whether its output is a notebook's result (the default) or the log of a script. */
  readonly type?: "notebook" | "script"
  /** The keys of the tasks that must succeed first. */
  readonly dependsOn?: ReadonlyArray<string>
  /** The number of further attempts after a failure; none by default. */
  readonly maxRetries?: number
  /** The time between two attempts, in the state `WAITING_FOR_RETRY`. */
  readonly retryInterval?: Duration.Input
}

/**
 * A job of the local workspace.
 *
 * @category models
 * @since 0.1.0
 */
export interface JobDefinition {
  /** The id, in digits. The ids of the job's runs exceed 2^53 if this one does. */
  readonly id: string
  readonly name: string
  readonly tasks: ReadonlyArray<TaskDefinition>
  /** The job's own parameters with their defaults; others are refused. Without it, all are accepted. */
  readonly parameters?: Readonly<Record<string, string>>
  /** The user names that may see, run and cancel it, and `"service"` for the app. Everyone by default. */
  readonly users?: ReadonlyArray<string>
  /** Another run beyond this number is `SKIPPED`. */
  readonly maxConcurrentRuns?: number
  /** The time that a run is `QUEUED`; none by default. */
  readonly queueTime?: Duration.Input
  /** The time that a run is `PENDING`, while its compute starts; none by default. */
  readonly startTime?: Duration.Input
}
