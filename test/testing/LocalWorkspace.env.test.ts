import { assert, layer } from "@effect/vitest"
import { LocalWorkspace } from "effect-databricks/testing"
import { Config, Effect, Option } from "effect"

const read = (name: string) => Config.option(Config.String(name))

layer(LocalWorkspace.layer(), { excludeTestServices: true })("LocalWorkspace.layerEnv", (it) => {
  it.effect("provides the variables of the workspace, without those of the process", () =>
    Effect.gen(function* () {
      const { env } = yield* LocalWorkspace.LocalWorkspace
      for (const [name, value] of Object.entries(env)) assert.deepStrictEqual(yield* read(name), Option.some(value))
      assert.deepStrictEqual(yield* read("PATH"), Option.none())
    }).pipe(Effect.provide(LocalWorkspace.layerEnv()))
  )

  it.effect("sets and unsets the variables that it is given", () =>
    Effect.gen(function* () {
      const { env } = yield* LocalWorkspace.LocalWorkspace
      const names = ["DATABRICKS_WAREHOUSE_ID", "NODE_ENV", "PGDATABASE", "DATABRICKS_HOST"]
      assert.deepStrictEqual(yield* Effect.forEach(names, read), [
        Option.none(),
        Option.some("development"),
        Option.some("other"),
        Option.some(env["DATABRICKS_HOST"])
      ])
    }).pipe(
      Effect.provide(
        LocalWorkspace.layerEnv({ DATABRICKS_WAREHOUSE_ID: undefined, NODE_ENV: "development", PGDATABASE: "other" })
      )
    )
  )
})
