/** The resources of the application's process. */
import { Lakebase } from "effect-databricks"
import { Effect, Schema } from "effect"
import { HttpRouter, HttpServerResponse } from "effect/http"
import { readdir } from "node:fs/promises"
import { monitorEventLoopDelay } from "node:perf_hooks"
import { setFlagsFromString } from "node:v8"
import { runInNewContext } from "node:vm"

export const Held = Schema.Struct({
  heapUsed: Schema.Int,
  /** Memory of buffers, outside of the heap. */
  external: Schema.Int,
  rss: Schema.Int,
  /** Of Lakebase, for users and for the service principal. */
  connections: Schema.Int,
  /** Where the system tells: Linux. */
  descriptors: Schema.Int,
  /** The longest that the event loop has been held up, in milliseconds. */
  longestDelay: Schema.Int,
  /** The resources that keep the process alive, by kind. */
  resources: Schema.Record(Schema.String, Schema.Int)
})

export type Held = typeof Held.Type

setFlagsFromString("--expose-gc")
const collect = runInNewContext("gc") as () => void // exposed by that flag

const delay = monitorEventLoopDelay({ resolution: 10 })
delay.enable()

const measure = async () => {
  const longestDelay = Math.round(delay.max / 1e6)
  const resources = process.getActiveResourcesInfo().reduce<Record<string, number>>((counts, kind) => {
    counts[kind] = (counts[kind] ?? 0) + 1
    return counts
  }, {})
  const descriptors = await readdir("/proc/self/fd").then(
    (names) => names.length,
    () => 0
  )
  // Twice, because the first one runs finalizers.
  for (let i = 0; i < 2; i++) {
    await new Promise((resolve) => setImmediate(resolve))
    collect()
  }
  const { external, heapUsed, rss } = process.memoryUsage()
  return { heapUsed, external, rss, descriptors, resources, longestDelay }
}

export const layer = HttpRouter.add(
  "GET",
  "/held",
  Effect.gen(function* () {
    const { stats } = yield* Lakebase.Lakebase
    const { service, users } = yield* stats
    return HttpServerResponse.jsonUnsafe({
      connections: service.total + users.total,
      ...(yield* Effect.promise(measure))
    } satisfies Held)
  })
)
