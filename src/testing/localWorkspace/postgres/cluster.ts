/** An empty database cluster for a Postgres of the local workspace. */
import { Effect } from "effect"
import { chown, rm, writeFile } from "node:fs/promises"
import { join } from "node:path"
import * as Archive from "./archive.ts"
import { accessible, type Installation, type Owner, run } from "./installation.ts"
import { quoted } from "./session.ts"

/** The one role that Postgres itself makes; nobody outside this folder logs in as it. */
export const superuser = "databricks_superuser"

const initdbFlags = [
  "--auth=trust",
  `--username=${superuser}`,
  "--encoding=UTF8",
  "--locale-provider=builtin",
  "--builtin-locale=C.UTF-8",
  "--locale=C",
  "--wal-segsize=1",
  "--no-data-checksums",
  "--no-sync",
  "--no-instructions"
]

/** The database that Lakebase has by default. */
export const database = "databricks_postgres"

// Each database is 300 files for every start to write: the one that initdb makes for administrators becomes ours, and no
// database is made from template0.
const script = [
  `ALTER DATABASE postgres RENAME TO ${quoted(database)}`,
  "UPDATE pg_database SET datistemplate = false WHERE datname = 'template0'",
  "DROP DATABASE template0"
]

/** A certificate and its key, in PEM. */
export interface Certificate {
  readonly cert: string
  readonly key: string
}

export interface Options {
  /** Who may log in, and how: the text of `pg_hba.conf`. */
  readonly hba: string
  /** Without it there is no TLS. */
  readonly ssl: Certificate | undefined
}

// Postgres takes no key that anybody else can read.
const install = async (data: string, { cert, key }: Certificate, { uid, gid }: Owner) => {
  await writeFile(join(data, "server.crt"), cert)
  await writeFile(join(data, "server.key"), key, { mode: 0o600 })
  if (uid !== undefined && gid !== undefined) await chown(join(data, "server.key"), uid, gid)
}

/** Makes an empty cluster in `data` below the directory, and returns the binary that serves it. */
export const initialise = Effect.fnUntraced(function* (found: Installation, directory: string, options: Options) {
  const { owner, version } = found
  const { uid, gid } = owner
  if (uid !== undefined && gid !== undefined) yield* Effect.promise(() => chown(directory, uid, gid))
  const { initdb, postgres } = yield* accessible(found, directory)
  const data = join(directory, "data")
  const archive = Archive.make([process.platform, process.arch, version, ...initdbFlags, ...script])
  const create = Effect.promise(() => rm(data, { recursive: true, force: true })).pipe(
    Effect.andThen(run(initdb, [`--pgdata=${data}`, ...initdbFlags], owner)),
    Effect.andThen(run(postgres, ["--single", "-D", data, "template1"], owner, { stdin: `${script.join("\n")}\n` })),
    // Where it cannot be kept, the next start takes the second again.
    Effect.andThen(Effect.ignore(archive.pack(directory, owner)))
  )
  yield* Effect.catch(archive.unpack(directory, owner), () => create)
  yield* Effect.promise(() => writeFile(join(data, "pg_hba.conf"), options.hba))
  const { ssl } = options
  if (ssl !== undefined) yield* Effect.promise(() => install(data, ssl, owner))
  return postgres
})
