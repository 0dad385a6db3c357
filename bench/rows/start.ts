/** The time from the start of a process to its first response, and its memory when it is idle. */
import { Console, Effect } from "effect"
import * as Bed from "../bed.ts"
import { main, memory } from "../child.ts"
import { median, short, spread, table, tell } from "../results.ts"

const name = "from start to first answer"
const goal = 2
const peers = ["ours", "AppKit", "by hand", "our libraries"] as const

const startOf = (bed: Bed.Bed, peer: Bed.Peer) =>
  Effect.scoped(
    Effect.gen(function* () {
      const { pid, startTime } = yield* Bed.serve(bed, peer)
      yield* Effect.sleep("1 second")
      return { startTime, resident: memory(pid).now }
    })
  )

main(
  Effect.gen(function* () {
    const bed = yield* Bed.make(1, 104)
    const starts = new Map(peers.map((peer) => [peer, [] as Array<Effect.Success<ReturnType<typeof startOf>>>]))
    // Once for the cache of the disk.
    for (const peer of peers) yield* startOf(bed, peer)
    for (let round = 0; round < Bed.rounds; round++) {
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
    for (const [what, label, least] of [
      ["startTime", "time to first answer", goal],
      ["resident", "memory at idle", 1]
    ] as const) {
      const theirs = of("AppKit", what)
      const ratios = of("ours", what).map((own, round) => theirs[round]! / own)
      yield* tell({ comparison: { work: name, peer: "AppKit", what: label, ratios, goal: least } })
    }
    const [left, libraries] = [median(of("AppKit", "startTime")) / goal, median(of("our libraries", "startTime"))]
    yield* Console.log(
      `- ${goal}× AppKit leaves ${short(left)} ms. A process that imports the libraries of ours, and has nothing of ours, ` +
        `answers after ${short(libraries)}${libraries > left ? ": out of reach here, whatever we would do." : "."}`
    )
  })
)
