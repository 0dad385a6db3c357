import { assert, layer } from "@effect/vitest"
import { MetricView, ResumableStreams, SqlWarehouse } from "effect-databricks"
import * as Analytics from "effect-databricks/appkit/Analytics"
import { LocalWorkspace } from "effect-databricks/testing"
import { Effect, Layer } from "effect"
import { alice, bob } from "../fixtures/people.ts"
import { pending, recording, start } from "../fixtures/sqlWarehouse.ts"
import { eventsOf } from "../fixtures/sse.ts"
import { serve } from "../http/harness.ts"
import { post } from "./analytics.ts"

const from = "(SELECT column1 AS region, column2 AS amount FROM (VALUES ('EMEA', 10), ('EMEA', 5), ('APAC', 1)))"
const view = {
  from,
  measures: {
    revenue: {
      expression: "sum(amount)",
      displayName: "Revenue",
      format: { number: { decimal_places: { type: "exact", places: 1 } } }
    }
  },
  dimensions: { region: "region", caller: "current_user::text" }
} as const

const path = (key: string) => `/api/analytics/metric/${key}`

const app = (options?: Analytics.Options<"metric">) =>
  serve(Analytics.layerMetricViews(options), {
    services: MetricView.layerRecord({
      mine: { source: "main.shop.mine", executor: "user" },
      all: { source: "main.shop.all" },
      open: { source: "main.shop.all" }
    }).pipe(Layer.provideMerge(Layer.merge(ResumableStreams.layer, SqlWarehouse.layer)))
  })

const eventsFor = (key: string, body: unknown, sender?: string) =>
  Effect.map(post(path(key), body, sender), ({ status, text }) => {
    assert.strictEqual(status, 200, text)
    return eventsOf(text).map(({ data }) => data as Record<string, any>) // oxlint-disable-line typescript/no-explicit-any
  })

const workspace = LocalWorkspace.layer({
  metricViews: [
    { source: "main.shop.mine", ...view },
    { source: "main.shop.all", ...view }
  ]
})

layer(workspace, { timeout: "60 seconds", excludeTestServices: true })("Analytics.layerMetricViews", (it) => {
  it.layer(app())("over a workspace", (it) => {
    it.effect("sends the state of the warehouse, then the rows and the metadata of their columns, and ends", () =>
      Effect.gen(function* () {
        const request = {
          measures: ["revenue"],
          dimensions: ["region"],
          filter: { member: "region", operator: "in", values: ["EMEA", "APAC"] },
          orderBy: [{ field: "revenue", direction: "DESC" }],
          limit: 10
        }
        for (const body of [request, { ...request, format: "JSON_ARRAY" }]) {
          const [state, result, ...others] = yield* eventsFor("all", body, alice)
          assert.deepStrictEqual(others, [])
          assert.strictEqual(state!["status"].state, "RUNNING")
          const { data, metadata, statement_id, type } = result!
          assert.strictEqual(type, "result")
          assert.isString(statement_id)
          assert.deepStrictEqual(
            data.map((row: Record<string, string>) => [row["region"], Number(row["revenue"])]),
            [
              ["EMEA", 15],
              ["APAC", 1]
            ]
          )
          assert.isString(data[0].revenue)
          assert.deepStrictEqual(Object.keys(metadata).toSorted(), ["region", "revenue"])
          assert.deepInclude(metadata.revenue, { display_name: "Revenue" })
        }
      })
    )

    it.effect("runs a view of the user as each sender, and any other as the app", () =>
      Effect.gen(function* () {
        const { servicePrincipal } = yield* LocalWorkspace.LocalWorkspace
        for (const [key, sender, who] of [
          ["mine", alice, alice],
          ["mine", bob, bob],
          ["all", alice, servicePrincipal.clientId],
          ["all", undefined, servicePrincipal.clientId]
        ] as const) {
          const seen = yield* recording
          const events = yield* eventsFor(key, { measures: ["revenue"], dimensions: ["caller"] }, sender)
          assert.deepStrictEqual(events.at(-1)!["data"], [{ revenue: "16", caller: who }])
          for (const { user } of yield* seen("POST", start)) assert.strictEqual(user, who)
        }
      })
    )

    const mistakes: ReadonlyArray<readonly [name: string, key: string, body: unknown, status: number, error: string]> =
      [
        ["an unknown key", "none", { measures: ["revenue"] }, 404, "Metric not found"],
        ["no measures", "all", {}, 400, "Invalid metric request body (fields: measures)"],
        [
          "two wrong fields",
          "all",
          { measures: ["revenue"], limit: 0, orderBy: [{ field: 1 }] },
          400,
          "Invalid metric request body (fields: orderBy.0.field, limit)"
        ],
        [
          "a misspelt field",
          "all",
          { measures: ["revenue"], filters: [] },
          400,
          "Invalid metric request body (fields: filters)"
        ],
        [
          "an empty group",
          "all",
          { measures: ["revenue"], filter: { and: [] } },
          400,
          "Invalid metric request body (fields: filter.and)"
        ]
      ]
    it.effect.each(mistakes)(
      "answers %s as JSON before a stream begins, and sends nothing",
      ([, key, body, status, error]) =>
        Effect.gen(function* () {
          const seen = yield* recording
          const answer = yield* post(path(key), body, alice)
          assert.deepStrictEqual([answer.status, answer.json.error], [status, error])
          assert.lengthOf(yield* seen("POST", start), 0)
        })
    )

    it.effect("ends with an error that names an unknown measure", () =>
      Effect.gen(function* () {
        const event = (yield* eventsFor("all", { measures: ["profit"] }, alice)).at(-1)!
        assert.strictEqual(event["type"], "error")
        assert.match(event["error"], /profit/)
      })
    )

    it.effect("answers a view of the user without a token with 401 as JSON", () =>
      Effect.gen(function* () {
        const { json, status } = yield* post(path("mine"), { measures: ["revenue"] })
        assert.strictEqual(status, 401)
        assert.strictEqual(json.plugin, "analytics")
      })
    )
  })

  it.layer(
    app({
      keys: ["all", "mine", "open"],
      policy: (action, { key }) => Effect.succeed(action === "metric" && key === "open")
    })
  )("with a policy", (it) => {
    it.effect("asks the policy about a view of the app, and not about one of the user", () =>
      Effect.gen(function* () {
        const request = { measures: ["revenue"] }
        assert.strictEqual((yield* post(path("all"), request, alice)).status, 403)
        assert.strictEqual((yield* post(path("mine"), request, alice)).status, 200)
        assert.strictEqual((yield* post(path("open"), request, alice)).status, 200)
      })
    )
  })

  it.layer(app({ keys: ["all", "mine"], timeout: "50 millis" }))("with keys and a time limit", (it) => {
    it.effect("serves the keys of the list only", () =>
      Effect.gen(function* () {
        const { json, status } = yield* post(path("open"), { measures: ["revenue"] })
        assert.deepStrictEqual([status, json.error], [404, "Metric not found"])
      })
    )

    it.effect("ends with TIMEOUT for a statement that exceeds the limit", () =>
      Effect.gen(function* () {
        yield* eventsFor("all", { measures: ["revenue"] }) // asks for the description of the view
        yield* pending(1_000)
        assert.deepInclude((yield* eventsFor("all", { measures: ["revenue"] })).at(-1), {
          type: "error",
          code: "TIMEOUT"
        })
      })
    )

    it.effect("ends with TIMEOUT for a view whose description exceeds the limit", () =>
      Effect.gen(function* () {
        yield* pending(1_000)
        assert.deepInclude((yield* eventsFor("mine", { measures: ["revenue"] }, alice)).at(-1), {
          type: "error",
          code: "TIMEOUT"
        })
      })
    )
  })
})
