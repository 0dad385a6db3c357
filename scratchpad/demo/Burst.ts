/** The state of the pools, and a burst of 500 concurrent users, on the local workspace only. */
import { asService, Lakebase, provideUser, type ServiceContext } from "effect-databricks"
import { LocalWorkspace } from "effect-databricks/testing"
import { Clock, Effect, Layer, References } from "effect"
import { HttpServerResponse } from "effect/http"
import { SqlClient } from "effect/sql"
import { route } from "./Show.ts"

export const crowd = Array.from({ length: 500 }, (_, index) => `user${index + 1}@example.com`)

const applicationName = "effect-databricks-demo"
const limits = { maxConnections: 50, maxConnectionsPerUser: 3, maxConnectionsService: 10 }

// On one machine the logins of all callers share the processor.
export const layerLakebase = Lakebase.layerConfig({ ...limits, applicationName, acquireTimeout: "30 seconds" })

/** The users of the burst that is running: those whose token is not verified yet, and those with an answer. */
interface Progress {
  verifying: number
  answered: number
}

type Pool = Lakebase.Stats & { readonly listed: number; readonly opening: number; readonly used: number }

/** A connection that Postgres does not list yet is opening. */
const poolOf = (stats: Lakebase.Stats, listed: number): Pool => {
  const opening = Math.max(0, Math.min(stats.total - listed, stats.total - stats.idle))
  return { ...stats, listed, opening, used: stats.total - stats.idle - opening }
}

/** The counts of the pools and of the burst, read together. */
const watch = (progress: Progress) =>
  Effect.gen(function* () {
    const { stats } = yield* Lakebase.Lakebase
    const sql = yield* SqlClient.SqlClient
    const [row] = yield* sql<{ service: number; users: number }>`
      SELECT count(*) FILTER (WHERE usename = current_user)::int AS service,
             count(*) FILTER (WHERE usename <> current_user)::int AS users
      FROM pg_stat_activity WHERE application_name = ${applicationName}`
    const { service, users } = yield* stats
    return {
      limits,
      progress,
      service: poolOf(service, row?.service ?? 0),
      users: poolOf(users, row?.users ?? 0)
    }
  })

/** Queries as every user of the crowd at once. Each must see only their own orders. */
const burst = Effect.fnUntraced(function* (progress: Progress) {
  Object.assign(progress, { verifying: crowd.length, answered: 0 })
  const start = yield* Clock.currentTimeMillis
  const workspace = yield* LocalWorkspace.LocalWorkspace
  const sql = yield* SqlClient.SqlClient
  const senders = yield* Effect.forEach(crowd, (name) =>
    Effect.map(workspace.headers(name, { ttl: "5 minutes" }), (headers) => ({ name, headers }))
  )
  const ask = ({ headers, name }: (typeof senders)[number]) =>
    sql<{ caller: string; foreign: number }>`
      SELECT current_user AS caller, count(*) FILTER (WHERE owner <> current_user)::int AS foreign FROM desk.orders`.pipe(
      provideUser(headers),
      Effect.map(([row]) => row?.caller === name && row.foreign === 0),
      Effect.catch((error) => Effect.as(Effect.logWarning(`${name}: ${error.message}`), false)),
      Effect.tap(() => Effect.sync(() => progress.answered++))
    )
  const verify = ({ headers }: (typeof senders)[number]) =>
    provideUser(
      Effect.sync(() => progress.verifying--),
      headers
    )
  // Verifying the tokens first lets all queries begin at once.
  yield* Effect.forEach(senders, verify, { concurrency: 10, discard: true })
  const verified = yield* Clock.currentTimeMillis
  const answers = yield* Effect.forEach(senders, ask, { concurrency: "unbounded" })
  const end = yield* Clock.currentTimeMillis
  const succeeded = answers.filter(Boolean).length
  return {
    users: crowd.length,
    succeeded,
    failed: crowd.length - succeeded,
    milliseconds: { verifying: verified - start, all: end - start }
  }
})

const running = { _tag: "BurstRunning", message: "A burst is running: wait until it has ended" }

/** Refuses a second burst while one is running. */
const alone = <E, R>(answer: Effect.Effect<HttpServerResponse.HttpServerResponse, E, R>) => {
  let isRunning = false
  return Effect.suspend(() => {
    if (isRunning) return Effect.succeed(HttpServerResponse.jsonUnsafe(running, { status: 409 }))
    isRunning = true
    return Effect.ensuring(
      answer,
      Effect.sync(() => {
        isRunning = false
      })
    )
  })
}

type Services = Lakebase.Lakebase | SqlClient.SqlClient | LocalWorkspace.LocalWorkspace | ServiceContext.ServiceContext

export const layerRoutes = Layer.unwrap(
  Effect.gen(function* () {
    const services = yield* Effect.context<Services>()
    const progress: Progress = { verifying: 0, answered: crowd.length }
    const answer = <A, E>(effect: Effect.Effect<A, E, Services>) =>
      Effect.flatMap(asService(effect), (body) => HttpServerResponse.json(body)).pipe(
        // The spans of the burst would evict those of the page's calls.
        Effect.provideService(References.TracerEnabled, false),
        Effect.provideContext(services)
      )
    return Layer.merge(
      route("GET", "/demo/lakebase", answer(watch(progress))),
      route("POST", "/demo/burst", alone(answer(burst(progress))))
    )
  })
)
