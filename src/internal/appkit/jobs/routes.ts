/** The routes: a job by its key, the policy, the call as the app, the run in AppKit's form. */
import { Effect, Record, Schema, Stream } from "effect"
import { HttpRouter, HttpServerResponse } from "effect/http"
import type { Action, Definition, Options } from "../../../appkit/Jobs.ts"
import * as Policy from "../../../appkit/Policy.ts"
import * as HttpFailure from "../../../http/HttpFailure.ts"
import * as Jobs from "../../../Jobs.ts"
import * as Failure from "../failure.ts"
import * as Routes from "../routes.ts"
import * as Parameters from "./parameters.ts"
import * as Run from "./run.ts"
import * as Start from "./start.ts"

export const layer = ({ jobs, policy = Policy.readOnly }: Options) => {
  const byKey = new Map(Object.entries(Record.map(jobs, (job) => ({ ...job, read: Parameters.reader(job.job) }))))

  /** Returns the job of the path. */
  const named = Effect.gen(function* () {
    const { job: key = "" } = yield* HttpRouter.params
    const definition = byKey.get(key)
    return definition === undefined ? yield* unknown : { key, ...definition }
  })

  const allow = (
    action: Action,
    { key, ...definition }: { readonly key: string } & Definition,
    of: { readonly runId?: string; readonly parameters?: unknown } = {}
  ) => Routes.allow(definition.policy ?? policy, action, { job: key, ...of })

  /** Returns the run of the path, if it is one of the job. */
  const found = Effect.fnUntraced(function* (action: "status" | "cancel") {
    const job = yield* named
    const { runId } = yield* HttpFailure.orBadRequest(HttpRouter.schemaPathParams(RunParams))
    yield* allow(action, job, { runId })
    const run = yield* Effect.flatMap(Jobs.asService, (_) => _.get(runId))
    return run.jobId === job.job.id ? run : yield* noRun
  })

  const newest = (id: string, limit: number) =>
    Effect.flatMap(Jobs.asService, (_) =>
      _.list({ jobId: id, pageSize: Math.min(limit, 24) }).pipe(Stream.take(limit), Stream.runCollect)
    )

  return Routes.layer(
    "jobs",
    [Jobs.Jobs],
    [
      Routes.asEither(
        "POST",
        "/:job/run",
        Effect.gen(function* () {
          const job = yield* named
          const { order, parameters } = yield* job.read
          yield* allow("run", job, { parameters })
          return yield* Start.respond(job.key, order)
        })
      ),
      Routes.asEither(
        "GET",
        "/:job/runs",
        Effect.gen(function* () {
          const job = yield* named
          yield* allow("list", job)
          const { limit = 20 } = yield* HttpFailure.orBadRequest(HttpRouter.schemaParams(ListParams))
          const runs = yield* newest(job.job.id, Math.min(Math.max(Number(limit), 1), 100))
          return HttpServerResponse.jsonUnsafe({ runs: runs.map(Run.toJson) })
        })
      ),
      Routes.asEither(
        "GET",
        "/:job/runs/:runId",
        Effect.map(found("status"), (run) => HttpServerResponse.jsonUnsafe(Run.toJson(run)))
      ),
      Routes.asEither(
        "GET",
        "/:job/status",
        Effect.gen(function* () {
          const job = yield* named
          yield* allow("status", job)
          const [run] = yield* newest(job.job.id, 1)
          const status = run?.state.lifeCycleState ?? null
          return HttpServerResponse.jsonUnsafe({ status, run: run === undefined ? null : Run.toJson(run) })
        })
      ),
      Routes.asEither(
        "DELETE",
        "/:job/runs/:runId",
        Effect.gen(function* () {
          const { runId } = yield* found("cancel")
          yield* Effect.flatMap(Jobs.asService, (_) => _.cancel(runId))
          return HttpServerResponse.empty({ status: 204 })
        })
      )
    ]
  )
}

const RunParams = Schema.Struct({ runId: Schema.String.check(Schema.isPattern(/^[1-9]\d{0,18}$/)) })
const ListParams = Schema.Struct({ limit: Schema.optional(Schema.String.check(Schema.isPattern(/^\d{1,9}$/))) })

const unknown = Effect.fail(Failure.refusal(404, "This app has no such job", "NotFound"))
const noRun = Effect.fail(Failure.refusal(404, "This does not exist, or you may not see it", "NotFound"))
