/** The test bed of one measurement: the workspace, where the load comes from, and the servers beside each other. */
import { Effect, type Scope } from "effect"
import { createServer, type AddressInfo } from "node:net"
import { bundleOf } from "./bundle.ts"
import { type Child, fork, type ForkOptions } from "./child.ts"
import type { Job, Outcome, Sender } from "./load.ts"
import type { Counts, Env, Question } from "./workspace.ts"

/** `--quick` is for work on a measurement: its figures mean nothing. */
export const quick = process.argv.includes("--quick")
export const rounds = quick ? 2 : 7

export type Peer = "ours" | "AppKit" | "by hand"

export interface Bed {
  readonly workspace: Child
  readonly postmaster: number
  /** Of a server, which talks TLS to the workspace and to Postgres. */
  readonly env: Readonly<Record<string, string>>
  /** What is different without TLS. */
  readonly plain: Readonly<Record<string, string>>
  /** For another part of the workspace, whose authority the servers trust. */
  readonly certificate: Env["certificate"]
  readonly counts: Effect.Effect<Counts>
  /** Users with a token each, as the proxy would send them. */
  readonly senders: (from: number, to: number, due: (user: number) => string) => Effect.Effect<ReadonlyArray<Sender>>
  readonly loader: Child
  /** Dies when a server responds with another user's data. */
  readonly load: (job: Job) => Effect.Effect<Outcome>
}

export const make = (users: number, maxConnections: number): Effect.Effect<Bed, never, Scope.Scope> =>
  Effect.gen(function* () {
    const workspace = yield* fork("workspace.ts", { args: [String(users), String(maxConnections)] })
    const ask = <A>(question: Question) => workspace.ask<A>(question)
    const { certificate, env, plain, postmaster } = yield* ask<Env>({ ask: "env" })
    const loader = yield* fork("load.ts")
    return {
      workspace,
      postmaster,
      env,
      plain,
      certificate,
      loader,
      counts: ask<Counts>({ ask: "counts" }),
      senders: (from, to, due) =>
        Effect.map(ask<ReadonlyArray<Sender["headers"]>>({ ask: "headers", from, to }), (all) =>
          all.map((headers, index) => ({ headers, due: due(from + index) }))
        ),
      load: (job) =>
        Effect.tap(loader.ask<Outcome>(job), ({ wrong, wrongBody }) =>
          wrong === 0
            ? Effect.void
            : Effect.die(new Error(`${wrong} wrong answers at ${job.path}, such as ${wrongBody}`))
        )
    }
  })

export interface Server extends Child {
  readonly peer: Peer
  readonly port: number
  /** Milliseconds from its start to its first answer. */
  readonly startTime: number
}

export interface ServerOptions {
  /** The connections to Postgres that ours may have. */
  readonly connections?: number
  readonly env?: Readonly<Record<string, string>>
  readonly execArgv?: ReadonlyArray<string>
  /** Whether it talks TLS to the workspace and to Postgres. Defaults to `true`. */
  readonly tls?: boolean
  /** The modules of the servers, in place of the usual ones. */
  readonly modules?: Readonly<Partial<Record<Peer, string>>>
}

/** Starts one of the servers, and has its first answer. */
export const serve = (bed: Bed, peer: Peer, options: ServerOptions = {}): Effect.Effect<Server, never, Scope.Scope> =>
  Effect.gen(function* () {
    const port = yield* freePort
    const from = performance.now()
    const child = yield* fork(options.modules?.[peer] ?? modules[peer], forkOptions(bed, port, options))
    yield* firstAnswer(port, child)
    return { ...child, peer, port, startTime: performance.now() - from }
  })

/** Until the engine knows the code: the rate of all servers grows for their first thousands of requests. */
export const warm = (load: (seconds: number) => Effect.Effect<Outcome>) =>
  loadUntil(load, quick ? 2_000 : 15_000, quick ? 2 : 6)

/** Until so many requests have come, for so many seconds at most. Returns how many came. */
export const loadUntil = Effect.fnUntraced(function* (
  load: (seconds: number) => Effect.Effect<Outcome>,
  requests: number,
  seconds: number
) {
  const late = performance.now() + seconds * 1000
  let came = 0
  while (came < requests && performance.now() < late) came += (yield* load(0.5)).answered
  return came
})

const modules: Record<Peer, string> = {
  ours: bundleOf("ours"),
  AppKit: "servers/appkit.mjs",
  "by hand": "servers/floor.ts"
}

const forkOptions = (
  bed: Bed,
  port: number,
  { connections = 50, env: more, execArgv = [], tls = true }: ServerOptions
): ForkOptions => {
  const env = { ...bed.env, ...(tls ? {} : bed.plain) }
  return {
    env: {
      ...env,
      ...more,
      DATABRICKS_APP_PORT: String(port),
      BENCH_CONNECTIONS: String(connections),
      // Otherwise it tells its makers, through the workspace, that it has started.
      DISABLE_APPKIT_INTERNAL_TELEMETRY: "true"
    },
    args: [
      String(port),
      ...["DATABRICKS_HOST", "DATABRICKS_WAREHOUSE_ID", "PGPORT", "PGDATABASE", "PGSSLMODE"].map(
        (name) => env[name] ?? ""
      )
    ],
    execArgv
  }
}

const firstAnswer = (port: number, { tail }: Child) =>
  Effect.promise(async () => {
    const late = performance.now() + 60_000
    for (;;) {
      try {
        const response = await fetch(`http://127.0.0.1:${port}/health`)
        await response.arrayBuffer()
        if (response.ok) return
      } catch {} // it does not listen yet
      if (performance.now() > late) throw new Error(`A server does not answer for a minute: ${tail()}`)
      await new Promise((resolve) => setTimeout(resolve, 2))
    }
  })

const freePort = Effect.callback<number>((resume) => {
  const server = createServer().listen(0, "127.0.0.1", () => {
    const { port } = server.address() as AddressInfo // it listens on TCP
    server.close(() => resume(Effect.succeed(port)))
  })
})
