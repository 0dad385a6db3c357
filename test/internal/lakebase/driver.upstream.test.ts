/**
 * Tripwires: what the bare `@effect/sql-pg` does wrong, for which `src/internal/lakebase/driver/` exists. One that fails
 * after an upgrade tells that upstream has mended it, and that the file which names it can go.
 */
import { PgClient, PgConnection } from "@effect/sql-pg"
import { assert, layer } from "@effect/vitest"
import { LocalWorkspace } from "effect-databricks/testing"
import { Cause, Deferred, Duration, Effect, Exit, Fiber, Logger, Option, Scope, Stream } from "effect"
import { Reactivity } from "effect/reactivity"
import { SqlError } from "effect/sql"
import * as Net from "node:net"
import { kill, pidOf } from "../../fixtures/lakebaseFaults.ts"

const config = Effect.gen(function* () {
  const { postgres, servicePrincipal, token } = yield* LocalWorkspace.LocalWorkspace
  return { ...postgres, username: servicePrincipal.clientId, password: yield* token(servicePrincipal.clientId) }
})

const connection = Effect.flatMap(config, PgConnection.make)

const client = Effect.flatMap(config, (config) => PgClient.make({ ...config, maxConnections: 1 })).pipe(
  Effect.provide(Reactivity.layer)
)

const server = LocalWorkspace.LocalWorkspace.useSync((_) => _.postgresServer)
const freeze = Effect.orDie(Effect.flatMap(server, (_) => _.freeze)) // no test without it
const thaw = Effect.flatMap(server, (_) => _.thaw)

/** Whether a fiber has ended within a second. */
const endsSoon = (fiber: Fiber.Fiber<unknown, unknown>) =>
  Effect.map(Effect.timeoutOption(Fiber.await(fiber), "1 second"), Option.isSome)

const undecodable = ["money '1.50'", "point '(1.5, 2)'", "ROW('a', 1)", "ARRAY[[1, 2], [3, 4]]"]

const asBytes = {
  "int4range(1, 5)": "\x02\0\0\0\x04\0\0\0\x01\0\0\0\x04\0\0\0\x05",
  "B'0101'": "\0\0\0\x04P",
  "'int4'::regtype": "\0\0\0\x17"
}

layer(LocalWorkspace.layer(), { timeout: "60 seconds", excludeTestServices: true })("the bare @effect/sql-pg", (it) => {
  it.effect("ends the connection when it cannot decode a value (types.ts)", () =>
    Effect.forEach(undecodable, (expression) =>
      Effect.gen(function* () {
        const { query } = yield* connection
        assert.isTrue(Exit.isFailure(yield* Effect.exit(query(`SELECT ${expression}`))), expression)
        assert.isTrue(Exit.isFailure(yield* Effect.exit(query("SELECT 1"))), expression)
      }).pipe(Effect.scoped)
    )
  )

  it.effect("decodes ranges, bits and oids to bytes, and int8 to bigint (types.ts)", () =>
    Effect.gen(function* () {
      const { query } = yield* connection
      const valueOf = (expression: string) =>
        Effect.map(query(`SELECT ${expression} AS value`), ({ rows }) => rows[0]?.["value"])
      for (const [expression, value] of Object.entries(asBytes)) {
        assert.strictEqual(yield* valueOf(expression), value, expression)
      }
      assert.strictEqual(yield* valueOf("7::int8"), 7n)
    }).pipe(Effect.scoped)
  )

  it.effect("ends the connection at COPY, and calls that a lost one (copy.ts)", () =>
    Effect.gen(function* () {
      const { query } = yield* connection
      const error = yield* Effect.flip(query("COPY (SELECT 1) TO STDOUT"))
      assert.isTrue(error.isRetryable)
      assert.isTrue(Exit.isFailure(yield* Effect.exit(query("SELECT 1"))))
    }).pipe(Effect.scoped)
  )

  it.effect("hands on values, and calls a protocol violation retryable (failures.ts)", () =>
    Effect.gen(function* () {
      const { query } = yield* connection
      const raise = `DO $$ BEGIN RAISE EXCEPTION 'm' USING HINT = 'a value', ERRCODE = '25P04'; END $$`
      const said = yield* Effect.flip(query(raise))
      assert.deepInclude(said.reason.cause as object, { hint: "a value" }) // an Error with the fields of the server
      assert.isFalse(said.isRetryable)
      assert.isTrue((yield* Effect.flip(query("SELECT $1::int + $2::int", [1]))).isRetryable)
    }).pipe(Effect.scoped)
  )

  it.effect(
    "reads real, json, dates and elements of created types as other values than they are (types.ts, values.ts)",
    () =>
      Effect.gen(function* () {
        const { query } = yield* connection
        yield* query("CREATE DOMAIN pg_temp.number AS int4")
        const { rows } = yield* query(`
        SELECT 0.1::real AS r, '12345678901234567890'::json AS j, date '0044-03-15 BC' AS d, timetz '00:00:00+00:00:30' AS t,
               ARRAY[1094861636]::pg_temp.number[] AS e`)
        const { e, ...others } = rows[0]!
        assert.deepStrictEqual(others, {
          r: 0.10000000149011612,
          j: 12345678901234567000,
          d: "-0043-03-15",
          t: "00:00:00+00:00"
        })
        assert.match(String(e), /ABCD$/)
      }).pipe(Effect.scoped)
  )

  it.effect("rounds numbers and Dates, and refuses lists of mixed, nested, null and no elements (parameters.ts)", () =>
    Effect.gen(function* () {
      const { query } = yield* connection
      const valueOf = (type: string, value: unknown) =>
        Effect.map(query(`SELECT $1::${type}::text AS value`, [value]), ({ rows }) => rows[0]!["value"])
      assert.strictEqual(yield* valueOf("numeric", 123456789012.3456), "123456789012.346")
      assert.include(yield* valueOf("timestamptz", new Date("-000617-11-07T01:15:46.247Z")), ".247008")
      for (const list of [[1, 2.5], [null], [[1]]]) {
        assert.isTrue(Exit.isFailure(yield* Effect.exit(valueOf("numeric[]", list))), JSON.stringify(list))
      }
    }).pipe(Effect.scoped)
  )

  it.effect("decodes a repeated FETCH with the columns of the first (prepared.ts)", () =>
    Effect.gen(function* () {
      const { query } = yield* connection
      const fetched = Effect.fnUntraced(function* (expression: string) {
        yield* query(`DECLARE c CURSOR WITH HOLD FOR SELECT ${expression} AS value`)
        const { rows } = yield* query("FETCH c")
        yield* query("CLOSE c")
        return rows[0]!["value"]
      })
      assert.strictEqual(yield* fetched("7::int8"), 7n)
      assert.strictEqual(yield* fetched("19.99::float8"), 4626319902466574909n)
    }).pipe(Effect.scoped)
  )

  it.effect("keeps a prepared statement whose parameter has another type by now (prepared.ts)", () =>
    Effect.gen(function* () {
      const { query } = yield* connection
      const insert = (value: string) => Effect.exit(query("INSERT INTO t VALUES ($1)", [value]))
      yield* query("CREATE TEMPORARY TABLE t (a int4)")
      yield* insert("1")
      yield* query("ALTER TABLE t ALTER a TYPE text")
      for (const value of ["a", "b", "c"]) assert.isTrue(Exit.isFailure(yield* insert(value)))
    }).pipe(Effect.scoped)
  )

  it.effect("prepares statements of any size (prepared.ts)", () =>
    Effect.gen(function* () {
      const { query } = yield* connection
      yield* query(`SELECT '${"x".repeat(100_000)}'`)
      const { rows } = yield* query("SELECT max(length(statement)) AS length FROM pg_prepared_statements")
      assert.isAbove(Number(rows[0]!["length"]), 100_000)
    }).pipe(Effect.scoped)
  )

  it.effect("drops notices (notices.ts)", () =>
    Effect.gen(function* () {
      const { query } = yield* connection
      let logged = 0
      yield* query("DO $$ BEGIN RAISE WARNING 'look out'; END $$").pipe(
        Effect.provide(Logger.layer([Logger.make(() => logged++)]))
      )
      assert.strictEqual(logged, 0)
    }).pipe(Effect.scoped)
  )

  it.effect("drops the keys that the first row of an insert lacks, and dies of no rows (rows.ts)", () =>
    Effect.gen(function* () {
      const sql = yield* client
      const rows = [{ a: 1 }, { a: 2, b: "dropped" }] as const
      assert.deepStrictEqual(sql`INSERT INTO t ${sql.insert(rows)}`.compile()[1], [1, 2])
      assert.deepStrictEqual(sql`INSERT INTO t ${sql.insert({ a: sql`now()` })}`.compile()[1], [null])
      const exit = yield* Effect.exit(sql`INSERT INTO t ${sql.insert([] as never)}`)
      assert.isTrue(Exit.isFailure(exit) && exit.cause.reasons.some(Cause.isDieReason))
    }).pipe(Effect.scoped)
  )

  it.effect("lends a connection in the middle of a transaction (messages.ts)", () =>
    Effect.gen(function* () {
      const sql = yield* client
      yield* Effect.scoped(Effect.flatMap(sql.reserve, (_) => _.executeRaw("BEGIN", [])))
      const transaction = sql<{ id: string }>`SELECT pg_current_xact_id()::text AS id`
      assert.deepStrictEqual(yield* transaction, yield* transaction)
    }).pipe(Effect.scoped)
  )

  it.effect("hangs a statement inside the stream of its own transaction (streams.ts)", () =>
    Effect.gen(function* () {
      const sql = yield* client
      const inside = Stream.runForEach(sql`SELECT generate_series(1, 3) AS n`.stream, () => sql`SELECT 1`)
      const fiber = yield* Effect.forkChild(sql.withTransaction(inside))
      assert.isFalse(yield* endsSoon(fiber))
      yield* Fiber.interrupt(fiber)
    }).pipe(Effect.scoped)
  )

  it.effect("delays an interrupt by more than 2 seconds when the server hangs (interruption.ts)", () =>
    Effect.gen(function* () {
      const [first, second] = yield* Effect.all([connection, connection])
      const began = yield* Deferred.make<void>()
      const works = [
        first.query("SELECT pg_sleep(60)"),
        second.stream("SELECT generate_series(1, 1000000)").pipe(
          Stream.tap(() => Effect.andThen(Deferred.succeed(began, undefined), Effect.never)),
          Stream.runDrain
        )
      ]
      const fibers = yield* Effect.forEach(works, (work) => Effect.forkChild(work, { startImmediately: true }))
      yield* Deferred.await(began)
      yield* freeze
      const interrupts = fibers.map((fiber) => Effect.timed(Fiber.interrupt(fiber)))
      for (const [took] of yield* Effect.all(interrupts, { concurrency: 2 })) {
        assert.isAbove(Duration.toMillis(took), 2_000)
      }
    }).pipe(Effect.ensuring(thaw), Effect.scoped)
  )

  for (const [what, end, interrupt] of [
    ["an interrupted COMMIT", Effect.void, true],
    ["a ROLLBACK", Effect.fail("back"), false]
  ] as const) {
    it.effect(`waits for ${what} as long as the server hangs (transaction.ts)`, () =>
      Effect.gen(function* () {
        const sql = yield* client
        const frozen = yield* Deferred.make<void>()
        const work = sql`SELECT 1`.pipe(
          Effect.andThen(freeze),
          Effect.andThen(Deferred.succeed(frozen, undefined)),
          Effect.andThen(end)
        )
        const fiber = yield* Effect.forkChild(sql.withTransaction(work))
        yield* Deferred.await(frozen)
        yield* Effect.sleep("10 millis")
        if (interrupt) fiber.interruptUnsafe()
        assert.isFalse(yield* endsSoon(fiber))
        yield* thaw
        yield* Fiber.await(fiber)
      }).pipe(Effect.ensuring(thaw), Effect.scoped)
    )
  }

  it.effect("dies when a ROLLBACK fails (transaction.ts)", () =>
    Effect.gen(function* () {
      const sql = yield* client
      const exit = yield* Effect.exit(sql.withTransaction(Effect.andThen(Effect.flatMap(pidOf(sql), kill), pidOf(sql))))
      assert.isTrue(
        Exit.isFailure(exit) &&
          exit.cause.reasons.some((reason) => Cause.isDieReason(reason) && SqlError.isSqlError(reason.defect)),
        String(exit)
      )
    }).pipe(Effect.scoped)
  )

  it.effect("reports a connection as closed before its socket has closed (socket.ts)", () =>
    Effect.gen(function* () {
      const settings = yield* config
      const socket = Net.connect(settings)
      const scope = yield* Scope.make()
      yield* Scope.provide(PgConnection.make({ ...settings, stream: () => socket }), scope)
      yield* Scope.close(scope, Exit.void)
      assert.isFalse(socket.closed)
    })
  )
})
