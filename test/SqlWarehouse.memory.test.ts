import { assert, layer } from "@effect/vitest"
import { LocalWorkspace } from "effect-databricks/testing"
import { Config, Effect } from "effect"
import { execFile } from "node:child_process"
import { fileURLToPath } from "node:url"
import { promisify } from "node:util"

const streamer = [
  "--conditions=@effect-databricks/source",
  "--experimental-strip-types",
  "--disable-warning=ExperimentalWarning",
  fileURLToPath(new URL("fixtures/streamer.ts", import.meta.url))
]

/** The promise is for 5000000 rows; memory stops growing at a tenth of that. */
const Rows = Config.withDefault(Config.Number("STREAMED_ROWS"), 200_000)

layer(LocalWorkspace.layer(), { timeout: "60 seconds", excludeTestServices: true })("SqlWarehouse.stream", (it) => {
  it.effect(
    "takes at most 150 MiB of memory for a result of any size",
    () =>
      Effect.gen(function* () {
        const { env, warehouseId } = yield* LocalWorkspace.LocalWorkspace
        const rows = yield* Rows
        const { stdout } = yield* Effect.promise((signal) =>
          promisify(execFile)(process.execPath, [...streamer, String(rows)], {
            env: { ...env, DATABRICKS_WAREHOUSE_ID: warehouseId },
            signal
          })
        )
        const { count, mebibytes } = JSON.parse(stdout)
        assert.strictEqual(count, rows)
        assert.isAtMost(mebibytes, 150)
      }),
    600_000
  )
})
