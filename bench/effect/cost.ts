/** The CPU and the bytes of one run of a program, beside others. */
import { setFlagsFromString } from "node:v8"
import { runInNewContext } from "node:vm"

export interface Case {
  readonly name: string
  readonly run: () => unknown
  /** The case whose cost it adds to. */
  readonly over?: string
}

/**
 * Prints the least CPU of all rounds, because other work of the machine only adds to it, and the bytes that a run
 * allocates. The cases take turns.
 */
export const measure = async (title: string, cases: ReadonlyArray<Case>, { rounds = 20, times = 500 } = {}) => {
  const costs = new Map(cases.map(({ name }) => [name, Infinity]))
  for (let round = -2; round < rounds; round++) {
    for (const { name, run } of cases) {
      const cost = await cpuOf(run, times)
      if (round >= 0) costs.set(name, Math.min(costs.get(name)!, cost))
    }
  }
  const bytes = new Map<string, number>()
  for (const { name, run } of cases) bytes.set(name, await bytesOf(run))
  console.log(`${title}`.padEnd(58) + "µs".padStart(8) + "bytes".padStart(9))
  for (const { name, over } of cases) {
    const added = (all: ReadonlyMap<string, number>) => all.get(name)! - (over === undefined ? 0 : all.get(over)!)
    const more = over === undefined ? "" : `  + ${added(costs).toFixed(2)} µs, ${Math.round(added(bytes))} bytes`
    console.log(
      `  ${name}`.padEnd(58) +
        costs.get(name)!.toFixed(2).padStart(8) +
        Math.round(bytes.get(name)!).toString().padStart(9) +
        more
    )
  }
  console.log("")
}

const repeat = async (run: () => unknown, times: number) => {
  for (let i = 0; i < times; i++) {
    const result = run()
    if (result instanceof Promise) await result
  }
}

const cpuOf = async (run: () => unknown, times: number) => {
  const before = process.cpuUsage()
  await repeat(run, times)
  const { system, user } = process.cpuUsage(before)
  return (user + system) / times
}

setFlagsFromString("--expose-gc")
const collect = runInNewContext("gc") as () => void // the flag defines it

const bytesOf = async (run: () => unknown) => {
  const all: Array<number> = []
  for (let i = 0; i < 7; i++) {
    collect()
    const before = process.memoryUsage().heapUsed
    await repeat(run, 200)
    all.push((process.memoryUsage().heapUsed - before) / 200)
  }
  return all.toSorted((a, b) => a - b)[3]!
}
