/** The process that all peers talk to: a local workspace with TLS, and a warehouse before it that answers at once. */
import { NodeRuntime } from "@effect/platform-node"
import { PgClient } from "@effect/sql-pg"
import { Effect } from "effect"
import { Reactivity } from "effect/reactivity"
import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { LocalWorkspace } from "../src/testing/index.ts"
import { answer } from "./answer.ts"
import { issue } from "./certificates.ts"
import { script, statement, userName } from "./data.ts"
import * as Front from "./front.ts"

export type Question =
  | { readonly ask: "env" }
  | { readonly ask: "headers"; readonly from: number; readonly to: number }
  | { readonly ask: "counts" }
  /** Each call to the workspace takes so many milliseconds more from now on. */
  | { readonly ask: "delay"; readonly milliseconds: number }

export interface Env {
  /** For a server, which talks TLS to the workspace and to Postgres; in `DATABRICKS_HOST` statements are answered at once. */
  readonly env: Readonly<Record<string, string>>
  /** What is different without TLS. */
  readonly plain: Readonly<Record<string, string>>
  readonly certificate: { readonly cert: string; readonly key: string }
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
const certificates = await issue()

/** Node takes further authorities from a file. */
const authorityFile = Effect.map(
  Effect.acquireRelease(
    Effect.sync(() => mkdtempSync(join(tmpdir(), "bench-"))),
    (folder) => Effect.sync(() => rmSync(folder, { recursive: true }))
  ),
  (folder) => {
    const file = join(folder, "authority.crt")
    writeFileSync(file, certificates.authority)
    return file
  }
)

const main = Effect.gen(function* () {
  const workspace = yield* LocalWorkspace.LocalWorkspace
  const { administer, headers, host, postgres, postgresServer, servicePrincipal, token } = workspace
  yield* administer(script(users))
  yield* administer(`GRANT pg_monitor TO "${servicePrincipal.clientId}"`)
  const { accepted, delay, origins } = yield* Front.make(host, certificates, statements)
  const authority = yield* authorityFile

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
          env: {
            ...workspace.env,
            DATABRICKS_HOST: origins.https,
            PGSSLMODE: "require",
            NODE_EXTRA_CA_CERTS: authority
          },
          plain: { DATABRICKS_HOST: origins.http, PGSSLMODE: "disable" },
          certificate: { cert: certificates.cert, key: certificates.key },
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
      case "delay":
        return Effect.sync(() => {
          delay(question.milliseconds)
          return {}
        })
    }
  }
  answer((question: Question) => Effect.runPromise(reply(question)))
  return yield* Effect.never
})

const Workspace = LocalWorkspace.layer({
  users: Array.from({ length: users }, (_, index) => ({ userName: userName(index) })),
  maxConnections,
  ssl: certificates
})

NodeRuntime.runMain(Effect.scoped(main).pipe(Effect.provide([Workspace, Reactivity.layer])))
