import { assert, layer } from "@effect/vitest"
import { getWorkspaceClient, Jobs } from "effect-databricks"
import { LocalWorkspace } from "effect-databricks/testing"
import { Effect } from "effect"
import { TestClock } from "effect/testing"
import { eventually } from "../../fixtures/eventually.ts"
import { cancel, get, ids, Live, run } from "../../fixtures/jobs.ts"
import { call } from "../../fixtures/localWorkspace.ts"
import { alice, bob } from "../../fixtures/people.ts"

layer(Live)("A job of LocalWorkspace", (it) => {
  it.effect("is driven by the official SDK", () =>
    Effect.gen(function* () {
      const client = yield* getWorkspaceClient
      const job_id = Number(ids.small)
      const started = yield* client.use((sdk) =>
        sdk.jobs.runNow({ job_id, job_parameters: { day: "2026-01-31" }, idempotency_token: "one" })
      )
      const run_id = started.run_id!
      assert.strictEqual(
        (yield* client.use((sdk) => sdk.jobs.runNow({ job_id, idempotency_token: "one" }))).run_id,
        run_id
      )
      const run = yield* eventually(
        client.use((sdk) => sdk.jobs.getRun({ run_id })),
        ({ state }) => state?.life_cycle_state === "TERMINATED"
      )
      assert.strictEqual(run.state?.result_state, "SUCCESS")
      const output = yield* client.use((sdk) => sdk.jobs.getRunOutput({ run_id: run.tasks![0]!.run_id! }))
      assert.deepStrictEqual(JSON.parse(output.notebook_output!.result!).parameters, { day: "2026-01-31" })
      const runs = yield* client.use(async (sdk) => {
        const all = []
        for await (const one of sdk.jobs.listRuns({ job_id })) all.push(one.run_id)
        return all
      })
      assert.deepStrictEqual(runs, [run_id])
      assert.strictEqual((yield* client.use((sdk) => sdk.jobs.get({ job_id }))).settings?.name, "job 42")
      yield* client.use((sdk) => sdk.jobs.cancelRun({ run_id }).then(() => undefined))
    })
  )

  it.effect("is queued and pending as long as it says, on the Effect clock", () =>
    Effect.gen(function* () {
      const jobs = yield* Jobs.Jobs
      const runId = yield* jobs.run(ids.slow)
      const state = Effect.map(jobs.get(runId), ({ state }) => state.lifeCycleState)
      assert.strictEqual(yield* state, "QUEUED")
      yield* TestClock.adjust("59 seconds")
      assert.strictEqual(yield* state, "QUEUED")
      yield* TestClock.adjust("1 second")
      assert.strictEqual(yield* state, "PENDING")
      yield* TestClock.adjust("2 minutes")
      yield* eventually(state, (_) => _ === "TERMINATED")
    })
  )

  it.effect("retries a task that fails, and blocks one until its upstream task has ended", () =>
    Effect.gen(function* () {
      const jobs = yield* Jobs.Jobs
      const runId = yield* jobs.run(ids.flaky)
      const task = Effect.map(jobs.get(runId), ({ tasks }) => tasks[0]!)
      yield* eventually(task, ({ state }) => state.lifeCycleState === "WAITING_FOR_RETRY")
      yield* TestClock.adjust("1 minute")
      const ended = yield* eventually(task, ({ state }) => state.lifeCycleState === "TERMINATED")
      assert.deepStrictEqual([ended.attempt, ended.state.resultState], [1, "SUCCESS"])
    })
  )

  it.effect("refuses a user's token, which has no scope for jobs", () =>
    Effect.gen(function* () {
      const { json, status } = yield* call(run, { body: { job_id: 42 } })
      assert.strictEqual(status, 403)
      assert.include(json.message, "does not have required scopes: jobs")
    })
  )

  it.effect("has the users of its definition", () =>
    Effect.gen(function* () {
      const workspace = yield* LocalWorkspace.LocalWorkspace
      const runAs = (user: string) =>
        Effect.flatMap(workspace.token(user, { scopes: ["all-apis"] }), (token) =>
          call(run, { token, body: `{"job_id":${ids.forbidden}}` })
        )
      assert.strictEqual((yield* runAs(alice)).status, 200)
      const { json, status } = yield* runAs(bob)
      assert.deepStrictEqual([status, json.error_code], [403, "PERMISSION_DENIED"])
    })
  )

  it.effect("answers 400 for a missing run, a long token and the output of several tasks", () =>
    Effect.gen(function* () {
      const workspace = yield* LocalWorkspace.LocalWorkspace
      const token = yield* workspace.token(workspace.servicePrincipal.clientId)
      const refusalOf = (path: string, body?: unknown) =>
        Effect.map(call(path, { token, ...(body !== undefined && { body }) }), ({ json, status }) => {
          assert.deepStrictEqual([status, json.error_code], [400, "INVALID_PARAMETER_VALUE"])
          return json.message as string
        })
      assert.include(yield* refusalOf(`${get}?run_id=7`), "Run 7 does not exist")
      assert.include(yield* refusalOf(cancel, { run_id: 7 }), "Run 7 does not exist")
      assert.include(yield* refusalOf(run, { job_id: 7 }), "Job 7 does not exist")
      assert.include(yield* refusalOf(run, { job_id: 42, idempotency_token: "k".repeat(65) }), "64 characters")
      const jobs = yield* Jobs.Jobs
      const runId = yield* jobs.run(ids.etl)
      assert.include(yield* refusalOf(`/api/2.2/jobs/runs/get-output?run_id=${runId}`), "multiple tasks")
    })
  )
})
