import { AsService } from "effect-databricks/http/AsService"
import { events } from "effect-databricks/http/ErrorData"
import { Failures } from "effect-databricks/http/Failures"
import * as RunsAs from "effect-databricks/http/RunsAs"
import * as JobRun from "effect-databricks/JobRun"
import { Schema } from "effect"
import { HttpApi, HttpApiEndpoint, HttpApiGroup, OpenApi } from "effect/http-api"

const Digits = Schema.String.check(Schema.isPattern(/^\d{1,20}$/))

/** A request that is repeated with the same key starts no second run. */
const Start = Schema.Struct({
  day: Schema.String.check(Schema.isPattern(/^\d{4}-\d\d-\d\d$/)),
  key: Schema.String.check(Schema.isMinLength(1), Schema.isMaxLength(64))
}).annotate({ identifier: "Start" })

const params = { runId: Digits }

class Runs extends HttpApiGroup.make("runs")
  .add(
    HttpApiEndpoint.post("start", "/api/runs", {
      payload: Start,
      success: Schema.Struct({ runId: Digits }),
      error: JobRun.JobParametersError
    }),
    HttpApiEndpoint.get("watch", "/api/runs/:runId/states", {
      params,
      success: events(JobRun.Run)
    }),
    HttpApiEndpoint.get("output", "/api/runs/:runId/output", { params, success: Schema.Array(JobRun.TaskOutput) })
  )
  // User authorization has no scope for jobs.
  .middleware(AsService)
  .annotate(OpenApi.Description, "Runs of one job, as the app's service principal.") {}

export class JobsApi extends RunsAs.checked(HttpApi.make("jobs").add(Runs).middleware(Failures)) {}
