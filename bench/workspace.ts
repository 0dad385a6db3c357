/** The process that all peers talk to: a local workspace, and a warehouse before it that answers at once. */
import { NodeRuntime } from "@effect/platform-node"
import { PgClient } from "@effect/sql-pg"
import { Effect } from "effect"
import { Reactivity } from "effect/reactivity"
import { Agent, createServer, request as forward } from "node:http"
import type { AddressInfo } from "node:net"
import { LocalWorkspace } from "../src/testing/index.ts"
import { answer } from "./answer.ts"
import { script, statement, userName } from "./data.ts"

export type Question =
  | { readonly ask: "env" }
  | { readonly ask: "headers"; readonly from: number; readonly to: number }
  | { readonly ask: "counts" }

export interface Env {
  /** For a server; its `DATABRICKS_HOST` is where statements are answered at once. */
  readonly env: Readonly<Record<string, string>>
  readonly postmaster: number
}

export interface Counts {
  /** TCP connections that the workspace has accepted. */
  readonly connections: number
  /** The most concurrent sessions of Postgres since the last request for it. */
  readonly backends: number
}

const [users, maxConnections] = process.argv.slice(2).map(Number) as [number, number]

const statements = new Map<string, string>()

/** Answers statements by itself, out of a table, and forwards everything else. */
const front = (host: string) => {
  const agent = new Agent({ keepAlive: true })
  let connections = 0
  const server = createServer({ keepAliveTimeout: 60_000 }, (request, response) => {
    if (request.method === "POST" && request.url?.startsWith("/api/2.0/sql/statements") === true) {
      const body = statements.get(request.headers.authorization ?? "")
      if (body === undefined) return void response.writeHead(403).end("Invalid access token.")
      request.resume().once("end", () => {
        response
          .writeHead(200, { "content-type": "application/json", "content-length": Buffer.byteLength(body) })
          .end(body)
      })
      return
    }
    const { headers, method, url } = request
    const onward = forward(host + url, { method, headers, agent }, (back) => {
      response.writeHead(back.statusCode!, back.headers)
      back.pipe(response)
    })
    onward.on("error", () => response.destroy())
    request.pipe(onward)
  })
  server.on("connection", () => connections++)
  return Effect.acquireRelease(
    Effect.callback<{ readonly origin: string; readonly accepted: () => number }>((resume) => {
      server.listen(0, "127.0.0.1", () => {
        const { port } = server.address() as AddressInfo // it listens on TCP
        resume(Effect.succeed({ origin: `http://127.0.0.1:${port}`, accepted: () => connections }))
      })
    }),
    () => Effect.sync(() => void server.close().closeAllConnections())
  )
}

const main = Effect.gen(function* () {
  const workspace = yield* LocalWorkspace.LocalWorkspace
  const { administer, headers, host, postgres, postgresServer, servicePrincipal, token } = workspace
  yield* administer(script(users))
  yield* administer(`GRANT pg_monitor TO "${servicePrincipal.clientId}"`)
  const { accepted, origin } = yield* front(host)

  const sql = yield* PgClient.make({
    ...postgres,
    username: servicePrincipal.clientId,
    password: yield* token(servicePrincipal.clientId),
    maxConnections: 1
  })
  let peak = 0
  yield* sql<{ n: number }>`
    SELECT count(*)::int AS n FROM pg_stat_activity
    WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()`.pipe(
    Effect.tap(([row]) => Effect.sync(() => (peak = Math.max(peak, row!.n)))),
    Effect.ignore,
    Effect.delay("100 millis"),
    Effect.forever,
    Effect.forkScoped
  )

  const headersOf = Effect.fnUntraced(function* (user: number) {
    const own = yield* headers(userName(user))
    const minted = own["x-forwarded-access-token"]!
    statements.set(`Bearer ${minted}`, JSON.stringify(statement(userName(user))))
    return own
  })

  const reply = (question: Question): Effect.Effect<object, unknown> => {
    switch (question.ask) {
      case "env":
        return Effect.map(postgresServer.pid, (postmaster): Env => ({
          env: { ...workspace.env, DATABRICKS_HOST: origin },
          postmaster
        }))
      case "headers":
        return Effect.forEach(
          Array.from({ length: question.to - question.from }, (_, index) => question.from + index),
          headersOf
        )
      case "counts":
        return Effect.sync((): Counts => {
          const backends = peak
          peak = 0
          return { connections: accepted(), backends }
        })
    }
  }
  answer((question: Question) => Effect.runPromise(reply(question)))
  return yield* Effect.never
})

const Workspace = LocalWorkspace.layer({
  users: Array.from({ length: users }, (_, index) => ({ userName: userName(index) })),
  maxConnections
})

NodeRuntime.runMain(Effect.scoped(main).pipe(Effect.provide([Workspace, Reactivity.layer])))
