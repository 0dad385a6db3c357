/**
 * OpenTelemetry's SDK under Effect's spans, metrics and logs. Loaded where telemetry is on. Nothing is registered globally.
 *
 * Not `NodeSdk.layer`: it reads `OTEL_*` again by itself, and brings a context manager and two packages for nothing.
 */
import * as OtelLogger from "@effect/opentelemetry/OtelLogger"
import * as OtelMetrics from "@effect/opentelemetry/OtelMetrics"
import * as OtelTracer from "@effect/opentelemetry/OtelTracer"
import * as Resource from "@effect/opentelemetry/Resource"
import { BatchLogRecordProcessor, LoggerProvider } from "@opentelemetry/sdk-logs"
import { PeriodicExportingMetricReader } from "@opentelemetry/sdk-metrics"
import { AlwaysOnSampler, BatchSpanProcessor, TracerProvider } from "@opentelemetry/sdk-trace"
import { Effect, Layer, Logger, Tracer } from "effect"
import type { Settings } from "../../Telemetry.ts"
import * as Exporter from "./exporter.ts"

export const layer = (settings: Settings): Layer.Layer<never> =>
  Layer.unwrap(
    Effect.map(Exporter.make(settings), (exporter) =>
      Layer.mergeAll(
        layerTracer(settings, exporter),
        layerMetrics(settings, exporter),
        layerLogger(settings, exporter)
      ).pipe(Layer.provide(Resource.layer(settings.resource)))
    )
  )

const layerTracer = (settings: Settings, exporter: Exporter.Make) =>
  Layer.effect(
    Tracer.Tracer,
    Effect.gen(function* () {
      const provider = yield* closing(
        settings,
        new TracerProvider({
          resource: yield* Resource.Resource,
          sampler: new AlwaysOnSampler(),
          spanProcessors: [new BatchSpanProcessor({ ...batches(settings), exporter: yield* exporter(Exporter.traces) })]
        })
      )
      const tracer = yield* OtelTracer.make.pipe(
        Effect.provide(OtelTracer.layerTracer),
        Effect.provideService(OtelTracer.OtelTracerProvider, provider)
      )
      return Tracer.make({
        // Effect has decided what is sampled, by parent, level and `sampled`; of these OpenTelemetry sees the parent only.
        span: (options) => (options.sampled ? tracer.span(options) : new Tracer.NativeSpan(options))
        // Without `context`: it enters OpenTelemetry's context around every step, and there is no context manager.
      })
    })
  )

const layerMetrics = (settings: Settings, exporter: Exporter.Make) =>
  Layer.unwrap(
    Effect.map(exporter(Exporter.metrics), (exporter) => {
      const exportIntervalMillis = Exporter.millis(settings.metricInterval)
      // The exporter ends every export by itself; here the bound may not be above the interval.
      const reader = () =>
        new PeriodicExportingMetricReader({
          exporter,
          exportIntervalMillis,
          exportTimeoutMillis: exportIntervalMillis
        })
      return OtelMetrics.layer(reader, { shutdownTimeout: settings.flushTimeout })
    })
  )

const layerLogger = (settings: Settings, exporter: Exporter.Make) =>
  Logger.layer(
    [
      Effect.gen(function* () {
        const provider = yield* closing(
          settings,
          new LoggerProvider({
            resource: yield* Resource.Resource,
            processors: [
              new BatchLogRecordProcessor({ ...batches(settings), exporter: yield* exporter(Exporter.logs) })
            ]
          })
        )
        return yield* Effect.provideService(OtelLogger.make, OtelLogger.OtelLoggerProvider, provider)
      })
    ],
    { mergeWithExisting: true }
  )

const batches = (settings: Settings) => ({
  maxQueueSize: Exporter.maxQueueSize,
  maxExportBatchSize: settings.maxBatchSize,
  scheduledDelayMillis: Exporter.millis(settings.exportInterval),
  exportTimeoutMillis: Exporter.maxMillis // the exporter ends every export by itself
})

/** Sends what is left when the scope closes. */
const closing = <A extends { readonly shutdown: () => Promise<void> }>({ flushTimeout }: Settings, provider: A) =>
  Effect.acquireRelease(Effect.succeed(provider), () =>
    Effect.promise(() => provider.shutdown()).pipe(Effect.interruptible, Effect.timeoutOption(flushTimeout))
  )
