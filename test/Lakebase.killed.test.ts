import { assert, layer } from "@effect/vitest"
import { Operation } from "effect-databricks"
import { LocalWorkspace } from "effect-databricks/testing"
import { Effect, Fiber, Layer, Ref, Stream } from "effect"
import { SqlClient } from "effect/sql"
import { eventually } from "./fixtures/eventually.ts"
import { who } from "./fixtures/lakebaseClient.ts"
import { database, failureOf, kill, pidOf, settled, sqlErrorOf, Watcher } from "./fixtures/lakebaseFaults.ts"
import { alice, as } from "./fixtures/people.ts"

/** The sequence `starts` counts executions, for a rollback does not undo it. */
const schema = LocalWorkspace.LocalWorkspace.use(({ administer }) =>
  administer(`
    CREATE TABLE runs (what text NOT NULL);
    CREATE SEQUENCE starts;
    CREATE FUNCTION dies() RETURNS trigger LANGUAGE plpgsql AS $$
      BEGIN
        PERFORM nextval('starts'), pg_terminate_backend(pg_backend_pid());
        RETURN NULL;
      END $$;
    CREATE TABLE commits (what text NOT NULL);
    CREATE CONSTRAINT TRIGGER dies AFTER INSERT ON commits DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION dies();
    GRANT SELECT, INSERT ON runs, commits TO PUBLIC;
    GRANT ALL ON SEQUENCE starts TO PUBLIC;
  `)
)
const App = Layer.effectDiscard(schema).pipe(Layer.provideMerge(database({}, [alice])))

const run = (what: string) =>
  Effect.flatMap(SqlClient.SqlClient, (sql) => sql`INSERT INTO runs (what) VALUES (${what})`)
const runsOf = (what: string) =>
  Effect.flatMap(SqlClient.SqlClient, (sql) =>
    Effect.map(sql<{ n: number }>`SELECT count(*)::int AS n FROM runs WHERE what = ${what}`, ([row]) => row!.n)
  )

const start = Effect.flatMap(SqlClient.SqlClient, (sql) =>
  Effect.map(sql<{ n: number }>`SELECT nextval('starts')::int AS n`, ([row]) => row!.n)
)

/** How often the server has begun to execute a statement of this effect. */
const startsOf = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.gen(function* () {
    const before = yield* as(alice)(start)
    yield* effect
    return (yield* as(alice)(start)) - before - 1
  })

layer(App, { timeout: "60 seconds", excludeTestServices: true })("Lakebase", (it) => {
  it.effect("replaces an idle connection whose backend was killed", () =>
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

  it.effect("fails a statement with SqlError when its backend is killed, and does not retry it", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      const { asleep } = yield* Watcher
      const pid = yield* as(alice)(pidOf(sql))
      const starts = yield* startsOf(
        Effect.gen(function* () {
          const query = yield* Effect.forkChild(sqlErrorOf(as(alice)(sql`SELECT nextval('starts'), pg_sleep(30)`)))
          yield* eventually(Effect.map(asleep, (_) => _ === 1))
          yield* kill(pid)
          assert.isTrue((yield* Fiber.join(query)).isRetryable)
        })
      )
      assert.strictEqual(starts, 1)
      yield* settled
    })
  )

  it.effect("does not retry a statement whose backend is killed after its commit", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      const committed = sql`
        DO $$ BEGIN
          PERFORM nextval('starts');
          INSERT INTO runs VALUES ('committed');
          COMMIT;
          PERFORM pg_terminate_backend(pg_backend_pid());
        END $$`
      const starts = yield* startsOf(Effect.map(sqlErrorOf(as(alice)(committed)), (_) => assert.isTrue(_.isRetryable)))
      assert.strictEqual(starts, 1)
      assert.strictEqual(yield* as(alice)(runsOf("committed")), 1)
      yield* settled
    })
  )

  it.effect("retries neither COMMIT nor transaction when the backend is killed at COMMIT", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      let entered = 0
      const transaction = sql.withTransaction(
        Effect.andThen(
          Effect.sync(() => entered++),
          sql`INSERT INTO commits VALUES ('dies')`
        )
      )
      const starts = yield* startsOf(
        Effect.map(sqlErrorOf(as(alice)(transaction)), (_) => assert.isTrue(_.isRetryable))
      )
      assert.deepStrictEqual([starts, entered], [1, 1])
      yield* settled
    })
  )

  it.effect("runs work of a killed backend again when Operation.execute asks for a retry", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      const retry = { name: "idempotent", retry: { delay: 0 } }
      // The first start dies, the second does not.
      const dying = (before: number) => sql<{ n: number; died: boolean }>`
        WITH started AS MATERIALIZED (SELECT nextval('starts')::int AS n)
        SELECT n, CASE WHEN n = ${before + 1} THEN pg_terminate_backend(pg_backend_pid()) ELSE false END AS died FROM started`
      const again = [
        (before: number) => dying(before),
        (before: number) => sql.withTransaction(dying(before)),
        (before: number) => Stream.runCollect(dying(before).stream)
      ]
      for (const attempts of again) {
        const before = yield* as(alice)(start)
        const rows = yield* as(alice)(Operation.execute(attempts(before), retry))
        assert.deepStrictEqual(rows, [{ n: before + 2, died: false }])
      }
      yield* settled
    })
  )

  it.effect("fails a transaction with a retryable error when its idle backend is killed", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      const { backends } = yield* Watcher
      const killed = Effect.gen(function* () {
        const before = yield* backends
        yield* Effect.flatMap(pidOf(sql), kill)
        yield* eventually(Effect.map(backends, (_) => _ < before))
      })
      for (const next of [Effect.void, sql`SELECT 1`, sql`SELECT 1`.stream.pipe(Stream.runDrain)]) {
        const error = yield* sqlErrorOf(as(alice)(sql.withTransaction(Effect.andThen(killed, next))))
        assert.isTrue(error.isRetryable)
      }
      yield* settled
    })
  )

  it.effect("fails a transaction with SqlError when its backend is killed at any point", () =>
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
      // A failure of the application is not replaced by that of the dead transaction.
      const mine = sql.withTransaction(Effect.andThen(Effect.andThen(run("lost"), dies), Effect.fail(own)))
      assert.strictEqual(yield* failureOf(as(alice)(mine)), own)
      yield* settled
    })
  )

  it.effect("fails a stream with SqlError, after the rows received, when its backend is killed", () =>
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
})
