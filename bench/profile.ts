/** Profiles of the CPU of a server and of its allocations, by package. */
import { Console, Effect } from "effect"
import { spawnSync } from "node:child_process"
import { existsSync, readFileSync } from "node:fs"
import { SourceMap, type SourceMapping } from "node:module"
import type { Child } from "./child.ts"
import type { Allocation } from "./profiler.ts"
import { median, short, table } from "./results.ts"

interface Frame {
  readonly functionName: string
  readonly url: string
  readonly lineNumber: number
  readonly columnNumber: number
}

interface CpuProfile {
  readonly nodes: ReadonlyArray<{ readonly id: number; readonly callFrame: Frame }>
  readonly samples: ReadonlyArray<number>
  /** Microseconds from sample to sample. */
  readonly timeDeltas: ReadonlyArray<number>
  /** Of the garbage collector, in milliseconds. */
  readonly pauses: ReadonlyArray<number>
}

/** Flags of a server that is to be profiled. */
export const execArgv = ["--import", new URL("profiled.ts", import.meta.url).href]

/** Flags of a server that is to be profiled from its start. */
export const execArgvFromStart = ["--import", `${execArgv[1]}?start`]

export interface Profile {
  readonly who: string
  readonly requests: number
  /** Microseconds by package, and by function; of allocations, kB. */
  readonly groups: ReadonlyMap<string, number>
  readonly places: ReadonlyMap<string, number>
  readonly pauses: ReadonlyArray<number>
}

/**
 * Profiles a process while `load` runs, which returns the number of requests.
 *
 * V8 counts time of the clock. Without priority over those whom a write wakes, the process loses its core to them at each
 * write, which then seems to take their time too: half of a request in place of a fifth.
 */
export const profile = <E, R>(who: string, child: Child, load: Effect.Effect<number, E, R>) =>
  Effect.gen(function* () {
    schedule(child, "--fifo", "1")
    yield* child.ask({ profile: "start" })
    const requests = yield* load
    const profile = yield* taken(who, child, requests)
    schedule(child, "--other", "0")
    return profile
  })

const schedule = ({ pid }: Child, policy: string, priority: string) => {
  const { status } = spawnSync("chrt", ["--all-tasks", policy, "--pid", priority, String(pid)], { stdio: "ignore" })
  if (status !== 0) console.error("A profile without priority, which takes root: writes to sockets seem too long in it")
}

/** The profile of a process since it was begun. */
export const taken = (who: string, child: Child, requests: number) =>
  Effect.map(child.ask<CpuProfile>({ profile: "stop" }), (found): Profile => ({
    who,
    requests,
    ...digest(timesOf(found)),
    pauses: found.pauses
  }))

/** Samples the allocations of a process while `load` runs, those of objects that the collector has freed too. */
export const allocations = <E, R>(who: string, child: Child, load: Effect.Effect<number, E, R>) =>
  Effect.gen(function* () {
    yield* child.ask({ heap: "start" })
    const requests = yield* load
    const found = yield* child.ask<ReadonlyArray<Allocation>>({ heap: "stop" })
    const sizes = found.map(({ callFrame, selfSize }) => [callFrame, selfSize / 1000] as const)
    return { who, requests, ...digest(sizes), pauses: [] as ReadonlyArray<number> }
  })

/** The share of each package in the CPU of a request. */
export const partsOf = (profile: Profile, cost: number) => {
  const of = (name: string) => ((profile.groups.get(name) ?? 0) / whole(profile)) * cost
  const libraries = [...profile.groups.keys()].filter((name) => name === "effect" || name.startsWith("@effect/"))
  const effect = libraries.reduce((sum, name) => sum + of(name), 0)
  const own = of("effect-databricks") + of("the application")
  const collector = of("garbage collector")
  return { effect, own, collector, others: cost - effect - own - collector }
}

/**
 * The CPU that a goal leaves for a request, and the share of each package in the CPU of a request now. A goal is out of
 * reach if the packages other than ours and Effect's need more than that.
 */
export const reach = (profile: Profile, goal: string, left: number, cost: number, unit = "µs for a request") => {
  const { collector, effect, others, own } = partsOf(profile, cost)
  return (
    `- ${goal} leaves the server ${short(left)} ${unit}. It costs ${short(cost)}, of which by the profile the kernel, ` +
    `Node and its libraries have ${short(others)}, Effect ${short(effect)}, this project and the application ${short(own)}, ` +
    `the garbage collector ${short(collector)}: ` +
    (others > left
      ? "out of reach here, whatever Effect and we would do."
      : others + effect > left
        ? "out of reach here on Effect as it is, whatever we would do."
        : cost > left
          ? `within reach only if this project and the collector took ${short(left - others - effect)} instead of ${short(own + collector)}.`
          : "enough.")
  )
}

/** Every request in flight waits for a pause. Pauses determine p99 if they affect more than 1 request in 100. */
export const held = (profiles: ReadonlyArray<Profile>, connections: number) => {
  const each = ({ pauses, requests, who }: Profile) =>
    `${who} ${short(((pauses.length * connections) / requests) * 100)} % for ${short(median(pauses))} ms`
  return `- p99: of the requests, pauses of the garbage collector hold up ${profiles.map(each).join(", ")}.`
}

/** Where the time goes. */
export const show = (profiles: ReadonlyArray<Profile>, unit?: string) => {
  const all = profiles.map(({ requests }) => requests.toLocaleString("en")).join(", ")
  // Every request in flight waits for as long, which determines p99.
  const pause = ({ pauses }: Profile) =>
    `${pauses.length} × ${short(median(pauses))} ms, longest ${short(Math.max(0, ...pauses))}`
  return details(
    `Where the time goes, in ${unit ?? `µs of the clock for each request: CPU profiles of ${all} requests`}`,
    "self time in",
    profiles,
    [["pauses of the garbage collector", ...profiles.map(pause)]]
  )
}

/** The packages of all side by side, and the functions of the first. */
export const details = Effect.fnUntraced(function* (
  summary: string,
  head: string,
  profiles: ReadonlyArray<Profile>,
  more: ReadonlyArray<ReadonlyArray<string>> = []
) {
  const first = profiles[0]!
  const names = new Set(profiles.flatMap(({ groups }) => top(groups, 12).map(([name]) => name)))
  const each = (weight: number | undefined, { requests }: Profile) => ((weight ?? 0) / requests).toFixed(1)
  yield* Console.log(`\n<details><summary>${summary}</summary>\n`)
  yield* Console.log(
    table(
      [head, ...profiles.map(({ who }) => who)],
      [
        ...[...names].map((name) => [name, ...profiles.map((profile) => each(profile.groups.get(name), profile))]),
        ["all", ...profiles.map((profile) => each(whole(profile), profile))],
        ...more
      ]
    )
  )
  yield* Console.log("")
  yield* Console.log(
    table(
      [`function, ${first.who}`, ""],
      top(first.places, 20).map(([name, weight]) => [name, each(weight, first)])
    )
  )
  yield* Console.log("\n</details>")
})

/** Of all requests. */
export const whole = ({ groups }: Profile) => [...groups.values()].reduce((a, b) => a + b, 0)

const top = (weights: ReadonlyMap<string, number>, count: number) =>
  [...weights].toSorted(([, a], [, b]) => b - a).slice(0, count)

/** The self time of each frame. */
const timesOf = ({ nodes, samples, timeDeltas }: CpuProfile) => {
  const times = new Map<number, number>()
  samples.forEach((id, index) => times.set(id, (times.get(id) ?? 0) + timeDeltas[index]!))
  return nodes.map(({ callFrame, id }) => [callFrame, times.get(id) ?? 0] as const)
}

const digest = (weights: Iterable<readonly [frame: Frame, weight: number]>) => {
  const original = originals()
  const groups = new Map<string, number>()
  const places = new Map<string, number>()
  for (const [bundled, weight] of weights) {
    const frame = original(bundled)
    if (weight === 0 || frame.functionName === "(idle)" || frame.url === "node:inspector") continue
    const group = groupOf(frame)
    const place = `${frame.functionName || "(anonymous)"} — ${frame.url === "" ? group : `${tail(frame.url)}:${frame.lineNumber + 1}`}`
    groups.set(group, (groups.get(group) ?? 0) + weight)
    places.set(place, (places.get(place) ?? 0) + weight)
  }
  return { groups, places }
}

/** Returns where a function of a bundle has come from, by the bundle's map. */
const originals = () => {
  const maps = new Map<string, SourceMap | undefined>()
  const mapOf = (url: string) => {
    if (!maps.has(url)) {
      const file = new URL(`${url}.map`)
      maps.set(url, existsSync(file) ? new SourceMap(JSON.parse(readFileSync(file, "utf8"))) : undefined)
    }
    return maps.get(url)
  }
  return (frame: Frame): Frame => {
    const { columnNumber, lineNumber, url } = frame
    if (!url.includes("/.bench/")) return frame
    const entry: Partial<SourceMapping> & { readonly name?: string } =
      mapOf(url)?.findEntry(lineNumber, columnNumber) ?? {}
    if (entry.originalSource === undefined) return frame
    return {
      functionName: entry.name ?? frame.functionName,
      url: new URL(entry.originalSource, url).href,
      lineNumber: entry.originalLine ?? 0,
      columnNumber: entry.originalColumn ?? 0
    }
  }
}

const groupOf = ({ functionName, url }: Frame) => {
  const [, name] = /\/node_modules\/((?:@[^/]+\/)?[^/]+)\/(?!.*\/node_modules\/)/.exec(url) ?? []
  if (name !== undefined) return name
  if (url.startsWith(new URL("../src/", import.meta.url).href)) return "effect-databricks"
  if (url.includes("/bench/")) return "the application"
  if (functionName === "(garbage collector)") return "garbage collector"
  if (/^(writev|write\w*(String|Buffer)|readStart)$/.test(functionName) && url === "")
    return "the kernel: writes to sockets"
  if (/^node:(_http|internal\/http)/.test(url)) return "node:http"
  if (/^node:(net|internal\/stream_base|internal\/streams|stream|_stream)/.test(url)) return "node:net and streams"
  if (url.startsWith("node:")) return "node, the rest"
  return "native code"
}

const tail = (url: string) => url.replace(/^.*\/node_modules\//, "").replace(new URL("..", import.meta.url).href, "")
