/** Runs in the names of the Jobs API, as AppKit's SDK has them. Ids are strings, since those of Databricks exceed 2^53. */
import { DateTime } from "effect"
import type { Run, RunState, RunSummary, TaskRun } from "../../../JobRun.ts"

const stateOf = ({ lifeCycleState, message, resultState }: RunState) => ({
  life_cycle_state: lifeCycleState,
  result_state: resultState,
  state_message: message
})

const commonOf = ({ endTime, pageUrl, runId, startTime, state }: RunSummary | TaskRun) => ({
  run_id: runId,
  state: stateOf(state),
  run_page_url: pageUrl,
  start_time: startTime && DateTime.toEpochMillis(startTime),
  end_time: endTime && DateTime.toEpochMillis(endTime)
})

const taskOf = (task: TaskRun) => ({ ...commonOf(task), task_key: task.taskKey, attempt_number: task.attempt })

/** Returns a run, with its tasks if it has them. */
export const toJson = (run: RunSummary | Run) => ({
  ...commonOf(run),
  job_id: run.jobId,
  run_name: run.name,
  ...("tasks" in run && { tasks: run.tasks.map(taskOf) })
})
