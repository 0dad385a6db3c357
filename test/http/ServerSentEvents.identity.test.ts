import { assert, layer } from "@effect/vitest"
import {
  asService,
  getWorkspaceClient,
  Middleware,
  provideUser,
  ServerSentEvents,
  SqlWarehouse
} from "effect-databricks"
import { LocalWorkspace } from "effect-databricks/testing"
import { Effect, Latch, Layer, Stream } from "effect"
import { HttpRouter, HttpServerRequest, HttpServerResponse } from "effect/http"
import { SqlClient } from "effect/sql"
import { lakebase, schema, who } from "../fixtures/lakebaseClient.ts"
import { eventually } from "../fixtures/eventually.ts"
import { alice, bob, requestOf } from "../fixtures/people.ts"
import { cancel, One, poll, recording } from "../fixtures/sqlWarehouse.ts"
import { type Client, open } from "../fixtures/sse.ts"
import { seenAs } from "../fixtures/workspace.ts"
import { serve, Served, tokensSeen } from "./harness.ts"

/** Two streams go from step to step together. */
const together = () => {
  const steps = Array.from({ length: 5 }, () => ({ arrived: 0, open: Latch.makeUnsafe() }))
  return (step: number) =>
    Effect.suspend(() => {
      const { arrived, open } = steps[step]!
      steps[step]!.arrived = arrived + 1
      if (arrived === 1) open.openUnsafe()
      return open.await
    })
}

const seen = Effect.all({ postgres: who, workspace: seenAs })
const step = { users: together(), byHand: together() }
const stepsOf = (name: keyof typeof step) =>
  Stream.range(0, 4).pipe(Stream.mapEffect((number) => Effect.andThen(step[name](number), seen)))

const rows = Stream.unwrap(
  SqlClient.SqlClient.useSync((sql) => sql`SELECT repeat('x', 1000) AS x FROM generate_series(1, 10000000)`.stream)
)

const asSender = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.flatMap(HttpServerRequest.HttpServerRequest, (request) => provideUser(effect, request)).pipe(
    Effect.catchCause(Middleware.respond)
  )

const refusal = Effect.flatMap(getWorkspaceClient, (client) => client.use((sdk) => sdk.jobs.get({ job_id: 7 })))

/** The statements that Postgres runs for alice now, as the service principal sees them. */
const running = SqlClient.SqlClient.use((sql) =>
  Effect.map(
    sql<{ query: string }>`SELECT query FROM pg_stat_activity WHERE usename = ${alice} AND state <> 'idle'`,
    (_) => _.map(({ query }) => query)
  )
)

const Routes = Layer.mergeAll(
  HttpRouter.add("GET", "/steps", ServerSentEvents.toResponse(stepsOf("users"))),
  HttpRouter.add("GET", "/as-service", asService(ServerSentEvents.toResponse(Stream.fromEffect(seen)))),
  HttpRouter.add("GET", "/rows", ServerSentEvents.toResponse(rows)),
  HttpRouter.add(
    "GET",
    "/sleep",
    ServerSentEvents.toResponse(
      Stream.fromEffect(SqlClient.SqlClient.use((sql) => sql`SELECT pg_sleep(3600)::text AS slept`))
    )
  ),
  HttpRouter.add(
    "GET",
    "/statement",
    ServerSentEvents.toResponse(Stream.fromEffect(SqlWarehouse.query(One)`SELECT pg_sleep(60)::text AS x`))
  ),
  HttpRouter.add("GET", "/refused", ServerSentEvents.toResponse(Stream.fromEffect(refusal)))
).pipe(
  Layer.provide(Middleware.asUser.layer),
  Layer.merge(
    Layer.mergeAll(
      HttpRouter.add("GET", "/by-hand", asSender(ServerSentEvents.toResponse(stepsOf("byHand")))),
      HttpRouter.add("GET", "/who", asSender(Effect.map(who, (name) => HttpServerResponse.text(name)))),
      HttpRouter.add("GET", "/running", Effect.flatMap(running, HttpServerResponse.json))
    )
  )
)

// One connection is all that a user has: who holds it keeps the next one waiting.
const Services = Layer.merge(SqlWarehouse.layer, lakebase({ maxConnectionsPerUser: 1 }))

layer(Layer.effectDiscard(schema).pipe(Layer.provideMerge(LocalWorkspace.layer())), {
  timeout: "60 seconds",
  excludeTestServices: true
})("ServerSentEvents.toResponse", (it) => {
  it.layer(serve(Routes, { development: true, services: Services }))((it) => {
    const received: Array<Client> = []
    const openAs = Effect.fnUntraced(function* (user: string, path: string) {
      const client = yield* open((yield* Served).port, { path, headers: yield* requestOf(user) })
      received.push(client)
      return client
    })

    it.effect.each(["/steps", "/by-hand"])(
      "runs two concurrent streams of %s each as its own user to the end",
      (path) =>
        Effect.gen(function* () {
          const [ofAlice, ofBob] = yield* Effect.all([openAs(alice, path), openAs(bob, path)])
          for (const [client, user] of [
            [ofAlice, alice],
            [ofBob, bob]
          ] as const) {
            const { events } = yield* client.end
            assert.deepStrictEqual(
              events.map(({ data }) => data),
              Array.from({ length: 5 }, () => ({ postgres: user, workspace: user }))
            )
          }
        })
    )

    it.effect("runs a stream that the handler makes under asService as the service principal", () =>
      Effect.gen(function* () {
        const { events } = yield* (yield* openAs(alice, "/as-service")).end
        assert.deepStrictEqual(events[0]?.data, { postgres: "service", workspace: "service" })
      })
    )

    it.effect.each([
      ["/rows", "generate_series"],
      ["/sleep", "pg_sleep"]
    ])("gives the connection of %s back when the client leaves", ([path, query]) =>
      Effect.gen(function* () {
        const { call } = yield* Served
        const queries = Effect.map(call("GET", "/running"), ({ text }) => text)
        const client = yield* openAs(alice, path!)
        yield* eventually(queries, (_) => _.includes(query!))
        yield* client.leave
        yield* eventually(queries, (_) => _ === "[]")
        assert.strictEqual((yield* call("GET", "/who", { headers: yield* requestOf(alice) })).text, alice)
      })
    )

    it.effect("cancels the warehouse statement when the client leaves", () =>
      Effect.gen(function* () {
        const { misbehave } = yield* LocalWorkspace.LocalWorkspace
        yield* misbehave({ kind: "pending", polls: 1000, method: "POST", times: 1 })
        const requests = yield* recording
        const client = yield* openAs(alice, "/statement")
        yield* eventually(requests("GET", poll), (_) => _.length > 0)
        yield* client.leave
        yield* eventually(requests("POST", cancel), (_) => _.length > 0)
      }).pipe(Effect.scoped)
    )

    it.effect("writes no token to its events, a log or a span", () =>
      Effect.gen(function* () {
        const { misbehave } = yield* LocalWorkspace.LocalWorkspace
        yield* misbehave({ kind: "answer", status: 500, path: "/api/2.2/jobs", body: '{"message":"no"}' })
        const { events } = yield* (yield* openAs(bob, "/refused")).end
        assert.deepInclude(events[0]?.data, { code: "UPSTREAM_ERROR" })
        const { everythingRecorded } = yield* Served
        const everything = [everythingRecorded(), ...received.map((_) => _.received())].join("\n")
        assert.include(everything, "UPSTREAM_ERROR")
        assert.isAbove((yield* tokensSeen).size, 5)
        for (const token of yield* tokensSeen) assert.notInclude(everything, token)
      }).pipe(Effect.scoped)
    )
  })
})
