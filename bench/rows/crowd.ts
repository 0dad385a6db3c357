/** Ten thousand users with one request each, on a database with 104 connections. */
import { Console, Effect } from "effect"
import * as Bed from "../bed.ts"
import { cpu, cpuOfFamily, main, memory } from "../child.ts"
import { orders } from "../data.ts"
import type { Job } from "../load.ts"
import { short, table, tell } from "../results.ts"

const users = Bed.quick ? 500 : 10_000
const budget = 50
const name = `${users.toLocaleString("en")} users once each, budget ${budget}`

const crowd = (bed: Bed.Bed, peer: Bed.Peer, until: Pick<Job, "seconds"> = {}) =>
  Effect.scoped(
    Effect.gen(function* () {
      const senders = yield* bed.senders(0, users, orders)
      const { pid, port } = yield* Bed.serve(bed, peer, { connections: budget })
      yield* bed.counts
      const used = () => [cpu(pid), cpuOfFamily(bed.postmaster), cpu(bed.workspace.pid)]
      const before = used()
      const outcome = yield* bed.load({ port, path: "/orders", connections: 100, once: true, senders, ...until })
      const each = used().map((seconds, index) => ((seconds - before[index]!) / outcome.answered) * 1e3)
      return { peer, ...outcome, each, backends: (yield* bed.counts).backends, resident: memory(pid).peak }
    })
  )

main(
  Effect.gen(function* () {
    const bed = yield* Bed.make(users, 104)
    const ours = yield* crowd(bed, "ours")
    // Most of its users fail, and that takes it longer than serving them would.
    const appkit = yield* crowd(bed, "AppKit", { seconds: 20 })
    yield* Console.log(
      table(
        [
          "",
          "came",
          "failed",
          "users/s",
          "p99 ms",
          "peak backends",
          "peak MiB resident",
          "server, ms CPU each",
          "Postgres ms",
          "workspace ms"
        ],
        [ours, appkit].map(({ answered, backends, each, failed, p99, peer, resident, seconds }) => [
          peer,
          answered.toLocaleString("en"),
          failed.toLocaleString("en"),
          short((answered - failed) / seconds),
          short(p99),
          String(backends),
          short(resident),
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
      comparison: { work: name, peer: "AppKit", what: "peak memory", ratios: [appkit.resident / ours.resident] }
    })
  })
)
