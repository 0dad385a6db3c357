/** A file of 1 GiB through the server, as the user: its CPU, its rate, and its memory above idle. */
import { Console, Effect } from "effect"
import { writeFileSync } from "node:fs"
import { quick } from "../bed.ts"
import { cpu, main, memory } from "../child.ts"
import { spread, table, tell } from "../results.ts"
import * as Streams from "../streams.ts"

const size = (quick ? 128 : 1024) * 2 ** 20
const rounds = 2

interface Sample {
  /** Seconds of CPU. */
  readonly cpu: number
  /** MiB a second. */
  readonly rate: number
  /** MiB above idle, at most. */
  readonly peak: number
}

const name = "download of 1 GiB"

main(
  Effect.gen(function* () {
    const { ask, servers, users } = yield* Streams.make(1)
    const download = (port: number, size: number) =>
      ask<{ readonly seconds: number }>({ do: "download", port, size, headers: users[0]! })
    // The first loads, compiles and lets the heap grow to its size.
    for (const { port } of servers) yield* download(port, 256 * 2 ** 20)
    const samples = Streams.samplesOf<Sample>()
    yield* Streams.inTurns(servers, rounds, ({ peer, pid, port }) =>
      Effect.gen(function* () {
        // Linux then counts the peak from here.
        writeFileSync(`/proc/${pid}/clear_refs`, "5")
        const [idle, used] = [memory(pid).now, cpu(pid)]
        const { seconds } = yield* download(port, size)
        samples.add(peer, { cpu: cpu(pid) - used, rate: size / 2 ** 20 / seconds, peak: memory(pid).peak - idle })
      })
    )
    yield* Console.log(
      table(
        ["", "server, s CPU", "MiB/s", "MiB above idle, at most"],
        Streams.peers.map((peer) => [
          peer,
          ...(["cpu", "rate", "peak"] as const).map((what) => spread(samples.of(peer, (sample) => sample[what])))
        ])
      )
    )
    yield* Console.log("")
    for (const peer of ["AppKit", "by hand"] as const) {
      yield* tell({
        comparison: { work: name, peer, what: "server's CPU", ratios: samples.ratios(peer, (_) => _.cpu) }
      })
    }
    const peak = Math.max(...samples.of("ours", ({ peak }) => peak))
    const theirs = Math.max(...samples.of("AppKit", ({ peak }) => peak))
    yield* tell({
      check: {
        work: name,
        goal: "memory above idle: at most 64 MiB",
        found: `${peak.toFixed(0)} MiB (AppKit ${theirs.toFixed(0)})`,
        holds: peak <= 64
      }
    })
  })
)
