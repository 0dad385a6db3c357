import { defineConfig } from "vitest/config"

// Tests import the package by its name and get its sources.
const conditions = ["@effect-databricks/source"]

export default defineConfig({
  resolve: { conditions },
  ssr: { resolve: { conditions } },
  test: {
    include: ["test/**/*.test.ts"],
    setupFiles: ["test/fixtures/properties.ts"],
    // Processes, not threads: signals, exit codes and open handles are what some tests are about.
    pool: "forks",
    // All cores, for most of a test is waiting for Postgres to start; the default leaves one of two idle.
    maxWorkers: "100%",
    // For a busy machine: the compiler takes 15 seconds there. No test waits for a limit.
    testTimeout: 60_000,
    hookTimeout: 60_000
  }
})
