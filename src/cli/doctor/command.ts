/** `effect-databricks doctor`: checks the environment in which an application starts. */
import { Config, Console, Data, Effect, Runtime } from "effect"
import { Command, Flag } from "effect/cli"
import { examine } from "./examine.ts"
import type { Finding, State } from "./finding.ts"

/** A check has failed. The report names it, so the error is not printed again. */
class Unfit extends Data.TaggedError("Unfit") {
  override readonly [Runtime.errorReported] = false
}

const marks: Readonly<Record<State, string>> = { ok: "✓", warning: "!", failed: "✗", skipped: "–" }

const print = ({ check, says, state }: Finding) =>
  Console.log(`${marks[state]} ${check.padEnd(10)} ${says.replaceAll(/\s*\n\s*/g, " ")}`)

const token = Flag.Redacted("token").pipe(
  Flag.withDescription(
    "A user's access token, whose scopes are checked. The variable DATABRICKS_USER_TOKEN keeps it out of the shell's history"
  ),
  Flag.withFallbackConfig(Config.Redacted("DATABRICKS_USER_TOKEN")),
  Flag.optional
)

export const doctor = Command.make(
  "doctor",
  { token },
  Effect.fn(function* ({ token }) {
    const findings = yield* examine(token, print)
    const count = (state: State) => findings.filter((_) => _.state === state).length
    const failed = count("failed")
    const warnings = count("warning")
    yield* Console.log(
      `${failed} failed, ${warnings} ${warnings === 1 ? "warning" : "warnings"}, ${count("skipped")} not checked`
    )
    if (failed > 0) return yield* new Unfit()
  })
).pipe(
  Command.withDescription(
    "Check the environment in which an application starts. Prints one line for each check, and exits with 1 if one fails"
  )
)
