/** Runs `npm run generate` on a local workspace, offline, with the flags of this command, such as `--check`. */
import { Config, Effect } from "effect"
import { App } from "effect-databricks"
import { LocalWorkspace } from "effect-databricks/testing"
import { spawn } from "node:child_process"
import { trips } from "./samples.ts"

const generate = Effect.gen(function* () {
  const { administer, env } = yield* LocalWorkspace.LocalWorkspace
  yield* administer(trips)
  const PATH = yield* Config.String("PATH")
  const code = yield* Effect.callback<number | null>((resume) => {
    const child = spawn("npm", ["run", "--silent", "generate", "--", ...process.argv.slice(2)], {
      // Nothing else of this shell, which may have the variables of another workspace.
      env: { PATH, ...env },
      stdio: "inherit"
    })
    child.once("close", (code) => resume(Effect.succeed(code)))
    return Effect.sync(() => void child.kill())
  })
  if (code !== 0) return yield* Effect.fail(new Error("The queries could not be checked, see above"))
})

App.runMain(Effect.provide(generate, LocalWorkspace.layer()))
