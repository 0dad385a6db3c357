/** `asUser` and `execute` in process: no server, no network. */
import { Console, Effect } from "effect"
import * as Bed from "../bed.ts"
import { bundleOf } from "../bundle.ts"
import { fork, main } from "../child.ts"
import { ratiosOf, spread, table, tell } from "../results.ts"

const times = Bed.quick ? 5_000 : 30_000
const name = "asUser + execute, in process"

main(
  Effect.gen(function* () {
    const bed = yield* Bed.make(1, 20)
    const [sender] = yield* bed.senders(0, 1, () => "")
    const env = { ...bed.env, DISABLE_APPKIT_INTERNAL_TELEMETRY: "true" }
    const ours = yield* fork(bundleOf("inProcess"), { env })
    const appkit = yield* fork("inProcess/appkit.mjs", { env })
    const rows = [
      { name: "ours, `asUser`", child: ours, form: "asUser", costs: [] as Array<number> },
      { name: "ours, `provideUser`", child: ours, form: "provideUser", costs: [] as Array<number> },
      { name: "AppKit, `asUser`", child: appkit, form: "", costs: [] as Array<number> }
    ] as const
    const costOf = ({ child, form }: (typeof rows)[number]) =>
      Effect.map(child.ask<{ readonly cost: number }>({ headers: sender!.headers, times, form }), ({ cost }) => cost)
    for (const row of rows) yield* costOf(row)
    for (let round = 0; round < Bed.rounds; round++) {
      for (const row of rows) row.costs.push(yield* costOf(row))
    }
    yield* Console.log(
      table(
        ["", "µs of CPU each"],
        rows.map(({ costs, name }) => [name, spread(costs)])
      )
    )
    yield* Console.log("")
    const [layer, direct, theirs] = rows
    for (const [what, { costs }] of [
      ["CPU of `asUser` + `execute`", layer],
      ["CPU of `provideUser` + `execute`", direct]
    ] as const) {
      yield* tell({ comparison: { work: name, peer: "AppKit", what, ratios: ratiosOf(costs, theirs.costs) } })
    }
  })
)
