/**
 * Every `ts` fence of README.md, of a guide in docs and of a doc comment under src is a complete module, and compiles as strictly as the
 * sources do (what it declares may go unused). A fence in which a line says `expression // => value` also runs, and
 * the two are compared deeply; the expression is all that stands on the line and may `await`. Fences of one document
 * that begin with their path, as `// src/Api.ts`, import each other by it.
 */
import { afterAll, assert, beforeAll, describe, it } from "@effect/vitest"
import { rmSync } from "node:fs"
import { allFences, fencesOf, tsc, writeModules } from "../fixtures/fences.ts"

// The compiler takes 15 seconds on a busy machine, and a multiple of that on a very busy one.
const limit = { timeout: 180_000 }

const fences = allFences()
const modules = writeModules(fences)
afterAll(() => rmSync(modules.folder, { recursive: true }))

describe("The examples of the documentation", limit, () => {
  it("include one in README.md that runs", () =>
    assert.isTrue(fences.some((fence) => fence.file === "README.md" && fence.runs)))

  it("compile", () => assert.strictEqual(tsc(modules.folder), ""))

  it.each(fences.filter((fence) => fence.runs).map((fence) => [`${fence.file}:${fence.line}`, fence] as const))(
    "give the values that they state at %s",
    async (_, fence) => assert.isDefined(await import(modules.pathOf(fence)))
  )
})

describe("A wrong example", limit, () => {
  const wrong = [
    ...fencesOf("README.md", ["Text", "```sh", "npm start", "```", "```ts", 'const n: number = "1"', "```"].join("\n")),
    ...fencesOf("docs/a.md", ["```ts", "// src/a.ts", "export const n = 1", "```"].join("\n")),
    ...fencesOf("docs/a.md", ["", "```ts", "// test/a.ts", 'import { m } from "../src/a.ts"', "```"].join("\n")),
    ...fencesOf("src/a/B.ts", ["/**", " * ```ts", " * 1 + 1 // => 3", " * ```", " */"].join("\n"))
  ]
  let written: ReturnType<typeof writeModules>
  beforeAll(() => void (written = writeModules(wrong)))
  afterAll(() => rmSync(written.folder, { recursive: true }))

  it("is reported with its file and line", () => {
    assert.deepStrictEqual(
      wrong.map((fence) => [fence.file, fence.line, fence.runs]),
      [
        ["README.md", 5, false],
        ["docs/a.md", 1, false],
        ["docs/a.md", 2, false],
        ["src/a/B.ts", 2, true]
      ]
    )
    assert.deepStrictEqual(
      tsc(written.folder)
        .trim()
        .split("\n")
        .map((line) => line.split(": ", 2).join(": ")),
      ["README.md:6:7: error TS2322", "docs/a.md:4:10: error TS2305"]
    )
  })

  it("fails when its value is not the one that it states", async () => {
    const error: Error = await import(written.pathOf(wrong[3]!)).then(
      () => assert.fail("1 + 1 was 3"),
      (error) => error
    )
    assert.strictEqual(error.name, "AssertionError")
    assert.match(error.stack ?? "", /src~a~B\.ts\.2\.ts:3:/)
  })
})
