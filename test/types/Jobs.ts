/** What the types of Jobs promise. */
import { Effect, Schema } from "effect"
import { type JobRun, Jobs } from "effect-databricks"
import { typeOf } from "./is.ts"

const report = Jobs.job({ id: "1", parameters: Schema.Struct({ day: Schema.String, limit: Schema.Int }) })

// Parameters have the types of their Schema.
const order = report.with({ day: "2026-01-31", limit: 10 })
// @ts-expect-error a limit is missing
report.with({ day: "2026-01-31" })
// @ts-expect-error a text is not a number
report.with({ day: "2026-01-31", limit: "10" })
// @ts-expect-error no such type of task
Jobs.job({ id: "1", taskType: "dbt", parameters: Schema.Struct({}) })

// Jobs run as the app, so that nothing of Jobs requires or accepts a user.
const started = Effect.flatMap(Jobs.asService, (jobs) => jobs.run(order))
typeOf<Effect.Services<typeof started>>(null!).is<Jobs.Jobs>()
typeOf<Effect.Success<typeof started>>(null!).is<string>()
typeOf<Effect.Error<typeof started>>(null!).is<Jobs.Failure | JobRun.JobParametersError>()
// @ts-expect-error there is no user scope for jobs
void Jobs.user
