/** Renders RELIABILITY.md from a run. */
import { createRequire } from "node:module"
import * as Os from "node:os"
import manifest from "../../package.json" with { type: "json" }
import type { Held } from "./held.ts"
import { type Journal, type Outcome, promises, type Promised, type Soak } from "./journal.ts"
import type { Fate, Row } from "./ledger.ts"

type Ledgers = Pick<Soak["Service"], "ledger" | "files" | "questions" | "chats" | "runs">

/** A ledger at the end of a run, compared with what the workspace has. */
interface Account {
  readonly what: string
  readonly promise: Promised
  readonly checks: number
  readonly fates: Readonly<Record<Fate, number>>
  readonly wrong: ReadonlyArray<string>
  readonly carriedOut: number
}

export const accounts = (
  { chats, files, ledger, questions, runs }: Ledgers,
  rows: ReadonlyArray<Row>,
  stored: ReadonlyMap<string, string>
): ReadonlyArray<Account> => {
  const all = [
    { what: "writes", promise: "once", fates: ledger.counts(), ...ledger.audit(rows) },
    { what: "uploads", promise: "files", fates: files.counts(), ...files.audit(stored) },
    { what: "questions to Genie", promise: "questions", fates: questions.counts(), ...questions.audit() },
    { what: "prompts to the model", promise: "chats", fates: chats.counts(), ...chats.audit() },
    { what: "runs of the job", promise: "runs", fates: runs.counts(), ...runs.audit() }
  ] as const
  return all.map((account) => ({ ...account, checks: Object.values(account.fates).reduce((sum, n) => sum + n, 0) }))
}

export interface Run {
  readonly minutes: number
  readonly seed: string
  readonly users: number
  readonly budget: number
  readonly postgres: string
  readonly before: Held
  readonly after: Held
  readonly backends: number
  readonly accounts: ReadonlyArray<Account>
  readonly rows: number
  readonly files: number
  /** The milliseconds from SIGTERM to the exit of the application. */
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
    const checks = journal.checked.get(name as Promised) ?? 0
    return [promises[name as Promised], checks, broken === 0 ? "kept" : `BROKEN ${broken} times`]
  })
  const broken = [...journal.broken].map(
    ([promise, hows]) =>
      `\n${promises[promise]}:\n\n${hows
        .slice(0, 10)
        .map((how) => `- ${how}\n`)
        .join("")}`
  )
  const { after, before } = run
  const underWay = (kinds: RegExp) =>
    [...journal.underWayAtStop].reduce((sum, [kind, n]) => sum + (kinds.test(kind) ? n : 0), 0)
  const kinds = [...new Set([...Object.keys(before.resources), ...Object.keys(after.resources)])].toSorted()
  return `# Reliability

\`npm run soak -- --minutes ${run.minutes} --seed ${run.seed}\` wrote this page. For ${run.minutes} min ${run.users} users read and wrote rows and files, asked
Genie and a model, and started jobs, under the faults below. They went on while the application received SIGTERM.
The library promises:

${table(["Promise", "Checks", "In this run"], kept)}
${broken.join("")}
${Os.cpus()[0]?.model.trim()} × ${Os.availableParallelism()}, ${mebibytes(Os.totalmem() / 1024)} GiB, ${Os.platform()} ${Os.arch()}, shared by
the application, Postgres, the workspace and the users. Node ${process.versions.node}, Postgres ${run.postgres}, effect ${versionOf("effect")},
@effect/sql-pg ${versionOf("@effect/sql-pg")}, effect-databricks ${manifest.version}; ${new Date().toISOString().slice(0, 10)}.

## Faults

${table(["Fault", "Times"], byName(journal.faults))}

## Requests

The number of requests by outcome, and the milliseconds of the successful ones. \`refused\`: 401, 403, and
a file that is missing (404) or exists (409). \`unavailable\`: 429, 502, 503, 504, and a response that was cut short.
\`left\`: the client disconnected first. \`unanswered\`: sent while the application was stopping.

${table(["Request", ...outcomes, "p50", "p99"], requests)}

${table(["Response", "Times"], byName(journal.statuses))}

## The ledger

The number of requests by fate. \`acknowledged\`: each was carried out once. \`refused\`: refused, or cut by the client
before the end, and none was carried out. \`unknown\`: without a response, or with a 5xx. Of these, the number in the last
column was carried out, once each. At the end there were ${run.rows} rows and ${run.files} files.

${table(
  ["Ledger", "acknowledged", "refused", "unknown", "carried out"],
  run.accounts.map(({ carriedOut, fates, what }) => [
    what,
    fates.acknowledged,
    fates.refused,
    fates.unknown,
    carriedOut
  ])
)}

## Resources of the process

Measured before and after the ${run.minutes} min, without users and after garbage collection. The application had at most ${journal.peakConnections} of ${run.budget}
connections to Postgres, and ${run.backends} after its exit. At SIGTERM ${underWay(/./)} requests were under way, of them ${underWay(/^upload/)} uploads and ${underWay(/^stream/)} streams. It exited
${(run.stopping / 1000).toFixed(1)} s later. Its event loop was blocked for at most ${after.longestDelay} ms. The machine delayed the users by ${(journal.heldUp / 1000).toFixed(1)} s in total,
which does not count against any request.

${table(
  ["Resource", "Before", "After"],
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
