import { assert, layer } from "@effect/vitest"
import { asService, Lakebase } from "effect-databricks"
import { Deferred, Effect, Exit, Layer, Stream } from "effect"
import { SqlClient } from "effect/sql"
import { PgClient } from "@effect/sql-pg"
import { lakebase, who } from "./fixtures/lakebaseClient.ts"
import { sqlErrorOf } from "./fixtures/lakebaseFaults.ts"
import { alice, as, bob } from "./fixtures/people.ts"
import { Workspace } from "./fixtures/workspace.ts"

/** Runs with these limits, in the workspace of all tests. */
const within =
  (options: Partial<Lakebase.Options>) =>
  <A, E, R>(effect: Effect.Effect<A, E, R>) =>
    Effect.provide(effect, Layer.fresh(lakebase({ acquireTimeout: "3 seconds", ...options })))

const rows = Effect.map(SqlClient.SqlClient, (sql) => sql<{ n: number }>`SELECT generate_series(1, 3) AS n`.stream)

const asAlice = as(alice)
const asBob = as(bob)

const users = asAlice(Effect.andThen(PgClient.PgClient, who))

type Work = Effect.Effect<unknown, Effect.Error<typeof users>, Effect.Services<typeof users>>

/** Each of these keeps a connection while the work runs. */
const keepers: Record<string, (work: Work) => Work> = {
  "a stream": (work) => Effect.flatMap(rows, (stream) => Stream.runForEach(stream, () => work)),
  "a stream with concurrent work": (work) =>
    Effect.flatMap(rows, (stream) => Stream.runDrain(Stream.mapEffect(stream, () => work, { concurrency: 3 }))),
  "a stream of streams": (work) =>
    Effect.flatMap(rows, (stream) => Stream.runDrain(Stream.flatMap(stream, () => Stream.fromEffect(work)))),
  "a buffered stream": (work) =>
    Effect.flatMap(rows, (stream) => Stream.runForEach(Stream.buffer(stream, { capacity: 1 }), () => work)),
  "a transaction": (work) => Effect.flatMap(SqlClient.SqlClient, (sql) => sql.withTransaction(work)),
  "a reserved connection": (work) =>
    Effect.flatMap(SqlClient.SqlClient, (sql) => Effect.scoped(Effect.andThen(sql.reserve, work))),
  "a listener": (work) =>
    Effect.flatMap(PgClient.PgClient, (sql) => Effect.scoped(Effect.andThen(sql.listen("news"), work)))
}

/** And each of these asks for a connection apart from that of a transaction. */
const askers: Record<string, Work> = {
  "a reserved connection": Effect.flatMap(SqlClient.SqlClient, (sql) => Effect.scoped(sql.reserve)),
  "a listener": Effect.flatMap(PgClient.PgClient, (sql) => Effect.scoped(sql.listen("news")))
}
const statements: Record<string, Work> = {
  ...askers,
  "a statement": who,
  "a stream": Effect.flatMap(rows, Stream.runDrain),
  "a transaction": Effect.flatMap(SqlClient.SqlClient, (sql) => sql.withTransaction(who))
}

layer(Workspace, { timeout: "60 seconds", excludeTestServices: true })("Lakebase", (it) => {
  it.effect("answers a query for each row of all streams that one user reads at once", () =>
    Effect.gen(function* () {
      const streams = Object.entries(keepers).filter(([what]) => what.includes("stream"))
      assert.strictEqual(streams.length, 4)
      yield* asAlice(Effect.forEach([...streams, ...streams], ([, keep]) => keep(who), { concurrency: "unbounded" }))
    }).pipe(within({}))
  )

  it.effect("reads more streams at once than a user has connections, however they are merged", () =>
    Effect.gen(function* () {
      const stream = yield* rows
      const asking = Stream.mapEffect(stream, () => who)
      const concurrently = { concurrency: 5 }
      const ways: Record<string, Stream.Stream<unknown, unknown, SqlClient.SqlClient>> = {
        mergeAll: Stream.mergeAll([stream, stream, stream, stream, stream], concurrently),
        flatMap: Stream.flatMap(Stream.make(1, 2, 3, 4, 5), () => stream, concurrently),
        "flatMap in a stream": Stream.flatMap(stream, () => stream, concurrently),
        "with a query for each row": Stream.flatMap(Stream.make(1, 2, 3, 4), () => asking, concurrently),
        "with a query for each merged row": Stream.mapEffect(
          Stream.mergeAll([stream, stream, stream, stream], { ...concurrently, bufferSize: 1 }),
          () => who
        )
      }
      const read = Object.entries(ways).map(([what, stream]) =>
        Effect.map(asAlice(Effect.exit(Stream.runCount(stream))), (exit) => [what, String(exit)])
      )
      assert.deepStrictEqual(Object.fromEntries(yield* Effect.all(read)), {
        mergeAll: "Success(15)",
        flatMap: "Success(15)",
        "flatMap in a stream": "Success(9)",
        "with a query for each row": "Success(12)",
        "with a query for each merged row": "Success(12)"
      })
    }).pipe(within({ maxConnectionsPerUser: 3 }))
  )

  for (const [side, run, limits, name] of [
    ["a user", asAlice, { maxConnectionsPerUser: 1 }, "maxConnectionsPerUser is 1"],
    ["the app", asService, { maxConnectionsService: 1 }, "maxConnectionsService is 1"],
    ["all users", asAlice, { maxConnections: 2, maxConnectionsService: 1 }, "maxConnections is 2"]
  ] as const) {
    it.effect(`fails a call of ${side} at once that waits for its own connection, and names the limit`, () =>
      Effect.gen(function* () {
        for (const [outer, keep] of Object.entries(keepers)) {
          const inner = outer === "a transaction" ? askers : statements
          for (const [what, ask] of Object.entries(inner)) {
            const error = yield* sqlErrorOf(run(keep(side === "all users" ? asBob(ask) : ask)))
            // Another sentence is that of a call which has waited.
            assert.match(error.message, /would wait for a connection forever/, `${what} in ${outer}`)
            assert.include(error.message, name)
            assert.instanceOf(error.reason.cause, Lakebase.PoolExhaustedError)
          }
        }
        // Nothing is lost.
        yield* run(who)
      }).pipe(within(limits))
    )
  }

  it.effect("ends one of two calls at once that wait for each other, and answers the other one", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      const both = [
        [asAlice, asService],
        [asService, asAlice]
      ] as const
      const ready = both.map(() => Deferred.makeUnsafe<void>())
      const exits = yield* Effect.forEach(
        both,
        ([outer, inner], i) =>
          Effect.exit(
            outer(
              sql.withTransaction(
                Effect.all([Deferred.succeed(ready[i]!, undefined), Effect.forEach(ready, Deferred.await), inner(who)])
              )
            )
          ),
        { concurrency: 2 }
      )
      assert.deepStrictEqual(exits.map(Exit.isSuccess).toSorted(), [false, true])
      assert.match(String(exits.find(Exit.isFailure)), /would wait for a connection forever/)
    }).pipe(within({ maxConnections: 2, maxConnectionsService: 1 }))
  )

  it.effect(
    "answers calls inside of a user's, the app's and another user's transactions at the least limits for them",
    () =>
      Effect.gen(function* () {
        const { "a stream": stream, "a transaction": transaction } = keepers
        const nested = [
          asAlice(transaction!(asService(transaction!(asAlice(stream!(who)))))),
          asService(stream!(asAlice(transaction!(asService(who))))),
          asAlice(stream!(asBob(transaction!(asService(stream!(asBob(who)))))))
        ]
        for (const call of nested) yield* call
      }).pipe(within({ maxConnections: 4, maxConnectionsService: 2, maxConnectionsPerUser: 1 }))
  )

  it.effect("names the limit for which a call has waited in vain", () =>
    Effect.gen(function* () {
      const waits = (caller: typeof asAlice, ask: Work) =>
        Effect.gen(function* () {
          const ready = yield* Deferred.make<void>()
          const end = yield* Deferred.make<void>()
          const hold = Effect.andThen(Deferred.succeed(ready, undefined), Deferred.await(end))
          const [error] = yield* Effect.all(
            [
              Effect.andThen(Deferred.await(ready), Effect.ensuring(sqlErrorOf(ask), Deferred.succeed(end, undefined))),
              caller(keepers["a transaction"]!(hold))
            ],
            { concurrency: 2 }
          )
          return error.message
        })
      const short = { acquireTimeout: "300 millis" } as const
      const each = [
        [{ maxConnectionsPerUser: 1 }, asAlice, asAlice(who), "maxConnectionsPerUser is 1"],
        [{ maxConnections: 2 }, asAlice, asBob(who), "maxConnections is 2"],
        [{ maxConnectionsService: 1 }, asService, who, "maxConnectionsService is 1"]
      ] as const
      for (const [limits, caller, ask, name] of each) {
        const message = yield* waits(caller as typeof asAlice, ask as Work).pipe(within({ ...short, ...limits }))
        assert.include(message, `within 300ms: ${name}`)
      }
    })
  )
})
