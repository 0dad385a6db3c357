import { assert, layer } from "@effect/vitest"
import { DatabricksError, HttpFailure, JobRun, Jobs } from "effect-databricks"
import { DateTime, Effect, Exit, Schema, Stream } from "effect"
import { TestClock } from "effect/testing"
import {
  cancel,
  gated,
  get,
  hurried,
  ids,
  list,
  Live,
  misbehave,
  open,
  output,
  reasonOf,
  recording,
  run,
  runsOf
} from "./fixtures/jobs.ts"

const answered = (path: string, body: object, times = 1) =>
  misbehave({ kind: "answer", status: 200, body: JSON.stringify(body), path, times })

layer(Live)("Jobs.run", (it) => {
  it.effect("starts a run, and sends an id beyond 2^53 as an exact number", () =>
    Effect.gen(function* () {
      const jobs = yield* Jobs.Jobs
      yield* TestClock.setTime(1_000_000)
      const seen = yield* recording
      const runId = yield* jobs.run(ids.echo)
      assert.match(runId, /^1121\d{15}$/)
      const [request] = yield* seen(run)
      assert.match(request!.body!, /"idempotency_token":"[\w-]{36}","job_id":1121234567890123457\}/)
      const found = yield* hurried(jobs.runAndWait(ids.echo))
      assert.strictEqual(found.jobId, ids.echo)
      assert.include(found.pageUrl!, ids.echo)
      assert.isTrue(JobRun.hasSucceeded(found))
      assert.deepStrictEqual([found.startTime, found.endTime], [DateTime.makeUnsafe(1_000_000), found.startTime])
    })
  )

  const values = { day: "2026-01-31", limit: 10, dry: true, big: 2n ** 60n, left: undefined }
  const Values = Schema.Struct({
    day: Schema.String,
    limit: Schema.Int,
    dry: Schema.Boolean,
    big: Schema.BigInt,
    left: Schema.optional(Schema.String)
  })
  const texts = { day: "2026-01-31", limit: "10", dry: "true", big: String(2n ** 60n) }
  const named = {
    job: "job_parameters",
    notebook: "notebook_params",
    python_wheel: "python_named_params",
    sql: "sql_params"
  } as const
  const ordered = { spark_python: "python_params", spark_jar: "jar_params" } as const

  it.effect("sends the parameters as texts in the field of the task's type", () =>
    Effect.gen(function* () {
      const jobs = yield* Jobs.Jobs
      for (const [taskType, field] of Object.entries(named)) {
        const seen = yield* recording
        const job = Jobs.job({ id: ids.echo, taskType: taskType as keyof typeof named, parameters: Values })
        const runId = yield* jobs.run(job.with(values))
        const { idempotency_token: _, job_id: __, ...sent } = JSON.parse((yield* seen(run))[0]!.body!)
        assert.deepStrictEqual(sent, { [field]: texts })
        const [first] = yield* Stream.runCollect(jobs.output(runId))
        assert.deepStrictEqual(JSON.parse(first!.result!), { jobId: ids.echo, parameters: texts, args: [] })
      }
      for (const [taskType, field] of Object.entries(ordered)) {
        const seen = yield* recording
        const parameters = Schema.Tuple([Schema.String, Schema.Int])
        const job = Jobs.job({ id: ids.echo, taskType: taskType as keyof typeof ordered, parameters })
        yield* jobs.run(job.with(["--limit", 10]))
        assert.deepStrictEqual(JSON.parse((yield* seen(run))[0]!.body!)[field], ["--limit", "10"])
      }
    })
  )

  it.effect("refuses parameters that do not match their Schema by name and without the value, and sends nothing", () =>
    Effect.gen(function* () {
      const jobs = yield* Jobs.Jobs
      const seen = yield* recording
      const refusalOf = (order: Jobs.Order) =>
        Effect.map(Effect.flip(jobs.run(order)), (error) => {
          if (!(error instanceof JobRun.JobParametersError)) return assert.fail(String(error))
          assert.notInclude(error.message, "secret")
          assert.strictEqual(HttpFailure.fromError(error, { development: false }).status, 400)
          return error
        })
      const Word = Schema.Struct({ word: Schema.String.check(Schema.isMaxLength(3)) })
      const invalid = yield* refusalOf(Jobs.job({ id: ids.echo, parameters: Word }).with({ word: "secret" }))
      assert.strictEqual(invalid.parameter, "word")
      assert.strictEqual(invalid.message, `The parameter "word" of the job ${ids.echo} does not match its Schema`)
      const Nested = Schema.Struct({ words: Schema.Array(Schema.String) })
      const nested = yield* refusalOf(Jobs.job({ id: ids.echo, parameters: Nested }).with({ words: ["secret"] }))
      assert.include(nested.message, `"words"`)
      assert.include(nested.message, "Schema.fromJsonString")
      const list = yield* refusalOf(
        Jobs.job({ id: ids.echo, parameters: Schema.Array(Schema.String) }).with(["secret"])
      )
      assert.include(list.message, "job_parameters")
      const struct = yield* refusalOf(
        Jobs.job({ id: ids.echo, taskType: "spark_jar", parameters: Word }).with({ word: "sec" })
      )
      assert.include(struct.message, "must be an array for jar_params")
      assert.lengthOf(yield* seen(run), 0)
    })
  )

  it.effect(
    "fails with NotFoundError and the id for a job that does not exist, which the workspace answers with 400",
    () =>
      Effect.gen(function* () {
        const jobs = yield* Jobs.Jobs
        const reason = yield* reasonOf(jobs.run("1121234567890123999"))
        assert.strictEqual(reason._tag, "NotFoundError")
        assert.strictEqual(reason.status, 400)
        assert.strictEqual(HttpFailure.fromError(DatabricksError.make(reason), { development: false }).status, 404)
        assert.include(reason.message, "The job 1121234567890123999 does not exist")
      })
  )

  it.effect("leaves another refusal with that code an InvalidRequestError", () =>
    Effect.gen(function* () {
      const jobs = yield* Jobs.Jobs
      const job = Jobs.job({ id: ids.small, parameters: Schema.Struct({ month: Schema.String }) })
      const reason = yield* reasonOf(jobs.run(job.with({ month: "May" })))
      assert.strictEqual(reason._tag, "InvalidRequestError")
      assert.include(reason.message, "month")
    })
  )

  it.effect("says which permission the service principal lacks", () =>
    Effect.gen(function* () {
      const jobs = yield* Jobs.Jobs
      const reason = yield* reasonOf(jobs.run(ids.forbidden))
      assert.strictEqual(reason._tag, "PermissionDeniedError")
      assert.include(reason.message, ids.forbidden)
      assert.include(reason.message, "Grant the app's service principal CAN MANAGE RUN")
    })
  )

  it.effect.each(["", "abc", "1.5", "-1", "007", "1/2", "12345678901234567890", " 1"])(
    "refuses the id '%s' and sends nothing",
    (id) =>
      Effect.gen(function* () {
        const jobs = yield* Jobs.Jobs
        const seen = yield* recording
        for (const call of [jobs.run(id), jobs.get(id), jobs.cancel(id), Stream.runDrain(jobs.list({ jobId: id }))]) {
          assert.strictEqual((yield* reasonOf(Effect.asVoid(call)))._tag, "InvalidRequestError")
        }
        for (const path of [run, get, cancel, list]) assert.lengthOf(yield* seen(path), 0)
      })
  )
})

layer(Live)("Jobs.runAndWait", (it) => {
  it.effect("fails with the state, the message and the page of a run that failed", () =>
    Effect.gen(function* () {
      const jobs = yield* Jobs.Jobs
      const error = yield* Effect.flip(hurried(jobs.runAndWait(ids.failing)))
      if (!(error instanceof JobRun.RunFailedError)) return assert.fail(String(error))
      const { jobId, pageUrl, runId, state } = error
      assert.deepStrictEqual([jobId, state.lifeCycleState, state.resultState], [ids.failing, "TERMINATED", "FAILED"])
      assert.isFalse(error.isRetryable)
      const { body, status } = HttpFailure.fromError(error, { development: false })
      assert.deepStrictEqual([status, body], [500, { _tag: "RunFailedError", message: "Server error" }])
      assert.strictEqual(
        error.message,
        `The run ${runId} of the job ${jobId} ended as TERMINATED, FAILED: Task main failed with message: Workload failed, see run output for details. See ${pageUrl}`
      )
    })
  )

  it.effect("fails for a run that ended with INTERNAL_ERROR, was skipped or was cancelled", () =>
    Effect.gen(function* () {
      const jobs = yield* Jobs.Jobs
      const stateOf = (id: string) =>
        Effect.map(Effect.flip(hurried(jobs.runAndWait(id))), (error) =>
          error instanceof JobRun.RunFailedError
            ? [error.state.lifeCycleState, error.state.resultState]
            : [String(error)]
        )
      assert.deepStrictEqual(yield* stateOf(ids.crashing), ["INTERNAL_ERROR", "FAILED"])
      assert.deepStrictEqual(yield* stateOf(ids.broken), ["INTERNAL_ERROR", "FAILED"])
      const first = yield* jobs.run(ids.single)
      assert.deepStrictEqual(yield* stateOf(ids.single), ["SKIPPED", "MAXIMUM_CONCURRENT_RUNS_REACHED"])
      yield* jobs.cancel(first)
      yield* misbehave({
        kind: "answer",
        status: 200,
        path: run,
        times: 1,
        body: `{"run_id":${first}}`
      })
      assert.deepStrictEqual(yield* stateOf(ids.single), ["TERMINATED", "CANCELED"])
    })
  )

  it.effect("succeeds for SUCCESS_WITH_FAILURES, and fails for every other result", () =>
    Effect.gen(function* () {
      const jobs = yield* Jobs.Jobs
      const ending = (life_cycle_state: string, result_state?: string) =>
        Effect.gen(function* () {
          yield* answered(get, { run_id: 1, state: { life_cycle_state, result_state } })
          return Exit.isSuccess(yield* Effect.exit(hurried(jobs.runAndWait(ids.echo))))
        }).pipe(Effect.scoped)
      assert.isTrue(yield* ending("TERMINATED", "SUCCESS"))
      assert.isTrue(yield* ending("TERMINATED", "SUCCESS_WITH_FAILURES"))
      for (const result of ["FAILED", "TIMEDOUT", "CANCELED", "UPSTREAM_FAILED", "EXCLUDED", "A_NEW_ONE", undefined]) {
        assert.isFalse(yield* ending("TERMINATED", result), result)
      }
      assert.isFalse(yield* ending("INTERNAL_ERROR", "SUCCESS"))
      assert.isFalse(yield* ending("SKIPPED"))
    })
  )
})

layer(Live)("Jobs.watch", (it) => {
  it.effect("goes on through every state that is not terminal, also a new one", () =>
    Effect.gen(function* () {
      const jobs = yield* Jobs.Jobs
      const states = ["QUEUED", "BLOCKED", "PENDING", "RUNNING", "WAITING_FOR_RETRY", "A_NEW_ONE", "TERMINATING"]
      for (const life_cycle_state of states) {
        yield* answered(get, { run_id: 1, job_id: 2, state: { life_cycle_state }, end_time: 0, tasks: null })
      }
      const runId = yield* jobs.run(ids.echo)
      const runs = yield* hurried(Stream.runCollect(jobs.watch(runId)))
      assert.deepStrictEqual(
        runs.map(({ state }) => state.lifeCycleState),
        [...states, "TERMINATED"]
      )
      assert.isUndefined(runs[0]!.endTime)
    })
  )

  it.effect("emits a state once, and the run of a failed job without failing", () =>
    Effect.gen(function* () {
      const jobs = yield* Jobs.Jobs
      const seen = yield* recording
      const runId = yield* jobs.run(gated.with({ gate: "once" }))
      const runs = yield* jobs.watch(runId).pipe(
        Stream.tap(() =>
          Effect.forkChild(
            Effect.andThen(Effect.repeat(seen(get), { until: ({ length }) => length > 5 }), open("once"))
          )
        ),
        Stream.runCollect,
        hurried
      )
      assert.deepStrictEqual(
        runs.map(({ state }) => state.lifeCycleState),
        ["RUNNING", "TERMINATED"]
      )
      assert.isAbove((yield* seen(get)).length, 5)
      const failing = yield* jobs.run(ids.failing)
      const last = yield* hurried(Stream.runLast(jobs.watch(failing)))
      assert.strictEqual(
        last.pipe((_) => (_._tag === "Some" ? _.value.state.resultState : undefined)),
        "FAILED"
      )
    })
  )

  it.effect("emits a run again when only the state of a task has changed", () =>
    Effect.gen(function* () {
      const jobs = yield* Jobs.Jobs
      const of = (life_cycle_state: string) => ({ run_id: 7, state: { life_cycle_state } })
      for (const task of ["PENDING", "RUNNING", "RUNNING"]) {
        yield* answered(get, { ...of("RUNNING"), tasks: [{ ...of(task), run_id: 8, task_key: "main" }] })
      }
      yield* answered(get, of("TERMINATED"))
      const runs = yield* hurried(Stream.runCollect(jobs.watch("7")))
      assert.deepStrictEqual(
        runs.map(({ state, tasks }) => [state.lifeCycleState, tasks[0]?.state.lifeCycleState]),
        [
          ["RUNNING", "PENDING"],
          ["RUNNING", "RUNNING"],
          ["TERMINATED", undefined]
        ]
      )
    }).pipe(Effect.scoped)
  )

  it.effect("fails with NotFoundError and the id for a run that does not exist", () =>
    Effect.gen(function* () {
      const jobs = yield* Jobs.Jobs
      for (const call of [Stream.runDrain(jobs.watch("99")), jobs.get("99"), jobs.cancel("99")]) {
        const reason = yield* reasonOf(Effect.asVoid(call))
        assert.strictEqual(reason._tag, "NotFoundError")
        assert.include(reason.message, "The run 99 does not exist")
      }
    })
  )
})

layer(Live)("Jobs.output", (it) => {
  it.effect("returns the output of each task of a run", () =>
    Effect.gen(function* () {
      const jobs = yield* Jobs.Jobs
      const { runId, tasks } = yield* hurried(jobs.runAndWait(ids.etl))
      const seen = yield* recording
      const outputs = yield* Stream.runCollect(jobs.output(runId))
      assert.deepStrictEqual(
        outputs.map(({ logs, result, runId, state, taskKey }) => [taskKey, runId, state.resultState, result ?? logs]),
        ["3 rows", "loaded 3 rows", `{"rows":3}`].map((text, index) => [
          tasks[index]!.taskKey,
          tasks[index]!.runId,
          "SUCCESS",
          text
        ])
      )
      assert.lengthOf(yield* seen(output), 3)
    })
  )

  it.effect("returns the error of a task that failed, and the output of one task by its own run id", () =>
    Effect.gen(function* () {
      const jobs = yield* Jobs.Jobs
      const runId = yield* jobs.run(ids.broken)
      yield* hurried(Stream.runDrain(jobs.watch(runId)))
      const [extract, load] = yield* Stream.runCollect(jobs.output(runId))
      assert.strictEqual(extract!.error, "no such table")
      assert.strictEqual(load!.state.resultState, "UPSTREAM_FAILED")
      const [own] = yield* Stream.runCollect(jobs.output(extract!.runId))
      assert.deepStrictEqual({ ...own!, taskKey: "extract" }, extract)
    })
  )

  it.effect("says that a result or a log is cut, and keeps the stack of an error", () =>
    Effect.gen(function* () {
      const jobs = yield* Jobs.Jobs
      const { runId } = yield* hurried(jobs.runAndWait(ids.echo))
      const metadata = { run_id: 1, state: { life_cycle_state: "TERMINATED" } }
      const bodies = [
        { metadata, notebook_output: { result: "begin", truncated: true } },
        { metadata, logs: "end", logs_truncated: true },
        { metadata, notebook_output: {}, error: "wrong", error_trace: "at line 1" }
      ]
      for (const body of bodies) yield* answered(output, body)
      const outputs = yield* Effect.forEach(bodies, () => Stream.runCollect(jobs.output(runId)))
      const cells = outputs
        .flat()
        .map(({ error, errorTrace, logs, result, truncated }) => [result ?? logs ?? [error, errorTrace], truncated])
      assert.deepStrictEqual(cells, [
        ["begin", true],
        ["end", true],
        [["wrong", "at line 1"], false]
      ])
    }).pipe(Effect.scoped)
  )

  it.effect("asks for the output of a run without tasks by its own id", () =>
    Effect.gen(function* () {
      const jobs = yield* Jobs.Jobs
      const state = { life_cycle_state: "TERMINATED", result_state: "SUCCESS" }
      yield* answered(get, { run_id: 7, state })
      yield* answered(output, { metadata: { run_id: 7, state }, notebook_output: { result: "alone" } })
      const outputs = yield* Stream.runCollect(jobs.output("7"))
      assert.deepStrictEqual(
        outputs.map(({ result, runId, taskKey }) => [runId, taskKey, result]),
        [["7", undefined, "alone"]]
      )
    }).pipe(Effect.scoped)
  )

  it.effect("asks for the next task only when it is pulled", () =>
    Effect.gen(function* () {
      const jobs = yield* Jobs.Jobs
      const { runId, tasks } = yield* hurried(jobs.runAndWait(ids.wide))
      assert.lengthOf(tasks, 250)
      assert.strictEqual(tasks[249]!.taskKey, "task 249")
      const seen = yield* recording
      const outputs = yield* Stream.runCollect(Stream.take(jobs.output(runId), 3))
      assert.deepStrictEqual(
        outputs.map(({ result }) => result),
        ["0", "1", "2"]
      )
      assert.isAtMost((yield* seen(output)).length, 4)
      assert.lengthOf(yield* seen(get), 3)
    })
  )
})

layer(Live)("Jobs.list", (it) => {
  it.effect("streams every page, an empty one among them", () =>
    Effect.gen(function* () {
      const jobs = yield* Jobs.Jobs
      const started = yield* Effect.forEach(Array.from({ length: 7 }), () => jobs.run(ids.echo))
      yield* answered(list, { has_more: true, next_page_token: "1000000" })
      const seen = yield* recording
      const runs = yield* Stream.runCollect(jobs.list({ jobId: ids.echo, pageSize: 3 }))
      assert.deepStrictEqual(
        runs.map(({ runId }) => runId),
        started.toReversed()
      )
      assert.lengthOf(yield* seen(list), 4)
    })
  )

  it.effect("selects runs by the time of their start", () =>
    Effect.gen(function* () {
      const jobs = yield* Jobs.Jobs
      const at = (millis: number) => Effect.andThen(TestClock.setTime(millis), jobs.run(ids.small))
      const started = yield* Effect.forEach([5_000_000, 6_000_000, 7_000_000], at)
      const idsOf = (options: Jobs.ListOptions) =>
        Effect.map(Stream.runCollect(jobs.list({ jobId: ids.small, ...options })), (runs) =>
          runs.map(({ runId }) => started.indexOf(runId)).toReversed()
        )
      const middle = DateTime.makeUnsafe(6_000_000)
      assert.deepStrictEqual(yield* idsOf({ startedFrom: middle }), [1, 2])
      assert.deepStrictEqual(yield* idsOf({ startedTo: middle }), [0, 1])
      assert.deepStrictEqual(yield* idsOf({ startedFrom: middle, startedTo: middle }), [1])
    })
  )

  it.effect("fails for a page of runs, or of a run's tasks, that is names itself as its next page", () =>
    Effect.gen(function* () {
      const jobs = yield* Jobs.Jobs
      const run = { run_id: 7, state: { life_cycle_state: "RUNNING" } }
      yield* answered(list, { runs: [run], next_page_token: "again" }, 2)
      assert.strictEqual((yield* reasonOf(Stream.runDrain(jobs.list())))._tag, "InvalidResponseError")
      yield* answered(get, { ...run, tasks: [], next_page_token: "again" }, 2)
      assert.strictEqual((yield* reasonOf(jobs.get("7")))._tag, "InvalidResponseError")
    }).pipe(Effect.scoped)
  )

  it.effect("selects runs by job and activity", () =>
    Effect.gen(function* () {
      const jobs = yield* Jobs.Jobs
      const active = yield* jobs.run(ids.endless)
      const { runId: ended } = yield* hurried(jobs.runAndWait(ids.etl))
      const idsOf = (options: Jobs.ListOptions) =>
        Effect.map(Stream.runCollect(jobs.list(options)), (runs) => runs.map(({ runId }) => runId))
      assert.deepStrictEqual(yield* idsOf({ only: "active" }), [active])
      assert.include(yield* idsOf({ only: "completed" }), ended)
      assert.deepStrictEqual(yield* idsOf({ jobId: ids.etl }), [ended])
      yield* jobs.cancel(active)
      yield* hurried(Stream.runDrain(jobs.watch(active)))
      assert.deepStrictEqual(yield* idsOf({ only: "active" }), [])
    })
  )
})

layer(Live)("Jobs, after defect 13 of the peer,", (it) => {
  it.effect("asks the workspace for each read, and never returns a state that has passed", () =>
    Effect.gen(function* () {
      const jobs = yield* Jobs.Jobs
      const seen = yield* recording
      const runId = yield* jobs.run(gated.with({ gate: "fresh" }))
      assert.strictEqual((yield* jobs.get(runId)).state.lifeCycleState, "RUNNING")
      assert.strictEqual((yield* jobs.get(runId)).state.lifeCycleState, "RUNNING")
      assert.lengthOf(yield* seen(get), 2)
      yield* open("fresh")
      yield* Effect.yieldNow
      assert.strictEqual((yield* jobs.get(runId)).state.lifeCycleState, "TERMINATED")
      assert.strictEqual((yield* runsOf(ids.gated))[0]?.state.resultState, "SUCCESS")
    })
  )

  it.effect("starts one run for a key, however often it is asked for", () =>
    Effect.gen(function* () {
      const jobs = yield* Jobs.Jobs
      const again = jobs.run(gated.with({ gate: "key" }), { key: "request 1" })
      const started = yield* Effect.all([again, again, hurried(again), Effect.scoped(again)], { concurrency: 4 })
      assert.strictEqual(new Set(started).size, 1)
      assert.notInclude(started, yield* jobs.run(gated.with({ gate: "key" }), { key: "request 2" }))
      assert.lengthOf(
        (yield* runsOf(ids.gated)).slice(0, 3).filter(({ runId }) => started.includes(runId)),
        1
      )
    })
  )
})
