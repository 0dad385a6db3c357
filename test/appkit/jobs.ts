/** The routes of the jobs of test/fixtures/jobs.ts. */
import { Jobs } from "effect-databricks"
import * as ClientConfig from "effect-databricks/appkit/ClientConfig"
import * as JobRoutes from "effect-databricks/appkit/Jobs"
import * as Policy from "effect-databricks/appkit/Policy"
import { Effect, Layer, Schema } from "effect"
import { ids } from "../fixtures/jobs.ts"
import { requestOf } from "../fixtures/people.ts"
import { serve, Served } from "../http/harness.ts"

const Day = Schema.Struct({ day: Schema.String, limit: Schema.Int })
const none = Schema.Record(Schema.String, Schema.Never)
const job = (id: string) => ({ job: Jobs.job({ id, parameters: none }) })

type Rule = Policy.Policy<JobRoutes.Action, JobRoutes.Resource> | undefined

const Routes = ({ own, policy }: { readonly own?: Rule; readonly policy?: Rule }) =>
  JobRoutes.layer({
    policy,
    jobs: {
      etl: { job: Jobs.job({ id: ids.etl, parameters: Day }) },
      own: { job: Jobs.job({ id: ids.etl, parameters: Day }), policy: own },
      gated: { job: Jobs.job({ id: ids.gated, parameters: Schema.Struct({ gate: Schema.String }) }) },
      script: {
        job: Jobs.job({ id: ids.failing, taskType: "spark_python", parameters: Schema.Array(Schema.String) })
      },
      empty: { job: Jobs.job({ id: ids.broken, taskType: "notebook", parameters: Schema.Struct({}) }) },
      echo: job(ids.echo),
      endless: job(ids.endless),
      unused: job(ids.wide)
    }
  })

/** Polls ten times a second. */
const Hurried = Layer.effect(
  Jobs.Jobs,
  Effect.map(Jobs.make, (jobs) => ({
    ...jobs,
    watch: (runId: string) => jobs.watch(runId, { delay: "100 millis", maxDelay: "100 millis" })
  }))
)

/** Serves the routes, which allow everything unless `policy` is given. */
export const served = <A, E, R>(
  test: Effect.Effect<A, E, R>,
  options: { readonly own?: Rule; readonly policy?: Rule } = {}
) =>
  Effect.provide(
    test,
    serve(Routes({ policy: Policy.allowAll, ...options }), { services: Hurried }).pipe(
      Layer.provideMerge(ClientConfig.layer)
    )
  )

/** Sends a request to the routes, as this user or without a token. */
export const asked = (
  method: string,
  path: string,
  {
    as,
    body,
    headers
  }: { readonly as?: string; readonly body?: unknown; readonly headers?: Record<string, string> | undefined }
) =>
  Effect.gen(function* () {
    const { call } = yield* Served
    const sender = as === undefined ? {} : yield* requestOf(as)
    return yield* call(method, `/api/jobs${path}`, { body, headers: { ...sender, ...headers } })
  })
