import { PgClient } from "@effect/sql-pg"
import { assert, layer } from "@effect/vitest"
import { asService, Lakebase, provideUser } from "effect-databricks"
import { Effect, Exit, Queue, Schema, Scope, Stream } from "effect"
import { Reactivity } from "effect/reactivity"
import { Model } from "effect/schema"
import { SqlClient, SqlModel, SqlSchema } from "effect/sql"
import {
  Application,
  asAlice,
  asBob,
  bodies,
  clear,
  lakebase,
  Notes,
  pid,
  who,
  whoThrough
} from "./fixtures/lakebaseClient.ts"
import { alice, bob, requestOf } from "./fixtures/people.ts"

/** The role that the database sees, for each way to run a statement. */
const waysThrough = (sql: PgClient.PgClient) => {
  const statement = sql<{ who: string }>`SELECT current_user AS who`
  const raw = Effect.map(statement.raw, (_) => (_ as { rows: Array<{ who: string }> }).rows[0]!.who)
  return Effect.all({
    plain: Effect.map(statement, ([row]) => row!.who),
    raw,
    values: Effect.map(statement.values, ([row]) => row![0]),
    valuesUnprepared: Effect.map(statement.valuesUnprepared, ([row]) => row![0]),
    unprepared: Effect.map(statement.unprepared, ([row]) => row!.who),
    withoutTransform: Effect.map(statement.withoutTransform, ([row]) => row!.who),
    unsafe: Effect.map(sql.unsafe<{ who: string }>("SELECT current_user AS who"), ([row]) => row!.who),
    stream: Effect.map(Stream.runCollect(statement.stream), ([row]) => row!.who),
    reserve: Effect.scoped(
      Effect.flatMap(sql.reserve, (_) =>
        Effect.map(_.execute("SELECT current_user AS who", [], undefined), ([row]) => row.who)
      )
    ),
    safe: Effect.map(sql.safe<{ who: string }>`SELECT current_user AS who`, ([row]) => row!.who),
    withoutTransforms: whoThrough(sql.withoutTransforms()),
    json: Effect.map(
      sql<{ who: string }>`SELECT current_user || (${sql.json({ a: "" })}::jsonb ->> 'a') AS who`,
      ([row]) => row!.who
    )
  })
}

layer(Application, { timeout: "60 seconds", excludeTestServices: true })("Lakebase", (it) => {
  it.effect("runs a statement as the caller, whichever method runs it", () =>
    Effect.gen(function* () {
      const sql = yield* Notes
      const ways = waysThrough(sql)
      for (const [as, name] of [
        [asAlice, alice],
        [asBob, bob]
      ] as const) {
        const seen = yield* as(ways)
        for (const [way, by] of Object.entries(seen)) assert.strictEqual(by, name, way)
        const within = yield* as(sql.withTransaction(ways))
        for (const [way, by] of Object.entries(within)) assert.strictEqual(by, name, `${way}, in a transaction`)
      }
    })
  )

  it.effect("applies row-level security to the caller, also through SqlSchema and SqlModel", () =>
    Effect.gen(function* () {
      const sql = yield* Notes
      yield* asAlice(sql`INSERT INTO notes ${sql.insert([{ body: "a1" }, { body: "a2" }])}`)
      yield* asBob(sql`INSERT INTO notes ${sql.insert({ body: "b1" })}`)
      assert.deepStrictEqual(yield* asAlice(bodies), ["a1", "a2"])
      assert.deepStrictEqual(yield* asBob(bodies), ["b1"])
      assert.deepStrictEqual(yield* bodies, ["a1", "a2", "b1"])

      yield* asBob(sql`UPDATE notes SET ${sql.update({ body: "b2" })} WHERE ${sql.in("body", ["a1", "b1"])}`)
      yield* asBob(sql`DELETE FROM notes WHERE ${sql("body")} IN ${sql.in(["a1", "a2"])}`)
      assert.deepStrictEqual(yield* bodies, ["a1", "a2", "b2"])

      const find = SqlSchema.findAll({
        Request: Schema.String,
        Result: Schema.Struct({ owner: Schema.String }),
        execute: (prefix) => sql`SELECT owner FROM notes WHERE body LIKE ${`${prefix}%`}`
      })
      assert.deepStrictEqual(yield* asAlice(find("")), [{ owner: alice }, { owner: alice }])
      assert.deepStrictEqual(yield* asAlice(find("b")), [])

      const repository = yield* SqlModel.makeRepository(Note, {
        tableName: "notes",
        spanPrefix: "Note",
        idColumn: "id"
      })
      const mine = yield* asAlice(repository.insert(Note.insert.make({ body: "a3" })))
      assert.strictEqual(mine.owner, alice)
      assert.strictEqual((yield* asAlice(repository.findById(mine.id))).body, "a3")
      assert.strictEqual((yield* Effect.flip(asBob(repository.findById(mine.id))))._tag, "NoSuchElementError")
    }).pipe(Effect.ensuring(clear))
  )

  it.effect("runs Lakebase.user as its user, also inside asService", () =>
    Effect.gen(function* () {
      const mine = Effect.flatMap(Lakebase.user, whoThrough)
      assert.strictEqual(yield* asAlice(mine), alice)
      assert.strictEqual(yield* asAlice(asService(mine)), alice)
      // Other clients inside its transaction still run as their own caller.
      const both = Effect.flatMap(Lakebase.user, (sql) => sql.withTransaction(Effect.all([whoThrough(sql), who])))
      assert.deepStrictEqual(yield* asAlice(both), [alice, alice])
      assert.deepStrictEqual(yield* asAlice(asService(both)), [alice, "service"])
      const listened = Effect.gen(function* () {
        const sql = yield* Lakebase.user
        const queue = yield* sql.listen("wherever")
        yield* sql.notify("wherever", "x")
        return yield* Queue.take(queue)
      })
      assert.strictEqual((yield* asAlice(Effect.scoped(listened))).payload, "x")
    })
  )

  it.effect("runs a client from Lakebase.user as its user in the same user's later call, with that call's token", () =>
    Effect.gen(function* () {
      const taken = yield* asAlice(Lakebase.user)
      assert.strictEqual(yield* asAlice(whoThrough(taken)), alice)
    })
  )

  it.effect("dies where a client from Lakebase.user runs in another user's call, or outside of any", () =>
    Effect.gen(function* () {
      const taken = yield* asAlice(Lakebase.user)
      const ways: Record<string, Effect.Effect<unknown, unknown, Scope.Scope>> = {
        statement: taken`SELECT 1`,
        values: taken`SELECT 1`.values,
        stream: Stream.runDrain(taken`SELECT 1`.stream),
        transaction: taken.withTransaction(Effect.void),
        connection: taken.reserve,
        listener: taken.listen("held"),
        unsafe: taken.unsafe("SELECT 1"),
        "without transforms": taken.withoutTransforms()`SELECT 1`
      }
      for (const [way, run] of Object.entries(ways)) {
        const exits = [asBob(run), asBob(asService(run)), run, asService(run)].map((_) => Effect.exit(Effect.scoped(_)))
        for (const exit of yield* Effect.all(exits)) {
          assert.isTrue(Exit.hasDies(exit), way)
          assert.include(String(exit), "in the call that uses it", way)
        }
      }
    })
  )

  it.effect("keeps a user's transaction, savepoints and afterCommit of Lakebase.user apart from the service's", () =>
    Effect.gen(function* () {
      const taken = yield* asAlice(Lakebase.user)
      const done: Array<string> = []
      const after = taken.afterCommit(
        Effect.all([whoThrough(taken), who]).pipe(
          Effect.map((seen) => done.push(seen.join(" "))),
          Effect.orDie // an afterCommit effect cannot fail
        )
      )
      for (const [as, name] of [
        [asAlice, alice],
        [<A, E, R>(effect: Effect.Effect<A, E, R>) => asAlice(asService(effect)), "service"]
      ] as const) {
        const ways = waysThrough(taken)
        const within = Effect.all([ways, taken.withTransaction(ways), Effect.scoped(taken.listen("held"))])
        for (const seen of [yield* as(ways), ...(yield* as(taken.withTransaction(within))).slice(0, 2)]) {
          for (const [way, by] of Object.entries(seen)) assert.strictEqual(by, alice, way)
        }
        const insert = (body: string) => taken`INSERT INTO notes ${taken.insert({ body })}`
        yield* as(
          taken.withTransaction(
            Effect.gen(function* () {
              yield* Effect.ignore(taken.withTransaction(Effect.andThen(insert("undone"), Effect.fail("savepoint"))))
              yield* Effect.andThen(insert("kept"), after)
              assert.deepStrictEqual(yield* asBob(bodies), [])
              assert.deepStrictEqual(done, [])
            })
          )
        )
        assert.deepStrictEqual(done.splice(0), [`${alice} ${name}`])
        assert.deepStrictEqual(yield* asAlice(bodies), ["kept"])
        yield* asAlice(clear)
      }
    }).pipe(Effect.ensuring(clear))
  )

  it.effect("makes no new SqlClient when Lakebase.user is accessed", () =>
    Effect.gen(function* () {
      // Each SqlClient gets the next number.
      const next = Effect.map(
        SqlClient.make({
          acquirer: Effect.never,
          compiler: PgClient.makeCompiler(),
          driver: "test",
          spanAttributes: []
        }),
        (made) => Number(made.transactionService.key.split("/").at(-1))
      )
      const before = yield* next
      assert.isFalse(Number.isNaN(before))
      const [one, two] = yield* asAlice(Effect.all([Lakebase.user, Lakebase.user]))
      assert.notStrictEqual(one, two)
      assert.strictEqual(yield* next, before + 1)
    })
  )

  it.effect("reruns a reactive query as its subscriber when another user changes a row", () =>
    Effect.gen(function* () {
      const sql = yield* Notes
      const seen = yield* Queue.make<ReadonlyArray<string>>()
      const insert = (body: string) => Reactivity.mutation(sql`INSERT INTO notes ${sql.insert({ body })}`, ["notes"])
      yield* asAlice(Effect.forkScoped(Stream.runForEach(sql.reactive(["notes"], bodies), (_) => Queue.offer(seen, _))))
      assert.deepStrictEqual(yield* Queue.take(seen), [])
      yield* asBob(insert("b"))
      assert.deepStrictEqual(yield* Queue.take(seen), [])
      yield* asAlice(insert("a"))
      assert.deepStrictEqual(yield* Queue.take(seen), ["a"])
    }).pipe(Effect.scoped, Effect.ensuring(clear))
  )

  it.effect("listens on the caller's connection, and receives the notifications of another user", () =>
    Effect.gen(function* () {
      const sql = yield* Notes
      const heard = yield* asAlice(sql.listen("news"))
      const listening = yield* sql<{ who: string }>`
        SELECT usename AS who FROM pg_stat_activity WHERE query ILIKE 'LISTEN%' AND pid <> pg_backend_pid()`
      assert.deepStrictEqual(listening, [{ who: alice }])
      const sender = yield* asBob(Effect.andThen(sql.notify("news", "from bob"), pid))
      assert.deepInclude(yield* Queue.take(heard), { payload: "from bob", processId: sender })
    }).pipe(Effect.scoped)
  )

  it.effect("reserves a connection of the caller, separate from its transaction's", () =>
    Effect.gen(function* () {
      const sql = yield* Notes
      const reserved = Effect.flatMap(sql.reserve, (_) => _.executeValues("SELECT current_user, pg_backend_pid()", []))
      const both = Effect.all([pid, Effect.scoped(reserved)])
      const [mine, [row]] = yield* asAlice(sql.withTransaction(both))
      assert.strictEqual(row![0], alice)
      assert.notStrictEqual(row![1], mine)
    })
  )

  it.effect("runs nothing on a reserved connection that is kept after its scope, or in another user's call", () =>
    Effect.gen(function* () {
      const text = "SELECT current_user"
      for (const sql of [yield* Notes, yield* asAlice(Lakebase.user)]) {
        const held = yield* Scope.make()
        const reserved = yield* asAlice(Scope.provide(sql.reserve, held))
        const ways = [
          reserved.execute(text, [], undefined),
          reserved.executeUnprepared(text, [], undefined),
          reserved.executeRaw(text, []),
          reserved.executeValues(text, []),
          reserved.executeValuesUnprepared(text, []),
          Stream.runCollect(reserved.executeStream(text, [], undefined))
        ]
        for (const way of ways) {
          assert.include(JSON.stringify(yield* asAlice(asService(way))), alice)
          for (const exit of [yield* Effect.exit(asBob(way)), yield* Effect.exit(way)]) {
            assert.include(String(exit), "in the call that uses it")
          }
        }
        yield* Scope.close(held, Exit.void)
        for (const way of ways) {
          assert.include((yield* asAlice(Effect.flip(way))).message, "reserve one in the scope that uses it")
        }
      }
      const ours = yield* Effect.scoped(asService((yield* Notes).reserve))
      const error = yield* Effect.flip(ours.executeRaw(text, []))
      assert.include(error.message, "reserve one in the scope that uses it")
    })
  )

  it.effect("runs a stream as its caller while another user's statements run between rows", () =>
    Effect.gen(function* () {
      const sql = yield* Notes
      const rows = sql<{ who: string }>`SELECT current_user AS who FROM generate_series(1, 3)`.stream
      const pull = yield* asAlice(Stream.toPull(rows))
      const first = yield* asAlice(pull)
      assert.deepStrictEqual(
        first.map((_) => _.who),
        [alice, alice, alice]
      )
      const request = yield* requestOf(bob)
      const provided = Stream.flatMap(rows, ({ who }) =>
        Stream.fromEffect(Effect.map(provideUser(whoThrough(sql), request), (bob) => [who, bob]))
      )
      assert.deepStrictEqual((yield* asAlice(Stream.runCollect(provided)))[2], [alice, bob])
    }).pipe(Effect.scoped)
  )

  it.effect("keeps 200 interleaved statements, transactions and streams of two users apart", () =>
    Effect.gen(function* () {
      const sql = yield* Notes
      const requests = { [alice]: yield* requestOf(alice), [bob]: yield* requestOf(bob) }
      const name = Effect.map(
        Stream.runCollect(sql<{ who: string }>`SELECT current_user AS who`.stream),
        ([row]) => row!.who
      )
      const ways = [whoThrough(sql), sql.withTransaction(whoThrough(sql)), name]
      yield* Effect.forEach(
        Array.from({ length: 200 }, (_, index) => index),
        (index) => {
          const user = index % 2 === 0 ? alice : bob
          return Effect.map(provideUser(ways[index % ways.length]!, requests[user]!), (seen) =>
            assert.strictEqual(seen, user)
          )
        },
        { concurrency: 10, discard: true }
      )
    })
  )

  it.effect("opens at most maxConnectionsService and maxConnectionsPerUser connections", () =>
    Effect.gen(function* () {
      const eight = Effect.all(
        Array.from({ length: 8 }, () => who),
        { concurrency: 8 }
      )
      const totals = Effect.gen(function* () {
        const { stats } = yield* Lakebase.Lakebase
        yield* eight
        yield* asAlice(eight)
        const { service, users } = yield* stats
        return [service.total, users.total]
      })
      const limited = lakebase({ maxConnections: 9, maxConnectionsService: 1, maxConnectionsPerUser: 2 })
      assert.deepStrictEqual(yield* Effect.provide(totals, limited), [1, 2])
    })
  )
})

class Note extends Model.Class<Note>("Note")({
  id: Model.Field({ select: Schema.Int, update: Schema.Int }),
  owner: Model.GeneratedByDb(Schema.String),
  body: Schema.String
}) {}
