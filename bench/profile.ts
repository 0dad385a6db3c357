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

export interface Profile {
  readonly who: string
  readonly requests: number
  /** Microseconds by package, and by function. */
  readonly groups: ReadonlyMap<string, number>
  readonly places: ReadonlyMap<string, number>
}

/** Where the time of a process goes while `load` lasts, which says how many requests that were. */
export const profile = <E, R>(who: string, child: Child, load: Effect.Effect<number, E, R>) =>
  Effect.gen(function* () {
    yield* child.ask({ profile: "start" })
    const requests = yield* load
    const profile: Profile = { who, requests, ...digest(yield* child.ask<CpuProfile>({ profile: "stop" })) }
    return profile
  })

/** The packages of all side by side, and the functions of the first. */
export const show = Effect.fnUntraced(function* (profiles: ReadonlyArray<Profile>) {
  const ours = profiles[0]!
  const names = new Set(profiles.flatMap(({ groups }) => top(groups, 12).map(([name]) => name)))
  const each = (time: number | undefined, { requests }: Profile) => ((time ?? 0) / requests).toFixed(1)
  const whole = ({ groups }: Profile) => [...groups.values()].reduce((a, b) => a + b, 0)
  yield* Console.log(
    `\n<details><summary>Where the time goes, in µs of the clock for each request: CPU profiles of ` +
      `${profiles.map(({ requests }) => requests.toLocaleString("en")).join(", ")} requests</summary>\n`
  )
  yield* Console.log(
    table(
      ["self time in", ...profiles.map(({ who }) => who)],
      [
        ...[...names].map((name) => [name, ...profiles.map((profile) => each(profile.groups.get(name), profile))]),
        ["all", ...profiles.map((profile) => each(whole(profile), profile))]
      ]
    )
  )
  yield* Console.log("")
  yield* Console.log(
    table(
      [`function, ${ours.who}`, "µs"],
      top(ours.places, 20).map(([name, time]) => [name, each(time, ours)])
    )
  )
  yield* Console.log("\n</details>")
})

const top = (times: ReadonlyMap<string, number>, count: number) =>
  [...times].toSorted(([, a], [, b]) => b - a).slice(0, count)

const digest = ({ nodes, samples, timeDeltas }: CpuProfile) => {
  const frames = new Map(nodes.map(({ callFrame, id }) => [id, callFrame]))
  const groups = new Map<string, number>()
  const places = new Map<string, number>()
  samples.forEach((id, index) => {
    const frame = frames.get(id)!
    if (frame.functionName === "(idle)" || frame.url === "node:inspector") return
    const time = timeDeltas[index]!
    const group = groupOf(frame)
    const place = `${frame.functionName || "(anonymous)"} — ${frame.url === "" ? group : `${tail(frame.url)}:${frame.lineNumber + 1}`}`
    groups.set(group, (groups.get(group) ?? 0) + time)
    places.set(place, (places.get(place) ?? 0) + time)
  })
  return { groups, places }
}

const groupOf = ({ functionName, url }: CpuProfile["nodes"][number]["callFrame"]) => {
  const [, name] = /\/node_modules\/((?:@[^/]+\/)?[^/]+)\/(?!.*\/node_modules\/)/.exec(url) ?? []
  if (name !== undefined) return name
  if (url.includes("/.bench/src/")) return "effect-databricks"
  if (url.includes("/bench/")) return "the application"
  if (functionName === "(garbage collector)") return "garbage collector"
  if (/^(writev|write\w*(String|Buffer)|readStart)$/.test(functionName) && url === "")
    return "the kernel: writes to sockets"
  if (/^node:(_http|internal\/http)/.test(url)) return "node:http"
  if (/^node:(net|internal\/stream_base|internal\/streams|stream|_stream)/.test(url)) return "node:net and streams"
  if (url.startsWith("node:")) return "node, the rest"
  return "native code"
}

const tail = (url: string) => url.replace(/^.*\/node_modules\//, "").replace(/^.*\/\.bench\//, "")
