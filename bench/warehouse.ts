/** A large result of a warehouse: streamed by us, and collected with the official SDK, each in a process of its own. */
import { Config as SdkConfig, WorkspaceClient } from "@databricks/sdk-experimental"
import { Config, Console, Effect, Layer, Schema, Stream } from "effect"
import { spawn } from "node:child_process"
import { ServiceContext, SqlWarehouse } from "../src/index.ts"
import { LocalWorkspace } from "../src/testing/index.ts"

const Sale = Schema.Struct({ id: Schema.BigInt, region: Schema.String, amount: Schema.Number, at: Schema.Date })

const text = `SELECT i AS id, 'region ' || i % 7 AS region, (i * 0.01)::numeric(12,2) AS amount,
  timestamptz '2026-01-01Z' + i * interval '1 second' AS at FROM generate_series(1::int8, :rows) AS i`

type Reader = (rows: number, first: () => void) => Effect.Effect<number, unknown, SqlWarehouse.SqlWarehouse>

const streamed =
  <A, E, R>(stream: (rows: number) => Stream.Stream<A, E, R>) =>
  (rows: number, first: () => void): Effect.Effect<number, E, R> =>
    Effect.suspend(() => {
      let count = 0
      const counted = Stream.runForEachArray(stream(rows), (some) =>
        Effect.sync(() => {
          if (count === 0) first()
          count += some.length
        })
      )
      return Effect.map(counted, () => count)
    })

const readers: Readonly<Record<string, Reader>> = {
  "stream, by type": streamed((rows) => SqlWarehouse.streamText()(text, { rows: BigInt(rows) })),
  "stream, by Schema": streamed((rows) => SqlWarehouse.streamText(Sale)(text, { rows: BigInt(rows) })),
  "official SDK, collected": (rows, first) =>
    Effect.gen(function* () {
      const env = yield* environment
      return yield* Effect.promise(() => collectedBySdk(env, rows, first))
    })
}

const environment = Config.all({
  host: Config.String("DATABRICKS_HOST"),
  clientId: Config.String("DATABRICKS_CLIENT_ID"),
  clientSecret: Config.String("DATABRICKS_CLIENT_SECRET"),
  warehouse: Config.String("DATABRICKS_WAREHOUSE_ID")
})

/** The code that users of the SDK write: every chunk, its text parsed, in one array. */
const collectedBySdk = async (env: Config.Success<typeof environment>, rows: number, first: () => void) => {
  const { clientId, clientSecret, host, warehouse } = env
  const { statementExecution } = new WorkspaceClient(new SdkConfig({ host, clientId, clientSecret, loaders: [] }), {})
  let answer = await statementExecution.executeStatement({
    statement: text,
    warehouse_id: warehouse,
    disposition: "EXTERNAL_LINKS",
    format: "JSON_ARRAY",
    parameters: [{ name: "rows", type: "BIGINT", value: String(rows) }]
  })
  const statement_id = answer.statement_id!
  while (answer.status?.state === "PENDING" || answer.status?.state === "RUNNING") {
    await new Promise((resolve) => setTimeout(resolve, 100))
    answer = await statementExecution.getStatement({ statement_id })
  }
  const all: Array<ReadonlyArray<string | null>> = []
  for (let chunk = answer.result; chunk !== undefined;) {
    const link = chunk.external_links?.[0]
    if (link === undefined) break
    const part: Array<ReadonlyArray<string | null>> = await (await fetch(link.external_link!)).json()
    if (all.length === 0) first()
    for (const row of part) all.push(row)
    const next: number | undefined = link.next_chunk_index
    chunk =
      next === undefined
        ? undefined
        : await statementExecution.getStatementResultChunkN({ statement_id, chunk_index: next })
  }
  return all.length
}

const mebibytes = (bytes: number) => Math.round(bytes / 1024 / 1024)

/** Reads in one process, and prints its time and memory. */
const measure = Effect.fnUntraced(function* (name: string, rows: number) {
  // Loading and compiling the code is not part of the measurement.
  yield* readers[name]!(1000, () => {})
  let peak = process.memoryUsage.rss()
  const before = peak
  const sampling = setInterval(() => (peak = Math.max(peak, process.memoryUsage.rss())), 5)
  const start = performance.now()
  let first = start
  const count = yield* readers[name]!(rows, () => (first = performance.now()))
  const end = performance.now()
  clearInterval(sampling)
  if (count !== rows) return yield* Effect.die(`${name} read ${count} rows of ${rows}`)
  const perSecond = Math.round(rows / ((end - first) / 1000))
  yield* Console.log(
    `${name.padEnd(26)}${String(rows).padStart(9)} rows  ${((first - start) / 1000).toFixed(1).padStart(5)} s to the first  ` +
      `${String(perSecond).padStart(8)} rows/s from there  ${String(mebibytes(peak - before)).padStart(5)} MiB above the start`
  )
})

const measurements = [
  ["stream, by Schema", 1_000_000],
  ["official SDK, collected", 1_000_000],
  ["stream, by type", 1_000_000],
  ["stream, by Schema", 3_000_000]
] as const

const inChild = (name: string, rows: number, env: Readonly<Record<string, string>>) =>
  Effect.callback<void>((resume) => {
    const [, file = ""] = process.argv
    const child = spawn(process.execPath, [...process.execArgv, file, name, String(rows)], { env, stdio: "inherit" })
    child.once("close", (code) => resume(code === 0 ? Effect.void : Effect.die(`${name} failed`)))
    return Effect.sync(() => child.kill())
  })

const main = Effect.gen(function* () {
  const { env, warehouseId } = yield* LocalWorkspace.LocalWorkspace
  const environment = { ...env, DATABRICKS_WAREHOUSE_ID: warehouseId }
  yield* Console.log("a large result: BIGINT, STRING, DECIMAL and TIMESTAMP, in chunks of 20,000 rows")
  for (const [name, rows] of measurements) yield* inChild(name, rows, environment)
})

const [name, rows] = process.argv.slice(2)
const Live = SqlWarehouse.layer.pipe(Layer.provide(ServiceContext.layerConfig()))
await Effect.runPromise(
  name === undefined
    ? Effect.provide(main, LocalWorkspace.layer({ rowsPerChunk: 20_000 }))
    : Effect.provide(measure(name, Number(rows)), Live)
)
