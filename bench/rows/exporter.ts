/** What it costs to export every span, and whether all of them arrive. */
import { NodeRuntime } from "@effect/platform-node"
import { Console, Effect } from "effect"
import * as Bed from "../bed.ts"
import { cpu, fork } from "../child.ts"
import { orders } from "../data.ts"
import { median, short, spread, table, tell } from "../results.ts"

const name = "exporter on"
const users = 20
const seconds = Bed.quick ? 1 : 2

NodeRuntime.runMain(
  Effect.scoped(
    Effect.gen(function* () {
      const bed = yield* Bed.make(users, 104)
      const senders = yield* bed.senders(0, users, orders)
      const collector = yield* fork("collector.ts")
      const { port } = yield* collector.ask<{ readonly port: number }>({ ask: "port" })
      const on = { OTEL_EXPORTER_OTLP_ENDPOINT: `http://127.0.0.1:${port}`, OTEL_SERVICE_NAME: "bench" }
      const start = Effect.fnUntraced(function* (peer: Bed.Peer, exports: boolean) {
        const server = yield* Bed.serve(bed, peer, { env: exports ? on : {} })
        const label = `${peer}, ${exports ? "on" : "off"}`
        const told = { label, server, exports, answered: 0, costs: [] as Array<number>, rates: [] as Array<number> }
        yield* load(told)
        return told
      })
      const load = (told: { readonly server: Bed.Server; answered: number }) =>
        Effect.tap(
          bed.load({ port: told.server.port, path: "/orders", connections: users, seconds, senders }),
          ({ answered }) => Effect.sync(() => void (told.answered += answered))
        )
      const rows = [
        yield* start("ours", false),
        yield* start("ours", true),
        yield* start("AppKit", false),
        yield* start("AppKit", true)
      ]
      for (let round = 0; round < Bed.rounds; round++) {
        for (const row of rows) {
          const before = cpu(row.server.pid)
          const { answered, seconds } = yield* load(row)
          row.costs.push(((cpu(row.server.pid) - before) / answered) * 1e6)
          row.rates.push(answered / seconds)
        }
      }
      const [off, own, theirOff, theirs] = rows as [Row, Row, Row, Row]
      type Row = (typeof rows)[number]
      // One after the other, so that what comes is known to be whose.
      const spansOf = Effect.fnUntraced(function* ({ server }: Row) {
        yield* server.stop
        return yield* collector.ask<Readonly<Record<string, number>>>({ ask: "spans" })
      })
      yield* theirs.server.stop
      void spansOf
      yield* Console.log(
        table(
          ["", "requests/s", "server, µs CPU each"],
          rows.map(({ costs, label, rates }) => [label, spread(rates), spread(costs)])
        )
      )
      void [off, own, theirOff, median, short, tell, name]
    })
  )
)
