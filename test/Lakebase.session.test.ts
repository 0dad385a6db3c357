import { assert, layer } from "@effect/vitest"
import { asService, Lakebase, ServiceContext } from "effect-databricks"
import { LocalWorkspace } from "effect-databricks/testing"
import { Deferred, Duration, Effect, Exit, Fiber, Layer, Stream } from "effect"
import { SqlClient, type SqlError } from "effect/sql"
import { eventually } from "./fixtures/eventually.ts"
import { asAlice, asBob, Database, lakebase, nameOf, Notes, pid } from "./fixtures/lakebaseClient.ts"
import { credentials, database, hold, pidOf, settled, sqlErrorOf } from "./fixtures/lakebaseFaults.ts"
import { alice, as, bob } from "./fixtures/people.ts"

const one = { maxConnections: 4, maxConnectionsService: 2, maxConnectionsPerUser: 1 }

// A user has one connection here: the next call would see any state that is left on it.
layer(Notes.layer.pipe(Layer.provideMerge(lakebase(one)), Layer.provideMerge(Database)), {
  timeout: "60 seconds",
  excludeTestServices: true
})("Lakebase", (it) => {
  it.effect("closes a connection on which settings, roles, locks, temporary or prepared things remain", () =>
    Effect.gen(function* () {
      const sql = yield* Notes
      const left = (statement: string) =>
        Effect.gen(function* () {
          const before = yield* pid
          yield* sql.unsafe(statement).unprepared
          return (yield* pid) !== before
        })
      for (const as of [asAlice, asService]) {
        for (const statement of [
          "SET app.tenant = 'alice'",
          "-- first\n/* second */ set session statement_timeout = 1000",
          "/* a /* comment */ in one */ SET app.tenant = 'alice'",
          ";SET TIME ZONE 'Asia/Tokyo'",
          "SET ROLE NONE",
          "SELECT set_config('app.tenant', 'alice', false)",
          "SELECT id, pg_catalog . set_config ('app.tenant', coalesce('alice', ''), id > 0) FROM notes",
          "UPDATE pg_settings SET setting = '1' WHERE name = 'app.tenant'",
          "SELECT pg_advisory_lock(7)",
          "SELECT pg_try_advisory_lock_shared(7)",
          "CREATE TEMPORARY TABLE mine AS SELECT 1 AS a",
          "CREATE OR REPLACE TEMP VIEW mine AS SELECT 1 AS a",
          "SELECT 1 AS a INTO TEMP mine",
          "CREATE TABLE pg_temp.mine (a int)",
          "PREPARE mine AS SELECT 1",
          "LISTEN mine",
          "DECLARE mine CURSOR WITH HOLD FOR SELECT 1",
          "DO $$ BEGIN PERFORM set_config('app.tenant', 'alice', false); END $$",
          "SELECT setseed(0.5)",
          "SELECT set_config /* of */ ('app.tenant', 'alice', false)",
          "SELECT set_config('app.tenant', $$,true)$$, false)",
          "SELECT set_config('app.tenant', E'\\',true)', false)",
          "SELECT set_config('app.tenant', 'alice' -- ,true)\n, false)",
          "SELECT '/*' AS a, pg_advisory_lock/**/(7), '*/' AS b",
          'SELECT U&"pg_advisory_l\\006fck"(7)',
          "CREATE /* it's */ TEMP TABLE mine (a int)",
          'CREATE TABLE "pg_temp".mine (a int)'
        ]) {
          assert.isTrue(yield* as(left(statement)), statement)
        }
        // What ends with its transaction, or is no more than a name, leaves nothing.
        for (const statement of [
          "SET LOCAL app.tenant = 'alice'",
          "SELECT set_config('app.tenant', coalesce('alice', 'x'), true)",
          "SELECT set_config('app.tenant', concat('it''s', 'b') /* c */, true) -- of the transaction",
          "SELECT pg_advisory_xact_lock(7)",
          "UPDATE notes SET body = 'set role' WHERE body = 'x'",
          "/* set */ -- role\n/* listen */ SELECT id FROM notes",
          "SELECT temp FROM (SELECT 20 AS temp) AS reading",
          "SELECT body AS prepare FROM notes"
        ]) {
          assert.isFalse(yield* as(left(statement)), statement)
        }
      }
    })
  )

  it.effect("hides the settings, temporary tables and advisory locks of a call from the next one", () =>
    Effect.gen(function* () {
      const sql = yield* Notes
      const setting = Effect.map(
        sql<{ v: string | null }>`SELECT current_setting('app.tenant', true) AS v`,
        ([row]) => row!.v || null
      )
      const table = Effect.exit(sql`SELECT * FROM mine`)
      const lock = Effect.map(sql<{ got: boolean }>`SELECT pg_try_advisory_lock(7) AS got`, ([row]) => row!.got)
      for (const first of [asAlice, asService]) {
        yield* first(
          Effect.andThen(
            sql`SELECT set_config('app.tenant', 'mine', false)`,
            sql.withTransaction(Effect.all([sql`CREATE TEMPORARY TABLE mine AS SELECT 1 AS a`.raw, lock]))
          )
        )
        for (const next of [asAlice, asBob, asService]) {
          assert.strictEqual(yield* next(setting), null)
          assert.isTrue(Exit.isFailure(yield* next(table)))
          // The server lets go of it when it has seen that the connection has closed.
          yield* Effect.repeat(next(lock), { until: Boolean })
        }
      }
    })
  )

  it.effect("closes a connection that is released in the middle of a transaction", () =>
    Effect.gen(function* () {
      const sql = yield* Notes
      const state = Effect.map(
        sql<{ state: string; pid: number }>`SELECT state, pid FROM pg_stat_activity WHERE usename = ${bob}`,
        (rows) => rows.filter((_) => _.state.includes("transaction"))
      )
      const before = yield* asBob(pid)
      assert.strictEqual(yield* asBob(pid), before)
      const left = (statements: ReadonlyArray<string>) =>
        Effect.gen(function* () {
          const held = yield* asBob(pid)
          const run = Effect.flatMap(sql.reserve, (_) => Effect.forEach(statements, (sql) => _.executeRaw(sql, [])))
          yield* asBob(Effect.ignore(Effect.scoped(run)))
          const next = yield* asBob(pid)
          assert.deepStrictEqual(yield* asService(state), [])
          return next !== held
        })
      for (const statements of [
        ["BEGIN"],
        ["  /* now */ start transaction read only"],
        ["/* a /* comment */ in one */ BEGIN"],
        [";BEGIN"],
        ["BEGIN", "SELEC"],
        ["BEGIN", "SAVEPOINT a", "ROLLBACK TO a"],
        ["BEGIN", "COMMIT AND CHAIN"],
        ["BEGIN", "ROLLBACK AND CHAIN"]
      ]) {
        assert.isTrue(yield* left(statements), statements.join("; "))
      }
      // A transaction that was ended properly leaves the connection usable.
      for (const statements of [
        ["BEGIN", "COMMIT"],
        ["BEGIN", "abort and no chain"],
        ["BEGIN", "-- over\nEND"]
      ]) {
        assert.isFalse(yield* left(statements), statements.join("; "))
      }
    })
  )

  it.effect("closes a connection on which a statement was interrupted", () =>
    Effect.gen(function* () {
      const sql = yield* Notes
      const impatient = Effect.timeoutOption(sql`SELECT pg_sleep(30)`, "20 millis")
      // The use of the connection itself is not interrupted, which alone would close it.
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

  it.effect("closes a connection whose transaction could not be rolled back in time", () =>
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

  it.effect("fails a statement of a fiber that outlives its transaction", () =>
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

  it.effect("opens each connection with the role of its caller", () =>
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

const table = LocalWorkspace.LocalWorkspace.use(({ administer }) =>
  administer("CREATE TABLE done (what text NOT NULL); GRANT SELECT, INSERT, DELETE ON done TO PUBLIC;")
)

layer(Layer.effectDiscard(table).pipe(Layer.provideMerge(database(one))), {
  timeout: "60 seconds",
  excludeTestServices: true
})("Lakebase", (it) => {
  const insert = (what: string) =>
    Effect.flatMap(SqlClient.SqlClient, (sql) => sql`INSERT INTO done (what) VALUES (${what})`)
  const done = Effect.flatMap(SqlClient.SqlClient, (sql) =>
    Effect.map(sql<{ what: string }>`SELECT what FROM done ORDER BY what`, (rows) => rows.map((_) => _.what))
  )
  const server = LocalWorkspace.LocalWorkspace.useSync((_) => _.postgresServer)
  const thaw = Effect.flatMap(server, (_) => _.thaw)

  /** Interrupts an effect that waits for the server that it froze; returns its exit and the milliseconds that took. */
  const cutOff = <A, E, R>(during: (freeze: typeof thaw) => Effect.Effect<A, E, R>) =>
    Effect.gen(function* () {
      const frozen = yield* Deferred.make<void>()
      const freeze = Effect.andThen(
        Effect.orDie(Effect.flatMap(server, (_) => _.freeze)), // no test without it
        Deferred.succeed(frozen, undefined)
      )
      const fiber = yield* Effect.forkChild(during(Effect.asVoid(freeze)))
      yield* Deferred.await(frozen)
      // Lets the effect go on, and send the statement that the server will not answer.
      yield* Effect.sleep("10 millis")
      const [took] = yield* Effect.timed(Fiber.interrupt(fiber))
      return [yield* Fiber.await(fiber), Duration.toMillis(took)] as const
    }).pipe(Effect.ensuring(thaw))

  it.effect("interrupts a transaction within 5 s on a server that hangs, and never retries it", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      const nested = sql.withTransaction
      type Freeze = typeof thaw
      const ends = {
        COMMIT: (freeze: Freeze) => freeze,
        SAVEPOINT: (freeze: Freeze) => Effect.andThen(freeze, nested(Effect.void)),
        RELEASE: (freeze: Freeze) => nested(freeze),
        "ROLLBACK TO": (freeze: Freeze) => nested(Effect.andThen(freeze, Effect.fail("back")))
      }
      for (const [what, end] of Object.entries(ends)) {
        const before = yield* as(alice)(pidOf(sql))
        const [exit, took] = yield* cutOff((freeze) =>
          as(alice)(sql.withTransaction(Effect.andThen(insert(what), end(freeze))))
        )
        assert.isTrue(Exit.hasInterrupts(exit), what)
        // Below the 5 seconds for which the driver waits.
        assert.isBelow(took, 4_900, what)
        assert.notStrictEqual(yield* as(alice)(pidOf(sql)), before, what)
      }
      // The server may have heard of the COMMIT, but once.
      assert.includeDeepMembers([[], ["COMMIT"]], [yield* as(alice)(done)])
      yield* as(alice)(sql`DELETE FROM done`)
      yield* settled
    })
  )

  it.effect("rolls a transaction back when the outcome of a nested one is unknown", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      const error = yield* sqlErrorOf(
        as(alice)(
          sql.withTransaction(
            Effect.gen(function* () {
              yield* insert("before")
              const [exit] = yield* cutOff((freeze) => sql.withTransaction(Effect.andThen(insert("part"), freeze)))
              assert.isTrue(Exit.hasInterrupts(exit))
            })
          )
        )
      )
      assert.match(error.message, /was abandoned/)
      assert.deepStrictEqual(yield* as(alice)(done), [])
      yield* settled
    })
  )
})

const tight = { maxConnections: 2, maxConnectionsService: 1, acquireTimeout: "4 seconds" } as const

layer(database(tight), { timeout: "60 seconds", excludeTestServices: true })("Lakebase", (it) => {
  it.effect("applies one acquireTimeout to waiting for a place and opening the connection", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      const { misbehave } = yield* LocalWorkspace.LocalWorkspace
      const { stats } = yield* Lakebase.Lakebase
      const release = yield* as(alice)(hold(Effect.void))
      yield* misbehave({ path: credentials, kind: "hang" })
      const bobs = yield* Effect.forkChild(sqlErrorOf(as(bob)(pidOf(sql))))
      yield* eventually(Effect.map(stats, ({ users }) => users.waiting === 1))
      // Leaves bob 2 of 4 seconds: less than the 3.2 after which a token request alone would fail.
      yield* Effect.sleep("2 seconds")
      yield* release
      assert.instanceOf((yield* Fiber.join(bobs)).reason.cause, Lakebase.PoolExhaustedError)
    }).pipe(Effect.scoped)
  )
})
