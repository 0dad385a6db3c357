/**
 * Keeps the empty cluster of initdb in the temporary folder: initdb takes 1 s of CPU, and unpacking 60 ms. The archive is
 * one file that is renamed when it is complete, so that a crash leaves no partial archive.
 */
import { Effect } from "effect"
import { createHash } from "node:crypto"
import { lstat, open, readdir, rename, rm } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { type Owner, run } from "./installation.ts"

export interface Archive {
  /** Unpacks the folder `data` into a directory. Fails if this account has no archive. */
  readonly unpack: (directory: string, owner: Owner) => Effect.Effect<void, unknown>
  /** Packs the folder `data` of a directory without a running Postgres. Deletes archives of other versions. */
  readonly pack: (directory: string, owner: Owner) => Effect.Effect<void, unknown>
}

/** Returns the archive of clusters that are created with these versions, flags and statements. */
export const make = (way: ReadonlyArray<string>): Archive => {
  const folder = tmpdir()
  const account = process.getuid?.()
  const prefix = `effect-databricks-postgres-${account}-`
  const name = `${prefix}${createHash("sha256").update(JSON.stringify(way)).digest("hex").slice(0, 16)}.tar`
  const file = join(folder, name)

  const withFile = <E>(path: string, flags: string, use: (fd: number) => Effect.Effect<void, E>) =>
    Effect.acquireUseRelease(
      Effect.tryPromise(() => open(path, flags, 0o600)),
      (handle) => use(handle.fd),
      (handle) => Effect.promise(() => handle.close())
    )

  return {
    unpack: (directory, owner) =>
      Effect.gen(function* () {
        // Another account can create a file of this name first, but cannot replace a file of this account.
        const found = yield* Effect.tryPromise(() => lstat(file))
        if (!found.isFile() || found.uid !== account || (found.mode & 0o077) !== 0) {
          return yield* Effect.fail(`${file} is not this account's own`)
        }
        yield* withFile(file, "r", (stdin) => run("tar", ["-xf", "-", "-C", directory], owner, { stdin }))
      }),
    pack: (directory, owner) =>
      Effect.gen(function* () {
        const packed = join(directory, name)
        yield* withFile(packed, "wx", (stdout) => run("tar", ["-cf", "-", "-C", directory, "data"], owner, { stdout }))
        yield* Effect.tryPromise(async () => {
          await rename(packed, file)
          const others = (await readdir(folder)).filter((other) => other.startsWith(prefix) && other !== name)
          await Promise.all(others.map((other) => rm(join(folder, other), { force: true })))
        })
      })
  }
}
