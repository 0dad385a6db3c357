import { assert, layer } from "@effect/vitest"
import { Lakebase, Operation } from "effect-databricks"
import { LocalWorkspace } from "effect-databricks/testing"
import { Duration, Effect, Exit, Fiber, Layer, Random, Ref, Scope, Stream } from "effect"
import { SqlClient } from "effect/sql"
import { lakebase, who } from "./fixtures/lakebaseClient.ts"
import {
  as,
  credentials,
  database,
  eventually,
  failureOf,
  kill,
  pidOf,
  settled,
  sqlErrorOf,
  stays,
  Watcher
} from "./fixtures/lakebaseFaults.ts"

const alice = "alice@example.com"
const users = Array.from({ length: 8 }, (_, i) => `u${i}@example.com`)
const budget = 20
const options = { maxConnections: budget, maxConnectionsService: 5 }

/** Counts what has run: once for every row. */
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
const runsOf = (what: string) =>
  Effect.flatMap(SqlClient.SqlClient, (sql) =>
    Effect.map(sql<{ n: number }>`SELECT count(*)::int AS n FROM runs WHERE what = ${what}`, ([row]) => row!.n)
  )

layer(App, { timeout: "60 seconds", excludeTestServices: true })("Lakebase: faults", (it) => {
  it.effect("a backend that is killed idle costs nothing", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      const { backends } = yield* Watcher
      const before = yield* as(alice)(pidOf(sql))
      const others = yield* backends
      yield* kill(before)
      yield* eventually(Effect.map(backends, (_) => _ === others - 1))
      assert.notStrictEqual(yield* as(alice)(pidOf(sql)), before)
      yield* settled
    })
  )

  it.effect("a backend that is killed in a query fails it, typed, and it is not run again", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      const pid = yield* as(alice)(pidOf(sql))
      const query = yield* Effect.forkChild(
        failureOf(as(alice)(sql`WITH ran AS (INSERT INTO runs (what) VALUES ('killed')) SELECT pg_sleep(30)`))
      )
      yield* busy(1)
      yield* kill(pid)
      const error = yield* Fiber.join(query)
      assert.strictEqual(error._tag, "SqlError")
      assert.strictEqual(yield* as(alice)(runsOf("killed")), 0)
      yield* settled
    })
  )

  it.effect("what may have run is not run again", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      yield* sqlErrorOf(
        as(alice)(
          sql.unsafe("INSERT INTO runs (what) VALUES ('once'); COMMIT; SELECT pg_terminate_backend(pg_backend_pid())")
        )
      )
      const committed = sql`SELECT pg_terminate_backend(pg_backend_pid())`
      yield* sqlErrorOf(as(alice)(Effect.andThen(run("once"), committed)))
      assert.strictEqual(yield* as(alice)(runsOf("once")), 1)
      yield* settled
    })
  )

  it.effect("a backend that is killed in a transaction fails it, typed, wherever it was", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      const dies = Effect.flatMap(pidOf(sql), kill)
      const ends = [
        sql.withTransaction(Effect.andThen(run("lost"), dies)),
        sql.withTransaction(Effect.all([run("lost"), dies, run("lost")])),
        sql.withTransaction(Effect.andThen(run("lost"), sql.withTransaction(dies))),
        sql.withTransaction(Effect.andThen(run("lost"), sql.withTransaction(Effect.andThen(dies, run("lost"))))),
        sql.withTransaction(sql`SELECT pg_terminate_backend(pg_backend_pid())`)
      ]
      for (const end of ends) assert.strictEqual((yield* sqlErrorOf(as(alice)(end)))._tag, "SqlError")
      assert.strictEqual(yield* as(alice)(runsOf("lost")), 0)
      const own = new Error("mine")
      // Whoever fails in a transaction that is dead as well hears of their own failure.
      const mine = sql.withTransaction(Effect.andThen(Effect.andThen(run("lost"), dies), Effect.fail(own)))
      assert.strictEqual(yield* failureOf(as(alice)(mine)), own)
      yield* settled
    })
  )

  it.effect("a backend that is killed in a stream fails it, typed, after the rows that came", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      const seen = yield* Ref.make(0)
      const pid = yield* as(alice)(pidOf(sql))
      const stream = sql<{ n: number }>`SELECT n, repeat('x', 1000) AS x FROM generate_series(1, 200000) AS n`.stream
      const error = yield* sqlErrorOf(
        as(alice)(
          Stream.runForEach(stream, () =>
            Effect.flatMap(
              Ref.updateAndGet(seen, (_) => _ + 1),
              (n) => (n === 100 ? kill(pid) : Effect.void)
            )
          )
        )
      )
      assert.strictEqual(error._tag, "SqlError")
      assert.isAbove(yield* Ref.get(seen), 99)
      assert.isBelow(yield* Ref.get(seen), 200_000)
      assert.strictEqual(yield* as(alice)(who), alice)
      yield* settled
    })
  )

  it.effect("a restart under 32 callers costs each the statement it hit, at the most", () =>
    Effect.gen(function* () {
      const { postgresServer } = yield* LocalWorkspace.LocalWorkspace
      const stop = yield* Ref.make(false)
      const outcome = yield* Effect.forkChild(
        Effect.forEach(
          Array.from({ length: 32 }),
          (_, i) =>
            Effect.gen(function* () {
              let failed = 0
              let ran = 0
              while (!(yield* Ref.get(stop))) {
                const exit = yield* Effect.exit(as(users[i % users.length]!)(run("restart")))
                if (Exit.isSuccess(exit)) ran++
                else {
                  assert.isTrue(exit.cause.reasons.every((_) => _._tag === "Fail" && _.error._tag === "SqlError"))
                  failed++
                }
              }
              return { failed, ran }
            }),
          { concurrency: "unbounded" }
        )
      )
      yield* Effect.sleep("500 millis")
      yield* postgresServer.restart
      yield* Effect.sleep("1 second")
      yield* Ref.set(stop, true)
      const all = yield* Fiber.join(outcome)
      assert.isTrue(
        all.every(({ failed }) => failed <= 1),
        JSON.stringify(all)
      )
      assert.isTrue(all.every(({ ran }) => ran > 0))
      const failed = all.reduce((sum, _) => sum + _.failed, 0)
      const ran = all.reduce((sum, _) => sum + _.ran, 0)
      const stored = yield* Effect.forEach(users, (user) => as(user)(runsOf("restart")))
      const rows = stored.reduce((sum, _) => sum + _, 0)
      // Of those that failed some may have been committed; none was run twice.
      assert.isAtLeast(rows, ran)
      assert.isAtMost(rows, ran + failed)
      yield* settled
    })
  )

  it.effect("a database that refuses for 2 seconds and comes back has nobody fail", () =>
    Effect.gen(function* () {
      const { postgresServer } = yield* LocalWorkspace.LocalWorkspace
      const { stats } = yield* Lakebase.Lakebase
      yield* settled
      yield* postgresServer.stop
      yield* eventually(Effect.map(stats, ({ service, users }) => service.total + users.total === 0))
      const callers = yield* Effect.forkChild(
        Effect.forEach(users, (user) => as(user)(who), { concurrency: "unbounded" })
      )
      yield* Effect.sleep("2 seconds")
      yield* postgresServer.start
      assert.deepStrictEqual(yield* Fiber.join(callers), users)
      yield* settled
    })
  )

  it.effect("a server that hangs holds up no timeout, in a statement, a transaction, a stream or a login", () =>
    Effect.gen(function* () {
      const { postgresServer } = yield* LocalWorkspace.LocalWorkspace
      const sql = yield* SqlClient.SqlClient
      const warm = ["u0@example.com", "u1@example.com", "u2@example.com"] as const
      for (const user of warm) yield* as(user)(who)
      const inside = yield* Effect.forkChild(
        as(alice)(
          Operation.execute(sql.withTransaction(Effect.andThen(who, Effect.never)), {
            name: "held",
            timeout: "1500 millis"
          })
        ).pipe(failureOf, Effect.timed)
      )
      yield* busy(1)
      yield* postgresServer.freeze
      const timeout = { name: "hung", timeout: "500 millis" } as const
      const hung = yield* Effect.forEach(
        [
          as(warm[0])(Operation.execute(who, timeout)),
          as(warm[1])(Operation.execute(sql.withTransaction(who), timeout)),
          as(warm[2])(Operation.execute(Stream.runDrain(sql`SELECT 1`.stream), timeout)),
          as("u3@example.com")(Operation.execute(who, timeout))
        ],
        (call) => Effect.timed(failureOf(call)),
        { concurrency: "unbounded" }
      )
      const held = yield* Fiber.join(inside)
      yield* postgresServer.thaw
      for (const [took, error] of [...hung, held]) {
        assert.strictEqual(error._tag, "OperationTimeoutError")
        // Far below the 5 seconds for which the driver waits.
        assert.isBelow(Duration.toMillis(took), 2_500)
      }
      assert.deepStrictEqual(yield* Effect.forEach(users, (user) => as(user)(who)), users)
      yield* settled
    })
  )

  it.effect("5,000 operations that are interrupted anywhere leave nothing behind", () =>
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
    })
  )

  it.effect("through all of that the backends stayed within the budget", () => stays(budget))

  it.effect("at the end 50 queries that run finish, then the connections close", () =>
    Effect.gen(function* () {
      const { backends } = yield* Watcher
      const before = yield* backends
      const scope = yield* Scope.make()
      const context = yield* Layer.buildWithScope(
        Layer.fresh(lakebase({ maxConnections: 70, maxConnectionsService: 60 })),
        scope
      )
      const sleep = Effect.flatMap(SqlClient.SqlClient, (sql) => sql<{ n: number }>`SELECT 1 AS n FROM pg_sleep(1)`)
      const queries = yield* Effect.forkChild(
        Effect.all(
          Array.from({ length: 50 }, () => sleep),
          { concurrency: "unbounded" }
        ).pipe(Effect.provideContext(context))
      )
      yield* busy(50)
      yield* Scope.close(scope, Exit.void)
      assert.strictEqual((yield* Fiber.join(queries)).length, 50)
      assert.strictEqual(yield* backends, before)
      const error = yield* sqlErrorOf(Effect.provideContext(sleep, context))
      assert.instanceOf(error.reason.cause, Lakebase.PoolExhaustedError)
    })
  )
})

const strangers = Array.from({ length: 4 }, (_, i) => `f${i}@example.com`)

layer(database({ acquireTimeout: "1 second" }, [alice, ...strangers]), {
  timeout: "60 seconds",
  excludeTestServices: true
})("Lakebase: faults of the endpoint", (it) => {
  it.effect(
    "an endpoint that answers 429, 503, garbage or nothing costs those who wait for it, and no connection",
    () =>
      Effect.gen(function* () {
        const { misbehave } = yield* LocalWorkspace.LocalWorkspace
        const sql = yield* SqlClient.SqlClient
        // Who is connected already needs no token.
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

const busy = (n: number) => Effect.flatMap(Watcher, (_) => eventually(Effect.map(_.busy, (now) => now >= n)))
