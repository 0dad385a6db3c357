/** The tests that docs/testing.md shows, run by a vitest of their own. */
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { execFile } from "node:child_process"
import { readFileSync } from "node:fs"
import { join } from "node:path"
import { compile, root } from "../fixtures/fences.ts"
import { applicationOf } from "../fixtures/guide.ts"

const vitest = (folder: string) =>
  Effect.callback<string>((resume) => {
    const report = join(folder, "report.json")
    const args = [join(root, "node_modules/vitest/vitest.mjs"), "run", "--reporter=json", `--outputFile=${report}`]
    const child = execFile(process.execPath, args, { cwd: folder }, () =>
      resume(Effect.sync(() => readFileSync(report, "utf8")))
    )
    return Effect.sync(() => child.kill())
  })

describe("The tests of docs/testing.md", () => {
  it.live("type-check and pass", () =>
    Effect.gen(function* () {
      const { folder, write } = yield* applicationOf("docs/testing.md")
      write(
        "vitest.config.ts",
        `
          const conditions = ["@effect-databricks/source"]
          export default { resolve: { conditions }, ssr: { resolve: { conditions } } }
        `
      )
      assert.strictEqual(compile(folder, ["-p", folder]).stdout, "")
      const { numPassedTests, numTotalTests } = JSON.parse(yield* vitest(folder))
      assert.deepStrictEqual([numPassedTests, numTotalTests], [5, 5])
    })
  )
})
