import { assert, layer } from "@effect/vitest"
import { HttpFailure, Lakebase } from "effect-databricks"
import { LocalWorkspace } from "effect-databricks/testing"
import { Effect, Layer, Queue, Stream } from "effect"
import { SqlClient, type SqlError } from "effect/sql"
import { rowOf } from "../src/internal/failures/sqlState.ts"
import { errcodes } from "./fixtures/errcodes.ts"
import { eventually } from "./fixtures/eventually.ts"
import { database, pidOf, settled, sqlErrorOf, Watcher } from "./fixtures/lakebaseFaults.ts"
import { alice, as } from "./fixtures/people.ts"

const schema = LocalWorkspace.LocalWorkspace.use(({ administer }) =>
  administer(`
    CREATE TABLE notes (id int PRIMARY KEY, body text NOT NULL);
    GRANT SELECT, INSERT ON notes TO PUBLIC;
    CREATE TABLE plans (id int);
    GRANT SELECT ON plans TO PUBLIC;
    CREATE FUNCTION fail(state text) RETURNS int LANGUAGE plpgsql AS $$
      BEGIN RAISE EXCEPTION 'failed' USING ERRCODE = state; END $$;
    CREATE FUNCTION forget() RETURNS int LANGUAGE plpgsql AS $$ BEGIN EXECUTE 'DEALLOCATE ALL'; RETURN 1; END $$;
  `)
)
// A user has one connection: whether it was kept is seen by the next statement.
const one = { maxConnections: 4, maxConnectionsService: 2, maxConnectionsPerUser: 1 }
const App = Layer.effectDiscard(schema).pipe(Layer.provideMerge(database(one, [alice])))

const mine = <A, E, R>(f: (sql: SqlClient.SqlClient) => Effect.Effect<A, E, R>) =>
  as(alice)(Effect.flatMap(SqlClient.SqlClient, f))

const statusOf = (error: SqlError.SqlError) => HttpFailure.fromError(error, { development: true }).status

/** Fails with this, permanently, and keeps the connection that it ran on. */
const refuses = Effect.fnUntraced(function* <A, R>(
  run: (sql: SqlClient.SqlClient) => Effect.Effect<A, SqlError.SqlError, R>,
  message: RegExp
) {
  const before = yield* mine(pidOf)
  const error = yield* sqlErrorOf(mine(run))
  assert.match(HttpFailure.fromError(error, { development: true }).body.message, message)
  assert.deepStrictEqual([error.isRetryable, statusOf(error)], [false, 500])
  assert.strictEqual(yield* mine(pidOf), before)
})

/** Fails because its session has ended, for the next one to succeed. */
const ends = Effect.fnUntraced(function* <A, R>(
  run: (sql: SqlClient.SqlClient) => Effect.Effect<A, SqlError.SqlError, R>,
  message: RegExp
) {
  const error = yield* sqlErrorOf(mine(run))
  const failure = HttpFailure.fromError(error, { development: true })
  assert.match(failure.body.message, message)
  assert.deepStrictEqual([error.isRetryable, failure.status], [true, 503])
  assert.isDefined(HttpFailure.toResponse(failure).headers["retry-after"])
  yield* mine(pidOf)
})

const gone = (pid: number) =>
  LocalWorkspace.LocalWorkspace.use(({ administer }) =>
    eventually(
      Effect.isSuccess(
        administer(`DO $$ BEGIN ASSERT NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = ${pid}); END $$`)
      )
    )
  )

layer(App, { timeout: "60 seconds", excludeTestServices: true })("Lakebase", (it) => {
  it.effect(
    "classifies every SQLSTATE that Postgres has as the table does, and keeps the connection where it says so",
    () =>
      Effect.gen(function* () {
        for (const code of errcodes) {
          // PL/pgSQL raises none of these: they are no errors.
          if (/^0[012]/.test(code)) continue
          const before = yield* mine(pidOf)
          const error = yield* sqlErrorOf(mine((sql) => sql`SELECT fail(${code})`))
          const { isRetryable, keepsConnection, status } = rowOf(code)
          assert.deepStrictEqual([error.isRetryable, statusOf(error)], [isRetryable, status], code)
          assert.strictEqual((yield* mine(pidOf)) === before, keepsConnection, code)
        }
      })
  )

  it.effect("reads a row of 17 MiB, and refuses one of more than 64 MiB for good", () =>
    Effect.gen(function* () {
      const mebibytes = (count: number) => (sql: SqlClient.SqlClient) =>
        sql<{ size: string }>`SELECT repeat('x', ${count} * 1024 * 1024) AS size`
      const [row] = yield* mine(mebibytes(17))
      assert.strictEqual(row!.size.length, 17 * 1024 * 1024)
      const body = "y".repeat(17 * 1024 * 1024)
      const [written] = yield* mine((sql) => sql<{ body: string }>`SELECT ${body}::text AS body`)
      assert.strictEqual(written!.body, body)
      for (const run of [mebibytes(65), (sql: SqlClient.SqlClient) => Stream.runDrain(mebibytes(65)(sql).stream)]) {
        const error = yield* sqlErrorOf(mine(run))
        assert.deepStrictEqual([error.isRetryable, statusOf(error)], [false, 500])
        assert.match(error.message, /64 MiB/)
      }
      yield* settled
    })
  )

  it.effect("fails a COPY from or to the client for good, in every way to run it, and keeps the connection", () =>
    Effect.gen(function* () {
      for (const text of [
        "COPY notes FROM STDIN",
        "COPY notes TO STDOUT",
        "COPY (SELECT generate_series(1, 100000)) TO STDOUT (FORMAT csv)",
        "/* all */ COPY notes (id) FROM STDIN (FORMAT binary)"
      ]) {
        // Twice, because the second run reuses what the first has prepared.
        for (let i = 0; i < 2; i++) yield* refuses((sql) => sql.unsafe(text), /^COPY from and to the client/)
        yield* refuses((sql) => sql.unsafe(text).unprepared, /^COPY/)
        yield* refuses((sql) => sql.unsafe(text).values, /^COPY/)
        yield* refuses((sql) => Stream.runDrain(sql.unsafe(text).stream), /^COPY/)
        yield* refuses((sql) => sql.withTransaction(Effect.andThen(sql`SELECT 1`, sql.unsafe(text))), /^COPY/)
      }
    })
  )

  it.effect("fails a protocol violation for good, and keeps the connection", () =>
    Effect.gen(function* () {
      yield* refuses((sql) => sql.unsafe("SELECT $1::int + $2::int", [1]), /bind message supplies 1 parameters/)
    })
  )

  it.effect("fails retryably when the server ends the session for a timeout, and says which", () =>
    Effect.gen(function* () {
      // Between two statements of a transaction, in the middle of one, and with none.
      yield* ends(
        (sql) =>
          sql.withTransaction(
            Effect.gen(function* () {
              const pid = yield* pidOf(sql)
              yield* sql`SET LOCAL idle_in_transaction_session_timeout = '20ms'`
              yield* gone(pid)
              yield* sql`SELECT 1`
            })
          ),
        /idle-in-transaction timeout/
      )
      yield* ends(
        (sql) =>
          sql.withTransaction(Effect.andThen(sql`SET LOCAL transaction_timeout = '20ms'`, sql`SELECT pg_sleep(30)`)),
        /transaction timeout/
      )
      yield* ends(
        (sql) =>
          Effect.scoped(
            Effect.gen(function* () {
              const session = yield* sql.reserve
              const [row] = yield* session.execute("SELECT pg_backend_pid() AS pid", [], undefined)
              yield* session.executeRaw("SET idle_session_timeout = '20ms'", [])
              yield* gone((row as { readonly pid: number }).pid)
              yield* session.executeRaw("SELECT 1", [])
            })
          ),
        /idle-session timeout/
      )
      yield* settled
    })
  )

  it.effect("answers 504 when statement_timeout cancels a statement, and keeps the connection", () =>
    Effect.gen(function* () {
      const before = yield* mine(pidOf)
      const error = yield* sqlErrorOf(
        mine((sql) =>
          sql.withTransaction(Effect.andThen(sql`SET LOCAL statement_timeout = '20ms'`, sql`SELECT pg_sleep(30)`))
        )
      )
      assert.deepStrictEqual([error.isRetryable, statusOf(error)], [true, 504])
      assert.strictEqual(yield* mine(pidOf), before)
    })
  )

  it.effect("fails a transaction retryably when a statement that it prepared is out of date or gone", () =>
    Effect.gen(function* () {
      const { administer } = yield* LocalWorkspace.LocalWorkspace
      const work = mine((sql) => sql.withTransaction(sql.unsafe("SELECT * FROM plans")))
      yield* work
      yield* administer("ALTER TABLE plans ADD COLUMN more int")
      const stale = yield* sqlErrorOf(work)
      assert.deepStrictEqual([stale.isRetryable, statusOf(stale)], [true, 409])
      yield* work
      yield* mine((sql) => sql`SELECT forget()`.unprepared)
      const lost = yield* sqlErrorOf(work)
      assert.deepStrictEqual([lost.isRetryable, statusOf(lost)], [true, 409])
      yield* work
      yield* refuses((sql) => sql.unsafe("EXECUTE nothing").unprepared, /nothing/)
    })
  )

  it.effect("fails the queue of a listener as a statement fails", () =>
    Effect.gen(function* () {
      const { client: sql } = yield* Lakebase.Lakebase
      const { backends } = yield* Watcher
      const heard = yield* as(alice)(sql.listen("news"))
      yield* sql.notify("news", "first")
      yield* sql.notify("news", "second")
      assert.strictEqual((yield* Queue.take(heard)).payload, "first")
      const { processId } = yield* Queue.take(heard)
      assert.isAbove(processId, 0)
      const open = yield* backends
      const { administer } = yield* LocalWorkspace.LocalWorkspace
      yield* administer(
        `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '${alice}' AND query LIKE 'LISTEN%'`
      )
      const error = yield* sqlErrorOf(Queue.take(heard))
      assert.deepStrictEqual([error.isRetryable, statusOf(error)], [true, 503])
      yield* eventually(Effect.map(backends, (_) => _ < open))
      const long = yield* sqlErrorOf(sql.listen("x".repeat(64)))
      assert.deepStrictEqual([long.isRetryable, statusOf(long)], [false, 500])
    }).pipe(Effect.scoped, Effect.andThen(settled))
  )

  it.effect("says why the server ended the session of a running statement", () =>
    Effect.gen(function* () {
      const error = yield* sqlErrorOf(mine((sql) => sql`SELECT pg_terminate_backend(pg_backend_pid()), pg_sleep(30)`))
      const { body, status } = HttpFailure.fromError(error, { development: true })
      assert.deepStrictEqual([error.isRetryable, status], [true, 503])
      assert.include(body.message, "administrator command")
      yield* settled
    })
  )
})
