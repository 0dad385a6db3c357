import { existsSync, statfsSync } from "node:fs"
import { defineConfig } from "vitest/config"

// Tests import the package by its name and get its sources.
const conditions = ["@effect-databricks/source"]

// They measure their process, which may hold nothing of another file; the starter and AppKit's page install and build for a minute.
const alone = [
  "test/App.retained.test.ts",
  "test/costs.test.ts",
  "test/internal/lakebase/pool.closing.test.ts",
  "test/scratchpad/appkit.browser.test.ts",
  "test/scratchpad/starter.test.ts"
]

// Each Postgres is 700 files: in memory they cost a twentieth of the CPU that they cost on a disk.
const memory = "/dev/shm"
const freeBytes = () => {
  const { bavail, bsize } = statfsSync(memory)
  return bavail * bsize
}
const env: Record<string, string> = existsSync(memory) && freeBytes() > 2 * 2 ** 30 ? { TMPDIR: memory } : {}

// Their servers run as the guides show them, as TypeScript, which Node before 22.18 cannot.
const unable = process.features.typescript ? [] : ["test/frameworks/**"]

// Texts, types, bundles, pages in a browser, properties of functions, the budget of connections, the command line and the demo,
// which runs on the repository's Node, are tested there alone.
const elsewhere = process.features.typescript
  ? []
  : [
      "test/package/{architecture,browser,declarations,docs,errors,links,reference,settings,words}.test.ts",
      "test/**/*.properties.test.ts",
      "test/Lakebase.{budget,crowd}.test.ts",
      "test/cli/**",
      "test/scratchpad/{appkit.browser,demo,demo.browser,demo.orders,demo.screens}.test.ts"
    ]

const project = (name: string, test: { include: Array<string>; exclude?: Array<string>; isolate: boolean }) => ({
  extends: true as const,
  test: { name, ...test }
})

export default defineConfig({
  resolve: { conditions },
  ssr: { resolve: { conditions } },
  test: {
    projects: [
      // To load a file's modules takes a second or two of CPU: files share processes.
      project("shared", {
        include: ["test/**/*.test.ts"],
        exclude: [...alone, ...unable, ...elsewhere],
        isolate: false
      }),
      project("alone", { include: alone, exclude: elsewhere, isolate: true })
    ],
    env,
    setupFiles: ["test/fixtures/properties.ts"],
    // Processes, not threads: signals, exit codes and open handles are what some tests are about.
    pool: "forks",
    // All cores, for most of a test is waiting for Postgres to start; the default leaves one of two idle.
    maxWorkers: "100%",
    // For a machine whose cores others use too. No test waits for a limit.
    testTimeout: 120_000,
    hookTimeout: 120_000
  }
})
