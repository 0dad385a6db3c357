/**
 * Tripwires: what the bare `@effect/sql-pg` does wrong, for which `src/internal/lakebase/driver/` exists. One that fails
 * after an upgrade tells that upstream has mended it, and that the file which names it can go.
 */
import { PgClient, PgConnection } from "@effect/sql-pg"
import { assert, layer } from "@effect/vitest"
import { LocalWorkspace } from "effect-databricks/testing"
import { Cause, Deferred, Duration, Effect, Exit, Fiber, Option, Scope, Stream } from "effect"
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

  it.effect("lends a connection in the middle of a transaction (messages.ts)", () =>
    Effect.gen(function* () {
      const sql = yield* client
      yield* Effect.scoped(Effect.flatMap(sql.reserve, (_) => _.executeRaw("BEGIN", [])))
      const transaction = sql<{ id: string }>`SELECT pg_current_xact_id()::text AS id`
      assert.deepStrictEqual(yield* transaction, yield* transaction)
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
