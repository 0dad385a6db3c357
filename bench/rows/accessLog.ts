/** The line of a request in the real server: the same bundle with and without it. */
import { Console, Effect } from "effect"
import * as Bed from "../bed.ts"
import { cpu, main } from "../child.ts"
import { health } from "../data.ts"
import type { Job } from "../load.ts"
import { execArgv, profile, show } from "../profile.ts"
import { median, spread, table, tell } from "../results.ts"

const goal = 5
const users = 20
/**
 * Less than either can: a faster server keeps its clients awake, and a response to one that sleeps costs 15 µs more, since
 * the kernel has to wake it.
 */
const rate = 8_000
const seconds = Bed.quick ? 0.5 : 0.8

main(
  Effect.gen(function* () {
    const bed = yield* Bed.make(users, 104)
    const senders = yield* bed.senders(0, users, () => health)
    const load = ({ port }: Bed.Server, job: Pick<Job, "seconds" | "rate">) =>
      bed.load({ port, path: "/health", connections: users, senders, ...job })
    const start = Effect.fnUntraced(function* (label: string, logs: boolean) {
      const server = yield* Bed.serve(bed, "ours", { env: { BENCH_LOGS: String(logs) }, execArgv })
      yield* Bed.warm((seconds) => load(server, { seconds }))
      return { label, server, costs: [] as Array<number> }
    })
    const rows = [yield* start("with `Logs`", true), yield* start("without", false)] as const
    for (let round = 0; round < Bed.rounds; round++) {
      for (const { costs, server } of round % 2 === 0 ? rows : rows.toReversed()) {
        const before = cpu(server.pid)
        const { answered } = yield* load(server, { seconds, rate })
        costs.push(((cpu(server.pid) - before) / answered) * 1e6)
      }
    }
    yield* Console.log(
      table(
        ["", "server, µs CPU each"],
        rows.map(({ costs, label }) => [label, spread(costs)])
      )
    )
    yield* Console.log(`\nBoth answer ${rate.toLocaleString("en")} requests a second.\n`)
    const [on, off] = rows
    const added = on.costs.map((cost, round) => cost - off.costs[round]!)
    yield* tell({
      check: {
        work: "access log",
        goal: `server's CPU: at most ${goal} µs a request`,
        found: `${spread(added)} µs`,
        holds: median(added) <= goal
      }
    })
    const profiles = yield* Effect.forEach(rows, ({ label, server }) =>
      profile(
        label,
        server,
        Effect.map(load(server, { seconds: 1.5, rate }), ({ answered }) => answered)
      )
    )
    yield* show(profiles)
  })
)
