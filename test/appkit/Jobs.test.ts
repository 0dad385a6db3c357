import { assert, layer } from "@effect/vitest"
import * as ClientConfig from "effect-databricks/appkit/ClientConfig"
import type * as JobRoutes from "effect-databricks/appkit/Jobs"
import type * as Policy from "effect-databricks/appkit/Policy"
import { LocalWorkspace } from "effect-databricks/testing"
import { Effect } from "effect"
import { eventually } from "../fixtures/eventually.ts"
import * as Workspace from "../fixtures/jobs.ts"
import { alice, bob } from "../fixtures/people.ts"
import { asked, served } from "./jobs.ts"

const { ids } = Workspace

const get = (path: string) => asked("GET", path, { as: alice })
const post = (path: string, body?: unknown, headers?: Record<string, string>) =>
  asked("POST", path, { as: alice, body, headers })

layer(Workspace.Live, { excludeTestServices: true })("appkit/Jobs.layer", (it) => {
  it.effect("starts a run with decoded parameters, as the app, and reads it in the names of the Jobs API", () =>
    served(
      Effect.gen(function* () {
        const seen = yield* Workspace.recording
        const started = yield* post("/etl/run", { params: { day: "2026-01-31", limit: 10 } })
        assert.strictEqual(started.status, 200, started.text)
        const { runId } = started.json
        assert.match(runId, /^\d{17,}$/)
        const [request] = yield* seen(Workspace.run)
        assert.notInclude(request!.user, "@")
        assert.include(request!.body, '"job_parameters":{"day":"2026-01-31","limit":"10"}')
        const run = yield* eventually(
          Effect.map(get(`/etl/runs/${runId}`), ({ json }) =>
            json.state.life_cycle_state === "TERMINATED" ? json : undefined
          )
        )
        assert.deepInclude(run, { run_id: runId, job_id: ids.etl, run_name: `job ${ids.etl}` })
        assert.deepInclude(run.state, { life_cycle_state: "TERMINATED", result_state: "SUCCESS" })
        assert.isNumber(run.start_time)
        assert.isNumber(run.end_time)
        assert.deepStrictEqual(
          run.tasks.map((_: { task_key: string }) => _.task_key),
          ["extract", "load", "report"]
        )
      })
    )
  )

  it.effect("shows the state that the workspace has now, after a run has started and when it has ended", () =>
    served(
      Effect.gen(function* () {
        for (const gate of ["now-1", "now-2"]) {
          const { json } = yield* post("/gated/run", { params: { gate } })
          const running = yield* get("/gated/status")
          assert.strictEqual(running.json.run.run_id, json.runId)
          assert.notStrictEqual(running.json.status, "TERMINATED")
          yield* Workspace.open(gate)
          yield* eventually(Effect.map(get("/gated/status"), (_) => _.json.status === "TERMINATED"))
          assert.strictEqual((yield* get(`/gated/runs/${json.runId}`)).json.state.life_cycle_state, "TERMINATED")
        }
      })
    )
  )

  it.effect("lists at most `limit` runs, 1 to 100, the newest first", () =>
    served(
      Effect.gen(function* () {
        const started: Array<string> = []
        for (let count = 0; count < 30; count++) started.unshift((yield* post("/echo/run")).json.runId)
        const list = (query: string) =>
          Effect.map(get(`/echo/runs${query}`), ({ json }) => json.runs.map((_: { run_id: string }) => _.run_id))
        assert.deepStrictEqual(yield* list(""), started.slice(0, 20))
        assert.deepStrictEqual(yield* list("?limit=3"), started.slice(0, 3))
        assert.deepStrictEqual(yield* list("?limit=0"), started.slice(0, 1))
        assert.deepStrictEqual((yield* list("?limit=1000")).slice(0, 30), started)
        for (const limit of ["3abc", "", "-1", "1.5", "NaN"]) {
          const refused = yield* get(`/echo/runs?limit=${limit}`)
          assert.deepStrictEqual([refused.status, refused.json.plugin], [400, "jobs"], limit)
          assert.include(refused.json.error, "limit")
        }
      })
    )
  )

  it.effect("responds with null for the status of a job without runs", () =>
    served(Effect.map(get("/unused/status"), ({ json }) => assert.deepStrictEqual(json, { status: null, run: null })))
  )

  it.effect("cancels a run with 204", () =>
    served(
      Effect.gen(function* () {
        const { runId } = (yield* post("/endless/run")).json
        const cancelled = yield* asked("DELETE", `/endless/runs/${runId}`, { as: alice })
        assert.deepStrictEqual([cancelled.status, cancelled.text], [204, ""])
        yield* eventually(Effect.map(get(`/endless/runs/${runId}`), (_) => _.json.state.result_state === "CANCELED"))
      })
    )
  )

  it.effect("responds with 404 to an unknown job and to the run of another job, and cancels none", () =>
    served(
      Effect.gen(function* () {
        const { runId } = (yield* post("/endless/run")).json
        const sent = yield* Workspace.recording
        for (const method of ["GET", "DELETE"]) {
          const answer = yield* asked(method, `/echo/runs/${runId}`, { as: alice })
          assert.deepStrictEqual([answer.status, answer.json.plugin], [404, "jobs"])
          assert.strictEqual((yield* asked(method, "/echo/runs/99", { as: alice })).status, 404)
        }
        assert.lengthOf(yield* sent(Workspace.cancel), 0)
        for (const job of ["nowhere", "constructor", "__proto__"]) {
          for (const [method, path] of [
            ["POST", `/${job}/run`],
            ["GET", `/${job}/runs`],
            ["GET", `/${job}/status`],
            ["GET", `/${job}/runs/1`],
            ["DELETE", `/${job}/runs/1`]
          ] as const) {
            const answer = yield* asked(method, path, { as: alice })
            assert.deepStrictEqual([answer.status, answer.json.error], [404, "This app has no such job"], path)
          }
        }
      })
    )
  )

  it.effect("responds with 400 to an id that is not digits, and asks the workspace nothing", () =>
    served(
      Effect.gen(function* () {
        const workspace = yield* LocalWorkspace.LocalWorkspace
        yield* get("/echo/status")
        const before = (yield* workspace.requests).length
        for (const id of ["12abc", "0x1f", "-1", "1.5", "0", "1e3", "9".repeat(20), "%201"]) {
          for (const method of ["GET", "DELETE"]) {
            assert.strictEqual((yield* asked(method, `/echo/runs/${id}`, { as: alice })).status, 400, id)
          }
        }
        const later = (yield* workspace.requests).slice(before)
        assert.deepStrictEqual(
          later.filter(({ path }) => path.includes("/jobs/")),
          []
        )
      })
    )
  )

  it.effect("responds with 400 that names the parameter, and starts nothing", () =>
    served(
      Effect.gen(function* () {
        const sent = yield* Workspace.recording
        for (const [job, body, field] of [
          ["etl", undefined, "params.day"],
          ["etl", { params: { limit: 1 } }, "params.day"],
          ["etl", { params: { day: "2026-01-31", limit: "many" } }, "params.limit"],
          ["etl", { params: { day: "2026-01-31", limit: 1, dya: "x" } }, "params.dya"],
          ["echo", { params: { any: "x" } }, "params.any"],
          ["empty", { params: { any: "x" } }, "params.any"],
          ["script", { params: ["a"] }, "params"],
          ["script", { params: { args: ["a", {}] } }, "params.args.1"],
          ["etl", "{", ""],
          ["etl", [], ""]
        ] as const) {
          const answer = yield* post(`/${job}/run`, body)
          assert.strictEqual(answer.status, 400, `${job} ${JSON.stringify(body)} ${answer.text}`)
          assert.include(answer.json.error, field)
        }
        assert.lengthOf(yield* sent(Workspace.run), 0)
      })
    )
  )

  it.effect("takes the parameters of a script as `args`", () =>
    served(
      Effect.gen(function* () {
        const sent = yield* Workspace.recording
        assert.strictEqual((yield* post("/script/run", { params: { args: ["a", "b"] } })).status, 200)
        assert.include((yield* sent(Workspace.run))[0]!.body, '"python_params":["a","b"]')
      })
    )
  )

  it.effect("adds the JSON Schema and the task type of each job to the client config", () =>
    served(
      Effect.gen(function* () {
        const { plugins } = yield* ClientConfig.ClientConfig.use((_) => _.current)
        const { jobs } = plugins["jobs"] as { readonly jobs: Record<string, any> } // oxlint-disable-line typescript/no-explicit-any -- JSON
        assert.deepInclude(jobs["etl"].params, {
          type: "object",
          required: ["day", "limit"],
          additionalProperties: false
        })
        assert.isNull(jobs["etl"].taskType)
        assert.deepStrictEqual(jobs["empty"], {
          params: { type: "object", additionalProperties: false },
          taskType: "notebook"
        })
        assert.deepStrictEqual(Object.keys(jobs["script"].params.properties), ["args"])
        assert.strictEqual(jobs["script"].taskType, "python_script")
        assert.notInclude(JSON.stringify(plugins), ids.etl)
      })
    )
  )

  it.effect("allows reads and denies writes by default", () =>
    served(
      Effect.gen(function* () {
        const sent = yield* Workspace.recording
        for (const [method, path] of [
          ["POST", "/echo/run"],
          ["POST", "/echo/run?stream=true"],
          ["DELETE", "/echo/runs/1"]
        ] as const) {
          const answer = yield* asked(method, path, { as: alice })
          assert.deepStrictEqual([answer.status, answer.json.errorCode], [403, undefined], answer.text)
        }
        assert.lengthOf([...(yield* sent(Workspace.run)), ...(yield* sent(Workspace.cancel))], 0)
        assert.strictEqual((yield* get("/echo/status")).status, 200)
        assert.strictEqual((yield* get("/echo/runs")).status, 200)
      }),
      { policy: undefined }
    )
  )

  it.effect("asks the policy of the job with the verified sender, or without one", () => {
    const questions: Array<unknown> = []
    const policy: Policy.Policy<JobRoutes.Action, JobRoutes.Resource> = (action, resource, caller) =>
      Effect.sync(() => {
        questions.push([action, resource, caller?.userName])
        return caller?.userName === alice
      })
    return served(
      Effect.gen(function* () {
        const started = yield* post("/own/run", { params: { day: "2026-01-31", limit: 2 } })
        assert.strictEqual(started.status, 200, started.text + JSON.stringify(questions))
        const { runId } = started.json
        assert.strictEqual((yield* asked("GET", `/own/runs/${runId}`, { as: bob })).status, 403)
        assert.strictEqual((yield* asked("DELETE", `/own/runs/${runId}`, {})).status, 403)
        assert.strictEqual((yield* asked("GET", "/own/runs", { as: bob })).status, 403)
        assert.strictEqual((yield* asked("GET", "/own/status", { as: bob })).status, 403)
        // A name that only a header claims is not the sender's.
        const claimed = { "x-forwarded-user": alice, "x-forwarded-email": alice, "x-forwarded-access-token": "made-up" }
        assert.strictEqual((yield* asked("POST", "/own/run", { headers: claimed })).status, 401)
        assert.deepStrictEqual(questions, [
          ["run", { job: "own", parameters: { day: "2026-01-31", limit: 2 } }, alice],
          ["status", { job: "own", runId }, bob],
          ["cancel", { job: "own", runId }, undefined],
          ["list", { job: "own" }, bob],
          ["status", { job: "own" }, bob]
        ])
      }),
      { own: policy }
    )
  })

  it.effect("says nothing of the workspace's own words when a call fails", () =>
    served(
      Effect.gen(function* () {
        yield* Workspace.misbehave({
          kind: "answer",
          status: 403,
          path: Workspace.list,
          body: JSON.stringify({ error_code: "PERMISSION_DENIED", message: "sp-1234 lacks CAN_VIEW on job 7" })
        })
        const answer = yield* get("/echo/runs")
        assert.strictEqual(answer.status, 500)
        assert.notInclude(answer.text, "CAN_VIEW")
        assert.strictEqual(answer.json.plugin, "jobs")
      })
    )
  )
})
