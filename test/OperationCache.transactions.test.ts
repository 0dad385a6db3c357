import { PgClient } from "@effect/sql-pg"
import { assert, layer } from "@effect/vitest"
import { asService, Lakebase, Operation, OperationCache, provideUser } from "effect-databricks"
import { Context, Deferred, Duration, Effect, Exit, Fiber, Layer, Redacted, Scope, Stream } from "effect"
import { Reactivity } from "effect/reactivity"
import { SqlClient } from "effect/sql"
import { asAlice, asBob, lakebase, schema } from "./fixtures/lakebaseClient.ts"
import { alice, requestOf } from "./fixtures/people.ts"
import { spansOf } from "./fixtures/spans.ts"
import { Workspace } from "./fixtures/workspace.ts"

/** A client of the application's own, beside Lakebase, on the same database. */
class Own extends Context.Service<Own, PgClient.PgClient>()("test/Own") {
  static readonly layer = Layer.effect(
    Own,
    Effect.flatMap(Lakebase.pgConfig, ({ password, user: username, ...target }) =>
      Effect.flatMap(Effect.promise(password), (token) =>
        PgClient.make({ ...target, username, password: Redacted.make(token) })
      )
    )
  )
}

const Live = Layer.effectDiscard(schema).pipe(
  Layer.provideMerge(Own.layer),
  Layer.provideMerge(Reactivity.layer),
  Layer.provideMerge(lakebase()),
  Layer.provideMerge(OperationCache.layer()),
  Layer.provideMerge(Workspace)
)

const clients = {
  Lakebase: Effect.map(SqlClient.SqlClient, (sql) => sql),
  "a client of the application": Effect.map(Own, (sql): SqlClient.SqlClient => sql)
}

/** Undoes what it ran, and gives its value. */
const rolledBack = <A, E, R>(sql: SqlClient.SqlClient, effect: Effect.Effect<A, E, R>) =>
  Effect.gen(function* () {
    const exit = yield* Effect.exit(sql.withTransaction(Effect.flatMap(effect, Effect.fail)))
    return Exit.isFailure(exit)
      ? exit.cause.reasons.flatMap((_) => (_._tag === "Fail" ? [_.error as A] : []))[0]
      : undefined
  })

layer(Live, { timeout: "60 seconds", excludeTestServices: true })("Operation.execute with a cache", (it) => {
  for (const [which, client] of Object.entries(clients)) {
    const count = (sql: SqlClient.SqlClient, gate: Effect.Effect<void> = Effect.void) =>
      Effect.map(sql<{ n: number }>`SELECT count(*)::int AS n FROM notes`, ([row]) => row!.n).pipe(
        Effect.tap(gate),
        Operation.execute({ name: `count ${which}`, cache: { key: [] } }),
        asService
      )

    const forgotten = Effect.orDie(OperationCache.invalidate(`count ${which}`, [])) // a finalizer cannot fail

    it.effect(`keeps nothing that a transaction of ${which} rolled back, and gives it no other call`, () =>
      Effect.gen(function* () {
        const sql = yield* client
        const reading = yield* Deferred.make<void>()
        const gate = yield* Deferred.make<void>()
        const uncommitted = yield* Effect.forkChild(
          rolledBack(
            sql,
            Effect.andThen(
              sql`INSERT INTO notes (body) VALUES (${`uncommitted ${which}`})`,
              count(sql, Effect.andThen(Deferred.succeed(reading, undefined), Deferred.await(gate)))
            )
          )
        )
        yield* Deferred.await(reading)
        // The transaction has read, and is open.
        const other = yield* Effect.forkChild(asBob(count(sql)))
        yield* Effect.yieldNow
        yield* Deferred.succeed(gate, undefined)
        assert.strictEqual(yield* Fiber.join(other), 0)
        assert.strictEqual(yield* Fiber.join(uncommitted), 1)
        assert.strictEqual(yield* count(sql), 0)
        yield* OperationCache.invalidate(`count ${which}`, [])
        assert.strictEqual(yield* asBob(count(sql)), 0)
      }).pipe(Effect.ensuring(forgotten))
    )

    it.effect(`reads past the cache in a transaction of ${which}, and its span says so`, () =>
      Effect.gen(function* () {
        const sql = yield* client
        assert.strictEqual(yield* count(sql), 0)
        const insert = sql`INSERT INTO notes (body) VALUES (${`own ${which}`})`
        const { exit, spans } = yield* spansOf(rolledBack(sql, Effect.andThen(insert, count(sql))))
        assert.deepStrictEqual(exit, Exit.succeed(1))
        const { attributes } = spans.find((_) => _.attributes["operation.name"] === `count ${which}`)!
        assert.include(attributes, { "cache.hit": false, "cache.bypass": "transaction" })
        // Outside of it, a value is found again.
        const outside = yield* spansOf(count(sql))
        assert.deepStrictEqual(outside.exit, Exit.succeed(0))
        const found = outside.spans.find((_) => _.attributes["operation.name"] === `count ${which}`)!.attributes
        assert.strictEqual(found["cache.hit"], true)
        assert.isUndefined(found["cache.bypass"])
      }).pipe(Effect.ensuring(forgotten))
    )

    it.effect(`reads past the cache through OperationCache.get in a savepoint of ${which}`, () =>
      Effect.gen(function* () {
        const sql = yield* client
        const { get } = yield* OperationCache.OperationCache
        const key = { caller: "c", name: "get", operation: `get ${which}`, id: `get ${which}` }
        let runs = 0
        const call = get(
          key,
          Duration.minutes(1),
          Effect.sync(() => ++runs)
        )
        const inSavepoint = sql.withTransaction(sql.withTransaction(call))
        assert.deepStrictEqual(yield* inSavepoint, { value: 1, hit: false })
        assert.deepStrictEqual(yield* inSavepoint, { value: 2, hit: false })
      })
    )

    it.effect(`caches again in afterCommit of ${which}`, () =>
      Effect.gen(function* () {
        const sql = yield* client
        const seen: Array<number> = []
        yield* sql.withTransaction(
          sql.afterCommit(
            Effect.orDie(
              Effect.andThen(
                count(sql),
                Effect.map(count(sql), (n) => void seen.push(n))
              )
            )
          )
        )
        assert.deepStrictEqual(seen, [0])
        const { spans } = yield* spansOf(count(sql))
        assert.strictEqual(spans[0]!.attributes["cache.hit"], true)
      }).pipe(Effect.ensuring(forgotten))
    )
  }

  it.effect("reads past the cache for a user inside the service's transaction, whose fiber is in both", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      let runs = 0
      const call = Operation.execute(
        Effect.sync(() => ++runs),
        { name: "nested", cache: { key: [] } }
      )
      const inner = sql.withTransaction(Effect.andThen(sql.afterCommit(Effect.asVoid(call)), call))
      yield* sql.withTransaction(asAlice(inner))
      assert.strictEqual(runs, 2)
      assert.strictEqual(yield* asAlice(call), 3)
      assert.strictEqual(yield* asAlice(call), 3)
    })
  )

  it.effect("keeps open the resources that a shared run opened, when its first caller has left", () =>
    Effect.gen(function* () {
      const gate = yield* Deferred.make<void>()
      const opened = yield* Deferred.make<void>()
      let isOpen = true
      const work = Effect.acquireRelease(Deferred.succeed(opened, undefined), () => Effect.sync(() => (isOpen = false)))
      const call = Operation.execute(
        Effect.andThen(
          work,
          Effect.map(Deferred.await(gate), () => isOpen)
        ),
        { name: "held", cache: { key: [] } }
      )
      const request = yield* Scope.make()
      const first = yield* Effect.forkChild(Scope.provide(call, request))
      yield* Deferred.await(opened)
      const second = yield* Effect.forkChild(Effect.scoped(call))
      yield* Effect.yieldNow
      yield* Fiber.interrupt(first)
      yield* Scope.close(request, Exit.void)
      yield* Deferred.succeed(gate, undefined)
      assert.isTrue(yield* Fiber.join(second))
      assert.isFalse(isOpen)
    })
  )

  it.effect("runs again for a call that joined a run whose first caller keeps the connection that it waits for", () =>
    Effect.gen(function* () {
      const request = yield* requestOf(alice)
      const gate = yield* Deferred.make<void>()
      const began = yield* Deferred.make<void>()
      const call = Effect.flatMap(Lakebase.user, (sql) =>
        Deferred.succeed(began, undefined).pipe(
          Effect.andThen(Deferred.await(gate)),
          Effect.andThen(sql<{ n: number }>`SELECT 1 AS n`),
          Operation.execute({ name: "kept", cache: { key: [] } }),
          Effect.exit
        )
      )
      const rows = Effect.flatMap(Lakebase.user, (sql) =>
        Stream.runCollect(Stream.mapEffect(sql`SELECT 1`.stream, () => call))
      )
      const first = yield* Effect.forkChild(provideUser(rows, request))
      yield* Deferred.await(began)
      const second = yield* Effect.forkChild(provideUser(call, request))
      yield* Effect.yieldNow
      yield* Deferred.succeed(gate, undefined)
      const [[refused], answered] = yield* Effect.all([Fiber.join(first), Fiber.join(second)])
      assert.include(String(refused), "would wait for a connection forever")
      assert.deepStrictEqual(answered, Exit.succeed([{ n: 1 }]))
    }).pipe(Effect.provide(Layer.fresh(lakebase({ maxConnections: 4, maxConnectionsPerUser: 1 }))))
  )
})
