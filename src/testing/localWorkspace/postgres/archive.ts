/**
 * Keeps the empty cluster that initdb makes in the temporary folder, for initdb takes a second of CPU and unpacking 60 ms.
 * It is one file, which is moved there when it is whole: there is all of it or none, whoever crashes or tidies up.
 */
import { Effect } from "effect"
import { createHash } from "node:crypto"
import { lstat, open, readdir, rename, rm } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { type Owner, run } from "./installation.ts"

export interface Archive {
  /** Unpacks the folder `data` into a directory; fails when there is no archive to trust. */
  readonly unpack: (directory: string, owner: Owner) => Effect.Effect<void, unknown>
  /** Packs the folder `data` of a directory, on which no Postgres runs, and forgets those of other versions. */
  readonly pack: (directory: string, owner: Owner) => Effect.Effect<void, unknown>
}

/** The archive of what was made in this way. */
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
        // The name can be guessed. In a temporary folder nobody else can replace a file that is this account's.
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
