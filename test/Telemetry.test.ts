import { assert, describe, it } from "@effect/vitest"
import { ConfigProvider, Effect, Exit, Fiber, Layer, Logger, Metric, Scope } from "effect"
import { TestClock } from "effect/testing"
import { createServer } from "node:net"
import * as Telemetry from "../src/Telemetry.ts"
import { eventually, freePort } from "./fixtures/child.ts"
import { type Behaviour, grpcReceiver, otlpReceiver } from "./fixtures/otlpReceiver.ts"

const protocols = [
  { protocol: "grpc", transport: "grpc" },
  { protocol: "http/protobuf", transport: "http" },
  { protocol: "http/json", transport: "http" }
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
  describe.each(protocols)("$protocol", ({ protocol, transport }) => {
    it.effect("delivers span, metric and log, with the resource, before its scope has closed", () =>
      Effect.gen(function* () {
        const collector = yield* otlpReceiver(transport)
        const printed: Array<unknown> = []
        const console = Logger.make((entry) => void printed.push(entry.message))
        const result = yield* run(
          withEnv(Telemetry.layerConfig(), {
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

    it.effect("ignores the environment of the process when it is given options", () =>
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

    it.live.each(["refuse", "down"] as const)("is harmed by no collector that is %s", (behaviour) =>
      Effect.gen(function* () {
        // Who refuses is to be asked first, which may take a busy machine longer than the 3 seconds of the default.
        const options: Partial<Telemetry.Options> = behaviour === "refuse" ? { flushTimeout: "15 seconds" } : {}
        const { collector, layer, printed } = yield* broken(protocol, transport, behaviour, options)
        assert.strictEqual(yield* run(layer).pipe(Effect.timeout("20 seconds")), 42)
        assert.deepStrictEqual(printed.flat(), ["an order was made"])
        assert.strictEqual(collector.received.requests > 0, behaviour === "refuse")
      })
    )

    it.effect("sends again what a collector refuses for the moment", () =>
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

    it.effect("waits no longer than the flush timeout for a collector that hangs", () =>
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
        assert.deepStrictEqual(printed.flat(), ["an order was made"])
      }).pipe(Effect.provideService(Metric.MetricRegistry, new Map()))
    )
  })

  it.effect("by gRPC waits for a collector that starts later", () =>
    Effect.gen(function* () {
      let attempts = 0
      const port = yield* freePort
      const nobody = createServer((socket) => void (socket.destroy(), attempts++)).listen(port, "127.0.0.1")
      const endpoint = `http://127.0.0.1:${port}`
      const running = yield* Effect.forkChild(run(Telemetry.layer({ endpoint, protocol: "grpc" })))
      yield* live(eventually(() => attempts > 0))
      yield* Effect.callback<void>((resume) => void nobody.close(() => resume(Effect.void)))
      const collector = yield* grpcReceiver("accept", port)
      // No time passes in which a batch would be sent again.
      yield* live(eventually(() => collector.received.spans.length === 1))
      yield* Fiber.join(running)
    })
  )

  it.effect("is off without an endpoint, whatever else is set", () =>
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
  ] as const)("fails with the name of %s when it is %s", ([name, value]) =>
    Effect.gen(function* () {
      const env = { OTEL_EXPORTER_OTLP_ENDPOINT: "http://127.0.0.1:1", [name]: value }
      const error = yield* Effect.flip(run(withEnv(Telemetry.layerConfig(), env)))
      assert.strictEqual(error._tag, "ConfigError")
      assert.include(error.message, name)
    })
  )

  it.effect("falls back to the name of the app", () =>
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

  it.effect.each([
    { behaviour: "hang", spans: 100, requests: 32 },
    { behaviour: "stall", spans: 1, requests: 1 }
  ] as const)("sends $spans spans in $requests requests to a collector that does $behaviour, then no more", (the) =>
    Effect.gen(function* () {
      const { collector, layer } = yield* broken("http/protobuf", "http", the.behaviour, { maxBatchSize: 1 })
      const scope = yield* Scope.make()
      const context = yield* Layer.buildWithScope(layer, scope)
      const burst = Effect.void.pipe(
        Effect.withSpan("a span"),
        Effect.repeat({ times: the.spans - 1 }),
        Effect.provide(context)
      )
      yield* burst
      yield* live(eventually(() => collector.received.requests === the.requests))
      yield* TestClock.adjust("10 seconds")
      yield* burst
      yield* TestClock.adjust("5 seconds")
      // Whatever was sent in vain would have arrived before this: the collector sees requests in their order.
      const headers = { "x-collector-key": "last" }
      yield* Effect.forkChild(Effect.promise(() => fetch(collector.endpoint, { method: "POST", headers })))
      yield* live(eventually(() => collector.received.keys.includes("last")))
      assert.strictEqual(collector.received.requests, the.requests + 1)
      yield* Effect.forkChild(Scope.close(scope, Exit.void))
      yield* TestClock.adjust("3 seconds")
    })
  )
})

// A collector that misbehaves, the layer that talks to it, and what the console printed meanwhile.
const broken = Effect.fnUntraced(function* (
  protocol: Telemetry.Protocol,
  transport: "grpc" | "http",
  behaviour: Behaviour | "down",
  options?: Partial<Telemetry.Options>
) {
  const collector = yield* otlpReceiver(transport, behaviour === "down" ? "accept" : behaviour)
  if (behaviour === "down") collector.stop()
  const printed: Array<unknown> = []
  const layer = Telemetry.layer({ endpoint: collector.endpoint, protocol, ...options }).pipe(
    Layer.provideMerge(Logger.layer([Logger.make((entry) => void printed.push(entry.message))]))
  )
  return { collector, layer, printed }
})

const live = TestClock.withLive
