/** docs/settings.md lists every variable that the sources read. */
import { assert, describe, it } from "@effect/vitest"
import { readFileSync } from "node:fs"
import { join } from "node:path"
import { variables } from "../../src/internal/workspace/sources.ts"
import { root } from "../fixtures/fences.ts"
import { modules } from "../fixtures/packed.ts"

const read = (file: string) => readFileSync(join(root, file), "utf8")

const named = modules
  .filter((module) => !module.startsWith("testing/"))
  .flatMap((module) =>
    Array.from(
      read(`src/${module}.ts`).matchAll(
        /"((?:DATABRICKS|OTEL|LAKEBASE|LOG|ARM|GOOGLE|NODE)_[A-Z_]+|PG[A-Z]+|(?:HTTPS?|NO)_PROXY)"/g
      ),
      ([, name = ""]) => name
    )
  )

describe("docs/settings.md", () => {
  const guide = read("docs/settings.md")
  const readVariables = [...new Set([...named, ...variables])].toSorted()

  it("lists every variable that the sources read", () => {
    assert.isAbove(readVariables.length, 40)
    assert.deepStrictEqual(
      readVariables.filter((name) => !guide.includes(`\`${name}\``)),
      []
    )
  })

  it("lists every variable that Config reads by a name of its own", () => {
    const configured = modules
      .filter((module) => !module.startsWith("testing/"))
      .flatMap((module) =>
        Array.from(read(`src/${module}.ts`).matchAll(/Config\.\w+\((?:[^()"]*, )?"([^"]+)"/g), ([, name = ""]) => name)
      )
    assert.isAbove(configured.length, 4)
    assert.deepStrictEqual(
      configured.filter((name) => !guide.includes(`\`${name}\``)),
      []
    )
  })
})
