/** The cost of the export of every span, and the share that arrives. */
import { Console, Effect } from "effect"
import * as Bed from "../bed.ts"
import { cpu, fork, main } from "../child.ts"
import { orders } from "../data.ts"
import { execArgv, profile, reach, show } from "../profile.ts"
import { median, ratiosOf, short, spread, table, tell } from "../results.ts"

const name = "exporter on"
const goal = 0.7
const users = 20
const [seconds, profiled] = Bed.quick ? [0.5, 0.5] : [0.8, 1.5]

main(
  Effect.gen(function* () {
    const bed = yield* Bed.make(users, 104)
    const senders = yield* bed.senders(0, users, orders)
    const start = Effect.fnUntraced(function* (peer: Bed.Peer, protocol?: "http" | "grpc") {
      const collector = yield* fork("collector.ts")
      const ports = yield* collector.ask<Readonly<Record<"http" | "grpc", number>>>({ ask: "ports" })
      const env: Record<string, string> =
        protocol === undefined
          ? {}
          : {
              OTEL_EXPORTER_OTLP_ENDPOINT: `http://127.0.0.1:${ports[protocol]}`,
              OTEL_EXPORTER_OTLP_PROTOCOL: protocol === "http" ? "http/protobuf" : protocol,
              OTEL_SERVICE_NAME: "bench"
            }
      const server = yield* Bed.serve(bed, peer, { env, execArgv })
      const label = `${peer}, ${protocol === undefined ? "off" : `on, by ${protocol}`}`
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
      yield* start("ours"),
      yield* start("ours", "http"),
      yield* start("ours", "grpc"),
      yield* start("AppKit"),
      yield* start("AppKit", "http")
    ] as const
    const [off, on, byGrpc, theirOff, theirOn] = rows
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
    const profiles = yield* Effect.forEach([byGrpc, on, off, theirOn], (row) =>
      profile(
        row.label,
        row.server,
        Effect.map(load(row, profiled), ({ answered }) => answered)
      )
    )
    const spansOf = Effect.fnUntraced(function* ({ answered, collector, server }: (typeof rows)[number]) {
      yield* server.stop
      const counts = yield* collector.ask<Readonly<Record<string, number>>>({ ask: "spans" })
      const usual = Object.entries(counts).filter(([, count]) => count > answered / 2) // not those of logins
      return {
        counts,
        each: usual.map(([span]) => span).toSorted(),
        total: usual.reduce((sum, [, count]) => sum + count, 0)
      }
    })
    const [mine, mineByGrpc, theirSpans] = [yield* spansOf(on), yield* spansOf(byGrpc), yield* spansOf(theirOn)]
    const sent = on.answered + byGrpc.answered
    const came = (mine.counts["plugin.execute"] ?? 0) + (mineByGrpc.counts["plugin.execute"] ?? 0)
    const theirs = theirSpans.counts["lakebase.query"] ?? 0
    const costOf = (from: typeof off, to: typeof off) =>
      spread(to.costs.map((cost, round) => cost - from.costs[round]!))
    yield* Console.log(
      `The exporter costs ours ${costOf(off, on)} µs of CPU a request by HTTP and ${costOf(off, byGrpc)} by gRPC,` +
        ` and AppKit ${costOf(theirOff, theirOn)} by HTTP.\n`
    )
    yield* Console.log(
      `A request of ours exports ${short(mine.total / on.answered)} spans (${mine.each.join(", ")}), ` +
        `one of AppKit ${short(theirSpans.total / theirOn.answered)} (${theirSpans.each.join(", ")}).\n`
    )
    yield* tell({
      check: {
        work: name,
        goal: "spans that arrived until the server had exited: one for each request",
        found: `${came} of ${sent} (AppKit ${theirs} of ${theirOn.answered})`,
        holds: came === sent
      }
    })
    yield* tell({
      comparison: {
        work: name,
        peer: "AppKit",
        what: "server's CPU",
        ratios: ratiosOf(on.costs, theirOn.costs),
        goal
      }
    })
    const [left, cost] = [goal * median(theirOn.costs), median(on.costs)]
    if (cost > left) yield* Console.log(reach(profiles[1]!, `${goal}× AppKit`, left, cost))
    yield* show(profiles)
  })
)
