/** The time from the start of a process to its first response, and its memory when it is idle. */
import { Console, Effect } from "effect"
import * as Bed from "../bed.ts"
import { main, memory } from "../child.ts"
import { execArgvFromStart, reach, show, taken } from "../profile.ts"
import type { Memory } from "../profiler.ts"
import { heap, median, ratiosOf, spread, table, tell } from "../results.ts"

const goals = [
  { what: "startTime", name: "from start to first answer", label: "time to first answer", goal: 0.4 },
  { what: "resident", name: "at idle", label: "memory", goal: 0.7 }
] as const
const peers = ["ours", "AppKit", "by hand"] as const

/** What each call to a workspace in another region may take longer, in milliseconds. */
const away = 100

const startOf = (bed: Bed.Bed, peer: Bed.Peer, execArgv: ReadonlyArray<string> = []) =>
  Effect.gen(function* () {
    const server = yield* Bed.serve(bed, peer, { execArgv })
    const profile = execArgv.length > 0 ? yield* taken(peer, server, 1_000) : undefined
    yield* Effect.sleep("1 second")
    const used = profile && (yield* server.ask<Memory>({ profile: "memory" }))
    return { startTime: server.startTime, resident: memory(server.pid).now, profile, used }
  }).pipe(Effect.scoped)

main(
  Effect.gen(function* () {
    const bed = yield* Bed.make(1, 104)
    const starts = new Map(peers.map((peer) => [peer, [] as Array<Effect.Success<ReturnType<typeof startOf>>>]))
    // Once for the cache of the disk.
    for (const peer of peers) yield* startOf(bed, peer)
    for (let round = 0; round < Math.min(4, Bed.rounds); round++) {
      for (const peer of peers) starts.get(peer)!.push(yield* startOf(bed, peer))
    }
    const of = (peer: (typeof peers)[number], what: "startTime" | "resident") =>
      starts.get(peer)!.map((start) => start[what])
    yield* Console.log(
      table(
        ["", "ms from start to first answer", "MiB resident at idle"],
        peers.map((peer) => [peer, spread(of(peer, "startTime")), spread(of(peer, "resident"))])
      )
    )
    yield* Console.log("")
    for (const { goal, label, name, what } of goals) {
      for (const peer of ["AppKit", "by hand"] as const) {
        const ratios = ratiosOf(of("ours", what), of(peer, what))
        yield* tell({ comparison: { work: name, peer, what: label, ratios, ...(peer === "AppKit" && { goal }) } })
      }
    }
    yield* Console.log("")
    yield* bed.workspace.ask({ ask: "delay", milliseconds: away })
    const far = new Map<Bed.Peer, Array<number>>([
      ["ours", []],
      ["AppKit", []]
    ])
    for (let round = 0; round < Math.min(3, Bed.rounds); round++) {
      for (const [peer, times] of far) {
        times.push(yield* Effect.scoped(Effect.map(Bed.serve(bed, peer), (_) => _.startTime)))
      }
    }
    yield* bed.workspace.ask({ ask: "delay", milliseconds: 0 })
    const [own, theirs] = [far.get("ours")!, far.get("AppKit")!]
    yield* Console.log(
      `- Each call to the workspace takes ${away} ms more: ours ${spread(own)} ms, AppKit ${spread(theirs)} ms.`
    )
    yield* tell({
      comparison: {
        work: `from start to first answer, a workspace ${away} ms away`,
        peer: "AppKit",
        what: "time to first answer",
        ratios: ratiosOf(own, theirs)
      }
    })
    yield* Console.log("")
    const profiled = yield* Effect.forEach(["ours", "AppKit"] as const, (peer) => startOf(bed, peer, execArgvFromStart))
    const [ours] = profiled
    const left = 0.4 * median(of("AppKit", "startTime"))
    const cost = median(of("ours", "startTime"))
    if (cost > left) yield* Console.log(reach(ours!.profile!, "0.4× AppKit", left, cost, "ms for a start"))
    yield* Console.log(`- Memory at idle: ${heap(ours!.resident, ours!.used!)}.`)
    yield* show(
      profiled.map(({ profile }) => profile!),
      "ms of the clock for a start"
    )
  })
)
