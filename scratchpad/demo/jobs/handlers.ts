import { HttpFailure, JobRun, Jobs, ServerSentEvents } from "effect-databricks"
import { Effect, Schema, Stream } from "effect"
import { HttpApiBuilder } from "effect/http-api"
import { JobsApi } from "./Api.ts"

/** The job declares the parameter `day`. */
export const JobsLive = (id: string) => {
  const report = Jobs.job({ id, parameters: Schema.Struct({ day: Schema.String }) })

  /** The service principal may see runs of other jobs too, which this Api does not show. */
  const ofThisJob = Effect.fnUntraced(function* (runId: string) {
    const jobs = yield* Jobs.Jobs
    const { jobId } = yield* jobs.get(runId)
    if (jobId === id) return jobs
    const body = { _tag: "NotFound", message: `The job has no run ${runId}` }
    return yield* new HttpFailure.HttpFailure({ status: 404, body })
  })

  return HttpApiBuilder.group(JobsApi, "runs", (handlers) =>
    handlers
      .handle("start", ({ payload: { day, key } }) =>
        Effect.flatMap(Jobs.Jobs, (jobs) => Effect.map(jobs.run(report.with({ day }), { key }), (runId) => ({ runId })))
      )
      .handle("watch", ({ params: { runId } }) =>
        Effect.flatMap(ofThisJob(runId), (jobs) =>
          ServerSentEvents.toResponse(jobs.watch(runId), { schema: JobRun.Run })
        )
      )
      .handle("output", ({ params: { runId } }) =>
        Effect.flatMap(ofThisJob(runId), (jobs) => Stream.runCollect(jobs.output(runId)))
      )
  )
}
