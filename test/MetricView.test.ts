import { assert, layer } from "@effect/vitest"
import * as NodeFileSystem from "@effect/platform-node/NodeFileSystem"
import { DateTime, Effect, Exit, FileSystem, Layer, Redacted, Schema, Stream } from "effect"
import {
  asService,
  DatabricksError,
  HttpFailure,
  type MetricRequest,
  MetricView,
  MetricViewError,
  OperationCache,
  provideUser,
  SqlWarehouse
} from "effect-databricks"
import { LocalWorkspace } from "effect-databricks/testing"
import { alice, as, bob } from "./fixtures/people.ts"
import { spansOf } from "./fixtures/spans.ts"
import { chunk, Live, misbehave, recording, start, statements } from "./fixtures/sqlWarehouse.ts"

const asAlice = as(alice)
const asBob = as(bob)

const from = "shop.sales"
const measures = {
  revenue: {
    expression: "sum(amount)",
    displayName: "Revenue",
    comment: "All orders",
    format: { currency: { currency_code: "EUR", decimal_places: { type: "exact", places: 1 } } }
  },
  orders: { expression: "count(*)", format: { number: { decimal_places: { type: "all" } } } },
  share: { expression: "avg(share)", format: { percent: { decimal_places: 1 } } }
}
const dimensions = {
  region: "region",
  day: { expression: "day", displayName: "Day" },
  "note`s": "note",
  caller: "current_user::text"
}

const workspace = LocalWorkspace.layer({
  rowsPerChunk: 2,
  metricViews: [
    { source: "main.shop.sales", from, measures, dimensions },
    { source: "main.shop.all_sales", from, measures, dimensions },
    {
      source: "main.shop.races",
      from: "(VALUES ('Lotus'), ('Lotus'))",
      measures: { toString: "count(*)" },
      dimensions: { constructor: "column1" }
    }
  ]
})

/** Five sales, of which the policy of the table shows each user their own, and the service principal all. */
const Sales = Layer.effectDiscard(
  Effect.forEach(
    [
      "CREATE SCHEMA shop",
      "GRANT USAGE ON SCHEMA shop TO PUBLIC",
      "CREATE TABLE shop.sales (owner text, region text, day date, amount numeric(10, 2), share float8, note text)",
      `INSERT INTO shop.sales VALUES
        ('${alice}', 'EMEA', '2026-01-10', 10, 0.5, '50%'), ('${alice}', 'APAC', '2026-01-20', 5, 0.25, '500'),
        ('${alice}', 'EMEA', '2026-02-01', 2.50, 0, NULL), ('${bob}', 'EMEA', '2026-01-10', 100, 1, 'a_b'),
        ('${bob}', NULL, '2026-03-01', 1, 1, 'a\\b')`,
      "ALTER TABLE shop.sales ENABLE ROW LEVEL SECURITY",
      "CREATE POLICY own ON shop.sales USING (owner = current_user)",
      "GRANT SELECT ON shop.sales TO PUBLIC"
    ],
    (text) => SqlWarehouse.SqlWarehouse.use((_) => _.execute({ text }))
  )
)

const viewsOf = (options?: MetricView.LayerOptions) =>
  MetricView.layerRecord(
    {
      sales: { source: "main.shop.sales", executor: "user" },
      all_sales: { source: "main.shop.all_sales" },
      missing: { source: "main.shop.missing" }
    },
    options
  )

const App = Layer.mergeAll(viewsOf(), OperationCache.layer(), Sales).pipe(Layer.provideMerge(Live))

const columns = {
  measures: { revenue: Schema.NullOr(Schema.Number), orders: Schema.Int },
  dimensions: {
    region: Schema.NullOr(Schema.String),
    day: Schema.DateTimeUtcFromString,
    "note`s": Schema.NullOr(Schema.String),
    caller: Schema.String
  }
} as const
const sales = MetricView.view({ source: "main.shop.sales", executor: "user", ...columns })
const allSales = MetricView.view({ source: "main.shop.all_sales", ...columns })

const errorOf = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.map(Effect.flip(effect), (error) => ({
    error,
    response: HttpFailure.fromError(error, { development: true })
  }))

const byCaller = { measures: ["revenue"], dimensions: ["caller"] } as const

layer(workspace, { timeout: "60 seconds", excludeTestServices: true })("MetricView", (it) => {
  it.layer(App)("over a workspace", (it) => {
    it.effect("shows each user their own numbers with the executor user, also under asService", () =>
      Effect.gen(function* () {
        for (const wrap of [<A, E, R>(effect: Effect.Effect<A, E, R>) => effect, asService]) {
          assert.deepStrictEqual(yield* asAlice(wrap(sales(byCaller))), [{ revenue: 17.5, caller: alice }])
          assert.deepStrictEqual(yield* asBob(wrap(Stream.runCollect(sales.stream(byCaller)))), [
            { revenue: 101, caller: bob }
          ])
          const [alices, bobs] = yield* Effect.all(
            [asAlice(wrap(MetricView.execute("sales", byCaller))), asBob(wrap(MetricView.execute("sales", byCaller)))],
            { concurrency: 2 }
          )
          assert.deepStrictEqual(alices.rows, [["17.50", alice]])
          assert.deepStrictEqual(bobs.rows, [["101.00", bob]])
        }
      })
    )

    it.effect("shows the app's numbers with the executor app_service_principal, also in a user's call", () =>
      Effect.gen(function* () {
        const { servicePrincipal } = yield* LocalWorkspace.LocalWorkspace
        const all = [{ revenue: 118.5, caller: servicePrincipal.clientId }]
        assert.deepStrictEqual(yield* allSales(byCaller), all)
        assert.deepStrictEqual(yield* asAlice(allSales(byCaller)), all)
        assert.deepStrictEqual(yield* asAlice(Stream.runCollect(allSales.stream(byCaller))), all)
        assert.deepStrictEqual((yield* asBob(MetricView.execute("all_sales", byCaller))).rows, [
          ["118.50", servicePrincipal.clientId]
        ])
      })
    )

    it.effect("has columns with the names of an object's own properties", () =>
      Effect.gen(function* () {
        const view = MetricView.view({
          source: "main.shop.races",
          measures: { toString: Schema.Int },
          dimensions: { constructor: Schema.String }
        })
        const asked = view({ measures: ["toString"], dimensions: ["constructor"] })
        assert.deepStrictEqual(yield* asked, [{ toString: 2, constructor: "Lotus" }])
      })
    )

    it.effect("groups by dimensions, truncates a time dimension after the filter, orders and limits", () =>
      Effect.gen(function* () {
        const rows = yield* allSales({
          measures: ["revenue", "orders"],
          dimensions: ["region", "day"],
          filter: { member: "day", operator: "gte", values: ["2026-01-10"] },
          timeDimension: "day",
          timeGrain: "month",
          orderBy: [{ field: "revenue", direction: "DESC" }],
          limit: 3
        })
        const month = (text: string) => DateTime.makeUnsafe(text)
        assert.deepStrictEqual(rows, [
          { revenue: 110, orders: 2, region: "EMEA", day: month("2026-01-01") },
          { revenue: 5, orders: 1, region: "APAC", day: month("2026-01-01") },
          { revenue: 2.5, orders: 1, region: "EMEA", day: month("2026-02-01") }
        ])
        assert.deepStrictEqual(yield* allSales({ measures: ["orders"] }), [{ orders: 5 }])
      })
    )

    it.effect("filters with every operator, and finds % and _ as they are", () =>
      Effect.gen(function* () {
        const ordersOf = (filter: MetricRequest.Filter<keyof typeof columns.dimensions>) =>
          Effect.map(allSales({ measures: ["orders"], filter }), ([row]) => row!.orders)
        const is = (
          member: keyof typeof columns.dimensions,
          operator: MetricRequest.Operator,
          ...values: ReadonlyArray<string | number>
        ) => ordersOf({ member, operator, values })
        assert.strictEqual(yield* is("region", "equals", "EMEA"), 3)
        assert.strictEqual(yield* is("region", "notEquals", "EMEA"), 1)
        assert.strictEqual(yield* is("day", "gt", "2026-01-20"), 2)
        assert.strictEqual(yield* is("day", "gte", "2026-01-20"), 3)
        assert.strictEqual(yield* is("day", "lt", "2026-01-20"), 2)
        assert.strictEqual(yield* is("day", "lte", "2026-01-20"), 3)
        assert.strictEqual(yield* is("region", "in", "EMEA", "APAC"), 4)
        assert.strictEqual(yield* is("region", "notIn", "EMEA", "AMER"), 1)
        assert.strictEqual(yield* is("region", "set"), 4)
        assert.strictEqual(yield* is("region", "notSet"), 1)
        assert.strictEqual(yield* is("note`s", "contains", "50"), 2)
        assert.strictEqual(yield* is("note`s", "contains", "0%"), 1)
        assert.strictEqual(yield* is("note`s", "contains", "a_b"), 1)
        assert.strictEqual(yield* is("note`s", "contains", "a\\b"), 1)
        assert.strictEqual(yield* is("note`s", "notContains", "_"), 3)
        assert.strictEqual(yield* is("note`s", "equals", "' OR 1=1 --"), 0)
        const emea = { member: "region", operator: "equals", values: ["EMEA"] } as const
        const early = { member: "day", operator: "lt", values: ["2026-01-15"] } as const
        assert.strictEqual(yield* ordersOf({ and: [emea, early] }), 2)
        assert.strictEqual(yield* ordersOf({ or: [early, { and: [emea, { or: [early, emea] }] }] }), 3)
      })
    )

    it.effect("tells the columns of a result: type, display name, format and description", () =>
      Effect.gen(function* () {
        const { metadata } = yield* MetricView.execute("all_sales", {
          measures: ["revenue"],
          dimensions: ["day", "region"]
        })
        const revenue = {
          type: "decimal(38,18)",
          display_name: "Revenue",
          format: "€#,##0.0",
          description: "All orders"
        }
        assert.deepStrictEqual(metadata, {
          revenue,
          day: { type: "date", display_name: "Day" },
          region: { type: "string" }
        })
        const { dimensions, measures } = yield* MetricView.describe("all_sales")
        assert.deepStrictEqual(
          { ...measures },
          { revenue, orders: { type: "bigint", format: "#,##0" }, share: { type: "double", format: "0.0%" } }
        )
        assert.deepStrictEqual(Object.keys(dimensions), ["region", "day", "note`s", "caller"])
      })
    )

    it.effect("asks for the columns once for each caller, as the executor, and again after timeToLive", () =>
      Effect.gen(function* () {
        const { servicePrincipal } = yield* LocalWorkspace.LocalWorkspace
        const seen = yield* recording
        const asked = Effect.map(seen("POST", start), (requests) =>
          requests.flatMap(({ body = "", user }) => (body.includes("DESCRIBE TABLE EXTENDED") ? [user] : []))
        )
        const calls = Effect.gen(function* () {
          for (const each of [asAlice, asBob, asAlice]) {
            yield* each(asService(MetricView.execute("sales", byCaller)))
            yield* each(MetricView.describe("sales"))
            yield* each(MetricView.describe("all_sales"))
          }
        })
        yield* Effect.provide(calls, viewsOf())
        assert.deepStrictEqual(yield* asked, [alice, servicePrincipal.clientId, bob])
        yield* Effect.provide(calls, viewsOf({ timeToLive: 0 }))
        assert.lengthOf(yield* asked, 3 + 9)
      })
    )

    it.effect("does not fail a user's columns because of another token of the same user", () =>
      Effect.gen(function* () {
        const { headers, revoke } = yield* LocalWorkspace.LocalWorkspace
        yield* misbehave({ kind: "delay", duration: "300 millis", method: "POST", path: statements, times: 1 })
        const request = yield* headers(alice)
        const token = Redacted.make(request["x-forwarded-access-token"]!)
        const described = asService(MetricView.describe("sales"))
        const [, fresh] = yield* Effect.all(
          [
            Effect.exit(provideUser(Effect.andThen(revoke(token), described), request)),
            Effect.exit(asAlice(described))
          ],
          { concurrency: 2 }
        ).pipe(Effect.provide(viewsOf()))
        assert.isTrue(Exit.isSuccess(fresh))
      }).pipe(Effect.scoped)
    )

    it.effect("refuses unknown names, limits and malformed requests with 400, and runs no query", () =>
      Effect.gen(function* () {
        yield* MetricView.describe("all_sales")
        const seen = yield* recording
        const measures = ["revenue"]
        const in_ = "The request of the metric view main.shop.all_sales is refused: "
        for (const [request, message] of [
          [{ measures: ["profit"] }, '"profit" is not a measure of it: use revenue, orders, share'],
          [{ measures: ["toString"] }, '"toString" is not a measure of it: use revenue, orders, share'],
          [{ measures: ["region"] }, '"region" is not a measure of it: use revenue, orders, share'],
          [
            { measures, dimensions: ["country"] },
            '"country" is not a dimension of it: use region, day, note`s, caller'
          ],
          [
            {
              measures,
              filter: {
                or: [
                  { member: "region", operator: "set" },
                  { and: [{ member: "revenue", operator: "gt", values: [1] }] }
                ]
              }
            },
            '"revenue" is not a dimension of it: use region, day, note`s, caller'
          ],
          [{ measures, filters: [] }, 'is not a field of a metric request at ["filters"]'],
          [{ measures, limit: 100_001 }, 'Expected a value between 1 and 100000 at ["limit"]']
        ] as const) {
          const { error, response } = yield* errorOf(
            // A request as it comes from outside.
            MetricView.execute("all_sales", request as MetricRequest.MetricRequest)
          )
          assert.instanceOf(error, MetricViewError.MetricRequestError)
          assert.strictEqual(error.message, in_ + message)
          assert.strictEqual(response.status, 400)
        }
        const { error } = yield* errorOf(allSales({ measures: ["profit" as "revenue"] }))
        assert.instanceOf(error, MetricViewError.MetricRequestError)
        assert.lengthOf(yield* seen("POST", start), 0)
      })
    )

    it.effect("fails with 404 for an unknown key, and with 401 for a view of the user in a call without one", () =>
      Effect.gen(function* () {
        const seen = yield* recording
        for (const key of ["profits", "toString"]) {
          const { error, response } = yield* errorOf(MetricView.execute(key, byCaller))
          assert.instanceOf(error, MetricViewError.UnknownMetricViewError)
          assert.strictEqual(response.status, 404)
          assert.strictEqual(error.message, `No metric view has the key "${key}"`)
        }
        for (const call of [
          MetricView.execute("sales", byCaller),
          asService(MetricView.execute("sales", byCaller)),
          MetricView.describe("sales")
        ] as ReadonlyArray<Effect.Effect<unknown, MetricView.Failure, MetricView.MetricView>>) {
          const { response } = yield* errorOf(call)
          assert.strictEqual(response.status, 401)
          assert.strictEqual(
            response.body.message,
            "The metric view sales runs as the user, and this call has none: put its route under AsUser"
          )
        }
        assert.lengthOf(yield* seen("POST", start), 0)
      })
    )

    it.effect("fails with the warehouse's error for a view that it does not have", () =>
      Effect.gen(function* () {
        const { error } = yield* errorOf(MetricView.execute("missing", byCaller))
        assert.instanceOf(error, DatabricksError.DatabricksError)
      })
    )

    it.effect("streams a result in chunks, and reads at most rowLimit rows", () =>
      Effect.gen(function* () {
        const seen = yield* recording
        const request = { measures: ["orders"], dimensions: ["day", "region"], limit: 100 } as const
        const rows = yield* Stream.runCollect(allSales.stream(request))
        assert.deepStrictEqual(
          rows.map(({ orders }) => orders),
          [2, 1, 1, 1]
        )
        assert.lengthOf(yield* seen("GET", chunk), 1)
        const { rows: first, truncated } = yield* MetricView.execute("all_sales", request, { rowLimit: 1 })
        assert.lengthOf(first, 1)
        assert.isTrue(truncated)
        const starts = yield* seen("POST", start)
        assert.include(starts.at(-1)!.body, '"row_limit":1')
        yield* MetricView.execute("all_sales", request)
        assert.include((yield* seen("POST", start)).at(-1)!.body, '"row_limit":100000')
      })
    )

    it.effect("opens one span for a request, which names the view, and binds the values", () =>
      Effect.gen(function* () {
        yield* asAlice(MetricView.describe("sales"))
        const request = {
          measures: ["orders"],
          filter: { member: "region", operator: "equals", values: ["secret-region"] }
        } as const
        const seen = yield* recording
        const { spans } = yield* spansOf(asAlice(MetricView.execute("sales", request)))
        const own = spans.filter(({ name }) => name === "plugin.execute")
        assert.lengthOf(own, 1)
        assert.strictEqual(own[0]!.attributes["db.query.summary"], "main.shop.sales")
        assert.strictEqual(own[0]!.attributes["execution.context"], "user")
        assert.notInclude(JSON.stringify(own.map(({ attributes }) => attributes)), "secret-region")
        const [sent] = yield* seen("POST", start)
        assert.deepInclude(JSON.parse(sent!.body!), {
          statement: "SELECT MEASURE(`orders`) AS `orders` FROM `main`.`shop`.`sales` WHERE `region` = :f_0",
          parameters: [{ name: "f_0", type: "STRING", value: "secret-region" }]
        })
      })
    )

    it.effect("caches results for each user, and forgets them by the source", () =>
      Effect.gen(function* () {
        const seen = yield* recording
        const cached = sales(byCaller, { cache: { timeToLive: "1 minute" } })
        for (const each of [asAlice, asAlice, asBob, asBob]) yield* each(cached)
        assert.deepStrictEqual(
          (yield* seen("POST", start)).map(({ user }) => user),
          [alice, bob]
        )
        assert.deepStrictEqual(yield* asBob(cached), [{ revenue: 101, caller: bob }])
        yield* OperationCache.invalidate(sales.source)
        yield* asAlice(cached)
        assert.lengthOf(yield* seen("POST", start), 3)
      })
    )

    const read = (text: string | undefined) =>
      Effect.gen(function* () {
        const files = yield* FileSystem.FileSystem
        const file = `${yield* files.makeTempDirectoryScoped()}/definitions.json`
        if (text !== undefined) yield* files.writeFileString(file, text)
        const { definitions } = yield* Effect.provide(MetricView.MetricView, MetricView.layer({ file }))
        return [...definitions.values()]
      }).pipe(Effect.provide(NodeFileSystem.layer), Effect.scoped)

    it.effect("reads AppKit's file of definitions, with the service principal as the default executor", () =>
      Effect.gen(function* () {
        const text = `{ "$schema": "x", "metricViews": {
          "a": { "source": "prod-data.größe.v(2)" }, "b": { "source": "a.b.c", "executor": "user" } } }`
        assert.deepStrictEqual(yield* read(text), [
          { key: "a", source: "prod-data.größe.v(2)", executor: "app_service_principal" },
          { key: "b", source: "a.b.c", executor: "user" }
        ])
      })
    )

    it.effect("fails the start with the file and the problem of its definitions", () =>
      Effect.gen(function* () {
        for (const [text, problem] of [
          [undefined, /definitions\.json cannot be read: .*A relative path starts at/s],
          ["{", /definitions\.json is not JSON: SyntaxError/],
          ["{}", /definitions\.json is not usable: Missing key\n {2}at \["metricViews"\]/],
          [`{ "metricViews": {}, "sp": {} }`, /at \["sp"\]/],
          [`{ "metricViews": { "a": { "source": "a.b" } } }`, /a source catalog\.schema\.view/],
          [`{ "metricViews": { "a": { "source": "a.b.c d" } } }`, /a source catalog\.schema\.view/],
          [`{ "metricViews": { "a": { "source": "a.b.c", "executor": "obo" } } }`, /\["a"\]\["executor"\]/],
          [`{ "metricViews": { "a": { "source": "a.b.c", "excecutor": "user" } } }`, /\["a"\]\["excecutor"\]/]
        ] as const) {
          const error = yield* Effect.flip(read(text))
          assert.instanceOf(error, MetricViewError.MetricDefinitionError)
          assert.match(error.message, problem)
        }
        const options = Effect.provide(MetricView.MetricView, viewsOf({ timeToLive: -1 }))
        assert.match(String(yield* Effect.flip(options)), /The option timeToLive of MetricView is not a duration/)
      })
    )
  })
})
