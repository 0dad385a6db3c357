import { assert, describe, it } from "@effect/vitest"
import {
  App,
  Lakebase,
  Logs,
  Operation,
  OperationCache,
  Queries,
  ResumableStreams,
  SqlWarehouse,
  Telemetry
} from "effect-databricks"
import * as Analytics from "effect-databricks/appkit/Analytics"
import { TestContext } from "effect-databricks/testing"
import { ConfigProvider, type Duration, Effect, Layer, Schema } from "effect"
import { HttpRouter } from "effect/http"

/** What a start says that fails for its settings. */
const said = <E>(start: Layer.Layer<never, E>, env: Record<string, string> = {}) =>
  Effect.map(
    Effect.flip(Layer.build(Layer.provide(start, ConfigProvider.layer(ConfigProvider.fromEnvRecord(env))))),
    (error) => {
      const { _tag, cause } = error as unknown as {
        readonly _tag: string
        readonly cause: { readonly message: string }
      }
      assert.strictEqual(_tag, "ConfigError")
      return cause.message
    }
  ).pipe(Effect.scoped)

const inTest = TestContext.layer()
const lakebase = (options: Partial<Lakebase.Options>) =>
  Layer.effectDiscard(Effect.void).pipe(
    Layer.provide(Lakebase.layer({ host: "h", endpoint: app.LAKEBASE_ENDPOINT, ...options })),
    Layer.provide(inTest)
  )
const configured = (options?: Partial<Lakebase.Options>) =>
  Layer.effectDiscard(Effect.void).pipe(Layer.provide(Lakebase.layerConfig(options)), Layer.provide(inTest))
const telemetry = (options: Partial<Telemetry.Options>) =>
  Telemetry.layer({ endpoint: "http://127.0.0.1:1", ...options })
const cache = (options: OperationCache.MemoryOptions) =>
  Layer.effectDiscard(Effect.void).pipe(Layer.provide(OperationCache.layer(options)))
const warehouse = (policy: Operation.Policy) =>
  Layer.effectDiscard(Effect.void).pipe(Layer.provide(SqlWarehouse.layerWith(policy)), Layer.provide(inTest))
const analytics = (options: Analytics.Options<"query">) =>
  Analytics.layer(options).pipe(
    Layer.provide([
      HttpRouter.layer,
      ResumableStreams.layer,
      SqlWarehouse.layer,
      Queries.layerRecord({ "a.sql": "SELECT 1 AS x" })
    ]),
    Layer.provide(inTest)
  )

const app = { PGHOST: "h", LAKEBASE_ENDPOINT: "projects/p/branches/b/endpoints/e" }
const collector = { OTEL_EXPORTER_OTLP_ENDPOINT: "http://127.0.0.1:1" }
const server = Layer.effectDiscard(Effect.void).pipe(Layer.provide(App.layerHttpServer()))
const never = "10 parsecs" as unknown as Duration.Input

const wrong: ReadonlyArray<readonly [start: Layer.Layer<never, unknown>, says: string, env?: Record<string, string>]> =
  [
    [
      lakebase({ maxConnections: Number.NaN }),
      "The option maxConnections of Lakebase is not a whole number of 1 or more: NaN"
    ],
    [
      lakebase({ maxConnectionsPerUser: 0 }),
      "The option maxConnectionsPerUser of Lakebase is not a whole number of 1 or more: 0"
    ],
    [
      lakebase({ maxConnectionsService: -1 }),
      "The option maxConnectionsService of Lakebase is not a whole number of 0 or more: -1"
    ],
    [lakebase({ port: 99_999 }), "The option port of Lakebase is not a whole number from 1 to 65535: 99999"],
    [
      lakebase({ endpoint: "not/an/endpoint" }),
      'The option endpoint of Lakebase is not of the form projects/…/branches/…/endpoints/…: "not/an/endpoint"'
    ],
    [lakebase({ host: "postgres://me:hush@h/db" }), 'The option host of Lakebase is not a host name: "…@h/db"'],
    [
      lakebase({ acquireTimeout: "-1 seconds" }),
      'The option acquireTimeout of Lakebase is not a duration of 1ms or more, such as "10 seconds": "-1 seconds"'
    ],
    [
      lakebase({ maxLifetime: 0 }),
      'The option maxLifetime of Lakebase is not a duration of 1ms or more, such as "10 seconds": 0'
    ],
    [
      lakebase({ idleTimeout: never }),
      'The option idleTimeout of Lakebase is not a duration of 0 or more, such as "10 seconds": "10 parsecs"'
    ],
    [
      lakebase({ idleTimeout: Number.NaN }),
      'The option idleTimeout of Lakebase is not a duration of 0 or more, such as "10 seconds": NaN'
    ],
    [
      lakebase({ endpoint: undefined }),
      "The option endpoint of Lakebase is not set: set it to projects/…/branches/…/endpoints/…, as LAKEBASE_ENDPOINT has it (a local database uses the option password instead)"
    ],
    [configured({ port: 99_999 }), "The option port of Lakebase is not a whole number from 1 to 65535: 99999", app],
    [
      configured({ endpoint: "my-endpoint" }),
      'The option endpoint of Lakebase is not of the form projects/…/branches/…/endpoints/…: "my-endpoint"',
      { PGHOST: "h" }
    ],
    [
      configured({ maxConnections: 1.5 }),
      "The option maxConnections of Lakebase is not a whole number of 1 or more: 1.5",
      app
    ],
    [
      configured(),
      'LAKEBASE_ENDPOINT is not of the form projects/…/branches/…/endpoints/…: not/an/endpoint. Take the name that "databricks postgres list-endpoints projects/<project>/branches/<branch>" prints',
      { ...app, LAKEBASE_ENDPOINT: "not/an/endpoint" }
    ],
    [
      configured(),
      'LAKEBASE_ENDPOINT is not of the form projects/…/branches/…/endpoints/…: projects/p/branches/b/endpoints/. Take the name that "databricks postgres list-endpoints projects/<project>/branches/<branch>" prints',
      { ...app, LAKEBASE_ENDPOINT: "projects/p/branches/b/endpoints/" }
    ],
    [
      configured(),
      "LAKEBASE_ENDPOINT is not of the form projects/…/branches/…/endpoints/…: instance-0a1b.database.cloud.databricks.com. instance-0a1b.database.cloud.databricks.com is the host of a provisioned database instance, which has no endpoints: create a project of Lakebase Autoscaling, and add its database to the app",
      { ...app, LAKEBASE_ENDPOINT: "instance-0a1b.database.cloud.databricks.com" }
    ],
    [server, "DATABRICKS_APP_PORT is not a port from 0 to 65535: abc", { DATABRICKS_APP_PORT: "abc" }],
    [server, "DATABRICKS_APP_PORT is not a port from 0 to 65535: 99999", { DATABRICKS_APP_PORT: "99999" }],
    [
      Logs.layerConfig(),
      "LOG_LEVEL is not one of All, Fatal, Error, Warn, Info, Debug, Trace, None: loud",
      { LOG_LEVEL: "loud" }
    ],
    [Logs.layerConfig(), "LOG_FORMAT is not one of json, pretty: xml", { LOG_FORMAT: "xml" }],
    [
      Telemetry.layerConfig(),
      "OTEL_EXPORTER_OTLP_ENDPOINT is not the URL of a collector, such as http://localhost:4317: nonsense",
      { OTEL_EXPORTER_OTLP_ENDPOINT: "nonsense" }
    ],
    [
      Telemetry.layerConfig(),
      "OTEL_EXPORTER_OTLP_ENDPOINT is not the URL of a collector, such as http://localhost:4317: …@h",
      { OTEL_EXPORTER_OTLP_ENDPOINT: "ftp://me:hush@h" }
    ],
    [
      Telemetry.layerConfig(),
      "OTEL_EXPORTER_OTLP_PROTOCOL is not one of grpc, http/protobuf, http/json: foo",
      { ...collector, OTEL_EXPORTER_OTLP_PROTOCOL: "foo" }
    ],
    [
      Telemetry.layerConfig(),
      "OTEL_BSP_MAX_EXPORT_BATCH_SIZE is not a whole number from 1 to 65536: 0",
      { ...collector, OTEL_BSP_MAX_EXPORT_BATCH_SIZE: "0" }
    ],
    [
      Telemetry.layerConfig(),
      "OTEL_SDK_DISABLED is not true or false: perhaps",
      { ...collector, OTEL_SDK_DISABLED: "perhaps" }
    ],
    [
      telemetry({ endpoint: "::::" }),
      'The option endpoint of Telemetry is not the URL of a collector, such as http://localhost:4317: "::::"'
    ],
    [
      telemetry({ endpoint: "ftp://me:hush@h" }),
      'The option endpoint of Telemetry is not the URL of a collector, such as http://localhost:4317: "…@h"'
    ],
    [telemetry({ maxBatchSize: -1 }), "The option maxBatchSize of Telemetry is not a whole number from 1 to 65536: -1"],
    [
      telemetry({ exportInterval: 0 }),
      'The option exportInterval of Telemetry is not a duration of 1ms or more, such as "10 seconds": 0'
    ],
    [
      telemetry({ metricInterval: "-1 minutes" }),
      'The option metricInterval of Telemetry is not a duration of 1ms or more, such as "10 seconds": "-1 minutes"'
    ],
    [
      telemetry({ protocol: "pigeon" as "grpc" }),
      'The option protocol of Telemetry is not one of grpc, http/protobuf, http/json: "pigeon"'
    ],
    [
      telemetry({}),
      "HTTPS_PROXY is not the URL of an HTTP proxy, such as http://proxy.example.com:3128",
      { HTTPS_PROXY: "socks4://h" }
    ],
    [
      cache({ maxEntries: Number.NaN }),
      "The option maxEntries of OperationCache is not a whole number of 0 or more: NaN"
    ],
    [cache({ maxBytes: -1 }), "The option maxBytes of OperationCache is not a whole number of 0 or more: -1"],
    [
      cache({ maxBytes: Number.POSITIVE_INFINITY }),
      "The option maxBytes of OperationCache is not a whole number of 0 or more: Infinity"
    ],
    [
      warehouse({ timeout: "-1 seconds" }),
      'The option timeout of SqlWarehouse is not a duration of 1ms or more, such as "10 seconds": "-1 seconds"'
    ],
    [
      analytics({ startTimeout: never }),
      'The option startTimeout of Analytics is not a duration of 1ms or more, such as "10 seconds": "10 parsecs"'
    ],
    [
      warehouse({ retry: { attempts: Number.NaN } }),
      "The option attempts of SqlWarehouse's retry is not a number of 0 or more: NaN"
    ],
    [
      warehouse({ retry: { delay: -5 } }),
      'The option delay of SqlWarehouse\'s retry is not a duration of 0 or more, such as "10 seconds": -5'
    ]
  ]

describe("The start of a layer", () => {
  for (const [start, says, env] of wrong) {
    it.effect(`fails with a ConfigError: ${says}`, () =>
      Effect.gen(function* () {
        assert.strictEqual(yield* said(start, env), says)
      })
    )
  }

  it.effect("takes the smallest and the largest of each", () =>
    Effect.gen(function* () {
      yield* Layer.build(
        lakebase({
          port: 65_535,
          maxConnections: 1,
          maxConnectionsPerUser: 1,
          maxConnectionsService: 0,
          idleTimeout: 0,
          maxLifetime: "Infinity"
        })
      )
      yield* Layer.build(cache({ maxEntries: 0, maxBytes: Number.MAX_SAFE_INTEGER }))
      yield* Layer.build(warehouse({ timeout: 1, retry: { attempts: Number.POSITIVE_INFINITY, delay: 0 } }))
    }).pipe(Effect.scoped)
  )

  it.effect.prop(
    "takes a number of connections where it is whole and at least 1, and no other",
    [Schema.Union([Schema.Number, Schema.Int])],
    ([maxConnections]) =>
      Effect.gen(function* () {
        const exit = yield* Effect.exit(
          Effect.scoped(Layer.build(lakebase({ maxConnections, maxConnectionsService: 0 })))
        )
        assert.strictEqual(exit._tag === "Success", Number.isSafeInteger(maxConnections) && maxConnections >= 1)
      })
  )
})

describe("Operation.schedule", () => {
  it("throws for a number of attempts that is none", () => {
    for (const attempts of [Number.NaN, -1]) {
      assert.throws(
        () => Operation.schedule({ attempts }),
        `The option attempts of a retry is not a number of 0 or more: ${attempts}`
      )
    }
  })
})
