/** Ten thousand users with one request each, on a database with 104 connections, and the memory when they have gone. */
import { Console, Effect } from "effect"
import * as Bed from "../bed.ts"
import { cpu, cpuOfFamily, main, memory } from "../child.ts"
import { orders } from "../data.ts"
import type { Job } from "../load.ts"
import { execArgv } from "../profile.ts"
import type { Memory } from "../profiler.ts"
import { heap, short, table, tell } from "../results.ts"

const users = Bed.quick ? 500 : 10_000
const budget = 50
const name = `${users.toLocaleString("en")} users once each, budget ${budget}`

const crowd = (bed: Bed.Bed, peer: Bed.Peer, until: Pick<Job, "seconds"> = {}) =>
  Effect.scoped(
    Effect.gen(function* () {
      const senders = yield* bed.senders(0, users, orders)
      const server = yield* Bed.serve(bed, peer, { connections: budget, execArgv })
      const { pid, port } = server
      yield* Effect.sleep("1 second")
      const idle = memory(pid).now
      yield* bed.counts
      const used = () => [cpu(pid), cpuOfFamily(bed.postmaster), cpu(bed.workspace.pid)]
      const before = used()
      const outcome = yield* bed.load({ port, path: "/orders", connections: 100, once: true, senders, ...until })
      const each = used().map((seconds, index) => ((seconds - before[index]!) / outcome.answered) * 1e3)
      const { backends } = yield* bed.counts
      const { peak } = memory(pid)
      // Longer than idle connections are kept.
      if (peer === "ours") yield* Effect.sleep(Bed.quick ? "1 second" : "40 seconds")
      const quiet = memory(pid).now
      const left = heap(quiet, yield* server.ask<Memory>({ profile: "memory" }))
      return { peer, ...outcome, each, backends, idle, peak, quiet, left }
    })
  )

main(
  Effect.gen(function* () {
    const bed = yield* Bed.make(users, 104)
    const ours = yield* crowd(bed, "ours")
    // Most of its users fail, and that takes it longer than serving them would.
    const appkit = yield* crowd(bed, "AppKit", { seconds: 12 })
    yield* Console.log(
      table(
        [
          "",
          "came",
          "failed",
          "users/s",
          "p99 ms",
          "peak backends",
          "MiB resident at idle",
          "peak",
          "after 40 s",
          "server, ms CPU each",
          "Postgres ms",
          "workspace ms"
        ],
        [ours, appkit].map(({ answered, backends, each, failed, idle, p99, peak, peer, quiet, seconds }) => [
          peer,
          answered.toLocaleString("en"),
          failed.toLocaleString("en"),
          short((answered - failed) / seconds),
          short(p99),
          String(backends),
          short(idle),
          short(peak),
          peer === "ours" ? short(quiet) : "",
          ...each.map(short)
        ])
      )
    )
    yield* Console.log("")
    if (appkit.failure !== undefined) {
      yield* Console.log(`What AppKit says to those who failed: \`${appkit.failure.split("\r\n").at(-1)}\`\n`)
    }
    yield* tell({
      check: {
        work: name,
        goal: "failed requests: 0",
        found: `${ours.failed} (AppKit ${appkit.failed.toLocaleString("en")})`,
        holds: ours.failed === 0
      }
    })
    yield* tell({
      check: {
        work: name,
        goal: `peak backends: at most ${budget}`,
        found: `${ours.backends} (AppKit ${appkit.backends})`,
        holds: ours.backends <= budget
      }
    })
    yield* tell({
      comparison: {
        work: name,
        peer: "its own idle",
        what: "memory when they have gone",
        ratios: [ours.quiet / ours.idle],
        goal: 1.2
      }
    })
    yield* Console.log(`- When they have gone, ${ours.left}.`)
  })
)
