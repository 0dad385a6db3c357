/**
 * Connects Effect's spans, metrics and logs to OpenTelemetry's SDK, without global registration. Loaded if telemetry is
 * on.
 *
 * `NodeSdk.layer` would read `OTEL_*` itself, and add a context manager and two packages that are not needed.
 */
import * as OtelLogger from "@effect/opentelemetry/OtelLogger"
import * as OtelMetrics from "@effect/opentelemetry/OtelMetrics"
import * as OtelTracer from "@effect/opentelemetry/OtelTracer"
import * as Resource from "@effect/opentelemetry/Resource"
import { BatchLogRecordProcessor, LoggerProvider } from "@opentelemetry/sdk-logs"
import { PeriodicExportingMetricReader } from "@opentelemetry/sdk-metrics"
import { SpanKind } from "@opentelemetry/api"
import { AlwaysOnSampler, BatchSpanProcessor, type SpanProcessor, TracerProvider } from "@opentelemetry/sdk-trace"
import { Effect, Layer, Tracer } from "effect"
import type { Settings } from "../../Telemetry.ts"
import * as Loggers from "../logs/loggers.ts"
import type * as Proxy from "../proxy.ts"
import * as Exporter from "./exporter.ts"

export const layer = (settings: Settings, route: Proxy.Route | undefined): Layer.Layer<never> =>
  Layer.unwrap(
    Effect.map(Exporter.make(settings, route), (exporter) =>
      Layer.mergeAll(
        layerTracer(settings, exporter),
        layerMetrics(settings, exporter),
        layerLogger(settings, exporter)
      ).pipe(Layer.provide(Resource.layer(settings.resource)))
    )
  ).pipe(Layer.provide(Loggers.ApplicationLog.layer))

const layerTracer = (settings: Settings, exporter: Exporter.Make) =>
  Layer.effect(
    Tracer.Tracer,
    Effect.gen(function* () {
      const provider = yield* closing(
        settings,
        new TracerProvider({
          resource: yield* Resource.Resource,
          sampler: new AlwaysOnSampler(),
          spanProcessors: [
            namedByRoute,
            withoutQuery,
            new BatchSpanProcessor({ ...batches(settings), exporter: yield* exporter(Exporter.traces) })
          ]
        })
      )
      const tracer = yield* OtelTracer.make.pipe(
        Effect.provide(OtelTracer.layerTracer),
        Effect.provideService(OtelTracer.OtelTracerProvider, provider)
      )
      return Tracer.make({
        // Effect has already sampled by parent, level and `sampled`; OpenTelemetry sees the parent only.
        span: (options) => (options.sampled ? tracer.span(options) : new Tracer.NativeSpan(options))
        // Omits `context`, which would enter OpenTelemetry's context around every step without a context manager.
      })
    })
  )

const ending = (onEnding: NonNullable<SpanProcessor["onEnding"]>): SpanProcessor => ({
  onStart: () => {},
  onEnding,
  onEnd: () => {},
  forceFlush: () => Promise.resolve(),
  shutdown: () => Promise.resolve()
})

/** Names the span of a request after its method and route, as `GET /orders/:id`: its route is known after its start. */
const namedByRoute = ending((span) => {
  const route = span.attributes["http.route"]
  if (span.kind === SpanKind.SERVER && typeof route === "string") span.updateName(`${span.name} ${route}`)
})

/** Leaves out the query of a URL, which may contain secrets. */
const withoutQuery = ending(({ attributes }) => {
  const url = attributes["url.full"]
  if (typeof url === "string") attributes["url.full"] = url.replace(/[?#].*/s, "")
  delete attributes["url.query"]
})

const layerMetrics = (settings: Settings, exporter: Exporter.Make) =>
  Layer.unwrap(
    Effect.map(exporter(Exporter.metrics), (exporter) => {
      const exportIntervalMillis = Exporter.millis(settings.metricInterval)
      // The exporter limits each export itself, because this timeout may not exceed the interval.
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
  Layer.merge(
    Loggers.layer({ prints: false }),
    Layer.effect(
      Loggers.Collector,
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
    )
  )

const batches = (settings: Settings) => ({
  maxQueueSize: Exporter.maxQueueSize,
  maxExportBatchSize: settings.maxBatchSize,
  scheduledDelayMillis: Exporter.millis(settings.exportInterval),
  exportTimeoutMillis: Exporter.maxMillis // the exporter limits each export itself
})

/** Sends the remaining batches when the scope closes. */
const closing = <A extends { readonly shutdown: () => Promise<void> }>({ flushTimeout }: Settings, provider: A) =>
  Effect.acquireRelease(Effect.succeed(provider), () =>
    Effect.promise(() => provider.shutdown()).pipe(Effect.interruptible, Effect.timeoutOption(flushTimeout))
  )
