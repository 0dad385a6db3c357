/** Writes the results of a whole run: bench/RESULTS.md, and the table of ratios in README.md and docs/performance.md. */
import { readFileSync, writeFileSync } from "node:fs"
import { createRequire } from "node:module"
import { environment } from "./harness.ts"
import { type Comparison, holds, median, short, spread, table, type Told, verdict } from "./results.ts"

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
- Every answer is compared with what that user has to get, and a wrong one ends the run.
- **ours** is [servers/ours.ts](servers/ours.ts), compiled: \`HttpApi\`, \`AsUser\` with the identity verified, \`Failures\`, the native tracer. **AppKit** is [servers/appkit.mjs](servers/appkit.mjs): its server with the Lakebase and analytics plugins. Neither exports anything, except where that is what is measured. **by hand** is [servers/floor.ts](servers/floor.ts): \`node:http\` and a \`pg.Pool\` for each user, with no check, no trace and no bound.
- The servers take turns. A figure is the median of all rounds [least–most]; a ratio is one of two servers in the same round, and above 1 ours is better.
- CPU is that of the whole process, by the kernel's account.
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
    writeFileSync(url, `${before}${begin}\n\n${ratios(told)}\n\n${end}${after}`)
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
      return [[work, `${what} ≥ ${goal}× ${peer}`, `${spread(ratios)}×`, verdict(holds(one.comparison))]]
    })
  )

/** For the documents: the first comparison of each work with each peer. */
const ratios = (told: ReadonlyArray<Told>) => {
  const works = new Map<string, Map<string, Comparison>>()
  for (const one of told) {
    if (!("comparison" in one)) continue
    const { peer, work } = one.comparison
    const peers = works.get(work) ?? new Map<string, Comparison>()
    works.set(work, peers)
    if (!peers.has(peer)) peers.set(peer, one.comparison)
  }
  const cell = (comparison: Comparison | undefined) =>
    comparison === undefined ? "" : `${short(median(comparison.ratios))}×`
  return table(
    ["work", "compared", "AppKit", "by hand"],
    [...works].map(([work, peers]) => [
      work,
      [...peers.values()][0]!.what,
      cell(peers.get("AppKit")),
      cell(peers.get("by hand"))
    ])
  )
}
