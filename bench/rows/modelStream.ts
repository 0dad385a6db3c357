/** The stream of a model, 200 chunks an answer: as a model sends them, one by one, and all at once. */
import { Console, Effect } from "effect"
import { quick, rounds } from "../bed.ts"
import { cpu, main } from "../child.ts"
import type { Pace } from "../origin.ts"
import { profile, reach, show } from "../profile.ts"
import { median, spread, table, tell } from "../results.ts"
import * as Streams from "../streams.ts"
import type { ChatsOutcome } from "../traffic.ts"

const users = 20
const [warmUp, seconds] = quick ? [1, 0.5] : [2, 0.8]
const goal = 0.5

interface Sample extends ChatsOutcome {
  /** Microseconds of CPU a chunk. */
  readonly cost: number
}

const work = { each: "model stream, chunk by chunk", all: "model stream, all chunks at once" }

main(
  Effect.gen(function* () {
    const { ask, servers, users: headers } = yield* Streams.make(users)
    const chats = (server: (typeof servers)[number], pace: Pace, seconds: number) =>
      ask<ChatsOutcome>({ do: "chats", port: server.port, pace, seconds, users: headers })
    const samples = { each: Streams.samplesOf<Sample>(), all: Streams.samplesOf<Sample>() }
    for (const server of servers) {
      for (const pace of ["each", "all"] as const) yield* chats(server, pace, warmUp)
    }
    yield* Streams.inTurns(servers, rounds, (server) =>
      Effect.forEach(
        ["each", "all"] as const,
        (pace) =>
          Effect.gen(function* () {
            const before = cpu(server.pid)
            const outcome = yield* chats(server, pace, seconds)
            const cost = ((cpu(server.pid) - before) / outcome.chunks) * 1e6
            samples[pace].add(server.peer, { ...outcome, cost })
          }),
        { discard: true }
      )
    )
    const cells = (pace: Pace, peer: Streams.Peer) => {
      const of = (what: (sample: Sample) => number) => samples[pace].of(peer, what)
      return [
        spread(of(({ cost }) => cost)),
        spread(of(({ chunks, seconds }) => chunks / seconds)),
        ...(pace === "all"
          ? ["", ""]
          : [spread(of(({ p99 }) => p99)), String(of(({ held }) => held).reduce((a, b) => a + b))])
      ]
    }
    yield* Console.log(
      table(
        ["", "server, µs CPU a chunk", "chunks/s", "p99 ms from the model to the client", "held back"],
        (["each", "all"] as const).flatMap((pace) =>
          Streams.peers.map((peer) => [`${peer}, ${pace === "each" ? "one by one" : "at once"}`, ...cells(pace, peer)])
        )
      )
    )
    yield* Console.log("")
    for (const pace of ["each", "all"] as const) {
      for (const peer of ["AppKit", "by hand"] as const) {
        const ratios = samples[pace].ratios(peer, ({ cost }) => cost)
        const comparison = { work: work[pace], peer, what: "server's CPU a chunk", ratios }
        yield* tell({ comparison: { ...comparison, ...(peer === "AppKit" && { goal }) } })
      }
    }
    const held = samples.each.of("ours", ({ held }) => held).reduce((a, b) => a + b)
    const theirs = samples.each.of("AppKit", ({ held }) => held).reduce((a, b) => a + b)
    yield* tell({
      check: {
        work: work.each,
        goal: "chunks that wait for the next one: 0",
        found: `${held} (AppKit ${theirs})`,
        holds: held === 0
      }
    })
    for (const pace of ["each", "all"] as const) {
      const profiles = yield* Effect.forEach(servers, (server) =>
        profile(
          server.peer,
          server,
          Effect.map(chats(server, pace, 1.5), ({ chunks }) => chunks)
        )
      )
      const cost = (peer: Streams.Peer) => median(samples[pace].of(peer, ({ cost }) => cost))
      const left = goal * cost("AppKit")
      if (cost("ours") > left) {
        yield* Console.log(
          `\n${reach(profiles[0]!, `${work[pace]}: ${goal}× AppKit`, left, cost("ours"), "µs for a chunk")}`
        )
      }
      yield* show(profiles, `µs of the clock for each chunk, ${pace === "each" ? "one by one" : "all at once"}`)
    }
  })
)
