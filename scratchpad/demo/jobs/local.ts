/** The job of the local workspace: it loads the sales of a day, and reports them. */
import type { LocalJobs } from "effect-databricks/testing"
import { DateTime, Effect } from "effect"

const load = (day: string) =>
  Effect.gen(function* () {
    yield* Effect.sleep("2 seconds")
    const today = DateTime.formatIsoDateUtc(yield* DateTime.now)
    return day <= today ? `Loaded 3 sales of ${day}` : yield* Effect.fail(`There are no sales of ${day} yet`)
  })

export const job: LocalJobs.JobDefinition = {
  id: "1121234567890123457",
  name: "report",
  parameters: { day: "" },
  startTime: "1 second",
  tasks: [
    { key: "load", type: "script", run: ({ parameters: { day = "" } }) => load(day) },
    {
      key: "report",
      dependsOn: ["load"],
      run: ({ parameters: { day } }) => Effect.delay(Effect.succeed(`${day}: 12 units in 3 sales`), "1 second")
    }
  ]
}
