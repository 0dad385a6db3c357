// node .ci/summary.mjs <exit code of the steps> <folder of what they left>
// Removes the folder, names what failed, prints `N passed, N failed, N skipped` and exits with 1 unless all is well.
import { existsSync, readdirSync, readFileSync, rmSync } from "node:fs"
import { join, relative } from "node:path"

const [status, folder] = process.argv.slice(2)
const textOf = (name) => (existsSync(join(folder, name)) ? readFileSync(join(folder, name), "utf8") : "")
const steps = textOf("steps").split("\n").filter(Boolean)
const soak = textOf("RELIABILITY.md")
const reports = readdirSync(folder)
  .filter((name) => name.endsWith(".json"))
  .map((name) => JSON.parse(textOf(name)))
rmSync(folder, { recursive: true })

let passed = 0
let failed = 0
let skipped = 0
// Said again at the end, for of a long output the beginning gets lost.
const tell = (what, why) => console.log(`\nFailed: ${what}\n${why.slice(0, 4_000)}`)
for (const step of steps) tell(step, step === "soak" ? soak : "")
for (const report of reports) {
  passed += report.numPassedTests
  skipped += report.numPendingTests + report.numTodoTests
  for (const { assertionResults, message, name, status } of report.testResults) {
    if (status !== "failed") continue
    const tests = assertionResults.filter((test) => test.status === "failed")
    for (const test of tests) tell(`${relative(".", name)}: ${test.fullName}`, test.failureMessages.join("\n"))
    // A file that does not load, or whose hook fails, counts as one: no test of it failed.
    if (tests.length === 0) tell(relative(".", name), message)
    failed += Math.max(tests.length, 1)
  }
}
// So does a step that failed, an error outside of all tests, and a run of none.
if (failed === 0 && (status !== "0" || passed === 0)) failed = 1

console.log(`${passed} passed, ${failed} failed, ${skipped} skipped`)
process.exitCode = failed === 0 ? 0 : 1
