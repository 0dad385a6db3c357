/** One run of a job: its tasks, and their states over time. */
import { Cause, Clock, Deferred, Effect, Exit, Fiber, type Scope } from "effect"
import type { JobDefinition, TaskDefinition } from "../../LocalJobs.ts"

interface State {
  life_cycle_state: string
  result_state?: string
  state_message: string
}

interface Timed {
  readonly id: bigint
  state: State
  started: number
  ended: number
}

export interface Task extends Timed {
  readonly definition: TaskDefinition
  readonly done: Deferred.Deferred<boolean>
  attempt: number
  output: string | undefined
  error: string | undefined
}

export interface Run extends Timed {
  readonly job: JobDefinition
  readonly tasks: ReadonlyArray<Task>
  readonly cancel: Effect.Effect<void>
}

export interface Parameters {
  readonly named: Readonly<Record<string, string>>
  readonly args: ReadonlyArray<string>
}

const failed = "Workload failed, see run output for details"

const become = (timed: Timed, life_cycle_state: string, result_state?: string, state_message = "") => {
  timed.state = { life_cycle_state, ...(result_state !== undefined && { result_state }), state_message }
}

export const isActive = ({ state }: Timed): boolean =>
  !["TERMINATED", "SKIPPED", "INTERNAL_ERROR"].includes(state.life_cycle_state)

/** Starts a run in this scope. */
export const start = Effect.fnUntraced(function* (
  job: JobDefinition,
  parameters: Parameters,
  newId: () => bigint,
  isSkipped: boolean,
  scope: Scope.Scope
) {
  const clock = yield* Clock.Clock
  const now = () => clock.currentTimeMillisUnsafe()
  const timed = (): Timed => ({
    id: newId(),
    state: { life_cycle_state: job.queueTime === undefined ? "PENDING" : "QUEUED", state_message: "" },
    started: now(),
    ended: 0
  })
  let fiber: Fiber.Fiber<void> | undefined
  const run: Run = {
    ...timed(),
    job,
    tasks: job.tasks.map((definition) => ({
      ...timed(),
      definition,
      done: Deferred.makeUnsafe<boolean>(),
      attempt: 0,
      output: undefined,
      error: undefined
    })),
    cancel: Effect.suspend(() => {
      if (fiber === undefined || !isActive(run)) return Effect.void
      become(run, "TERMINATING")
      return Effect.asVoid(Effect.forkIn(Fiber.interrupt(fiber), scope))
    })
  }
  const end = (timed: Timed, life: string, result: string, message?: string) => {
    become(timed, life, result, message)
    timed.ended = now()
  }
  if (isSkipped) {
    // That a skipped run has this result is inferred.
    const reason = "Skipped because the maximum concurrent runs of the job were reached"
    end(run, "SKIPPED", "MAXIMUM_CONCURRENT_RUNS_REACHED", reason)
    return run
  }

  const attempt = (task: Task) =>
    Effect.suspend(() => {
      become(task, "RUNNING")
      const input = { jobId: job.id, runId: String(task.id), parameters: parameters.named, args: parameters.args }
      return Effect.exit(task.definition.run(input))
    })

  const runTask = Effect.fnUntraced(function* (task: Task) {
    const { dependsOn = [], maxRetries = 0, retryInterval = 0 } = task.definition
    const upstream = run.tasks.filter(({ definition }) => dependsOn.includes(definition.key))
    if (upstream.length > 0) become(task, "BLOCKED")
    const succeeded = (yield* Effect.forEach(upstream, ({ done }) => Deferred.await(done))).every(Boolean)
    if (!succeeded) return end(task, "TERMINATED", "UPSTREAM_FAILED", "An upstream task failed")
    let exit = yield* attempt(task)
    while (Exit.isFailure(exit) && task.attempt < maxRetries) {
      become(task, "WAITING_FOR_RETRY", undefined, "The run is waiting for a retry")
      yield* Effect.sleep(retryInterval)
      task.attempt++
      exit = yield* attempt(task)
    }
    if (Exit.isSuccess(exit)) {
      task.output = exit.value ?? undefined
      return end(task, "TERMINATED", "SUCCESS")
    }
    const error = Cause.squash(exit.cause)
    task.error = error instanceof Error ? error.message : String(error)
    if (Exit.hasDies(exit)) end(task, "INTERNAL_ERROR", "FAILED", "An internal error occurred")
    else end(task, "TERMINATED", "FAILED", failed)
  })

  const toEnd = Effect.gen(function* () {
    if (job.queueTime !== undefined) yield* Effect.sleep(job.queueTime)
    become(run, "PENDING")
    if (job.startTime !== undefined) yield* Effect.sleep(job.startTime)
    become(run, "RUNNING")
    yield* Effect.forEach(
      run.tasks,
      (task) =>
        Effect.andThen(
          runTask(task),
          Effect.suspend(() => Deferred.succeed(task.done, task.state.result_state === "SUCCESS"))
        ),
      { concurrency: "unbounded", discard: true }
    )
    const wrong = run.tasks.find(({ state }) => state.result_state !== "SUCCESS")
    if (wrong === undefined) return end(run, "TERMINATED", "SUCCESS")
    // A run of several tasks ends so when one fails; that is inferred from runs that were seen.
    const life = run.tasks.length > 1 ? "INTERNAL_ERROR" : wrong.state.life_cycle_state
    end(run, life, "FAILED", `Task ${wrong.definition.key} failed with message: ${wrong.state.state_message}.`)
  })
  const cancelled = Effect.sync(() => {
    for (const one of [...run.tasks, run]) if (isActive(one)) end(one, "TERMINATED", "CANCELED", "Run cancelled.")
  })
  fiber = yield* Effect.forkIn(
    Effect.onInterrupt(toEnd, () => cancelled),
    scope
  )
  return run
})
