import { assert, describe, it, layer } from "@effect/vitest"
import * as NodeFileSystem from "@effect/platform-node/NodeFileSystem"
import * as Arrow from "apache-arrow"
import { Effect, Exit, FileSystem, Layer, Pull, Schema, Stream } from "effect"
import {
  asService,
  DatabricksError,
  HttpFailure,
  OperationCache,
  Queries,
  QueryError,
  SqlWarehouse
} from "effect-databricks"
import { LocalWorkspace, TestContext } from "effect-databricks/testing"
import { alice, as, bob } from "./fixtures/people.ts"
import { spansOf } from "./fixtures/spans.ts"
import { chunk, Live, recording, start } from "./fixtures/sqlWarehouse.ts"

const asAlice = as(alice)
const asBob = as(bob)

const texts = {
  "all_orders.sql": "SELECT id, current_user AS caller FROM shop.orders ORDER BY id",
  "my-orders.obo.sql": "SELECT id, current_user AS caller FROM shop.orders ORDER BY id",
  "priced.sql": `
    -- @param least DECIMAL(10,2) DEFAULT 0
    -- @param ids INT[] DEFAULT (1, 2, 3)
    -- @param owner STRING DEFAULT NULL
    -- the orders (at least) of an owner
    SELECT id, :workspaceId AS workspace FROM shop.orders
    WHERE price >= :least AND id IN (:ids) AND (:owner IS NULL OR owner = :owner) ORDER BY id;`,
  "of_day.obo.sql": "-- @param day DATE\nSELECT :day AS day, current_user AS caller",
  "many.obo.sql": "-- @param count INT\nSELECT current_user AS caller FROM generate_series(1, :count)",
  "many_as_app.sql": "-- @param count INT\nSELECT current_user AS caller FROM generate_series(1, :count)",
  "wrong.obo.sql": "SELECT nothing FROM shop.orders"
}

const Order = Schema.Struct({ id: Schema.Int, caller: Schema.String })
const allOrders = Queries.query({ key: "all_orders", runsAs: "service", rows: Order })
const myOrders = Queries.query({ key: "my-orders", runsAs: "user", rows: Order })
const priced = Queries.query({
  key: "priced",
  runsAs: "service",
  parameters: Schema.Struct({
    least: Schema.optional(Schema.String),
    ids: Schema.optional(Schema.Array(Schema.Int)),
    owner: Schema.optional(Schema.NullOr(Schema.String))
  }),
  rows: Schema.Struct({ id: Schema.Int, workspace: Schema.String })
})
const ofDay = Queries.query({
  key: "of_day",
  runsAs: "user",
  parameters: Schema.Struct({ day: Schema.String }),
  rows: Schema.Struct({ day: Schema.String, caller: Schema.String })
})
const Count = Schema.Struct({ count: Schema.Int })
const Caller = Schema.Struct({ caller: Schema.String })
const many = Queries.query({ key: "many", runsAs: "user", parameters: Count, rows: Caller })
const manyAsApp = Queries.query({ key: "many_as_app", runsAs: "service", parameters: Count, rows: Caller })

/** Three orders: the policy of the table shows each user their own, and its owner, the service principal, all. */
const Orders = Layer.effectDiscard(
  Effect.forEach(
    [
      "CREATE SCHEMA shop",
      "GRANT USAGE ON SCHEMA shop TO PUBLIC",
      "CREATE TABLE shop.orders (id int, owner text, price numeric(10, 2))",
      `INSERT INTO shop.orders VALUES (1, '${alice}', 5), (2, '${bob}', 12.50), (3, '${alice}', 20)`,
      "ALTER TABLE shop.orders ENABLE ROW LEVEL SECURITY",
      "CREATE POLICY own ON shop.orders USING (owner = current_user)",
      "GRANT SELECT ON shop.orders TO PUBLIC"
    ],
    (text) => SqlWarehouse.SqlWarehouse.use((_) => _.execute({ text }))
  )
)

const App = Layer.mergeAll(Queries.layerRecord(texts), OperationCache.layer(), Orders).pipe(Layer.provideMerge(Live))

const errorOf = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.map(Effect.flip(effect), (error) => ({
    error,
    response: HttpFailure.fromError(error, { development: true })
  }))

layer(LocalWorkspace.layer({ rowsPerChunk: 3 }), { timeout: "60 seconds", excludeTestServices: true })(
  "Queries",
  (it) => {
    it.layer(App)("over a workspace", (it) => {
      it.effect("shows each user their own rows through key.obo.sql, also under asService", () =>
        Effect.gen(function* () {
          const alices = [
            { id: 1, caller: alice },
            { id: 3, caller: alice }
          ]
          const bobs = [{ id: 2, caller: bob }]
          for (const wrap of [<A, E, R>(effect: Effect.Effect<A, E, R>) => effect, asService]) {
            assert.deepStrictEqual(yield* asAlice(wrap(myOrders())), alices)
            assert.deepStrictEqual(yield* asBob(wrap(Stream.runCollect(myOrders.stream()))), bobs)
            const [one, two] = yield* Effect.all(
              [
                asAlice(wrap(Queries.execute("my-orders"))),
                asBob(wrap(Stream.runCollect(Queries.executeStream("my-orders"))))
              ],
              { concurrency: 2 }
            )
            assert.deepStrictEqual(one.rows, [
              ["1", alice],
              ["3", alice]
            ])
            assert.deepStrictEqual(two[0]!.rows, [["2", bob]])
          }
        })
      )

      it.effect("shows the app's rows through key.sql, also in a user's call", () =>
        Effect.gen(function* () {
          const { servicePrincipal } = yield* LocalWorkspace.LocalWorkspace
          const all = [1, 2, 3].map((id) => ({ id, caller: servicePrincipal.clientId }))
          assert.deepStrictEqual(yield* allOrders(), all)
          assert.deepStrictEqual(yield* asAlice(allOrders()), all)
          assert.deepStrictEqual(yield* asAlice(Stream.runCollect(allOrders.stream())), all)
          const rows = all.map(({ caller, id }) => [String(id), caller])
          assert.deepStrictEqual((yield* asBob(Queries.execute("all_orders"))).rows, rows)
          const [part] = yield* asBob(Stream.runCollect(Queries.executeStream("all_orders")))
          assert.deepStrictEqual(part!.rows, rows)
        })
      )

      it.effect("streams as the identity of the file, whoever pulls", () =>
        Effect.gen(function* () {
          const { servicePrincipal } = yield* LocalWorkspace.LocalWorkspace
          for (const [stream, caller, user] of [
            [many.stream({ count: 30 }), alice, alice],
            [manyAsApp.stream({ count: 30 }), servicePrincipal.clientId, servicePrincipal.clientId]
          ] as const) {
            const seen = yield* recording
            const pull = yield* asAlice(Stream.toPull(stream))
            const callers: Array<string> = []
            const next = Effect.map(pull, (part) => void callers.push(...part.map((row) => row.caller)))
            const end = Effect.andThen(asAlice(next), Effect.forever(Effect.andThen(asBob(next), asService(next))))
            yield* Pull.catchDone(end, () => Effect.void)
            assert.deepStrictEqual(
              callers,
              Array.from({ length: 30 }, () => caller)
            )
            const asked = [...(yield* seen("POST", start)), ...(yield* seen("GET", chunk))]
            assert.isAbove(asked.length, 5)
            for (const request of asked) assert.strictEqual(request.user, user, request.path)
          }
        }).pipe(Effect.scoped)
      )

      it.effect("returns a result by key as one Arrow stream, as the identity of the file, whoever reads it", () =>
        Effect.gen(function* () {
          const { servicePrincipal } = yield* LocalWorkspace.LocalWorkspace
          for (const [key, caller] of [
            ["many", alice],
            ["many_as_app", servicePrincipal.clientId]
          ] as const) {
            const seen = yield* recording
            const { body, columns } = yield* asAlice(Queries.executeArrow(key, { count: 30 }))
            assert.deepStrictEqual(
              columns.map(({ name }) => name),
              ["caller"]
            )
            const bytes = yield* asBob(Stream.runCollect(body))
            const callers = Array.from(Arrow.tableFromIPC(Buffer.concat(bytes)).getChild("caller")!)
            assert.deepStrictEqual(
              callers,
              Array.from({ length: 30 }, () => caller)
            )
            for (const { path, user } of [...(yield* seen("POST", start)), ...(yield* seen("GET", chunk))]) {
              assert.strictEqual(user, caller, path)
            }
          }
        })
      )

      it.effect("fails with 401 for a key of the user in a call without one, and sends nothing", () =>
        Effect.gen(function* () {
          const seen = yield* recording
          for (const call of [
            Queries.execute("my-orders"),
            asService(Queries.execute("my-orders")),
            Queries.executeArrow("my-orders"),
            Stream.runHead(Queries.executeStream("my-orders"))
          ] as ReadonlyArray<Effect.Effect<unknown, Queries.Failure, Queries.Queries | SqlWarehouse.SqlWarehouse>>) {
            const { response } = yield* errorOf(call)
            assert.strictEqual(response.status, 401)
            assert.strictEqual(
              response.body.message,
              "The query my-orders runs as the user, and this call has none: put its route under AsUser"
            )
          }
          assert.lengthOf(yield* seen("POST", start), 0)
        })
      )

      it.effect("binds defaults, lists, NULL for an optional parameter, and the id of the workspace", () =>
        Effect.gen(function* () {
          const { workspaceId } = yield* LocalWorkspace.LocalWorkspace
          const idsOf = (...args: Parameters<typeof priced>) =>
            Effect.map(priced(...args), (rows) => {
              for (const { workspace } of rows) assert.strictEqual(workspace, workspaceId)
              return rows.map(({ id }) => id)
            })
          assert.deepStrictEqual(yield* idsOf(), [1, 2, 3])
          assert.deepStrictEqual(yield* idsOf({ least: "12.5" }), [2, 3])
          assert.deepStrictEqual(yield* idsOf({ ids: [3] }), [3])
          assert.deepStrictEqual(yield* idsOf({ ids: [] }), [])
          assert.deepStrictEqual(yield* idsOf({ owner: alice }), [1, 3])
          assert.deepStrictEqual(yield* idsOf({ owner: null }), [1, 2, 3])
          const { rows } = yield* Queries.execute("priced", { least: 12.5, ids: ["2", 3], owner: undefined })
          assert.deepStrictEqual(rows, [
            ["2", workspaceId],
            ["3", workspaceId]
          ])
        })
      )

      it.effect("refuses an unknown parameter, a missing one and a wrong value with 400 that names both, unsent", () =>
        Effect.gen(function* () {
          const seen = yield* recording
          for (const [key, parameters, parameter, problem, message] of [
            ["of_day", { day: "2026-01-31", days: 1 }, "days", "unknown", 'The query of_day has no parameter "days"'],
            [
              "of_day",
              { workspaceId: "2" },
              "workspaceId",
              "unknown",
              'The query of_day has no parameter "workspaceId"'
            ],
            [
              "of_day",
              JSON.parse('{ "__proto__": { "day": "2026-01-31" } }'),
              "__proto__",
              "unknown",
              'The query of_day has no parameter "__proto__"'
            ],
            ["of_day", {}, "day", "missing", "The query of_day requires the parameter :day (DATE)"],
            ["of_day", { day: null }, "day", "missing", "The query of_day requires the parameter :day (DATE)"],
            [
              "of_day",
              { day: "2026-02-30" },
              "day",
              "invalid",
              'The query of_day cannot use :day: a DATE must be a day of the calendar such as "2026-01-31"'
            ],
            [
              "of_day",
              { day: { __sql_type: "DATE", value: "2026-01-31" } },
              "day",
              "invalid",
              'The query of_day cannot use :day: a DATE must be a day of the calendar such as "2026-01-31"'
            ],
            [
              "priced",
              { least: "0.001" },
              "least",
              "invalid",
              "The query priced cannot use :least: a DECIMAL(10,2) has at most 8 digits before the point and 2 after it"
            ],
            [
              "priced",
              { ids: 1 },
              "ids",
              "invalid",
              "The query priced cannot use :ids: a list of INT must be an array"
            ],
            [
              "priced",
              { ids: [1, null] },
              "ids",
              "invalid",
              "The query priced cannot use :ids: element 2 of the list: it must not be null"
            ]
          ] as const) {
            const { error, response } = yield* errorOf(asAlice(Queries.execute(key, parameters)))
            assert.strictEqual(response.status, 400)
            assert.instanceOf(error, QueryError.QueryParameterError)
            assert.deepInclude(error, { query: key, parameter, problem, message })
          }
          assert.lengthOf(yield* seen("POST", start), 0)
        })
      )

      it.effect("fails with 404 for a key without a file, whatever the key is", () =>
        Effect.gen(function* () {
          for (const key of [
            "orders",
            "",
            "__proto__",
            "constructor",
            "all_orders.sql",
            "../all_orders",
            "ALL_ORDERS"
          ]) {
            const { error, response } = yield* errorOf(Queries.execute(key))
            assert.instanceOf(error, QueryError.UnknownQueryError)
            assert.strictEqual(response.status, 404)
          }
        })
      )

      it.effect("fails with 400 for a wrong value of a query in code, and with 500 for code that is out of date", () =>
        Effect.gen(function* () {
          const seen = yield* recording
          const { response } = yield* errorOf(asAlice(ofDay({ day: "today" })))
          assert.strictEqual(response.status, 400)
          const rows = Schema.Struct({})
          const Days = Schema.Struct({ days: Schema.Int })
          const outdated = [
            Queries.query({ key: "gone", runsAs: "service", rows })(),
            asAlice(Queries.query({ key: "all_orders", runsAs: "user", rows })()),
            asAlice(Queries.query({ key: "my-orders", runsAs: "service", rows })()),
            asAlice(Queries.query({ key: "of_day", runsAs: "user", rows })()),
            asAlice(Queries.query({ key: "of_day", runsAs: "user", parameters: Days, rows })({ days: 1 })),
            asAlice(Stream.runCollect(Queries.query({ key: "my-orders", runsAs: "service", rows }).stream()))
          ]
          const messages: Array<string> = []
          for (const call of outdated) {
            const { error, response } = yield* errorOf(call)
            assert.instanceOf(error, QueryError.QueryOutdatedError)
            assert.strictEqual(response.status, 500)
            messages.push(error.message.replace(/: correct.*/, ""))
          }
          assert.deepStrictEqual(messages, [
            'No query has the key "gone"',
            "The query all_orders runs as the user in code and as the service in all_orders.sql",
            "The query my-orders runs as the service in code and as the user in my-orders.obo.sql",
            "The query of_day requires the parameter :day (DATE)",
            'The query of_day has no parameter "days"',
            "The query my-orders runs as the service in code and as the user in my-orders.obo.sql"
          ])
          assert.lengthOf(yield* seen("POST", start), 0)
        })
      )

      it.effect("caches for each user and once for the app, until OperationCache.invalidate of its key", () =>
        Effect.gen(function* () {
          const seen = yield* recording
          const cache = {}
          const round = Effect.all([
            asAlice(myOrders({}, { cache })),
            asBob(myOrders({}, { cache })),
            Effect.map(asAlice(Queries.execute("my-orders", {}, { cache })), ({ rows }) => rows),
            asAlice(allOrders({}, { cache })),
            asBob(allOrders({}, { cache })),
            asBob(priced({}, { cache })),
            priced({ least: "12.50" }, { cache })
          ])
          const before = yield* round
          assert.lengthOf(yield* seen("POST", start), 5)
          assert.deepStrictEqual(yield* round, before)
          assert.lengthOf(yield* seen("POST", start), 5)
          yield* OperationCache.invalidate(myOrders.key)
          assert.deepStrictEqual(yield* round, before)
          assert.lengthOf(yield* seen("POST", start), 7)
          yield* OperationCache.invalidate("priced")
          yield* round
          assert.lengthOf(yield* seen("POST", start), 9)
        })
      )

      it.effect("names the query in the span of each call", () =>
        Effect.gen(function* () {
          const calls = Effect.all([
            asAlice(myOrders()),
            asAlice(Stream.runDrain(myOrders.stream())),
            asAlice(Queries.execute("my-orders")),
            asAlice(Effect.flatMap(Queries.executeArrow("my-orders"), ({ body }) => Stream.runDrain(body)))
          ])
          const { spans } = yield* spansOf(calls)
          const operations = spans.filter(({ name }) => name === "plugin.execute")
          // The body of an Arrow result has a span of its own.
          assert.lengthOf(operations, 5)
          for (const { attributes } of operations) {
            assert.include(attributes, { "db.query.summary": "my-orders", "execution.context": "user" })
          }
        })
      )

      it.effect("fails with the warehouse's error and the caller's identity", () =>
        Effect.gen(function* () {
          const { error } = yield* errorOf(asAlice(Queries.execute("wrong")))
          assert.instanceOf(error, DatabricksError.DatabricksError)
          assert.strictEqual(error.context, "user")
        })
      )
    })
  }
)

describe("Queries.layer", () => {
  const started = (files: Readonly<Record<string, string>>) =>
    Effect.gen(function* () {
      const { makeTempDirectoryScoped, makeDirectory, writeFileString } = yield* FileSystem.FileSystem
      const directory = yield* makeTempDirectoryScoped()
      for (const [name, text] of Object.entries(files)) {
        if (name.includes("/")) yield* makeDirectory(`${directory}/${name.split("/")[0]}`)
        yield* writeFileString(`${directory}/${name}`, text)
      }
      const context = yield* Effect.exit(Layer.build(Queries.layer({ directory })))
      return { directory, context }
    }).pipe(Effect.provide([NodeFileSystem.layer, TestContext.layer()]), Effect.scoped)

  it.effect("reads the .sql files of the directory, and neither hidden ones nor those of folders in it", () =>
    Effect.gen(function* () {
      const { context } = yield* started({
        "a.sql": "SELECT 1",
        "b-c.obo.sql": "-- @param x INT\nSELECT :x",
        ".#a.sql": "lock",
        "notes.md": "no",
        "drafts/a.sql": "no; no"
      })
      if (Exit.isFailure(context)) return assert.fail(String(context.cause))
      const { definitions } = yield* Effect.provide(Queries.Queries, context.value)
      assert.deepStrictEqual(
        Array.from(definitions.values(), ({ key, runsAs, parameters }) => [key, runsAs, parameters.length]),
        [
          ["a", "service", 0],
          ["b-c", "user", 1]
        ]
      )
    })
  )

  it.effect("fails the start with file, line and reason of every problem", () =>
    Effect.gen(function* () {
      const { context, directory } = yield* started({
        "a.sql": "SELECT 1",
        "a.obo.sql": "SELECT 1",
        "b.OBO.sql": "SELECT 1",
        "c.sql": "SELECT 1,\n:x"
      })
      const error = yield* Effect.flip(context)
      assert.instanceOf(error, QueryError.QueryFileError)
      assert.deepStrictEqual(
        error.problems.map(({ file, line }) => [file, line]),
        [
          [`${directory}/a.sql`, 1],
          [`${directory}/b.OBO.sql`, 1],
          [`${directory}/c.sql`, 2]
        ]
      )
      assert.include(error.message, `${directory}/a.sql:1: ${directory}/a.obo.sql has the key a too`)
      assert.include(error.message, `${directory}/c.sql:2: :x is not declared: add the line "-- @param x TYPE"`)
    })
  )

  it.effect("fails the start if the directory is missing or has no .sql file", () =>
    Effect.gen(function* () {
      const empty = yield* Effect.flip((yield* started({ "a.txt": "" })).context)
      assert.include(empty.message, "There is no .sql file")
      const missing = yield* Layer.build(Queries.layer({ directory: "/no/such/directory" })).pipe(
        Effect.flip,
        Effect.provide([NodeFileSystem.layer, TestContext.layer()]),
        Effect.scoped
      )
      assert.match(missing.message, /^The queries cannot be read: .*\/no\/such\/directory/)
    })
  )

  it.effect("reads the texts of a bundle by path, and refuses two of one key", () =>
    Effect.gen(function* () {
      const built = (texts: Readonly<Record<string, string>>) =>
        Effect.scoped(Layer.build(Queries.layerRecord(texts))).pipe(Effect.provide(TestContext.layer()))
      const context = yield* built({ "./queries/a.obo.sql": "SELECT 1" })
      const { definitions } = yield* Effect.provide(Queries.Queries, context)
      assert.strictEqual(definitions.get("a")!.runsAs, "user")
      const error = yield* Effect.flip(built({ "one/a.sql": "SELECT 1", "two/a.obo.sql": "SELECT 1" }))
      assert.include(error.message, "two/a.obo.sql:1: one/a.sql has the key a too")
      assert.include((yield* Effect.flip(built({}))).message, "There is no .sql file")
    })
  )
})
