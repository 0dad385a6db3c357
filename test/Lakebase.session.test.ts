import { assert, layer } from "@effect/vitest"
import { asService, ServiceContext } from "effect-databricks"
import { LocalWorkspace } from "effect-databricks/testing"
import { Deferred, Effect, Exit, Fiber, Layer, Stream } from "effect"
import type { SqlError } from "effect/sql"
import { asAlice, asBob, Database, lakebase, nameOf, Notes, pid } from "./fixtures/lakebaseClient.ts"
import { alice, bob } from "./fixtures/workspace.ts"

const one = { maxConnections: 4, maxConnectionsService: 2, maxConnectionsPerUser: 1 }

// A user has one connection here: whatever is left on it would be met by the next call.
layer(Notes.layer.pipe(Layer.provideMerge(lakebase(one)), Layer.provideMerge(Database)), {
  timeout: "60 seconds",
  excludeTestServices: true
})("a session", (it) => {
  it.effect("keeps its settings, temporary tables and advisory locks from other callers", () =>
    Effect.gen(function* () {
      const sql = yield* Notes
      const setting = Effect.map(
        sql<{ v: string | null }>`SELECT current_setting('app.tenant', true) AS v`,
        ([row]) => row!.v || null
      )
      const table = Effect.exit(sql`SELECT * FROM mine`)
      const lock = Effect.map(sql<{ got: boolean }>`SELECT pg_try_advisory_lock(7) AS got`, ([row]) => row!.got)
      yield* asAlice(
        Effect.all([sql`SET app.tenant = 'alice'`, sql`CREATE TEMPORARY TABLE mine AS SELECT 1 AS a`.raw, lock])
      )
      assert.strictEqual(yield* asAlice(setting), "alice")
      assert.isTrue(Exit.isSuccess(yield* asAlice(table)))
      for (const as of [asBob, asService]) {
        assert.strictEqual(yield* as(setting), null)
        assert.isTrue(Exit.isFailure(yield* as(table)))
        assert.strictEqual(yield* as(lock), false)
      }
      assert.strictEqual(yield* asAlice(lock), true)
    })
  )

  it.effect("that is given back in the middle of a transaction is closed", () =>
    Effect.gen(function* () {
      const sql = yield* Notes
      const state = Effect.map(
        sql<{ state: string; pid: number }>`SELECT state, pid FROM pg_stat_activity WHERE usename = ${bob}`,
        (rows) => rows.filter((_) => _.state.includes("transaction"))
      )
      const before = yield* asBob(pid)
      assert.strictEqual(yield* asBob(pid), before)
      for (const begin of ["BEGIN", "  /* now */ start transaction read only"]) {
        const held = yield* asBob(pid)
        yield* asBob(sql.unsafe(begin))
        assert.notStrictEqual(yield* asBob(pid), held)
        assert.deepStrictEqual(yield* asService(state), [])
      }
      // One that was ended properly is as good as before.
      const reserved = yield* asBob(
        Effect.scoped(
          Effect.flatMap(sql.reserve, (_) => Effect.andThen(_.executeRaw("BEGIN", []), _.executeRaw("COMMIT", [])))
        ).pipe(Effect.andThen(pid))
      )
      assert.strictEqual(yield* asBob(pid), reserved)
    })
  )

  it.effect("on which something was interrupted is closed, for a late cancel request would hit the next call", () =>
    Effect.gen(function* () {
      const sql = yield* Notes
      const impatient = Effect.timeoutOption(sql`SELECT pg_sleep(30)`, "20 millis")
      // None of these is interrupted itself, which alone would have its session closed.
      const ends: ReadonlyArray<Effect.Effect<unknown, SqlError.SqlError>> = [
        sql.withTransaction(impatient),
        sql.withTransaction(sql.withTransaction(impatient)),
        Effect.scoped(
          Effect.flatMap(sql.reserve, (_) => Effect.timeoutOption(_.executeRaw("SELECT pg_sleep(30)", []), "20 millis"))
        ),
        Stream.runHead(sql`SELECT generate_series(1, 1000000)`.stream)
      ]
      for (const end of ends) {
        const before = yield* asAlice(pid)
        assert.strictEqual(yield* asAlice(pid), before)
        yield* asAlice(Effect.exit(end))
        assert.notStrictEqual(yield* asAlice(pid), before)
      }
    })
  )

  it.effect("whose transaction could not be rolled back in time is closed", () =>
    Effect.gen(function* () {
      const sql = yield* Notes
      const { postgresServer } = yield* LocalWorkspace.LocalWorkspace
      const before = yield* asBob(pid)
      const half = Effect.andThen(sql`INSERT INTO notes (body) VALUES ('half')`, postgresServer.freeze)
      const error = yield* asBob(Effect.flip(sql.withTransaction(Effect.andThen(half, Effect.fail("mine")))))
      yield* postgresServer.thaw
      assert.strictEqual(error, "mine")
      assert.notStrictEqual(yield* asBob(pid), before)
      assert.deepStrictEqual(yield* asBob(sql`SELECT body FROM notes WHERE body = 'half'`), [])
    })
  )

  it.effect("is not met by a fiber that outlives its transaction", () =>
    Effect.gen(function* () {
      const sql = yield* Notes
      const gone = yield* Deferred.make<void>()
      const late = yield* asAlice(
        sql.withTransaction(
          Effect.gen(function* () {
            const joined = yield* Effect.forkChild(Effect.all([pid, sql.withTransaction(pid)]))
            const mine = yield* pid
            assert.deepStrictEqual(yield* Fiber.join(joined), [mine, mine])
            return yield* Effect.forkDetach(Effect.andThen(Deferred.await(gone), pid))
          })
        )
      )
      yield* Deferred.succeed(gone, undefined)
      const error = yield* Effect.flip(Fiber.join(late))
      assert.match(error.message, /has ended: join the fiber/)
    })
  )

  it.effect("is opened for the role of its caller", () =>
    Effect.gen(function* () {
      const sql = yield* Notes
      yield* Effect.all([asAlice(pid), asBob(pid)])
      const { principal } = yield* ServiceContext.ServiceContext
      const roles = yield* sql<{ role: string; name: string }>`
        SELECT usename AS role, application_name AS name FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()`
      for (const { name, role } of roles) {
        assert.include([alice, bob, principal.userName], role)
        assert.strictEqual(name, "effect-databricks")
      }
      assert.strictEqual(nameOf(principal.userName), "service")
    })
  )
})
