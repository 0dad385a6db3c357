/** What it costs to export every span, and whether all of them arrive. */
import { Console, Effect } from "effect"
import * as Bed from "../bed.ts"
import { cpu, fork, main } from "../child.ts"
import { orders } from "../data.ts"
import { spread, table, tell } from "../results.ts"

const name = "exporter on"
const users = 20
const seconds = Bed.quick ? 1 : 1.5

main(
  Effect.gen(function* () {
    const bed = yield* Bed.make(users, 104)
    const senders = yield* bed.senders(0, users, orders)
    const start = Effect.fnUntraced(function* (peer: Bed.Peer, exports: boolean) {
      const collector = yield* fork("collector.ts")
      const { port } = yield* collector.ask<{ readonly port: number }>({ ask: "port" })
      const env = { OTEL_EXPORTER_OTLP_ENDPOINT: `http://127.0.0.1:${port}`, OTEL_SERVICE_NAME: "bench" }
      const server = yield* Bed.serve(bed, peer, { env: exports ? env : {} })
      const label = `${peer}, ${exports ? "on" : "off"}`
      const row = { label, server, collector, answered: 0, costs: [] as Array<number>, rates: [] as Array<number> }
      yield* Bed.warm((seconds) => load(row, seconds))
      return row
    })
    const load = (row: { readonly server: Bed.Server; answered: number }, seconds: number) =>
      Effect.tap(
        bed.load({ port: row.server.port, path: "/orders", connections: users, seconds, senders }),
        ({ answered }) => Effect.sync(() => void (row.answered += answered))
      )
    const rows = [
      yield* start("ours", false),
      yield* start("ours", true),
      yield* start("AppKit", false),
      yield* start("AppKit", true)
    ] as const
    for (let round = 0; round < Bed.rounds; round++) {
      for (const row of rows) {
        const before = cpu(row.server.pid)
        const outcome = yield* load(row, seconds)
        row.costs.push(((cpu(row.server.pid) - before) / outcome.answered) * 1e6)
        row.rates.push(outcome.answered / outcome.seconds)
      }
    }
    yield* Console.log(
      table(
        ["", "requests/s", "server, µs CPU each"],
        rows.map(({ costs, label, rates }) => [label, spread(rates), spread(costs)])
      )
    )
    yield* Console.log("")
    const arrived = Effect.fnUntraced(function* ({ collector, server }: (typeof rows)[number], span: string) {
      yield* server.stop
      return (yield* collector.ask<Readonly<Record<string, number>>>({ ask: "spans" }))[span] ?? 0
    })
    const [off, on, theirOff, theirOn] = rows
    const [came, theirs] = [yield* arrived(on, "plugin.execute"), yield* arrived(theirOn, "lakebase.query")]
    const costOf = (from: typeof off, to: typeof off) =>
      spread(to.costs.map((cost, round) => cost - from.costs[round]!))
    yield* Console.log(
      `The exporter costs ours ${costOf(off, on)} µs of CPU a request, and AppKit ${costOf(theirOff, theirOn)}.\n`
    )
    yield* tell({
      check: {
        work: name,
        goal: "spans that arrived until the server had exited: one for each request",
        found: `${came} of ${on.answered} (AppKit ${theirs} of ${theirOn.answered})`,
        holds: came === on.answered
      }
    })
    yield* tell({
      comparison: {
        work: name,
        peer: "AppKit",
        what: "server's CPU",
        ratios: on.costs.map((cost, round) => theirOn.costs[round]! / cost)
      }
    })
  })
)
