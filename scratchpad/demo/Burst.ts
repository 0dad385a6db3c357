/** The database under load, on the local workspace only: what the pools do, and 500 users who come at once. */
import { Lakebase, provideUser, type ServiceContext } from "effect-databricks"
import { LocalWorkspace } from "effect-databricks/testing"
import { Clock, Effect, Layer, References } from "effect"
import { HttpRouter, HttpServerResponse } from "effect/http"
import { SqlClient } from "effect/sql"
import { onLoopback } from "./Show.ts"

export const crowd = Array.from({ length: 500 }, (_, index) => `user${index + 1}@example.com`)

const applicationName = "effect-databricks-demo"
const limits = { maxConnections: 50, maxConnectionsPerUser: 3, maxConnectionsService: 10 }

export const layerLakebase = Layer.unwrap(
  Effect.map(LocalWorkspace.LocalWorkspace, ({ endpoint, postgres }) =>
    // On one machine everybody's log-in waits for the same processor.
    Lakebase.layer({ ...postgres, ...limits, endpoint, applicationName, ssl: false, acquireTimeout: "30 seconds" })
  )
)

/** What the pools say, and what Postgres does. */
const watch = Effect.gen(function* () {
  const { stats } = yield* Lakebase.Lakebase
  const sql = yield* SqlClient.SqlClient
  const [row] = yield* sql<{ backends: number }>`
    SELECT count(*)::int AS backends FROM pg_stat_activity WHERE application_name = ${applicationName}`
  return { limits, backends: row?.backends ?? 0, ...(yield* stats) }
})

/** Each of the crowd asks as themselves, all at once, and must see nobody else's orders. */
const burst = Effect.gen(function* () {
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
      Effect.catch((error) => Effect.as(Effect.logWarning(`${name}: ${error.message}`), false))
    )
  // They have signed in already, or most of the time would go by before any of them comes to the database.
  yield* Effect.forEach(senders, ({ headers }) => provideUser(Effect.void, headers), { concurrency: 10, discard: true })
  const start = yield* Clock.currentTimeMillis
  const answers = yield* Effect.forEach(senders, ask, { concurrency: "unbounded" })
  const succeeded = answers.filter(Boolean).length
  const milliseconds = (yield* Clock.currentTimeMillis) - start
  return { users: crowd.length, succeeded, failed: crowd.length - succeeded, milliseconds }
})

const running = { _tag: "BurstRunning", message: "A burst is under way" }

/** One at a time: who comes meanwhile is refused. */
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

export const layerRoutes = HttpRouter.use((router) =>
  Effect.gen(function* () {
    const services = yield* Effect.context<Services>()
    const answer = <A, E>(effect: Effect.Effect<A, E, Services>) =>
      Effect.flatMap(effect, (body) => HttpServerResponse.json(body)).pipe(
        // Its spans would push those of the page's own calls out.
        Effect.provideService(References.TracerEnabled, false),
        Effect.provideContext(services)
      )
    yield* router.add("GET", "/demo/lakebase", onLoopback(answer(watch)))
    yield* router.add("POST", "/demo/burst", onLoopback(alone(answer(burst))))
  })
)
