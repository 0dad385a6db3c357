/** Where the time of our server goes: its CPU profile, by package. */
import { Console, Effect } from "effect"
import type { Child } from "./child.ts"
import { table } from "./results.ts"

interface CpuProfile {
  readonly nodes: ReadonlyArray<{
    readonly id: number
    readonly callFrame: { readonly functionName: string; readonly url: string; readonly lineNumber: number }
  }>
  readonly samples: ReadonlyArray<number>
  /** Microseconds from sample to sample. */
  readonly timeDeltas: ReadonlyArray<number>
}

/** Flags of a server that is to be profiled. */
export const execArgv = ["--import", new URL("profiled.ts", import.meta.url).href]

/** Prints where the time of a server with these flags goes while it answers; `load` says how many requests. */
export const profile = <E, R>(server: Child, load: Effect.Effect<number, E, R>) =>
  Effect.gen(function* () {
    yield* server.ask({ profile: "start" })
    const requests = yield* load
    const { groups, places, total } = digest(yield* server.ask<CpuProfile>({ profile: "stop" }))
    const top = (times: ReadonlyMap<string, number>, count: number) =>
      [...times]
        .toSorted(([, a], [, b]) => b - a)
        .slice(0, count)
        .map(([name, time]) => [name, (time / requests).toFixed(1), `${((time / total) * 100).toFixed(1)} %`])
    const summary = `Where our server's time goes: a CPU profile of ${requests.toLocaleString("en")} requests`
    yield* Console.log(`\n<details><summary>${summary}</summary>\n`)
    yield* Console.log(table(["self time in", "µs each", "part"], top(groups, 12)))
    yield* Console.log("")
    yield* Console.log(table(["function", "µs each", "part"], top(places, 20)))
    yield* Console.log("\n</details>")
  })

const digest = ({ nodes, samples, timeDeltas }: CpuProfile) => {
  const frames = new Map(nodes.map(({ callFrame, id }) => [id, callFrame]))
  const groups = new Map<string, number>()
  const places = new Map<string, number>()
  let total = 0
  samples.forEach((id, index) => {
    const frame = frames.get(id)!
    if (frame.functionName === "(idle)" || frame.url === "node:inspector") return
    const time = timeDeltas[index]!
    total += time
    const group = groupOf(frame)
    const place = `${frame.functionName || "(anonymous)"} — ${frame.url === "" ? group : `${tail(frame.url)}:${frame.lineNumber + 1}`}`
    groups.set(group, (groups.get(group) ?? 0) + time)
    places.set(place, (places.get(place) ?? 0) + time)
  })
  return { groups, places, total }
}

const groupOf = ({ functionName, url }: CpuProfile["nodes"][number]["callFrame"]) => {
  const [, name] = /\/node_modules\/((?:@[^/]+\/)?[^/]+)\/(?!.*\/node_modules\/)/.exec(url) ?? []
  if (name !== undefined) return name
  if (url.includes("/.bench/src/")) return "effect-databricks"
  if (url.includes("/.bench/")) return "the application"
  if (functionName === "(garbage collector)") return "garbage collector"
  if (/^(writev|write\w*(String|Buffer)|readStart)$/.test(functionName) && url === "")
    return "the kernel: writes to sockets"
  if (/^node:(_http|internal\/http)/.test(url)) return "node:http"
  if (/^node:(net|internal\/stream_base|internal\/streams|stream|_stream)/.test(url)) return "node:net and streams"
  if (url.startsWith("node:")) return "node, the rest"
  return "native code"
}

const tail = (url: string) => url.replace(/^.*\/node_modules\//, "").replace(/^.*\/\.bench\//, "")
