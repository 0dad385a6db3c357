/** Ten thousand users with one request each, on a database with 104 connections, and the memory when they have gone. */
import { Console, Effect, Fiber, Schedule } from "effect"
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

const crowd = Effect.fnUntraced(function* (bed: Bed.Bed, peer: Bed.Peer, job: Pick<Job, "senders" | "seconds">) {
  const server = yield* Bed.serve(bed, peer, { connections: budget, execArgv })
  const { pid, port } = server
  yield* Effect.sleep("1 second")
  const idle = memory(pid).now
  yield* bed.counts
  const used = () => [cpu(pid), cpuOfFamily(bed.postmaster), cpu(bed.workspace.pid)]
  const before = used()
  const outcome = yield* bed.load({ port, path: "/orders", connections: 100, once: true, ...job })
  const each = used().map((seconds, index) => ((seconds - before[index]!) / outcome.answered) * 1e3)
  const { backends } = yield* bed.counts
  return { peer, server, ...outcome, each, backends, idle, peak: memory(pid).peak }
})

/** The memory of a server a while later, in which the platform has asked for its health once a second. */
const later = Effect.fnUntraced(function* (server: Bed.Server) {
  const asked = Effect.promise(() => fetch(`http://127.0.0.1:${server.port}/health`).then((_) => _.arrayBuffer()))
  // Longer than idle connections are kept.
  yield* Effect.repeat(
    asked,
    Schedule.upTo(Schedule.spaced("1 second"), { duration: Bed.quick ? "2 seconds" : "32 seconds" })
  )
  const { now } = memory(server.pid)
  return { now, left: heap(now, yield* server.ask<Memory>({ profile: "memory" })) }
})

main(
  Effect.gen(function* () {
    const bed = yield* Bed.make(users, 104)
    const senders = yield* bed.senders(0, users, orders)
    const ours = yield* crowd(bed, "ours", { senders })
    const settling = yield* Effect.forkScoped(later(ours.server))
    // Most of its users fail, and that takes it longer than serving them would.
    const appkit = yield* crowd(bed, "AppKit", { senders, seconds: 12 })
    const quiet = yield* Fiber.join(settling)
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
          "after 32 s",
          "server, ms CPU each",
          "Postgres ms",
          "workspace ms"
        ],
        [ours, appkit].map(({ answered, backends, each, failed, idle, p99, peak, peer, seconds }) => [
          peer,
          answered.toLocaleString("en"),
          failed.toLocaleString("en"),
          short((answered - failed) / seconds),
          short(p99),
          String(backends),
          short(idle),
          short(peak),
          peer === "ours" ? short(quiet.now) : "",
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
        ratios: [quiet.now / ours.idle],
        goal: 1.2
      }
    })
    yield* Console.log(`- When they have gone, ${quiet.left}.`)
  })
)
