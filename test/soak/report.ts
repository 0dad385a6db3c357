/** RELIABILITY.md, as a run writes it. */
import { createRequire } from "node:module"
import * as Os from "node:os"
import manifest from "../../package.json" with { type: "json" }
import type { Held } from "./held.ts"
import { type Journal, type Outcome, promises, type Promised } from "./journal.ts"
import type { Fate } from "./ledger.ts"

export interface Run {
  readonly minutes: number
  readonly seed: string
  readonly users: number
  readonly budget: number
  readonly postgres: string
  readonly before: Held
  readonly after: Held
  readonly backends: number
  readonly fates: Readonly<Record<Fate, number>>
  readonly carriedOut: number
  readonly rows: number
  /** How long the application took to exit when it was told to, in milliseconds. */
  readonly stopping: number
}

const require = createRequire(import.meta.url)

const versionOf = (name: string) => (require(`${name}/package.json`) as { readonly version: string }).version // every package has one

const table = (head: ReadonlyArray<string>, rows: ReadonlyArray<ReadonlyArray<string | number>>) => {
  const cells = [head, ...rows].map((row) => row.map(String))
  const widths = head.map((_, column) => Math.max(3, ...cells.map((row) => row[column]!.length)))
  const isNumber = (column: number) => column > 0 && rows.every((row) => /^[-+\d. ]*$/.test(String(row[column])))
  const line = (row: ReadonlyArray<string>) =>
    `| ${row.map((cell, column) => (isNumber(column) ? cell.padStart(widths[column]!) : cell.padEnd(widths[column]!))).join(" | ")} |`
  const rule = widths.map((width, column) => (isNumber(column) ? `${"-".repeat(width - 1)}:` : "-".repeat(width)))
  return [line(cells[0]!), `| ${rule.join(" | ")} |`, ...cells.slice(1).map(line)].join("\n")
}

const quantile = (sorted: ReadonlyArray<number>, q: number) => Math.round(sorted[Math.floor(sorted.length * q)] ?? 0)

const mebibytes = (bytes: number) => (bytes / 2 ** 20).toFixed(1)

const outcomes: ReadonlyArray<Outcome> = ["succeeded", "refused", "unavailable", "left", "unanswered", "wrong"]

const byName = <A>(map: ReadonlyMap<string, A>) => [...map].toSorted(([a], [b]) => (a < b ? -1 : 1))

export const render = (journal: Journal, run: Run) => {
  const requests = byName(journal.kinds).map(([kind, { outcomes: counts, times }]) => {
    const sorted = times.toSorted((a, b) => a - b)
    return [kind, ...outcomes.map((_) => counts.get(_) ?? 0), quantile(sorted, 0.5), quantile(sorted, 0.99)]
  })
  const kept = Object.keys(promises).map((name) => {
    const broken = journal.broken.get(name as Promised)?.length ?? 0 // they are its keys
    return [promises[name as Promised], broken === 0 ? "kept" : `BROKEN ${broken} times`]
  })
  const broken = [...journal.broken].map(
    ([promise, hows]) =>
      `\n${promises[promise]}:\n\n${hows
        .slice(0, 10)
        .map((how) => `- ${how}\n`)
        .join("")}`
  )
  const { after, before } = run
  const kinds = [...new Set([...Object.keys(before.resources), ...Object.keys(after.resources)])].toSorted()
  return `# Reliability

What the last run of \`npm run soak -- --minutes ${run.minutes} --seed ${run.seed}\` saw; the run wrote this page. ${run.users} users
read, wrote and streamed for ${run.minutes} min, then went on while the application was told to stop. What befell them
meanwhile, and what was promised all the same:

${table(["Promise", "In this run"], kept)}
${broken.join("")}
${Os.cpus()[0]?.model.trim()} × ${Os.availableParallelism()}, ${mebibytes(Os.totalmem() / 1024)} GiB, ${Os.platform()} ${Os.arch()}, shared by
the application, Postgres, the workspace and the users. Node ${process.versions.node}, Postgres ${run.postgres}, effect ${versionOf("effect")},
@effect/sql-pg ${versionOf("@effect/sql-pg")}, effect-databricks ${manifest.version}; ${new Date().toISOString().slice(0, 10)}.

## What befell them

${table(["Fault", "Times"], byName(journal.faults))}

## Requests

By what came of them, with the milliseconds of those that succeeded. Refused are 401 and 403, unavailable 429, 502, 503
and 504; left are those whose client did not wait; unanswered those that came when the application was stopping.

${table(["Request", ...outcomes, "p50", "p99"], requests)}

${table(["Answer", "Times"], byName(journal.statuses))}

## The ledger

${table(
  ["Write", "Times"],
  [
    ["acknowledged, and there once", run.fates.acknowledged],
    ["refused, and not there", run.fates.refused],
    ["never answered, or with a 5xx", run.fates.unknown],
    ["– of these there once", run.carriedOut],
    ["rows in all", run.rows]
  ]
)}

## What the process held

Before and after the ${run.minutes} min, when nobody was there and garbage was collected. At most ${journal.peakConnections} of ${run.budget} connections to
Postgres were seen, and ${run.backends} after it; told to stop under load the process took ${(run.stopping / 1000).toFixed(1)} s. Its event loop was held up for ${after.longestDelay} ms at
the most; the machine kept the users from running for ${(journal.heldUp / 1000).toFixed(1)} s in all, which no request is blamed for.

${table(
  ["What", "Before", "After"],
  [
    ["heap, MiB", mebibytes(before.heapUsed), mebibytes(after.heapUsed)],
    ["buffers, MiB", mebibytes(before.external), mebibytes(after.external)],
    ["resident, MiB", mebibytes(before.rss), mebibytes(after.rss)],
    ["connections to Postgres", before.connections, after.connections],
    ["file descriptors", before.descriptors, after.descriptors],
    ...kinds.map((kind) => [kind, before.resources[kind] ?? 0, after.resources[kind] ?? 0])
  ]
)}
`
}
