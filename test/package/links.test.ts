/** Links of the documents lead to a file that is there and to a heading that it has. */
import { assert, describe, it } from "@effect/vitest"
import { existsSync, readFileSync } from "node:fs"
import { dirname, join, normalize } from "node:path"
import manifest from "../../package.json" with { type: "json" }
import { root } from "../fixtures/fences.ts"
import { filesUnder } from "../fixtures/packed.ts"

const repository = `${manifest.homepage.replace(/#.*/, "")}/blob/main/`
const docs = filesUnder(join(root, "docs")).map((file) => `docs/${file}`)
const documents = ["README.md", "ARCHITECTURE.md", "CHANGELOG.md", "CONTRIBUTING.md", "llms.txt"]
const packed = [...documents, ...docs.filter((file) => file.endsWith(".md"))]

const isPacked = (path: string) =>
  [...documents, "LICENSE", "package.json"].includes(path) || /^(docs|src)(\/|$)/.test(path)

const proseOf = (file: string) => readFileSync(join(root, file), "utf8").replaceAll(/^(`{3,})[^]*?^\1$/gm, "")

/** The anchors that GitHub gives the headings of a page. */
const anchorsOf = (file: string): ReadonlySet<string> => {
  const anchors = new Set<string>()
  for (const [, heading = ""] of proseOf(file).matchAll(/^#{1,6} (.*)$/gm)) {
    const slug = heading
      .toLowerCase()
      .replaceAll(/[^\p{L}\p{N}\s_-]/gu, "")
      .replaceAll(" ", "-")
    let anchor = slug
    for (let n = 1; anchors.has(anchor); n++) anchor = `${slug}-${n}`
    anchors.add(anchor)
  }
  return anchors
}

/** Why a link leads nowhere, or nothing. */
const broken = (file: string, link: string): ReadonlyArray<string> => {
  if (!link.startsWith(repository) && /^[a-z]+:/.test(link)) return []
  const absolute = link.startsWith(repository)
  const [path = "", anchor] = (absolute ? link.slice(repository.length) : link).split("#")
  const target = absolute ? path : path === "" ? file : normalize(join(dirname(file), path))
  if (!existsSync(join(root, target))) return [`${file}: ${link} is not there`]
  if (!absolute && !isPacked(target)) {
    return [`${file}: ${link} is not in the package; link to ${repository}${target}`]
  }
  return anchor === undefined || anchorsOf(target).has(anchor) ? [] : [`${file}: ${link} names no heading`]
}

describe("The links of the documents", () => {
  it.each(packed)("of %s lead to files and headings that exist", (file) => {
    const links = Array.from(proseOf(file).matchAll(/\]\(([^)\s]+)\)/g), ([, link = ""]) => link)
    assert.deepStrictEqual(
      links.flatMap((link) => broken(file, link)),
      []
    )
  })

  it("of llms.txt lead to every guide", () => {
    const text = readFileSync(join(root, "llms.txt"), "utf8")
    assert.deepStrictEqual(
      docs.filter((file) => /^docs\/[^/]*\.md$/.test(file) && !text.includes(`](${file})`)),
      []
    )
  })

  it("are reported when they lead nowhere", () => {
    assert.deepStrictEqual(broken("README.md", "docs/errors.md#sqlstate"), [])
    assert.deepStrictEqual(broken("README.md", "docs/none.md"), ["README.md: docs/none.md is not there"])
    assert.deepStrictEqual(broken("README.md", "docs/errors.md#none"), [
      "README.md: docs/errors.md#none names no heading"
    ])
    assert.deepStrictEqual(broken("README.md", "bench/RESULTS.md"), [
      `README.md: bench/RESULTS.md is not in the package; link to ${repository}bench/RESULTS.md`
    ])
  })
})
