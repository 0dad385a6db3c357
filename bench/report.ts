/** Writes the results of a whole run: bench/RESULTS.md, and the table of ratios in README.md and docs/performance.md. */
import { readFileSync, writeFileSync } from "node:fs"
import { createRequire } from "node:module"
import { environment } from "./harness.ts"
import { atMost, type Comparison, holds, median, short, spread, table, type Told, verdict } from "./results.ts"

export interface Section {
  readonly name: string
  readonly title: string
  readonly text: string
  readonly told: ReadonlyArray<Told>
}

const require = createRequire(import.meta.url)
const versionOf = (name: string) =>
  `${name} ${(require(`${name}/package.json`) as { readonly version: string }).version}`

const preface = (minutes: number) => `# Side by side

Written by \`npm run bench\`, all of it, in one run of ${minutes.toFixed(0)} minutes on ${new Date().toISOString().slice(0, 10)}; change nothing here by hand.

${environment}; ${["@databricks/appkit", "pg"].map(versionOf).join("; ")}

- One local workspace with its Postgres serves all servers; each server is a process, and the load comes from another. All share these cores.
- As in production, each server talks TLS to the workspace and to Postgres, whose certificate has a private authority (\`NODE_EXTRA_CA_CERTS\`, \`PGSSLMODE=require\`). The figures "without TLS" have fewer rounds. \`NODE_ENV\` is \`production\`, and a pipe takes the log.
- Every answer is compared with what that user has to get, and a wrong one ends the run.
- **ours** is [servers/ours.ts](servers/ours.ts), bundled by the command of [docs/deploying.md](../docs/deploying.md): \`HttpApi\`, \`AsUser\` with the identity verified, \`Failures\`, the native tracer, and \`Logs\` with one line a request.
- **AppKit** is [servers/appkit.mjs](servers/appkit.mjs): its server with the Lakebase and analytics plugins. The build of its guide transpiles the application's own files and leaves the packages in \`node_modules\`, so this file runs as it is. It logs its start, but by default no requests.
- **by hand** is [servers/floor.ts](servers/floor.ts): \`node:http\`, \`fetch\` and a \`pg.Pool\` for each user, with no check, no trace, no bound and no log.
- Nothing is exported, except where that is measured.
- The servers take turns. A figure is the median of all rounds [least–most]. A ratio is ours as a multiple of the other's in the same round: of CPU, time and memory less is better.
- CPU is that of the whole process, by the kernel's account. Other work on the machine changes it less than requests/s, and the ratios least.
- Profiles are of the bundle, whose source map gives each function its package. A profiled server has priority over the other processes.
`

/** The documents with the table of ratios. */
export const documents = ["README.md", "docs/performance.md"]

/** `bench/RESULTS.md` and the tables of ratios, from all sections of one run. */
export const write = (sections: ReadonlyArray<Section>, minutes: number) => {
  const told = sections.flatMap(({ told }) => told)
  const text = sections.map(({ text, title }) => `## ${title}\n\n${text.trim()}\n`).join("\n")
  writeFileSync(new URL("RESULTS.md", import.meta.url), `${preface(minutes)}\n## Goals\n\n${goals(told)}\n\n${text}`)
  for (const document of documents) {
    const url = new URL(`../${document}`, import.meta.url)
    const [before, rest = ""] = readFileSync(url, "utf8").split(begin)
    const after = rest.split(end)[1]
    if (after === undefined) throw new Error(`${document} has no ${begin} … ${end}`)
    writeFileSync(url, `${before}${begin}\n\n${ratios(told, document === "README.md")}\n\n${end}${after}`)
  }
}

const begin = "<!-- bench -->"
const end = "<!-- /bench -->"

const goals = (told: ReadonlyArray<Told>) =>
  table(
    ["work", "goal", "found", ""],
    told.flatMap((one) => {
      if ("check" in one) return [[one.check.work, one.check.goal, one.check.found, verdict(one.check.holds)]]
      const { goal, peer, ratios, what, work } = one.comparison
      if (goal === undefined) return []
      return [[work, `${what} ${atMost(goal)}× ${peer}`, `${spread(ratios)}×`, verdict(holds(one.comparison))]]
    })
  )

/** For the documents: the first comparison of each work with each peer. README has the works with a goal alone. */
const ratios = (told: ReadonlyArray<Told>, withGoal: boolean) => {
  const all = told.flatMap((one) => ("comparison" in one ? [one.comparison] : []))
  const cell = (comparison: Comparison | undefined) =>
    comparison === undefined ? "" : `${short(median(comparison.ratios))}×`
  return table(
    ["work", "compared", "AppKit", "by hand"],
    [...new Set(all.map(({ work }) => work))].flatMap((work) => {
      const comparisons = all.filter((one) => one.work === work)
      const { goal, what } = comparisons[0]!
      const of = (peer: string) => cell(comparisons.find((one) => one.peer === peer && one.what === what))
      const row = [work, what, of("AppKit"), of("by hand")]
      return (withGoal && goal === undefined) || row[2] === "" ? [] : [row]
    })
  )
}
