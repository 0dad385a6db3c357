import { PgConnection } from "@effect/sql-pg"
import { assert, layer } from "@effect/vitest"
import { Lakebase, Operation } from "effect-databricks"
import { LocalWorkspace } from "effect-databricks/testing"
import { Deferred, Effect, Exit, Fiber, Layer, Predicate, Random, Ref, Scope, Stream } from "effect"
import { SqlClient } from "effect/sql"
import { TestClock } from "effect/testing"
import { eventually } from "./fixtures/eventually.ts"
import { lakebase, who } from "./fixtures/lakebaseClient.ts"
import {
  busy,
  credentials,
  database,
  failureOf,
  hold,
  pidOf,
  refused,
  settled,
  sqlErrorOf,
  stays,
  Watcher
} from "./fixtures/lakebaseFaults.ts"
import { alice, as } from "./fixtures/people.ts"

const users = Array.from({ length: 8 }, (_, i) => `u${i}@example.com`)
const budget = 20
const options = { maxConnections: budget, maxConnectionsService: 5 }

/** A table in which each user sees their own rows. */
const table = LocalWorkspace.LocalWorkspace.use(({ administer }) =>
  administer(`
    CREATE TABLE runs (owner text NOT NULL DEFAULT current_user, what text NOT NULL);
    ALTER TABLE runs ENABLE ROW LEVEL SECURITY;
    CREATE POLICY own ON runs USING (owner = current_user);
    GRANT SELECT, INSERT, DELETE ON runs TO PUBLIC;
  `)
)
const App = Layer.effectDiscard(table).pipe(Layer.provideMerge(database(options, [alice, ...users])))

const run = (what: string) =>
  Effect.flatMap(SqlClient.SqlClient, (sql) => sql`INSERT INTO runs (what) VALUES (${what})`)

layer(App, { timeout: "60 seconds", excludeTestServices: true })("Lakebase", (it) => {
  it.effect("loses at most one statement per connection when Postgres restarts under 32 callers", () =>
    Effect.gen(function* () {
      const { postgresServer } = yield* LocalWorkspace.LocalWorkspace
      const { stats } = yield* Lakebase.Lakebase
      const callers = Array.from({ length: 32 }, (_, i) => {
        const ran: Array<string> = []
        return { user: users[i % users.length]!, name: (n: number) => `restart ${i}.${n}`, ran, failed: 0 }
      })
      const stop = yield* Ref.make(false)
      const running = yield* Effect.forEach(callers, (caller) =>
        Effect.forkChild(
          Effect.gen(function* () {
            for (let n = 0; !(yield* Ref.get(stop)); n++) {
              const exit = yield* Effect.exit(as(caller.user)(run(caller.name(n))))
              if (Exit.isSuccess(exit)) caller.ran.push(caller.name(n))
              else {
                assert.isTrue(exit.cause.reasons.every((_) => _._tag === "Fail" && _.error._tag === "SqlError"))
                caller.failed++
              }
            }
          })
        )
      )
      const allRun = Effect.suspend(() => {
        const before = callers.map(({ ran }) => ran.length)
        return eventually(Effect.sync(() => callers.every(({ ran }, i) => ran.length > before[i]!)))
      })
      yield* allRun
      yield* postgresServer.stop
      // The server refuses connections. During these probes it refuses each waiting caller as well.
      yield* Effect.repeat(refused, { times: 30 })
      const failed = callers.map((_) => _.failed)
      const lost = failed.reduce((sum, n) => sum + n)
      // A caller may lose two statements, for a server that stops ends its backends one by one.
      assert.isAtMost(lost, options.maxConnections - options.maxConnectionsService, String(failed))
      yield* eventually(Effect.map(stats, ({ users }) => users.total + users.waiting === callers.length))
      yield* Effect.repeat(refused, { times: 30 })
      yield* postgresServer.start
      yield* allRun
      yield* Ref.set(stop, true)
      yield* Effect.forEach(running, Fiber.join)
      // Callers that waited while the server was down have been served.
      assert.deepStrictEqual(
        callers.map((_) => _.failed),
        failed
      )
      const sql = yield* SqlClient.SqlClient
      const stored = yield* Effect.forEach(users, (user) =>
        Effect.map(as(user)(sql<{ what: string }>`SELECT what FROM runs WHERE what LIKE 'restart %'`), (rows) =>
          rows.map((_) => _.what)
        )
      )
      const rows = new Set(stored.flat())
      assert.strictEqual(stored.flat().length, rows.size, "a statement was run twice")
      const ran = callers.flatMap((_) => _.ran)
      assert.isTrue(ran.every((name) => rows.has(name)))
      // Of those that failed some may have been committed.
      assert.isAtMost(rows.size - ran.length, lost)
      yield* settled
    })
  )

  it.effect("ends timed-out and interrupted calls within 5 seconds when the server hangs", () =>
    Effect.gen(function* () {
      const { postgres, postgresServer, token } = yield* LocalWorkspace.LocalWorkspace
      const sql = yield* SqlClient.SqlClient
      const warm = ["u0@example.com", "u1@example.com", "u2@example.com"] as const
      for (const user of warm) yield* as(user)(who)
      const frozen = yield* Deferred.make<void>()
      const timeout = { name: "hung", timeout: "500 millis" } as const
      const never = Operation.execute(Effect.never, timeout)
      const begun = yield* Effect.all([Deferred.make<void>(), Deferred.make<void>()])
      const begin = (which: Deferred.Deferred<void>) => Effect.andThen(who, Deferred.succeed(which, undefined))
      const inside = yield* Effect.forkChild(
        failureOf(as(alice)(sql.withTransaction(Effect.all([begin(begun[0]), Deferred.await(frozen), never]))))
      )
      const left = yield* Effect.forkChild(
        as(alice)(sql.withTransaction(Effect.andThen(begin(begun[1]), Effect.never)))
      )
      yield* Effect.forEach(begun, Deferred.await)
      // The driver itself waits 5 seconds for a server that hangs: by then each call has to be over.
      const driver = yield* PgConnection.make({ ...postgres, username: alice, password: yield* token(alice) })
      const waits = yield* Effect.forkChild(driver.query("SELECT pg_sleep(60)"), { startImmediately: true })
      yield* postgresServer.freeze
      const slow = yield* Effect.forkChild(Fiber.interrupt(waits), { startImmediately: true })
      yield* Deferred.succeed(frozen, undefined)
      const callers = yield* Effect.forEach(
        [
          failureOf(as(warm[0])(Operation.execute(who, timeout))),
          failureOf(as(warm[1])(Operation.execute(sql.withTransaction(who), timeout))),
          failureOf(as(warm[2])(Operation.execute(Stream.runDrain(sql`SELECT 1`.stream), timeout))),
          failureOf(as("u3@example.com")(Operation.execute(who, timeout))),
          Fiber.join(inside),
          Effect.as(Fiber.interrupt(left), undefined)
        ],
        (call) => Effect.forkChild(call)
      )
      yield* Effect.raceFirst(Effect.forEach(callers, Fiber.await), Fiber.await(slow))
      const gone = callers.map((caller) => caller.pollUnsafe())
      yield* postgresServer.thaw
      assert.isTrue(gone.every(Predicate.isNotUndefined), "a call waits as long as the driver does")
      assert.deepStrictEqual(
        yield* Effect.forEach(callers, (caller) => Effect.map(Fiber.join(caller), (_) => _?._tag)),
        [...Array.from({ length: 5 }, () => "OperationTimeoutError" as const), undefined]
      )
      assert.deepStrictEqual(yield* Effect.forEach(users, (user) => as(user)(who)), users)
      yield* settled
    }).pipe(Effect.scoped)
  )

  it.effect(
    "leaks neither connections nor rows when 5,000 operations are interrupted at random",
    () =>
      Effect.gen(function* () {
        const sql = yield* SqlClient.SqlClient
        for (const user of users) yield* as(user)(Effect.andThen(sql`DELETE FROM runs`, run(user)))
        const own = (user: string) =>
          Effect.map(sql<{ what: string }>`SELECT what FROM runs`, (rows) => {
            if (rows.length !== 1 || rows[0]!.what !== user) throw new Error(`${user} saw ${JSON.stringify(rows)}`)
          })
        const operations = [
          own,
          (user: string) => Effect.andThen(sql`SELECT pg_sleep(0.01)`, own(user)),
          (user: string) =>
            sql.withTransaction(Effect.all([own(user), run("rolled back"), Effect.fail("undo" as const)])),
          (user: string) => sql.withTransaction(Effect.andThen(own(user), sql.withTransaction(own(user)))),
          (user: string) =>
            Stream.runForEach(
              sql<{ who: string }>`SELECT current_user AS who FROM generate_series(1, 2000)`.stream,
              (row) => (row.who === user ? Effect.void : Effect.die(new Error(`${user} was ${row.who}`)))
            )
        ]
        const wrong: Array<string> = []
        let interrupted = 0
        yield* Effect.forEach(
          Array.from({ length: 5_000 }),
          (_, i) =>
            Effect.gen(function* () {
              const user = users[i % users.length]!
              const fiber = yield* Effect.forkChild(as(user)(operations[i % operations.length]!(user)))
              yield* Effect.sleep(yield* Random.nextBetween(0, 20))
              yield* Fiber.interrupt(fiber)
              const exit = yield* Fiber.await(fiber)
              if (Exit.isSuccess(exit)) return
              if (Exit.hasInterrupts(exit)) return void interrupted++
              const [reason] = exit.cause.reasons
              if (reason?._tag !== "Fail" || reason.error !== "undo") wrong.push(String(exit.cause))
            }),
          { concurrency: 32 }
        )
        assert.deepStrictEqual(wrong, [])
        assert.isAbove(interrupted, 500)
        yield* settled
        for (const user of users) yield* as(user)(own(user))
      }),
    // They take as long as the machine needs for them.
    { timeout: 300_000 }
  )

  it.effect("stays within its budget of 20 connections through the faults of this file", () => stays(budget))

  it.effect("finishes 50 running queries when its scope closes, then closes the connections", () =>
    Effect.gen(function* () {
      const { backends } = yield* Watcher
      const { stats } = yield* Lakebase.Lakebase
      const sql = yield* SqlClient.SqlClient
      const release = yield* as(alice)(hold(sql`SELECT pg_advisory_xact_lock(50)`))
      const scope = yield* Scope.make()
      const context = yield* Layer.buildWithScope(
        Layer.fresh(lakebase({ maxConnections: 70, maxConnectionsService: 60 })),
        scope
      )
      const another = yield* Effect.provideContext(SqlClient.SqlClient, context)
      const query = another`SELECT pg_advisory_xact_lock_shared(50)`
      const queries = yield* Effect.forEach(Array.from({ length: 50 }), () => Effect.forkChild(query))
      yield* busy(51)
      const closing = yield* Effect.forkChild(Scope.close(scope, Exit.void), { startImmediately: true })
      yield* eventually(Effect.map(Effect.exit(another`SELECT 1`), Exit.isFailure))
      assert.instanceOf((yield* sqlErrorOf(another`SELECT 1`)).reason.cause, Lakebase.PoolExhaustedError)
      assert.isUndefined(closing.pollUnsafe())
      yield* release
      for (const query of queries) assert.strictEqual((yield* Fiber.join(query)).length, 1)
      yield* Fiber.join(closing)
      // Those of the other tests, of which each may close when it has been idle for long enough.
      const { service, users } = yield* stats
      assert.isAtMost(yield* backends, service.total + users.total)
    }).pipe(Effect.scoped)
  )
})

layer(database(options, users), { timeout: "60 seconds" })("Lakebase", (it) => {
  it.effect("waits without failing while the server is down for 2 seconds", () =>
    Effect.gen(function* () {
      const { administer, postgresServer } = yield* LocalWorkspace.LocalWorkspace
      yield* postgresServer.stop
      const callers = yield* Effect.forEach(users, (user) => Effect.forkChild(as(user)(who)))
      // Each is refused every time their clock has them try.
      for (let i = 0; i < 20; i++) {
        yield* TestClock.adjust("100 millis")
        yield* refused
      }
      for (const caller of callers) assert.isUndefined(caller.pollUnsafe())
      yield* postgresServer.start
      while (callers.some((caller) => caller.pollUnsafe() === undefined)) {
        yield* TestClock.adjust("100 millis")
        // As long as a login takes.
        yield* administer("SELECT 1")
      }
      assert.deepStrictEqual(yield* Effect.forEach(callers, Fiber.join), users)
    })
  )
})

const strangers = Array.from({ length: 4 }, (_, i) => `f${i}@example.com`)

layer(database({ acquireTimeout: "4 seconds" }, [alice, ...strangers]), {
  timeout: "60 seconds",
  excludeTestServices: true
})("Lakebase", (it) => {
  it.effect("fails only new logins when the credentials endpoint sends 429, 503, HTML or nothing", () =>
    Effect.gen(function* () {
      const { misbehave } = yield* LocalWorkspace.LocalWorkspace
      const sql = yield* SqlClient.SqlClient
      // A user with an open connection needs no token.
      const pid = yield* as(alice)(pidOf(sql))
      const faults: ReadonlyArray<LocalWorkspace.Misbehaviour> = [
        { kind: "answer", status: 429, headers: { "retry-after": "30" } },
        { kind: "answer", status: 503, headers: { "retry-after": "30" } },
        { kind: "answer", status: 200, body: "<html>" },
        { kind: "hang" }
      ]
      for (const [i, fault] of faults.entries()) {
        yield* Effect.scoped(
          Effect.gen(function* () {
            yield* misbehave({ path: credentials, ...fault })
            const error = yield* sqlErrorOf(as(`f${i}@example.com`)(who))
            assert.strictEqual(error._tag, "SqlError")
            assert.strictEqual(yield* as(alice)(pidOf(sql)), pid)
          })
        )
        assert.strictEqual(yield* as(`f${i}@example.com`)(who), `f${i}@example.com`)
      }
      yield* settled
    })
  )
})
