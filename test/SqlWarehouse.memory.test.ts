import { assert, layer } from "@effect/vitest"
import { LocalWorkspace } from "effect-databricks/testing"
import { Config, Effect } from "effect"
import { execFile } from "node:child_process"
import { fileURLToPath } from "node:url"
import { promisify } from "node:util"

const streamer = [
  // Else V8 keeps garbage for as long as the machine has memory.
  "--max-old-space-size=64",
  "--conditions=@effect-databricks/source",
  "--experimental-strip-types",
  "--disable-warning=ExperimentalWarning",
  fileURLToPath(new URL("fixtures/streamer.ts", import.meta.url))
]

/** The promise is for 5000000 rows; memory stops growing at a tenth of that. */
const Rows = Config.withDefault(Config.Number("STREAMED_ROWS"), 200_000)

const measured = Effect.fnUntraced(function* (rows: number, ...args: ReadonlyArray<string>) {
  const { env, warehouseId } = yield* LocalWorkspace.LocalWorkspace
  const { stdout } = yield* Effect.promise((signal) =>
    promisify(execFile)(process.execPath, [...streamer, String(rows), ...args], {
      env: { ...env, DATABRICKS_WAREHOUSE_ID: warehouseId },
      signal
    })
  )
  const { count, mebibytes }: { readonly count: number; readonly mebibytes: number } = JSON.parse(stdout)
  return { count, mebibytes }
})

layer(LocalWorkspace.layer(), { timeout: "60 seconds", excludeTestServices: true })("SqlWarehouse", (it) => {
  it.effect(
    "streams a result of any size in at most 150 MiB of memory",
    () =>
      Effect.gen(function* () {
        const rows = yield* Rows
        const { count, mebibytes } = yield* measured(rows)
        assert.strictEqual(count, rows)
        assert.isAtMost(mebibytes, 150)
      }),
    600_000
  )
})

// One chunk; garbage that V8 has not yet collected counts too.
layer(LocalWorkspace.layer({ rowsPerChunk: 400_000 }), { timeout: "60 seconds", excludeTestServices: true })(
  "SqlWarehouse.arrow",
  (it) => {
    it.effect(
      "streams a chunk of 10 MiB in at most 40 MiB of memory",
      () =>
        Effect.gen(function* () {
          const { count, mebibytes } = yield* measured(400_000, "arrow")
          assert.isAbove(count / 2 ** 20, 10)
          assert.isAtMost(mebibytes, 40)
        }),
      600_000
    )
  }
)
