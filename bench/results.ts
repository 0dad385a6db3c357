/** The results of a measurement: a table, and comparisons for the summary of RESULTS.md. */
import { Console, Effect } from "effect"
import type { Memory } from "./profiler.ts"

/** Ours against one peer, in the rounds in which both ran. */
export interface Comparison {
  readonly work: string
  readonly peer: string
  /** The compared figure, such as `server's CPU`. */
  readonly what: string
  /** Ours as a multiple of the peer's; one value for each round. */
  readonly ratios: ReadonlyArray<number>
  /** At most. */
  readonly goal?: number
}

/** A statement that holds or does not. */
export interface Check {
  readonly work: string
  readonly goal: string
  readonly found: string
  readonly holds: boolean
}

export type Told = { readonly comparison: Comparison } | { readonly check: Check }

/** Hands it to the runner too, when that has started this process. */
export const tell = (told: Told) =>
  Effect.andThen(
    Console.log("comparison" in told ? `- ${sentenceOf(told.comparison)}` : `- ${checkOf(told.check)}`),
    Effect.sync(() => void process.send?.(told))
  )

export const verdict = (holds: boolean) => (holds ? "holds" : "**missed**")

export const holds = ({ goal, ratios }: Comparison) => goal === undefined || median(ratios) <= goal

/** `≤ 0.50`, or `≤ 1/6`. */
export const atMost = (goal: number) => `≤ ${goal < 0.2 ? `1/${Math.round(1 / goal)}` : short(goal)}`

/** One ratio for each round in which both ran. */
export const ratiosOf = (ours: ReadonlyArray<number>, theirs: ReadonlyArray<number>) =>
  ours.map((own, round) => own / theirs[round]!)

const sentenceOf = (comparison: Comparison) => {
  const { goal, peer, ratios, what } = comparison
  const told = `${what}: ${spread(ratios)}× ${peer}`
  return goal === undefined ? told : `${told}; goal ${atMost(goal)}×: ${verdict(holds(comparison))}`
}

const checkOf = ({ found, goal, holds }: Check) => `${goal}: ${found}; ${verdict(holds)}`

export const table = (head: ReadonlyArray<string>, rows: ReadonlyArray<ReadonlyArray<string>>) =>
  [head, head.map((_, index) => (index === 0 ? "---" : "---:")), ...rows]
    .map((row) => `| ${row.join(" | ")} |`)
    .join("\n")

export const median = (values: ReadonlyArray<number>) =>
  values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? NaN

/** The median, with the least and the most. */
export const spread = (values: ReadonlyArray<number>) =>
  `${short(median(values))} [${short(Math.min(...values))}–${short(Math.max(...values))}]`

/** What V8 has of the resident memory. */
export const heap = (resident: number, { bytes, external, heapTotal }: Memory) => {
  const [has, used] = [heapTotal + external, bytes].map((bytes) => short(bytes / 2 ** 20))
  return `of ${short(resident)} MiB resident, V8's heap and buffers have ${has}, of which a collection leaves ${used}; the rest is Node, code and the allocator`
}

/** Three digits that count. */
export const short = (value: number) => {
  if (!Number.isFinite(value)) return "–"
  const decimals = value === 0 ? 0 : Math.max(0, 2 - Math.floor(Math.log10(Math.abs(value))))
  return decimals === 0
    ? Math.round(value).toLocaleString("en", { useGrouping: true })
    : value.toFixed(Math.min(decimals, 2))
}
