import { assert, describe, it } from "@effect/vitest"
import { LocalWorkspace } from "effect-databricks/testing"
import { Effect } from "effect"
import * as fs from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { vi } from "vitest"
import * as Archive from "../../../../src/testing/localWorkspace/postgres/archive.ts"

/** A temporary folder of the test's own, which is everybody's as the real one is. */
const temporary = Effect.acquireRelease(
  Effect.sync(() => {
    const folder = fs.mkdtempSync(join(tmpdir(), "archive-test-"))
    fs.chmodSync(folder, 0o1777)
    vi.stubEnv("TMPDIR", folder)
    return folder
  }),
  (folder) =>
    Effect.sync(() => {
      vi.unstubAllEnvs()
      fs.rmSync(folder, { recursive: true, force: true })
    })
)

const archivesIn = (folder: string) => fs.readdirSync(folder).filter((name) => name.endsWith(".tar"))

/** A directory with a cluster of one file. */
const directoryIn = (folder: string, text: string) => {
  const directory = fs.mkdtempSync(join(folder, "directory-"))
  fs.mkdirSync(join(directory, "data"), { mode: 0o700 })
  fs.writeFileSync(join(directory, "data/PG_VERSION"), text)
  return directory
}

describe("Archive", () => {
  it.live("unpacks its own archive, private to the account, and replaces that of another version", () =>
    Effect.gen(function* () {
      const folder = yield* temporary
      yield* Archive.make(["17"]).pack(directoryIn(folder, "17"), {})
      const archive = Archive.make(["18"])
      yield* archive.pack(directoryIn(folder, "18"), {})
      const [name, ...others] = archivesIn(folder)
      assert.deepStrictEqual(others, [])
      assert.strictEqual(fs.statSync(join(folder, name!)).mode & 0o777, 0o600)
      const directory = fs.mkdtempSync(join(folder, "directory-"))
      yield* archive.unpack(directory, {})
      assert.strictEqual(fs.readFileSync(join(directory, "data/PG_VERSION"), "utf8"), "18")
      assert.strictEqual(fs.statSync(join(directory, "data")).mode & 0o777, 0o700)
      yield* Effect.flip(Archive.make(["17"]).unpack(directory, {}))
    }).pipe(Effect.scoped)
  )

  it.live("is refused when other accounts can read it, or when it is a link", () =>
    Effect.gen(function* () {
      const folder = yield* temporary
      const archive = Archive.make(["18"])
      yield* archive.pack(directoryIn(folder, "18"), {})
      const file = join(folder, archivesIn(folder)[0]!)
      const refused = Effect.suspend(() => Effect.flip(archive.unpack(fs.mkdtempSync(join(folder, "directory-")), {})))
      fs.chmodSync(file, 0o644)
      assert.include(yield* refused, file)
      fs.chmodSync(file, 0o600)
      fs.renameSync(file, join(folder, "elsewhere"))
      fs.symlinkSync(join(folder, "elsewhere"), file)
      assert.include(yield* refused, file)
    }).pipe(Effect.scoped)
  )

  it.live("is all that concurrent workspaces leave behind, and is rewritten when truncated", () =>
    Effect.gen(function* () {
      const folder = yield* temporary
      yield* Effect.scoped(Effect.all([LocalWorkspace.make(), LocalWorkspace.make()], { concurrency: 2 }))
      const [name, ...others] = fs.readdirSync(folder)
      assert.match(name!, /^effect-databricks-postgres-.*\.tar$/)
      assert.deepStrictEqual(others, [])
      const file = join(folder, name!)
      const { size } = fs.statSync(file)
      fs.truncateSync(file, size / 2)
      const workspace = yield* LocalWorkspace.make()
      yield* workspace.administer("SELECT 1")
      assert.closeTo(fs.statSync(file).size, size, size / 10)
    }).pipe(Effect.scoped)
  )
})
