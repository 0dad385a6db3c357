/** 100 clients, each with a stream of events: CPU an event, memory a client, and what arrives. */
import { Console, Effect } from "effect"
import { quick } from "../bed.ts"
import { cpu, main } from "../child.ts"
import { profile, show } from "../profile.ts"
import type { Memory } from "../profiler.ts"
import { median, short, spread, table, tell } from "../results.ts"
import * as Streams from "../streams.ts"
import type { ListenOutcome } from "../traffic.ts"

const clients = 100
const [rounds, seconds] = quick ? [2, 1] : [5, 1]
const name = "100 clients of events"

interface Sample extends ListenOutcome {
  /** Microseconds of CPU an event. */
  readonly cost: number
}

main(
  Effect.gen(function* () {
    const { ask, servers, users } = yield* Streams.make(clients)
    const listen = (port: number, path: string) => ask({ do: "listen", port, path, users })
    const heard = (seconds: number) =>
      Effect.andThen(
        Effect.andThen(ask({ do: "count" }), Effect.sleep(`${seconds} seconds`)),
        ask<ListenOutcome>({ do: "count" })
      )
    const leave = ask({ do: "leave" })

    // What a client takes, and whether a stream without events stays open. First, since finished streams are kept for a while.
    const quiet = Streams.samplesOf<number>()
    for (const server of servers) {
      const bytes = Effect.map(server.ask<Memory>({ profile: "memory" }), ({ bytes }) => bytes)
      yield* Effect.sleep("1 second")
      const before = yield* bytes
      yield* listen(server.port, "/quiet")
      yield* Effect.sleep("1 second")
      quiet.add(server.peer, ((yield* bytes) - before) / clients)
    }
    const { alive } = yield* heard(11)
    const aliveOf = (peer: Streams.Peer) => alive[servers.find((server) => server.peer === peer)!.port] ?? 0
    yield* leave

    // All rounds with the same clients: ours keeps the sources of those that have left, for they may return.
    const samples = Streams.samplesOf<Sample>()
    const profiles = yield* Effect.forEach(servers, (server) =>
      Effect.gen(function* () {
        yield* listen(server.port, "/ticks")
        yield* heard(1)
        for (let round = 0; round < rounds; round++) {
          const before = cpu(server.pid)
          const outcome = yield* heard(seconds)
          samples.add(server.peer, { ...outcome, cost: ((cpu(server.pid) - before) / outcome.events) * 1e6 })
        }
        const profiled = yield* profile(
          server.peer,
          server,
          Effect.map(heard(seconds), ({ events }) => events)
        )
        yield* leave
        return profiled
      })
    )

    yield* Console.log(
      table(
        ["", "server, µs CPU an event", "p99 ms to the client", "events", "lost", "KiB a client", "alive after 11 s"],
        Streams.peers.map((peer) => {
          const of = (what: (sample: Sample) => number) => samples.of(peer, what)
          const sum = (what: (sample: Sample) => number) => of(what).reduce((a, b) => a + b)
          return [
            peer,
            spread(of(({ cost }) => cost)),
            spread(of(({ p99 }) => p99)),
            sum(({ events }) => events).toLocaleString("en"),
            String(sum(({ lost }) => lost)),
            short(median(quiet.of(peer, (bytes) => bytes)) / 1024),
            `${aliveOf(peer)} of ${clients}`
          ]
        })
      )
    )
    yield* Console.log("")
    for (const peer of ["AppKit", "by hand"] as const) {
      const ratios = samples.ratios(peer, ({ cost }) => cost)
      yield* tell({ comparison: { work: name, peer, what: "server's CPU an event", ratios } })
      const memory = quiet.ratios(peer, (bytes) => bytes)
      yield* tell({ comparison: { work: name, peer, what: "memory a client", ratios: memory } })
    }
    const lost = samples.of("ours", (_) => _.lost + _.ended).reduce((a, b) => a + b)
    yield* tell({
      check: { work: name, goal: "events lost, and streams ended: 0", found: String(lost), holds: lost === 0 }
    })
    yield* tell({
      check: {
        work: name,
        goal: "streams without events that are kept alive: all",
        found: `${aliveOf("ours")} of ${clients} (AppKit ${aliveOf("AppKit")})`,
        holds: aliveOf("ours") === clients
      }
    })
    yield* show(profiles, "µs of the clock for each event")
  })
)
