/** Writes the generated modules of the demo and of the starter, on a local workspace: `npm run generate`. */
import { App } from "effect-databricks"
import { Console, Effect } from "effect"
import { root } from "./fixtures/fences.ts"
import { modules, run, Workspace } from "./fixtures/generate.ts"

App.runMain(
  Effect.forEach(Object.values(modules), (flags) =>
    Effect.flatMap(run(flags, {}, root.replace(/\/$/, "")), ({ stderr, stdout }) => Console.log(stdout + stderr))
  ).pipe(Effect.provide(Workspace))
)
