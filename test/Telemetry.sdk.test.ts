import * as OtelTracer from "@effect/opentelemetry/OtelTracer"
import { assert, describe, it } from "@effect/vitest"
import { InMemorySpanExporter, SimpleSpanProcessor, TracerProvider } from "@opentelemetry/sdk-trace"
import { asUser, getCurrentUserId, Operation } from "effect-databricks"
import { TestContext } from "effect-databricks/testing"
import { Effect, Layer } from "effect"

describe("an OpenTelemetry SDK in place of Telemetry", () => {
  it.effect("receives an operation's span with its caller and parent", () =>
    Effect.gen(function* () {
      const exporter = new InMemorySpanExporter()
      const provider = new TracerProvider({ spanProcessors: [new SimpleSpanProcessor({ exporter })] })
      const sdk = Layer.provide(OtelTracer.layer, Layer.succeed(OtelTracer.OtelTracerProvider, provider))
      yield* Operation.execute(getCurrentUserId, { name: "greet" }).pipe(
        Effect.provide(asUser({ "x-forwarded-user": "alice", "x-forwarded-access-token": "token-of-alice" })),
        Effect.withSpan("request"),
        Effect.provide(Layer.merge(TestContext.layer(), sdk))
      )
      const [operation = assert.fail("no span"), request] = exporter.getFinishedSpans()
      assert.strictEqual(operation.name, "plugin.execute")
      assert.deepInclude(operation.attributes, {
        "execution.context": "user",
        "caller.id": "alice",
        "operation.name": "greet"
      })
      assert.strictEqual(operation.parentSpanContext?.spanId, request?.spanContext().spanId)
    })
  )
})
