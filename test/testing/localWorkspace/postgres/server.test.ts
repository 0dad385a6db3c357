import { assert, describe, it } from "@effect/vitest"
import { LocalWorkspace } from "effect-databricks/testing"
import { Effect } from "effect"
import { chmod, mkdir, mkdtemp, rm, writeFile } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join, relative } from "node:path"
import { vi } from "vitest"

const folder = Effect.acquireRelease(
  Effect.promise(() => mkdtemp(join(tmpdir(), "server-test-"))),
  (path) => Effect.promise(() => rm(path, { recursive: true, force: true }))
)

/** Whether a local workspace starts with this TMPDIR, and runs a statement. */
const startedIn = (path: string) =>
  Effect.acquireUseRelease(
    Effect.sync(() => vi.stubEnv("TMPDIR", path)),
    () => Effect.scoped(Effect.flatMap(LocalWorkspace.make(), ({ administer }) => administer("SELECT 1"))),
    () => Effect.sync(() => vi.unstubAllEnvs())
  )

describe("LocalWorkspace.make", () => {
  it.effect("names TMPDIR, its folder and the cause where it cannot write there", () =>
    Effect.gen(function* () {
      const parent = yield* folder
      const file = join(parent, "file")
      yield* Effect.promise(() => Promise.all([chmod(parent, 0o755), writeFile(file, "", { mode: 0o755 })]))
      for (const [path, code] of [
        [join(parent, "none"), "ENOENT"],
        [file, "ENOTDIR"]
      ] as const) {
        const error = yield* Effect.flip(startedIn(path))
        assert.strictEqual(error._tag, "LocalWorkspaceError")
        assert.strictEqual(
          error.message,
          `The local workspace cannot use its temporary folder ${path} (${code}): set TMPDIR to a writable folder`
        )
      }
    }).pipe(Effect.scoped)
  )

  it.effect.skipIf(process.getuid?.() !== 0)("names TMPDIR where root has one that Postgres may not enter", () =>
    Effect.gen(function* () {
      const path = yield* folder
      const { message } = yield* Effect.flip(startedIn(path))
      assert.include(message, `${path} (Postgres does not run as root, and its account may not enter it): set TMPDIR`)
    }).pipe(Effect.scoped)
  )

  it.effect("starts with a TMPDIR that is relative to where the process runs", () =>
    Effect.gen(function* () {
      const parent = yield* folder
      // Deep enough not to be the same from the directory of the server.
      const path = join(parent, ..."abcdefgh")
      yield* Effect.promise(() => mkdir(path, { mode: 0o755, recursive: true }))
      yield* Effect.promise(() => chmod(parent, 0o755))
      yield* startedIn(relative(process.cwd(), path))
    }).pipe(Effect.scoped)
  )
})
