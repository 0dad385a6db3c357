/** The routes of jobs and their runs. */
import { Effect, Schema, type Scope } from "effect"
import type * as HttpRouter from "effect/http/HttpRouter"
import * as HttpServerRequest from "effect/http/HttpServerRequest"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import { randomInt } from "node:crypto"
import * as ExactJson from "../../../internal/workspace/exactJson.ts"
import type { JobDefinition } from "../../LocalJobs.ts"
import * as Replies from "../http/replies.ts"
import { adder, authenticated } from "../http/requests.ts"
import type { Directory } from "../identity/directory.ts"
import type { Principal } from "../identity/principals.ts"
import * as Runs from "./runs.ts"

export interface Options {
  readonly directory: Directory
  readonly jobs: ReadonlyArray<JobDefinition>
  readonly origin: () => string
  readonly scope: Scope.Scope
}

// No user's token has it: there is no scope for jobs.
const scope = "jobs"
const root = "/api/2.2/jobs"
const tasksPerPage = 100

// An exact number beyond 2^53 is text after parsing.
const Id = Schema.Union([Schema.String, Schema.Int])
const Texts = Schema.optional(Schema.Record(Schema.String, Schema.String))
const List = Schema.optional(Schema.Array(Schema.String))

const RunNow = Schema.Struct({
  job_id: Id,
  idempotency_token: Schema.optional(Schema.String),
  job_parameters: Texts,
  notebook_params: Texts,
  python_named_params: Texts,
  sql_params: Texts,
  python_params: List,
  jar_params: List
})

const Cancel = Schema.Struct({ run_id: Id })

const exactBody = <A, I>(schema: Schema.Codec<A, I>) =>
  Effect.gen(function* () {
    const request = yield* HttpServerRequest.HttpServerRequest
    const malformed = (why: string) => Replies.malformed(`Could not parse request object: ${why}`)
    const text = yield* Effect.mapError(request.text, () => malformed("the body was cut"))
    const json = yield* Effect.try({
      try: () => ExactJson.parse(text, String),
      catch: () => malformed("it is not JSON")
    })
    return yield* Effect.mapError(Schema.decodeUnknownEffect(schema)(json), ({ message }) => malformed(message))
  })

const exactJson = (value: object) =>
  HttpServerResponse.text(
    ExactJson.stringify(value, (_, number) => number),
    { contentType: "application/json" }
  )

export const addTo = (router: HttpRouter.HttpRouter, { directory, jobs, origin, scope: lifetime }: Options) =>
  Effect.gen(function* () {
    const add = adder(router)
    const runs: Array<Runs.Run> = []
    const tokens = new Map<string, Runs.Run>()

    const isAllowed = (caller: Principal, { users }: JobDefinition) =>
      users === undefined || users.includes(caller === directory.service ? "service" : caller.userName)
    const permitted = (caller: Principal, job: JobDefinition, permission: string) =>
      isAllowed(caller, job) ? Effect.void : Effect.fail(Replies.jobForbidden(caller.userName, permission, job.id))

    const params = Effect.map(
      HttpServerRequest.HttpServerRequest,
      ({ url }) => new URLSearchParams(url.split("?")[1] ?? "")
    )
    const given = (name: string) =>
      Effect.flatMap(params, (_) => {
        const value = _.get(name)
        return value === null
          ? Effect.fail(Replies.malformed(`Missing required field: ${name}`))
          : Effect.succeed(value)
      })
    const jobOf = (id: string) => {
      const found = jobs.find((job) => job.id === id)
      return found === undefined ? Effect.fail(Replies.jobNotFound(id)) : Effect.succeed(found)
    }
    /** Returns a run by its id, with its task if the id is the task's. */
    const runOf = (caller: Principal, id: string, permission = "View") =>
      Effect.gen(function* () {
        const has = (one: { readonly id: bigint }) => String(one.id) === id
        const run = runs.find((run) => has(run) || run.tasks.some(has))
        if (run === undefined) return yield* Replies.runNotFound(id)
        yield* permitted(caller, run.job, permission)
        return { run, task: run.tasks.find(has) }
      })

    const newIdOf =
      ({ id }: JobDefinition) =>
      () =>
        (BigInt(id) > 2n ** 53n ? 1_121_000_000_000_000_001n : 0n) + BigInt(randomInt(10 ** 12, 10 ** 14))

    const common = (run: Runs.Run, one: Runs.Run | Runs.Task) => ({
      run_id: one.id,
      state: one.state,
      run_page_url: `${origin()}/#job/${run.job.id}/run/${one.id}`,
      start_time: one.started,
      end_time: one.ended
    })
    const summary = (run: Runs.Run, one: Runs.Run | Runs.Task = run) => ({
      job_id: BigInt(run.job.id),
      run_name: run.job.name,
      run_type: "JOB_RUN",
      ...common(run, one)
    })
    const detail = (run: Runs.Run, from: number) => ({
      ...summary(run),
      tasks: run.tasks.slice(from, from + tasksPerPage).map((task) => ({
        ...common(run, task),
        task_key: task.definition.key,
        attempt_number: task.attempt
      })),
      ...(run.tasks.length > from + tasksPerPage && { next_page_token: String(from + tasksPerPage) })
    })
    const jobJson = ({ id, name }: JobDefinition) => ({ job_id: BigInt(id), settings: { name } })

    const runNow = (caller: Principal) =>
      Effect.gen(function* () {
        const order = yield* exactBody(RunNow)
        const job = yield* jobOf(String(order.job_id))
        yield* permitted(caller, job, "Manage Run")
        const { idempotency_token: token } = order
        if (token !== undefined && token.length > 64) return yield* Replies.tokenTooLong
        const known = token === undefined ? undefined : tokens.get(token)
        if (known !== undefined) return exactJson({ run_id: known.id })
        const defaults = job.parameters
        const undefinedOne = Object.keys(order.job_parameters ?? {}).find((name) => defaults && !(name in defaults))
        if (undefinedOne !== undefined) return yield* Replies.jobParameterUnknown(undefinedOne)
        const parameters = {
          named: {
            ...defaults,
            ...order.job_parameters,
            ...order.notebook_params,
            ...order.python_named_params,
            ...order.sql_params
          },
          args: order.python_params ?? order.jar_params ?? []
        }
        const active = runs.filter((run) => run.job === job && Runs.isActive(run)).length
        const run = yield* Runs.start(
          job,
          parameters,
          newIdOf(job),
          active >= (job.maxConcurrentRuns ?? Infinity),
          lifetime
        )
        runs.push(run)
        if (token !== undefined) tokens.set(token, run)
        return exactJson({ run_id: run.id, number_in_job: run.id })
      })

    const get = (caller: Principal) =>
      Effect.gen(function* () {
        const { run, task } = yield* runOf(caller, yield* given("run_id"))
        const from = Number((yield* params).get("page_token") ?? 0)
        return exactJson(task === undefined ? detail(run, from) : summary(run, task))
      })

    const list = (caller: Principal) =>
      Effect.gen(function* () {
        const asked = yield* params
        const limit = Number(asked.get("limit") ?? 20)
        if (!(limit >= 1 && limit <= 25)) return yield* Replies.invalidParameter("limit must be between 1 and 25.")
        const jobId = asked.get("job_id")
        if (jobId !== null) yield* permitted(caller, yield* jobOf(jobId), "View")
        const [from, to] = ["start_time_from", "start_time_to"].map((name) => asked.get(name))
        const before = Number(asked.get("page_token") ?? Infinity)
        const found = runs
          .map((run, index) => ({ run, index }))
          .filter(
            ({ index, run }) =>
              index < before &&
              (jobId === null || run.job.id === jobId) &&
              isAllowed(caller, run.job) &&
              !(asked.get("active_only") === "true" && !Runs.isActive(run)) &&
              !(asked.get("completed_only") === "true" && Runs.isActive(run)) &&
              run.started >= Number(from ?? -Infinity) &&
              run.started <= Number(to ?? Infinity)
          )
          .toReversed()
        const page = found.slice(0, limit)
        const more = found.length > limit
        return exactJson({
          runs: page.map(({ run }) => summary(run)),
          has_more: more,
          ...(more && { next_page_token: String(page.at(-1)?.index) })
        })
      })

    const output = (caller: Principal) =>
      Effect.gen(function* () {
        const { run, task: own } = yield* runOf(caller, yield* given("run_id"))
        if (own === undefined && run.tasks.length !== 1) return yield* Replies.outputOfManyTasks
        const task = own ?? run.tasks[0]!
        const { definition, error, output: text } = task
        return exactJson({
          metadata: summary(run, task),
          ...(definition.type === "script"
            ? { logs: text, logs_truncated: false }
            : { notebook_output: { result: text, truncated: false } }),
          ...(error !== undefined && { error, error_trace: `Traceback: ${error}` })
        })
      })

    const cancel = (caller: Principal) =>
      Effect.gen(function* () {
        const { run_id } = yield* exactBody(Cancel)
        const { run } = yield* runOf(caller, String(run_id), "Manage Run")
        yield* run.cancel
        return exactJson({})
      })

    const getJob = (caller: Principal) =>
      Effect.gen(function* () {
        const job = yield* jobOf(yield* given("job_id"))
        yield* permitted(caller, job, "View")
        return exactJson(jobJson(job))
      })

    const listJobs = (caller: Principal) =>
      Effect.sync(() => exactJson({ jobs: jobs.filter((job) => isAllowed(caller, job)).map(jobJson), has_more: false }))

    const guarded = authenticated(directory)
    yield* add("POST", `${root}/run-now`, guarded(scope, runNow))
    yield* add("GET", `${root}/runs/get`, guarded(scope, get))
    yield* add("GET", `${root}/runs/list`, guarded(scope, list))
    yield* add("GET", `${root}/runs/get-output`, guarded(scope, output))
    yield* add("POST", `${root}/runs/cancel`, guarded(scope, cancel))
    yield* add("GET", `${root}/get`, guarded(scope, getJob))
    yield* add("GET", `${root}/list`, guarded(scope, listJobs))
  })
