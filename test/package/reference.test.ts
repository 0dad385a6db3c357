/** docs/reference has a page for each public module. `npm run reference` writes them; CI also compares their signatures. */
import { assert, describe, it } from "@effect/vitest"
import { existsSync, readFileSync } from "node:fs"
import { join } from "node:path"
import { root } from "../fixtures/fences.ts"
import { filesUnder, modules } from "../fixtures/packed.ts"

const read = (file: string) => readFileSync(join(root, file), "utf8")
const documented = modules.filter((_) => /^((ai|appkit|http|testing)\/)?[A-Z]\w*$/.test(_))

/** The exported names of a module, and the prose of their doc comments, without what is `@internal`. */
const exportsOf = (source: string) =>
  Array.from(
    source.matchAll(/^\/\*\*\n((?: \*.*\n)+?) \*\/\nexport (?:declare )?(?:const|class|interface|type) (\w+)/gm),
    ([, comment = "", name = ""]) => ({ name, comment: comment.replaceAll(/^ \* ?/gm, "") })
  ).filter(({ comment }) => !comment.includes("@internal"))

/** Up to the first example, whose code docgen formats. */
const proseOf = (comment: string) => comment.replace(/^(```|@(since|category))[^]*/m, "").trim()

describe("docs/reference", () => {
  it("has a page for each public module and no other", () =>
    assert.deepStrictEqual(
      filesUnder(join(root, "docs/reference")),
      ["README.md", ...documented.map((module) => `${module}.md`)].toSorted()
    ))

  it("has the type of each export, and none as any", () => {
    const signatures = documented.flatMap((module) =>
      Array.from(read(`docs/reference/${module}.md`).matchAll(/^```ts\nexport declare const [^]*?^```$/gm), ([_]) => _)
    )
    assert.isAbove(signatures.length, 150)
    assert.deepStrictEqual(
      signatures.filter((signature) => /(?:: |<)any\b/.test(signature)),
      []
    )
  })

  it.each(documented)("has each export of %s with the text of its doc comment", (module) => {
    const file = `docs/reference/${module}.md`
    const page = existsSync(join(root, file)) ? read(file) : ""
    const found = exportsOf(read(`src/${module}.ts`))
    assert.isAbove(found.length, 0)
    for (const { comment, name } of found) {
      assert.match(page, new RegExp(`^### ${name}( |$)`, "m"), `npm run reference: ${name}`)
      assert.include(page, proseOf(comment), `npm run reference: ${name}`)
    }
  })
})
