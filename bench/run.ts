/**
 * `npm run bench` makes every measurement, each in a process of its own, and writes bench/RESULTS.md and the table of ratios in
 * README.md and docs/performance.md; `npm run bench -- NAME…` makes some, and just prints.
 */
import { fork, spawnSync } from "node:child_process"
import { createRequire } from "node:module"
import { fileURLToPath } from "node:url"
import { bundleAll } from "./bundle.ts"
import { documents, write, type Section } from "./report.ts"
import type { Told } from "./results.ts"

const root = fileURLToPath(new URL("..", import.meta.url))

/** Where each measurement is. What one prints is Markdown, or else `plain` text. */
const all = [
  { name: "routes", title: "Four routes, 20 users", module: "rows/routes.ts" },
  { name: "lakebase-500", title: "User-scoped Lakebase query, 500 users", module: "rows/lakebase500.ts" },
  { name: "allocations", title: "What a request allocates", module: "rows/allocations.ts" },
  { name: "in-process", title: "`asUser` + `execute`, in process", module: "rows/inProcess.ts" },
  { name: "crowd", title: "10,000 users once each, budget 50", module: "rows/crowd.ts" },
  { name: "access-log", title: "The line of a request, in the server", module: "rows/accessLog.ts" },
  { name: "start", title: "From start to first answer", module: "rows/start.ts" },
  { name: "warehouse", title: "1,000,000 rows streamed", module: "warehouse.ts", plain: true },
  { name: "model-stream", title: "A model's stream of 200 chunks", module: "rows/modelStream.ts" },
  { name: "download", title: "A download of 1 GiB", module: "rows/download.ts" },
  { name: "sse", title: "100 clients of server-sent events", module: "rows/sse.ts" },
  {
    name: "shared-cache",
    title: "Cached user-scoped query, in a cache that processes share",
    module: "rows/sharedCache.ts"
  },
  { name: "files", title: "A file of 1 GiB, up and down", module: "files.ts", plain: true },
  { name: "exporter", title: "Exporter on", module: "rows/exporter.ts" },
  { name: "chain", title: "What an operation costs", module: "chain.ts", plain: true },
  { name: "logs", title: "What the line of a request costs", module: "logs.ts", plain: true },
  { name: "effect", title: "What Effect costs", module: "effect/run.ts", plain: true }
] as const

const options = process.argv.slice(2).filter((word) => word.startsWith("--"))
const asked = process.argv.slice(2).filter((word) => !word.startsWith("--"))
const unknown = asked.filter((name) => !all.some((row) => row.name === name))
if (unknown.length > 0) {
  console.error(`No measurement is called ${unknown.join()}: there is ${all.map(({ name }) => name).join()}`)
  process.exit(2)
}

const run = (command: string, ...args: ReadonlyArray<string>) => {
  const { status } = spawnSync(command, args, { cwd: root, stdio: "inherit" })
  if (status !== 0) process.exit(status ?? 1)
}

try {
  createRequire(import.meta.url).resolve("@databricks/appkit/package.json")
} catch {
  run("npm", "ci", "--prefix", "bench")
}
bundleAll()

let stopped = false
// A measurement that is under way ends by itself, with all that it has started.
for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, () => (stopped = true))

const measure = (row: (typeof all)[number]) =>
  new Promise<Section | undefined>((resolve) => {
    const child = fork(fileURLToPath(new URL(row.module, import.meta.url)), options, {
      execArgv: process.execArgv,
      stdio: ["ignore", "pipe", "inherit", "ipc"]
    })
    const kill = () => void child.kill("SIGTERM")
    process.once("SIGTERM", kill)
    const from = performance.now()
    let text = ""
    const told: Array<Told> = []
    console.log(`\n## ${row.title}\n`)
    child.stdout!.setEncoding("utf8").on("data", (chunk: string) => {
      process.stdout.write(chunk)
      text += chunk
    })
    child.on("message", (message) => told.push(message as Told))
    child.once("close", (status) => {
      process.off("SIGTERM", kill)
      // The whole has to stay under 20 minutes.
      console.error(`${row.name}: ${((performance.now() - from) / 1000).toFixed(0)} s`)
      if (status !== 0) return resolve(undefined)
      resolve({ name: row.name, title: row.title, text: "plain" in row ? `\`\`\`\n${text}\`\`\`\n` : text, told })
    })
  })

const began = performance.now()
const sections: Array<Section> = []
for (const row of all) {
  if (stopped || (asked.length > 0 && !asked.includes(row.name))) continue
  const section = await measure(row)
  if (section === undefined) process.exitCode = 1
  else sections.push(section)
}
if (stopped) process.exitCode = 130
if (sections.length === all.length && !options.includes("--quick")) {
  write(sections, (performance.now() - began) / 60_000)
  run("node_modules/.bin/oxfmt", ...documents)
}
