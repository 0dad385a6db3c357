// node .ci/summary.mjs <exit code of the steps> <folder of vitest's JSON reports>
// Removes the folder, prints `N passed, N failed, N skipped` and exits with 1 unless all is well.
import { readdirSync, readFileSync, rmSync } from "node:fs"
import { join } from "node:path"

const [status, folder] = process.argv.slice(2)
const reports = readdirSync(folder)
  .filter((name) => name.endsWith(".json"))
  .map((name) => JSON.parse(readFileSync(join(folder, name), "utf8")))
rmSync(folder, { recursive: true })

let passed = 0
let failed = 0
let skipped = 0
for (const report of reports) {
  passed += report.numPassedTests
  skipped += report.numPendingTests + report.numTodoTests
  // A file that does not load, or whose hook fails, counts as one: no test of it failed.
  const silent = report.testResults.filter(
    (file) => file.status === "failed" && file.assertionResults.every((test) => test.status !== "failed")
  )
  failed += report.numFailedTests + silent.length
}
// So does a step that failed, an error outside of all tests, and a run of none.
if (failed === 0 && (status !== "0" || passed === 0)) failed = 1

console.log(`${passed} passed, ${failed} failed, ${skipped} skipped`)
process.exitCode = failed === 0 ? 0 : 1
