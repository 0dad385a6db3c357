/** The cost of one run of an effect, beside others. */
import { Console, Effect } from "effect"
import { createRequire } from "node:module"
import * as Os from "node:os"
import { median, spread } from "./results.ts"

export interface Row<R> {
  readonly name: string
  readonly effect: Effect.Effect<unknown, unknown, R>
  /** The row whose costs it adds to. Defaults to the first. */
  readonly over?: string
  /** In microseconds over that row, at most. */
  readonly goal?: number
}

/**
 * Measures every row in every round, each round from another row on, and shows medians with the whole spread.
 *
 * Measures CPU time of the process, with its garbage collector, because the wall clock includes other work of the machine.
 * All rows run in one process, and all of them before the first round, so that the engine has compiled the code of each,
 * as in an application. A difference is one of two rows of the same round.
 */
export const measure = <R>(
  title: string,
  rows: ReadonlyArray<Row<R>>,
  { rounds = 5, times = 30_000 }: { readonly rounds?: number; readonly times?: number } = {}
) =>
  Effect.gen(function* () {
    const costs = new Map(rows.map(({ name }) => [name, [] as Array<number>]))
    for (const { effect } of rows) yield* costOf(effect, times)
    for (let round = 0; round < rounds; round++) {
      for (let i = 0; i < rows.length; i++) {
        const { effect, name } = rows[(i + round) % rows.length]!
        costs.get(name)!.push(yield* costOf(effect, times))
      }
    }
    yield* Console.log(`${title}: µs of CPU each, medians of ${rounds} rounds of ${times} [least, most]`)
    yield* Console.log(environment)
    const bare = rows[0]!.name
    for (const { goal, name, over = bare } of rows) {
      const own = costs.get(name)!
      const added = own.map((cost, round) => cost - costs.get(over)![round]!)
      const told = [name.padEnd(34), spread(own).padEnd(24), name === bare ? "" : `+ ${spread(added)} over ${over}`]
      if (goal !== undefined) told.push(`  goal ${goal}: ${median(added) <= goal ? "holds" : "MISSED"}`)
      yield* Console.log(told.join(""))
    }
  })

const costOf = Effect.fnUntraced(function* <R>(effect: Effect.Effect<unknown, unknown, R>, times: number) {
  const before = process.cpuUsage()
  for (let i = 0; i < times; i++) yield* effect
  const { system, user } = process.cpuUsage(before)
  return (user + system) / times
})

const require = createRequire(import.meta.url)

/** The machine and the versions. */
export const environment = [
  `${Os.cpus()[0]?.model.trim()} × ${Os.availableParallelism()}, ${Os.platform()} ${Os.arch()}`,
  `load ${Os.loadavg()[0]!.toFixed(1)}`,
  `node ${process.versions.node}`,
  `effect ${(require("effect/package.json") as { readonly version: string }).version}`
].join("; ")
