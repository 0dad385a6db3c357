/** An empty database cluster for a Postgres of the local workspace. */
import { Effect } from "effect"
import { access, chown, mkdtemp, readdir, rename, rm, writeFile } from "node:fs/promises"
import { dirname, join } from "node:path"
import type { StartError } from "../startError.ts"
import * as Archive from "./archive.ts"
import { accessible, type Installation, type Owner, run } from "./installation.ts"
import { quoted } from "./session.ts"

/** The role that initdb creates. Only modules of this folder log in with it. */
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

/** The default database of Lakebase. */
export const database = "databricks_postgres"

// Each database is 300 files that a start writes. Hence the database `postgres` is renamed, and template0 is dropped.
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
  /** The text of `pg_hba.conf`, which sets the methods of logins. */
  readonly hba: string
  /** Without it, Postgres accepts no TLS. */
  readonly ssl: Certificate | undefined
  /** The folder of a cluster that is kept. Without it, the cluster is deleted with its server. */
  readonly kept?: string | undefined
}

const own = async (path: string, { uid, gid }: Owner) => {
  if (uid !== undefined && gid !== undefined) await chown(path, uid, gid)
}

/** Creates an empty cluster in the folder `data` of a directory that the account owns. */
const create = ({ initdb, owner, postgres, version }: Installation, directory: string) => {
  const data = join(directory, "data")
  const archive = Archive.make([process.platform, process.arch, version, ...initdbFlags, ...script])
  const initialised = Effect.promise(() => rm(data, { recursive: true, force: true })).pipe(
    Effect.andThen(run(initdb, [`--pgdata=${data}`, ...initdbFlags], owner)),
    Effect.andThen(run(postgres, ["--single", "-D", data, "template1"], owner, { stdin: `${script.join("\n")}\n` })),
    // Without an archive, the next start runs initdb again.
    Effect.andThen(Effect.ignore(archive.pack(directory, owner)))
  )
  return Effect.catch(archive.unpack(directory, owner), () => initialised)
}

/** Creates the cluster to keep with one rename, so that a killed process leaves no partial cluster. */
const keep = (found: Installation, kept: string) =>
  Effect.acquireUseRelease(
    Effect.promise(async () => {
      const folder = dirname(kept)
      // Of processes that were killed here.
      const left = (await readdir(folder)).filter((name) => !isRunning(Number(/^new-(\d+)-/.exec(name)?.[1])))
      await Promise.all(left.map((name) => rm(join(folder, name), { recursive: true, force: true })))
      return mkdtemp(join(folder, `new-${process.pid}-`))
    }),
    (directory) =>
      Effect.promise(() => own(directory, found.owner)).pipe(
        Effect.andThen(create(found, directory)),
        // Another process may have been first.
        Effect.andThen(Effect.ignore(Effect.tryPromise(() => rename(join(directory, "data"), kept))))
      ),
    (directory) => Effect.promise(() => rm(directory, { recursive: true, force: true }))
  )

/** Whether there is a process of this id; what is not an id counts as one. */
const isRunning = (pid: number) => {
  try {
    return Number.isNaN(pid) || process.kill(pid, 0)
  } catch (error) {
    return !(error instanceof Error && "code" in error && error.code === "ESRCH")
  }
}

const isThere = (path: string) =>
  Effect.promise(() =>
    access(path).then(
      () => true,
      () => false
    )
  )

/** A cluster, the binary that serves it, and the settings that go with it. */
export interface Cluster {
  readonly postgres: string
  readonly data: string
  readonly settings: Readonly<Record<string, string>>
}

/** Creates the cluster if it does not exist. Files of this start only are written to `directory`. */
export const initialise = Effect.fnUntraced(function* (
  found: Installation,
  directory: string,
  { hba, kept, ssl }: Options
): Effect.fn.Return<Cluster, StartError> {
  const { owner } = found
  yield* Effect.promise(() => own(directory, owner))
  const installation = yield* accessible(found, directory)
  if (kept === undefined) yield* create(installation, directory)
  else if (!(yield* isThere(join(kept, "PG_VERSION")))) yield* keep(installation, kept)
  const hbaFile = join(directory, "pg_hba.conf")
  const certFile = join(directory, "server.crt")
  const keyFile = join(directory, "server.key")
  yield* Effect.promise(async () => {
    await writeFile(hbaFile, hba)
    await own(hbaFile, owner)
    if (ssl === undefined) return
    await writeFile(certFile, ssl.cert)
    // Postgres refuses a key that another account can read.
    await writeFile(keyFile, ssl.key, { mode: 0o600 })
    await own(keyFile, owner)
  })
  return {
    postgres: installation.postgres,
    data: kept ?? join(directory, "data"),
    settings: {
      hba_file: hbaFile,
      ...(ssl === undefined ? { ssl: "off" } : { ssl: "on", ssl_cert_file: certFile, ssl_key_file: keyFile }),
      // A kept row survives a killed Postgres, but not a power failure.
      synchronous_commit: kept === undefined ? "off" : "on"
    }
  }
})
