import { assert, describe, it, vi } from "@effect/vitest"
import { ConfigProvider, Effect, Exit, Fiber, Layer, Logger, Metric, Scope, Tracer } from "effect"
import { TestClock } from "effect/testing"
import { createServer } from "node:net"
import * as Telemetry from "../src/Telemetry.ts"
import { freePort } from "./fixtures/child.ts"
import { eventually } from "./fixtures/eventually.ts"
import { type Behaviour, grpcReceiver, otlpReceiver } from "./fixtures/otlpReceiver.ts"

const protocols = [
  { protocol: "grpc", transport: "grpc", refusal: "gRPC status 7 PERMISSION_DENIED" },
  { protocol: "http/protobuf", transport: "http", refusal: "HTTP status 400" },
  { protocol: "http/json", transport: "http", refusal: "HTTP status 400" }
] as const

const orders = Metric.counter("orders_made", { incremental: true })

const work = Effect.gen(function* () {
  yield* Effect.log("an order was made")
  yield* Metric.update(orders, 3)
  return 42
}).pipe(Effect.withSpan("make order", { attributes: { "caller.id": "ada", amount: 7 } }))

const withEnv = <A, E>(layer: Layer.Layer<A, E>, env: Record<string, string>) =>
  Layer.provide(layer, ConfigProvider.layer(ConfigProvider.fromEnv({ env })))

// Runs work under telemetry whose scope then closes; the metric registry is the test's own.
const run = <E>(layer: Layer.Layer<never, E>) =>
  work.pipe(Effect.provide(layer, { local: true }), Effect.provideService(Metric.MetricRegistry, new Map()))

describe("Telemetry", () => {
  describe.each(protocols)("over $protocol", ({ protocol, refusal, transport }) => {
    // By the real clock: TestClock would warn that it is never advanced.
    it.live("exports span, metric and log with the resource before its scope has closed", () =>
      Effect.gen(function* () {
        const collector = yield* otlpReceiver(transport)
        const printed: Array<unknown> = []
        const console = Logger.make((entry) => void printed.push(entry.message))
        const result = yield* run(
          withEnv(Telemetry.layerConfig({ flushTimeout: "15 seconds" }), {
            OTEL_EXPORTER_OTLP_ENDPOINT: collector.endpoint,
            OTEL_EXPORTER_OTLP_PROTOCOL: protocol,
            OTEL_EXPORTER_OTLP_HEADERS: "x-collector-key=let%20me%20in",
            OTEL_SERVICE_NAME: "shop",
            OTEL_RESOURCE_ATTRIBUTES: "workspace.id=42, team=sales%2Cemea"
          })
        ).pipe(Effect.provide(Logger.layer([console])))

        assert.strictEqual(result, 42)
        const { keys, logs, metrics, spans } = collector.received
        const resource = { "service.name": "shop", "workspace.id": "42", team: "sales,emea" }
        const span = spans.find((span) => span.name === "make order")
        assert.deepInclude(span?.attributes, { "caller.id": "ada", amount: 7 })
        assert.deepInclude(span?.resource, resource)
        const metric = metrics.find((metric) => metric.name === "orders_made")
        assert.strictEqual(metric?.value, 3)
        assert.deepInclude(metric?.resource, resource)
        const log = logs.find((log) => log.body === "an order was made")
        assert.deepInclude(log?.resource, resource)
        assert.deepStrictEqual(new Set(keys), new Set(["let me in"]))
        assert.deepStrictEqual(printed.flat(), ["an order was made"])
      })
    )

    it.effect("ignores OTEL_* of the ConfigProvider in Telemetry.layer", () =>
      Effect.gen(function* () {
        const collector = yield* otlpReceiver(transport)
        yield* run(
          withEnv(Telemetry.layer({ endpoint: collector.endpoint, protocol, attributes: { team: "sales" } }), {
            OTEL_SERVICE_NAME: "not this one",
            OTEL_RESOURCE_ATTRIBUTES: "team=%zz"
          })
        )
        const { resource } = collector.received.spans[0] ?? assert.fail("no span")
        assert.deepInclude(resource, { "service.name": "databricks-app", team: "sales" })
      })
    )

    it.live.each([
      { behaviour: "refuse", does: "refuses" },
      { behaviour: "down", does: "is down" }
    ] as const)("logs one warning and completes the work when the collector $does", ({ behaviour }) =>
      Effect.gen(function* () {
        // The request that is refused may take a busy machine longer than the default of 3 seconds.
        const options: Partial<Telemetry.Options> = behaviour === "refuse" ? { flushTimeout: "15 seconds" } : {}
        const { collector, layer, printed } = yield* broken(protocol, transport, behaviour, options)
        assert.strictEqual(yield* run(layer).pipe(Effect.timeout("20 seconds")), 42)
        // A collector that did not answer before the application stopped has refused nothing.
        const warnings = behaviour === "refuse" ? [warning(collector.endpoint, refusal)] : []
        assert.deepStrictEqual(printed, ["an order was made", ...warnings])
        assert.strictEqual(collector.received.requests > 0, behaviour === "refuse")
      })
    )

    it.effect("retries a batch that the collector refuses temporarily", () =>
      Effect.gen(function* () {
        const long = { requestTimeout: "1 day", flushTimeout: "1 day" } as const
        const { collector, layer } = yield* broken(protocol, transport, "refuse first", long)
        const running = yield* Effect.forkChild(run(layer))
        yield* live(eventually(() => collector.received.requests === 3))
        // Each waits a second from when it has been told.
        yield* TestClock.adjust("1 second").pipe(
          Effect.andThen(live(Effect.sleep("10 millis"))),
          Effect.repeat({ until: () => collector.received.requests >= 6 })
        )
        yield* Fiber.join(running)
        const { logs, metrics, spans } = collector.received
        assert.deepStrictEqual([spans.length, metrics.length, logs.length], [1, 1, 1])
      })
    )

    it.live("logs once that the collector refuses, and once that it accepts again", () =>
      Effect.gen(function* () {
        const { collector, layer, printed } = yield* broken(protocol, transport, "refuse", { exportInterval: 20 })
        const { received } = collector
        const works = yield* Layer.build(layer)
        const until = (condition: () => boolean) =>
          Effect.log("work").pipe(
            Effect.withSpan("work"),
            Effect.provide(works),
            Effect.andThen(Effect.sleep(20)),
            Effect.repeat({ until: condition })
          )
        const said = () => printed.filter((message) => message !== "work")
        yield* until(() => received.requests >= 8)
        assert.deepStrictEqual(said(), [warning(collector.endpoint, refusal)])
        collector.become("accept")
        yield* until(() => received.spans.length >= 8 && received.logs.length >= 8)
        const again = `Telemetry is exported to ${new URL(collector.endpoint).host} again`
        assert.deepStrictEqual(said(), [warning(collector.endpoint, refusal), again])
        collector.become("refuse")
        yield* until(() => said().length === 3)
        assert.strictEqual(said()[2], said()[0])
        assert.deepStrictEqual(new Set(received.logs.map((log) => log.body)), new Set(["work"]))
      }).pipe(Effect.scoped, Effect.provideService(Metric.MetricRegistry, new Map()))
    )

    it.effect("exports a batch that contains half of a surrogate pair", () =>
      Effect.gen(function* () {
        const collector = yield* otlpReceiver(transport)
        const half = "half \ud83d of a pair"
        yield* Effect.logInfo(half).pipe(
          Effect.withSpan(half, { attributes: { [half]: half } }),
          Effect.provide(Telemetry.layer({ endpoint: collector.endpoint, protocol }), { local: true })
        )
        const { bodies, logs, spans } = collector.received
        const sent = protocol === "http/json" ? half : half.toWellFormed()
        assert.deepInclude(spans[0], { name: sent })
        assert.deepInclude(spans[0]?.attributes, { [sent]: sent })
        assert.strictEqual(logs[0]?.body, sent)
        // A collector refuses a body that is not UTF-8.
        for (const body of bodies) if (protocol === "http/json") new TextDecoder("utf-8", { fatal: true }).decode(body)
      })
    )

    it.effect("exports only sampled spans, in the trace of the incoming request", () =>
      Effect.gen(function* () {
        const collector = yield* otlpReceiver(transport)
        const traceId = "0af7651916cd43dd8448eb211c80319c"
        const spanId = "b7ad6b7169203331"
        const child = Effect.withSpan(
          Effect.map(Effect.currentSpan, (span) => span.traceId),
          "child"
        )
        const request = (sampled: boolean) =>
          Effect.withParentSpan(
            Effect.withSpan(child, `request, ${sampled ? "sampled" : "not sampled"}`),
            Tracer.externalSpan({ traceId, spanId, sampled })
          )
        const answers = yield* Effect.all([
          request(true),
          request(false),
          Effect.withSpan(child, "not wanted", { sampled: false })
        ]).pipe(Effect.provide(Telemetry.layer({ endpoint: collector.endpoint, protocol }), { local: true }))
        assert.deepStrictEqual(answers.slice(0, 2), [traceId, traceId])
        assert.deepStrictEqual(
          collector.received.spans.map(({ name, traceId }) => ({ name, traceId })),
          [
            { name: "child", traceId },
            { name: "request, sampled", traceId }
          ]
        )
      })
    )

    it.effect("names the span of a request after its method and route", () =>
      Effect.gen(function* () {
        const collector = yield* otlpReceiver(transport)
        const request = (kind: Tracer.SpanKind, attributes: Record<string, unknown>) =>
          Effect.withSpan(Effect.annotateCurrentSpan(attributes), "GET", { kind })
        yield* Effect.all([
          request("server", { "http.route": "/orders/:id" }),
          request("server", {}),
          request("client", { "http.route": "/orders/:id" })
        ]).pipe(Effect.provide(Telemetry.layer({ endpoint: collector.endpoint, protocol }), { local: true }))
        assert.deepStrictEqual(
          collector.received.spans.map(({ name }) => name),
          ["GET /orders/:id", "GET", "GET"]
        )
      })
    )

    it.effect("ignores OTEL_* of process.env", () =>
      Effect.gen(function* () {
        const collector = yield* otlpReceiver(transport)
        for (const [name, value] of Object.entries(stray)) vi.stubEnv(name, value)
        yield* Effect.addFinalizer(() => Effect.sync(() => vi.unstubAllEnvs()))
        yield* run(Telemetry.layer({ endpoint: collector.endpoint, protocol }))
        const { keys, logs, metrics, spans } = collector.received
        assert.deepStrictEqual([spans.length, metrics.length, logs.length], [1, 1, 1])
        assert.deepInclude(spans[0]?.attributes, { "caller.id": "ada", amount: 7 })
        assert.strictEqual(spans[0]?.resource["service.name"], "databricks-app")
        assert.notProperty(spans[0]?.resource, "stray")
        assert.deepStrictEqual(new Set(keys), new Set([undefined]))
      })
    )

    it.effect("waits at most the flush timeout of 3 seconds for a collector that hangs", () =>
      Effect.gen(function* () {
        const { collector, layer, printed } = yield* broken(protocol, transport, "hang")
        const scope = yield* Scope.make()
        yield* work.pipe(Effect.provide(yield* Layer.buildWithScope(layer, scope)))
        const closing = yield* Effect.forkChild(Scope.close(scope, Exit.void))
        // All three signals reach the collector at once: they do not wait for each other's bound.
        yield* live(eventually(() => collector.received.requests === 3))
        yield* TestClock.adjust("2999 millis")
        assert.isUndefined(closing.pollUnsafe())
        yield* TestClock.adjust("1 millis")
        yield* live(Effect.timeout(Fiber.join(closing), "10 seconds"))
        yield* live(eventually(() => collector.received.left === 3))
        assert.deepStrictEqual(printed, ["an order was made"])
      }).pipe(Effect.provideService(Metric.MetricRegistry, new Map()))
    )
  })

  it.effect("over grpc exports to a collector that starts after the application", () =>
    Effect.gen(function* () {
      let attempts = 0
      const port = yield* freePort
      const refusing = createServer((socket) => void (socket.destroy(), attempts++)).listen(port, "127.0.0.1")
      const endpoint = `http://127.0.0.1:${port}`
      const running = yield* Effect.forkChild(run(Telemetry.layer({ endpoint, protocol: "grpc" })))
      yield* live(eventually(() => attempts > 0))
      yield* Effect.callback<void>((resume) => void refusing.close(() => resume(Effect.void)))
      const collector = yield* grpcReceiver("accept", port)
      // No time passes in which a batch would be sent again.
      yield* live(eventually(() => collector.received.spans.length === 1))
      yield* Fiber.join(running)
    })
  )

  it.effect("exports nothing without an endpoint or when OTEL_SDK_DISABLED is true", () =>
    Effect.gen(function* () {
      const collector = yield* otlpReceiver("http")
      const env = { OTEL_EXPORTER_OTLP_PROTOCOL: "carrier pigeon", OTEL_SERVICE_NAME: "shop" }
      assert.strictEqual(yield* run(withEnv(Telemetry.layerConfig(), env)), 42)
      const disabled = { OTEL_EXPORTER_OTLP_ENDPOINT: collector.endpoint, OTEL_SDK_DISABLED: "true" }
      assert.strictEqual(yield* run(withEnv(Telemetry.layerConfig(), disabled)), 42)
      assert.strictEqual(collector.received.requests, 0)
    })
  )

  it.effect.each([
    ["OTEL_EXPORTER_OTLP_ENDPOINT", "http://the collector"],
    ["OTEL_EXPORTER_OTLP_PROTOCOL", "carrier pigeon"],
    ["OTEL_RESOURCE_ATTRIBUTES", "team=%zz"],
    ["OTEL_BSP_SCHEDULE_DELAY", "soon"],
    ["OTEL_METRIC_EXPORT_INTERVAL", "0"]
  ] as const)('fails and names %s when it is "%s"', ([name, value]) =>
    Effect.gen(function* () {
      const env = { OTEL_EXPORTER_OTLP_ENDPOINT: "http://127.0.0.1:1", [name]: value }
      const error = yield* Effect.flip(run(withEnv(Telemetry.layerConfig(), env)))
      assert.strictEqual(error._tag, "ConfigError")
      assert.include(error.message, name)
    })
  )

  it.effect("uses DATABRICKS_APP_NAME as service.name when OTEL_SERVICE_NAME is not set", () =>
    Effect.gen(function* () {
      const collector = yield* otlpReceiver("http")
      yield* run(
        withEnv(Telemetry.layerConfig(), {
          OTEL_EXPORTER_OTLP_ENDPOINT: collector.endpoint,
          DATABRICKS_APP_NAME: "orders-app"
        })
      )
      assert.strictEqual(collector.received.spans[0]?.resource["service.name"], "orders-app")
    })
  )

  it.effect.each(["hang", "stall"] as const)("sends one batch at a time to a collector that %ss", (behaviour) =>
    Effect.gen(function* () {
      const { collector, layer } = yield* broken("http/protobuf", "http", behaviour, { maxBatchSize: 1 })
      const scope = yield* Scope.make()
      const context = yield* Layer.buildWithScope(layer, scope)
      yield* Effect.void.pipe(Effect.withSpan("a span"), Effect.repeat({ times: 99 }), Effect.provide(context))
      for (const requests of [1, 2, 3]) {
        yield* live(eventually(() => collector.received.requests === requests))
        // Whatever was sent beside it would have arrived before this: the collector sees requests in their order.
        const headers = { "x-collector-key": "last" }
        yield* Effect.forkChild(Effect.promise(() => fetch(collector.endpoint, { method: "POST", headers })))
        yield* live(eventually(() => collector.received.keys.at(-1) === "last"))
        assert.strictEqual(collector.received.requests--, requests + 1)
        yield* TestClock.adjust("10 seconds")
      }
      yield* Effect.forkChild(Scope.close(scope, Exit.void))
      yield* TestClock.adjust("3 seconds")
    })
  )

  it.live("keeps 65,536 spans and the batch in flight while the collector is down", () =>
    Effect.gen(function* () {
      const port = yield* freePort
      const endpoint = `http://127.0.0.1:${port}`
      const layer = Telemetry.layer({ endpoint, protocol: "grpc", requestTimeout: "1 day", flushTimeout: "1 day" })
      const collector = yield* Effect.void.pipe(
        Effect.withSpan("a span"),
        Effect.repeat({ times: 66_499 }),
        Effect.andThen(grpcReceiver("accept", port)),
        Effect.provide(layer, { local: true })
      )
      assert.strictEqual(collector.received.spans.length, 512 + 65_536)
    })
  )

  it.effect("prefers options of layerConfig to the environment", () =>
    Effect.gen(function* () {
      const collector = yield* otlpReceiver("http")
      const overrides = { endpoint: collector.endpoint, headers: { "x-collector-key": "ours" }, protocol: undefined }
      yield* run(
        withEnv(Telemetry.layerConfig(overrides), {
          OTEL_EXPORTER_OTLP_ENDPOINT: "http://127.0.0.1:1",
          OTEL_EXPORTER_OTLP_PROTOCOL: "http/json",
          OTEL_EXPORTER_OTLP_HEADERS: "x-collector-key=theirs",
          OTEL_SERVICE_NAME: "shop"
        })
      )
      const { bodies, keys, spans } = collector.received
      assert.strictEqual(spans[0]?.resource["service.name"], "shop")
      assert.deepStrictEqual(new Set(keys), new Set(["ours"]))
      assert.strictEqual(bodies[0]?.toString()[0], "{")
    })
  )

  it.effect("fails with ConfigError when the option endpoint is not a URL", () =>
    Effect.gen(function* () {
      const layer = Telemetry.layerConfig({ endpoint: "http://the collector" })
      const error = yield* Effect.flip(run(withEnv(layer, {})))
      assert.strictEqual(error._tag, "ConfigError")
      assert.include(error.message, "The option endpoint of Telemetry is not the URL of a collector")
    })
  )

  it("returns the same layer from each layerConfig(), so that it is built once", () => {
    assert.strictEqual(Telemetry.layerConfig(), Telemetry.layerConfig())
  })
})

// Variables that OpenTelemetry's own packages read; each would change what is exported.
const stray = {
  OTEL_SDK_DISABLED: "true",
  OTEL_EXPORTER_OTLP_ENDPOINT: "http://127.0.0.1:1",
  OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: "http://127.0.0.1:1",
  OTEL_EXPORTER_OTLP_METRICS_ENDPOINT: "http://127.0.0.1:1",
  OTEL_EXPORTER_OTLP_LOGS_ENDPOINT: "http://127.0.0.1:1",
  OTEL_EXPORTER_OTLP_HEADERS: "x-collector-key=stray",
  OTEL_EXPORTER_OTLP_TRACES_HEADERS: "x-collector-key=stray",
  OTEL_EXPORTER_OTLP_COMPRESSION: "gzip",
  OTEL_EXPORTER_OTLP_TIMEOUT: "1",
  OTEL_SERVICE_NAME: "stray",
  OTEL_RESOURCE_ATTRIBUTES: "stray=true",
  OTEL_TRACES_SAMPLER: "always_off",
  OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT: "1",
  OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT: "1",
  OTEL_BSP_MAX_QUEUE_SIZE: "1",
  OTEL_BLRP_MAX_QUEUE_SIZE: "1"
}

// A collector that misbehaves, the layer that talks to it, and what the console printed meanwhile.
const broken = Effect.fnUntraced(function* (
  protocol: Telemetry.Protocol,
  transport: "grpc" | "http",
  behaviour: Behaviour | "down",
  options?: Partial<Telemetry.Options>
) {
  const collector = yield* otlpReceiver(transport, behaviour === "down" ? "accept" : behaviour)
  if (behaviour === "down") collector.stop()
  const printed: Array<string> = []
  const layer = Telemetry.layer({ endpoint: collector.endpoint, protocol, ...options }).pipe(
    Layer.provideMerge(Logger.layer([Logger.make(({ message }) => void printed.push(String(message)))]))
  )
  return { collector, layer, printed }
})

const warning = (endpoint: string, why: string) =>
  `Telemetry is not exported to ${new URL(endpoint).host}: ${why}. It is dropped until the collector accepts it`

const live = TestClock.withLive
