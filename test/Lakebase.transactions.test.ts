import { assert, layer } from "@effect/vitest"
import { asService } from "effect-databricks"
import { LocalWorkspace } from "effect-databricks/testing"
import { Deferred, Effect, Exit, Layer, Queue, Stream } from "effect"
import { Reactivity } from "effect/reactivity"
import { SqlClient } from "effect/sql"
import {
  Application,
  asAlice,
  asBob,
  bodies,
  clear,
  lakebase,
  Notes,
  pid,
  whoThrough
} from "./fixtures/lakebaseClient.ts"
import { alice, bob } from "./fixtures/people.ts"

layer(Application, { timeout: "60 seconds", excludeTestServices: true })("Lakebase", (it) => {
  it.effect("runs a nested asUser outside the service's transaction, then returns to it", () =>
    Effect.gen(function* () {
      const sql = yield* Notes
      const insert = (body: string) => sql`INSERT INTO notes ${sql.insert({ body })}`
      const exit = yield* Effect.exit(
        sql.withTransaction(
          Effect.gen(function* () {
            const outer = yield* pid
            yield* insert("of the service")
            const [user, inner] = yield* asAlice(
              Effect.all([whoThrough(sql), pid, insert("of alice"), asService(pid)])
            ).pipe(Effect.tap(([, , , again]) => Effect.sync(() => assert.strictEqual(again, outer))))
            assert.strictEqual(user, alice)
            assert.notStrictEqual(inner, outer)
            assert.strictEqual(yield* pid, outer)
            // The service sees its own uncommitted row, and the row that alice has committed.
            assert.deepStrictEqual(yield* bodies, ["of the service", "of alice"])
            return yield* Effect.fail("back" as const)
          })
        )
      )
      assert.deepStrictEqual(exit, Exit.fail("back" as const))
      assert.deepStrictEqual(yield* bodies, ["of alice"])
    }).pipe(Effect.ensuring(clear))
  )

  it.effect("keeps nested transactions of two users and the service apart, with savepoints", () =>
    Effect.gen(function* () {
      const sql = yield* Notes
      const insert = (body: string) => sql`INSERT INTO notes ${sql.insert({ body })}`
      yield* asAlice(
        sql.withTransaction(
          Effect.gen(function* () {
            const mine = yield* pid
            yield* insert("alice")
            yield* asService(
              sql.withTransaction(
                Effect.gen(function* () {
                  assert.strictEqual(yield* whoThrough(sql), "service")
                  yield* insert("service")
                  yield* asAlice(
                    Effect.gen(function* () {
                      assert.strictEqual(yield* pid, mine)
                      yield* Effect.ignore(
                        sql.withTransaction(Effect.andThen(insert("alice, taken back"), Effect.fail("savepoint")))
                      )
                      yield* sql.withTransaction(insert("alice again"))
                    })
                  )
                  yield* asBob(sql.withTransaction(insert("bob")))
                })
              )
            )
            assert.strictEqual(yield* pid, mine)
            // Committed already, though alice's is open.
            assert.deepStrictEqual(yield* asService(bodies), ["service", "bob"])
          })
        )
      )
      assert.deepStrictEqual((yield* bodies).toSorted(), ["alice", "alice again", "bob", "service"])
    }).pipe(Effect.ensuring(clear))
  )

  it.effect("runs afterCommit effects after the commit, as the caller that registered them", () =>
    Effect.gen(function* () {
      const sql = yield* Notes
      const done: Array<string> = []
      const note = (what: string) =>
        sql.afterCommit(
          Effect.all([whoThrough(sql), asService(bodies)]).pipe(
            Effect.map(([by, seen]) => done.push(`${what} ${by} ${seen}`)),
            Effect.orDie // an afterCommit effect cannot fail
          )
        )
      yield* asAlice(
        sql.withTransaction(
          Effect.gen(function* () {
            yield* sql`INSERT INTO notes ${sql.insert({ body: "x" })}`
            yield* note("first")
            yield* Effect.ignore(sql.withTransaction(Effect.andThen(note("taken back"), Effect.fail("no"))))
            yield* sql.withTransaction(note("nested"))
            assert.deepStrictEqual(done, [])
          })
        )
      )
      assert.deepStrictEqual(done, [`first ${alice} x`, `nested ${alice} x`])
      yield* Effect.ignore(sql.withTransaction(Effect.andThen(note("never"), Effect.fail("no"))))
      assert.strictEqual(done.length, 2)
      yield* asBob(note("at once"))
      assert.strictEqual(done[2], `at once ${bob} x`)
    }).pipe(Effect.ensuring(clear))
  )

  it.effect("reruns reactive queries that an afterCommit effect invalidates", () =>
    Effect.gen(function* () {
      const sql = yield* Notes
      const seen = yield* Queue.make<ReadonlyArray<string>>()
      yield* asAlice(Effect.forkScoped(Stream.runForEach(sql.reactive(["notes"], bodies), (_) => Queue.offer(seen, _))))
      assert.deepStrictEqual(yield* Queue.take(seen), [])
      yield* asAlice(
        sql.withTransaction(
          Effect.andThen(
            sql`INSERT INTO notes ${sql.insert({ body: "x" })}`,
            sql.withTransaction(sql.afterCommit(Reactivity.invalidate(["notes"])))
          )
        )
      )
      assert.deepStrictEqual(yield* Queue.take(seen), ["x"])
    }).pipe(Effect.scoped, Effect.ensuring(clear))
  )

  it.effect("keeps a caller's transactions on two databases apart", () =>
    Effect.gen(function* () {
      const { administer } = yield* LocalWorkspace.LocalWorkspace
      yield* administer("CREATE DATABASE other")
      const one = yield* Notes
      const two = yield* Effect.provide(SqlClient.SqlClient, yield* Layer.build(lakebase({ database: "other" })))
      const where = (sql: SqlClient.SqlClient) =>
        Effect.map(
          sql<{ db: string; who: string }>`SELECT current_database() AS db, current_user AS who`,
          ([row]) => `${row!.db} ${row!.who}`
        )
      const both = Effect.all([where(one), where(two), two.withTransaction(Effect.all([where(one), where(two)]))])
      const own = `databricks_postgres ${alice}`
      const others = `other ${alice}`
      assert.deepStrictEqual(yield* asAlice(one.withTransaction(both)), [own, others, [own, others]])
      const done = yield* Deferred.make<string>()
      const tell = where(two).pipe(
        Effect.flatMap((_) => Deferred.succeed(done, _)),
        Effect.orDie // an afterCommit effect cannot fail
      )
      yield* asAlice(
        one.withTransaction(
          two.afterCommit(tell).pipe(
            // The other database has no transaction that the effect would have to wait for.
            Effect.andThen(Deferred.await(done)),
            Effect.map((_) => assert.strictEqual(_, others))
          )
        )
      )
    }).pipe(Effect.scoped)
  )
})
