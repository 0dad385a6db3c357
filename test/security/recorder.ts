/** Everything that leaves for a log, a trace, a metric or a collector. */
import { Telemetry } from "effect-databricks"
import { Cause, Effect, Layer, Logger, Metric, References, Tracer } from "effect"
import { HttpClient } from "effect/http"
import { otlpReceiver } from "../fixtures/otlpReceiver.ts"

/** What an effect answered, and all that it recorded and exported until it had ended. */
export const recording = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.gen(function* () {
    const { endpoint, received } = yield* otlpReceiver("http")
    const spans: Array<Tracer.Span> = []
    const logs: Array<unknown> = []
    const logger = Logger.make((entry) => {
      const formats = [Logger.formatJson, Logger.formatLogFmt, Logger.formatStructured, Logger.formatSimple]
      logs.push({
        level: entry.logLevel,
        message: entry.message,
        cause: entry.cause,
        annotations: entry.fiber.getRef(References.CurrentLogAnnotations),
        formatted: [...formats.map((_) => _.log(entry)), Cause.pretty(entry.cause)]
      })
    })
    const Spans = Layer.effect(
      Tracer.Tracer,
      Effect.map(Tracer.Tracer, (exporter) =>
        Tracer.make({
          span: (options) => {
            const span = exporter.span(options)
            spans.push(span)
            return span
          }
        })
      )
    )
    const Recorded = Layer.mergeAll(
      Spans,
      Logger.layer([logger], { mergeWithExisting: true }),
      Layer.succeed(References.MinimumLogLevel, "All"),
      Layer.succeed(HttpClient.TracerHeaderFilter, () => true)
    ).pipe(Layer.provideMerge(Telemetry.layer({ endpoint, exportInterval: "50 millis", metricInterval: "50 millis" })))
    const both = Effect.all({ answer: effect, metrics: Effect.suspend(() => Metric.snapshot) })
    const { answer, metrics } = yield* Effect.provide(both, Recorded, { local: true })
    return { answer, spans, logs, metrics, exported: received.bodies }
  })
