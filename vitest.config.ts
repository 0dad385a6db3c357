import { defineConfig } from "vitest/config"

// Tests import the package by its name and get its sources.
const conditions = ["@effect-databricks/source"]

// They measure their process, which may hold nothing of another file.
const alone = ["test/App.retained.test.ts", "test/costs.test.ts", "test/internal/lakebase/pool.closing.test.ts"]

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
      project("shared", { include: ["test/**/*.test.ts"], exclude: alone, isolate: false }),
      project("alone", { include: alone, isolate: true })
    ],
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
