/** Responses of the Jobs API, and our models of them. */
import { DateTime, Schema } from "effect"
import type { Run, RunState, RunSummary, TaskOutput, TaskRun } from "../../JobRun.ts"
import { absent } from "../workspace/absent.ts"

const State = Schema.Struct({
  life_cycle_state: Schema.String,
  result_state: absent(Schema.String),
  state_message: absent(Schema.String)
})

const common = {
  run_id: Schema.String,
  state: State,
  run_page_url: absent(Schema.String),
  start_time: absent(Schema.Int),
  end_time: absent(Schema.Int)
}

const Task = Schema.Struct({ ...common, task_key: Schema.String, attempt_number: absent(Schema.Int) })

const Summary = Schema.Struct({ ...common, job_id: absent(Schema.String), run_name: absent(Schema.String) })

const next_page_token = absent(Schema.String)

export const Started = Schema.Struct({ run_id: Schema.String })

export const RunPage = Schema.Struct({
  ...Summary.fields,
  tasks: absent(Schema.Array(Task)),
  next_page_token
})

export const ListPage = Schema.Struct({ runs: absent(Schema.Array(Summary)), next_page_token })

export const Output = Schema.Struct({
  metadata: Summary,
  notebook_output: absent(Schema.Struct({ result: absent(Schema.String), truncated: absent(Schema.Boolean) })),
  logs: absent(Schema.String),
  logs_truncated: absent(Schema.Boolean),
  error: absent(Schema.String),
  error_trace: absent(Schema.String)
})

const stateOf = ({ life_cycle_state, result_state, state_message }: typeof State.Type): RunState => ({
  lifeCycleState: life_cycle_state,
  resultState: result_state ?? undefined,
  message: state_message || undefined
})

// A run that has not begun, or not ended, has the time 0.
const timeOf = (millis: number | null | undefined) => (millis ? DateTime.makeUnsafe(millis) : undefined)

const commonOf = (wire: Omit<typeof Summary.Type, "job_id" | "run_name">) => ({
  runId: wire.run_id,
  state: stateOf(wire.state),
  pageUrl: wire.run_page_url ?? undefined,
  startTime: timeOf(wire.start_time),
  endTime: timeOf(wire.end_time)
})

export const summaryOf = (wire: typeof Summary.Type): RunSummary => ({
  ...commonOf(wire),
  jobId: wire.job_id ?? undefined,
  name: wire.run_name ?? undefined
})

const taskOf = (wire: typeof Task.Type): TaskRun => ({
  ...commonOf(wire),
  taskKey: wire.task_key,
  attempt: wire.attempt_number ?? 0
})

/** Returns a run, whose pages differ only in their tasks. */
export const runOf = (pages: ReadonlyArray<typeof RunPage.Type>): Run => ({
  ...summaryOf(pages[0]!),
  tasks: pages.flatMap(({ tasks }) => tasks ?? []).map(taskOf)
})

export const outputOf = (wire: typeof Output.Type, taskKey: string | undefined): TaskOutput => ({
  taskKey,
  runId: wire.metadata.run_id,
  state: stateOf(wire.metadata.state),
  result: wire.notebook_output?.result ?? undefined,
  logs: wire.logs ?? undefined,
  truncated: (wire.notebook_output?.truncated ?? false) || (wire.logs_truncated ?? false),
  error: wire.error ?? undefined,
  errorTrace: wire.error_trace ?? undefined
})

/** Whether two runs have the same states, also of their tasks. */
export const hasSameState = (a: Run, b: Run): boolean => {
  const states = ({ state, tasks }: Run) => JSON.stringify([state, tasks.map(({ runId, state }) => [runId, state])])
  return states(a) === states(b)
}
