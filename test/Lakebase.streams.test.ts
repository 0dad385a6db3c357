import { assert, layer } from "@effect/vitest"
import { asService } from "effect-databricks"
import { Effect, Queue, Scope, Stream } from "effect"
import type { SqlError } from "effect/sql"
import { Application, asAlice, bodies, clear, Notes, pid } from "./fixtures/lakebaseClient.ts"
import { sqlErrorOf } from "./fixtures/lakebaseFaults.ts"

const fill = (count: number) =>
  Effect.flatMap(Notes, (sql) => sql`INSERT INTO notes (body) SELECT 'n' || n FROM generate_series(1, ${count}) AS n`)

interface Note {
  readonly id: number
  readonly body: string
}

layer(Application, { timeout: "60 seconds", excludeTestServices: true })("A stream of Lakebase", (it) => {
  it.effect("lets its transaction run statements, savepoints and other streams for each of its rows", () =>
    Effect.gen(function* () {
      const sql = yield* Notes
      yield* fill(300)
      const notes = (first: number) => sql<Note>`
        WITH mine AS (SELECT id FROM notes) -- as a queue of jobs
        SELECT id, body FROM notes JOIN mine USING (id) WHERE id >= ${first} ORDER BY id FOR UPDATE OF notes SKIP LOCKED`
      let taken = 0
      yield* sql.withTransaction(
        Effect.gen(function* () {
          const [{ first }] = yield* sql<{ first: number }>`SELECT min(id) AS first FROM notes`.pipe(
            Effect.map(([row]) => [row!] as const)
          )
          yield* Stream.runForEach(notes(first).stream, ({ body, id }) =>
            Effect.gen(function* () {
              taken++
              yield* sql`UPDATE notes SET body = ${`${body}!`} WHERE id = ${id}`
              // What a savepoint takes back does not end the stream around it.
              yield* Effect.ignore(
                sql.withTransaction(Effect.andThen(sql`DELETE FROM notes WHERE id = ${id}`, Effect.fail("back")))
              )
              if (id % 100 !== 0) return
              const inner = sql<Note>`SELECT id, body FROM notes WHERE id <= ${id} ORDER BY id`.stream
              const seen = yield* Stream.runCollect(Stream.mapEffect(inner, (note) => Effect.as(pid, note.id)))
              assert.strictEqual(seen.length, taken)
            })
          )
        })
      )
      assert.strictEqual(taken, 300)
      assert.deepStrictEqual(
        yield* bodies,
        Array.from({ length: 300 }, (_, i) => `n${i + 1}!`)
      )
    }).pipe(asAlice, Effect.ensuring(clear))
  )

  it.effect("reads beside another stream of its transaction, each to its end and in order", () =>
    Effect.gen(function* () {
      const sql = yield* Notes
      const numbers = (from: number) =>
        sql<{ n: number }>`SELECT n FROM generate_series(${from}::int, 1000) AS n`.stream
      const pairs = yield* sql.withTransaction(Stream.runCollect(Stream.zip(numbers(1), numbers(1))))
      assert.deepStrictEqual(
        pairs.map(([a, b]) => [a.n, b.n]),
        Array.from({ length: 1000 }, (_, i) => [i + 1, i + 1])
      )
      for (const empty of [numbers(1001), sql`VALUES (1), (2)`.stream.pipe(Stream.take(0))]) {
        assert.deepStrictEqual(yield* sql.withTransaction(Stream.runCollect(empty)), [])
      }
    }).pipe(asAlice)
  )

  it.effect("leaves its transaction and connection as they were when it is left early", () =>
    Effect.gen(function* () {
      const sql = yield* Notes
      const before = yield* pid
      yield* sql.withTransaction(
        Effect.gen(function* () {
          yield* sql`INSERT INTO notes (body) VALUES ('kept')`
          const numbers = sql<{ n: number }>`SELECT generate_series(1, 100000) AS n`.stream
          assert.strictEqual((yield* Stream.runCollect(Stream.take(numbers, 3))).length, 3)
          yield* Effect.ignore(Stream.runForEach(numbers, () => Effect.fail("enough")))
          yield* Effect.timeoutOption(
            Stream.runForEach(numbers, () => Effect.never),
            "20 millis"
          )
          const cursors = yield* sql`SELECT name FROM pg_cursors WHERE name LIKE 'effect%'`
          assert.deepStrictEqual(cursors, [])
        })
      )
      assert.deepStrictEqual(yield* bodies, ["kept"])
      assert.strictEqual(yield* pid, before)
    }).pipe(asAlice, Effect.ensuring(clear))
  )

  it.effect("fails with a sentence when it is read after its transaction, which commits without it", () =>
    Effect.gen(function* () {
      const sql = yield* Notes
      const scope = yield* Effect.scope
      const pull = yield* sql.withTransaction(
        Effect.gen(function* () {
          yield* sql`INSERT INTO notes (body) VALUES ('kept')`
          const pull = yield* Scope.provide(Stream.toPull(sql`SELECT generate_series(1, 1000) AS n`.stream), scope)
          yield* pull
          return pull
        })
      )
      assert.deepStrictEqual(yield* bodies, ["kept"])
      // Also where the connection is in another transaction by now.
      const late = yield* Effect.exit(sql.withTransaction(Effect.andThen(pid, pull)))
      assert.match(String(late), /transaction of this stream has ended/)
    }).pipe(Effect.scoped, asAlice, Effect.ensuring(clear))
  )

  it.effect("fails a statement at once that would wait for it on its connection, and the stream goes on", () =>
    Effect.gen(function* () {
      const sql = yield* Notes
      const insert = sql<Note>`INSERT INTO notes (body) SELECT 'n' || n FROM generate_series(1, 5) AS n RETURNING id, body`
      const streamed: Array<string> = []
      const inside: Record<string, Effect.Effect<unknown, SqlError.SqlError>> = {
        statement: sql`SELECT 1`,
        values: sql`SELECT 1`.values,
        stream: Stream.runDrain(sql`SELECT 1`.stream),
        savepoint: sql.withTransaction(Effect.void)
      }
      // Postgres has no cursor for it: its rows come on the connection itself.
      yield* sql.withTransaction(
        Stream.runForEach(insert.stream, ({ body }) =>
          Effect.gen(function* () {
            streamed.push(body)
            for (const [what, effect] of Object.entries(inside)) {
              assert.match((yield* sqlErrorOf(effect)).message, /A stream is open on the connection/, what)
            }
          })
        )
      )
      assert.deepStrictEqual(streamed, ["n1", "n2", "n3", "n4", "n5"])
      assert.deepStrictEqual(yield* bodies, streamed)
      yield* clear
      // A transaction that would have to wait for one to commit is rolled back.
      const error = yield* sqlErrorOf(
        Effect.scoped(
          Effect.gen(function* () {
            const scope = yield* Effect.scope
            yield* sql.withTransaction(Effect.flatten(Scope.provide(Stream.toPull(insert.stream), scope)))
          })
        ) as Effect.Effect<unknown, SqlError.SqlError> // a pull may also say that the stream has ended
      )
      assert.match(error.message, /A stream is open on the connection/)
      assert.deepStrictEqual(yield* bodies, [])
    }).pipe(asAlice, Effect.ensuring(clear))
  )

  it.effect("fails a statement at once on a reserved connection that it reads from", () =>
    Effect.gen(function* () {
      const sql = yield* Notes
      const connection = yield* sql.reserve
      const numbers = connection.executeStream("SELECT generate_series(1, 3) AS n", [], undefined)
      const one = connection.executeRaw("SELECT 1", [])
      const errors = yield* Stream.runCollect(Stream.mapEffect(numbers, () => sqlErrorOf(one)))
      for (const error of errors) assert.match(error.message, /A stream is open on the connection/)
      assert.strictEqual(errors.length, 3)
      yield* one
      yield* connection.executeRaw("BEGIN", [])
      yield* Stream.runForEach(numbers, () => one)
      yield* connection.executeRaw("COMMIT", [])
    }).pipe(Effect.scoped, asAlice)
  )

  it.effect("runs beside a listener of its transaction's caller", () =>
    Effect.gen(function* () {
      const sql = yield* Notes
      const heard = yield* sql.withTransaction(
        Effect.gen(function* () {
          const queue = yield* sql.listen("rows")
          yield* Stream.runForEach(sql<{ n: number }>`SELECT generate_series(1, 3) AS n`.stream, ({ n }) =>
            asService(sql.notify("rows", String(n)))
          )
          return yield* Queue.takeN(queue, 3)
        })
      )
      assert.deepStrictEqual(
        heard.map((_) => _.payload),
        ["1", "2", "3"]
      )
    }).pipe(Effect.scoped, asAlice)
  )
})
