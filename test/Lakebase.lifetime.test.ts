import { PgClient } from "@effect/sql-pg"
import { assert, layer } from "@effect/vitest"
import { Effect, Queue, Stream } from "effect"
import type { SqlError } from "effect/sql"
import { Lakebase } from "effect-databricks"
import { database, settled, sqlErrorOf } from "./fixtures/lakebaseFaults.ts"
import { alice, as } from "./fixtures/people.ts"

layer(database({ maxLifetime: "1 second", maxConnectionsPerUser: 8 }), {
  timeout: "60 seconds",
  excludeTestServices: true
})("A connection of Lakebase", (it) => {
  it.effect("is taken after maxLifetime from a listener, a stream, a transaction and a reservation", () =>
    Effect.gen(function* () {
      const sql = yield* PgClient.PgClient
      /** Goes on until it fails. */
      const on = <A, E>(work: Effect.Effect<A, E>) => Effect.forever(Effect.delay(work, "50 millis"))
      const works: Record<string, Effect.Effect<unknown, SqlError.SqlError>> = {
        listener: Effect.scoped(Effect.flatMap(sql.listen("news"), Queue.take)),
        reserved: Effect.scoped(Effect.flatMap(sql.reserve, (_) => on(_.executeRaw("SELECT 1", [])))),
        "slow stream": Stream.runForEach(
          sql<{ n: number }>`SELECT n, repeat('x', 1000) AS x FROM generate_series(1, 100000) AS n`.stream,
          ({ n }) => (n % 1000 === 0 ? Effect.sleep("50 millis") : Effect.void)
        ),
        transaction: sql.withTransaction(on(sql`SELECT 1`)),
        statement: sql`SELECT pg_sleep(30)`
      }
      const errors = yield* Effect.forEach(
        Object.entries(works),
        ([what, work]) => Effect.map(sqlErrorOf(as(alice)(work)), (error) => [what, error] as const),
        { concurrency: "unbounded" }
      )
      for (const [what, error] of errors) {
        assert.match(error.message, /in use for 1s \(maxLifetime\)/, what)
        assert.isTrue(error.isRetryable, what)
        assert.instanceOf(error.reason.cause, Lakebase.PoolExhaustedError)
      }
      yield* settled
    })
  )
})
