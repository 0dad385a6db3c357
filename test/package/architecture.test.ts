/** ARCHITECTURE.md names functions and files that are there. */
import { assert, describe, it } from "@effect/vitest"
import { existsSync, readFileSync } from "node:fs"
import { join } from "node:path"
import { root } from "../fixtures/fences.ts"

const text = readFileSync(join(root, "ARCHITECTURE.md"), "utf8")
const functions = Array.from(text.matchAll(/\[`(\w+)`\]\((src\/[^)]+)\)/g), ([, name = "", file = ""]) => ({
  name,
  file
}))
const files = Array.from(text.matchAll(/`((?:src|test|docs)\/[\w/.]*)`/g), ([, file = ""]) => file)

const declares = (source: string, name: string) =>
  new RegExp(`\\b(const|class) ${name}\\b|^\\s*(readonly )?${name}: `, "m").test(source)

describe("ARCHITECTURE.md", () => {
  it.each(functions)("names $name, which $file declares", ({ file, name }) =>
    assert.isTrue(declares(readFileSync(join(root, file), "utf8"), name))
  )

  it("names many functions, and files that exist", () => {
    assert.isAbove(functions.length, 30)
    assert.deepStrictEqual(
      files.filter((file) => !existsSync(join(root, file))),
      []
    )
  })
})
