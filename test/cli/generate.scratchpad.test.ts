/** The modules of the demo and of the starter are those of their queries. */
import { assert, layer } from "@effect/vitest"
import { Effect } from "effect"
import { root } from "../fixtures/fences.ts"
import { modules, run, Workspace } from "../fixtures/generate.ts"

layer(Workspace, { timeout: "60 seconds", excludeTestServices: true })("generate --check", (it) => {
  for (const [name, flags] of Object.entries(modules)) {
    it.effect(`finds the module of the ${name} up to date`, () =>
      Effect.gen(function* () {
        const { failed, stderr } = yield* run([...flags, "--check"], {}, root)
        assert.isFalse(failed, `${stderr}Run npm run generate`)
      })
    )
  }
})
