import * as OtelLogger from "@effect/opentelemetry/OtelLogger"
import * as OtelMetrics from "@effect/opentelemetry/OtelMetrics"
import * as OtelTracer from "@effect/opentelemetry/OtelTracer"
import * as Resource from "@effect/opentelemetry/Resource"
import { credentials, Metadata } from "@grpc/grpc-js"
import { OTLPLogExporter } from "@opentelemetry/exporter-logs-otlp-grpc"
import { OTLPMetricExporter } from "@opentelemetry/exporter-metrics-otlp-grpc"
import { OTLPTraceExporter } from "@opentelemetry/exporter-trace-otlp-grpc"
import { BatchLogRecordProcessor, LoggerProvider } from "@opentelemetry/sdk-logs"
import { PeriodicExportingMetricReader } from "@opentelemetry/sdk-metrics"
import { BatchSpanProcessor, TracerProvider } from "@opentelemetry/sdk-trace"
import { Duration, Effect, Layer } from "effect"
import type { Settings } from "../Telemetry.ts"

/** OTLP over gRPC, with everything passed that the exporters would read from the environment by themselves. */
export const layer = (settings: Settings): Layer.Layer<never> => {
  const metadata = new Metadata()
  for (const [name, value] of Object.entries(settings.headers)) metadata.set(name, value)
  const timeoutMillis = Duration.toMillis(settings.requestTimeout)
  const exporter = {
    url: settings.endpoint,
    credentials: settings.endpoint.startsWith("http://") ? credentials.createInsecure() : credentials.createSsl(),
    metadata,
    timeoutMillis
  }
  const batch = {
    scheduledDelayMillis: Duration.toMillis(settings.exportInterval),
    maxExportBatchSize: settings.maxBatchSize,
    exportTimeoutMillis: timeoutMillis
  }
  const intervalMillis = Duration.toMillis(settings.metricInterval)

  const tracer = OtelTracer.layer.pipe(
    Layer.provide(
      Layer.effect(
        OtelTracer.OtelTracerProvider,
        Effect.flatMap(Resource.Resource, (resource) =>
          provider(settings, () => {
            const processor = new BatchSpanProcessor({ exporter: new OTLPTraceExporter(exporter), ...batch })
            return new TracerProvider({ resource, spanProcessors: [processor] })
          })
        )
      )
    )
  )
  const logger = OtelLogger.layer({}).pipe(
    Layer.provide(
      Layer.effect(
        OtelLogger.OtelLoggerProvider,
        Effect.flatMap(Resource.Resource, (resource) =>
          provider(settings, () => {
            const processor = new BatchLogRecordProcessor({ exporter: new OTLPLogExporter(exporter), ...batch })
            return new LoggerProvider({ resource, processors: [processor] })
          })
        )
      )
    )
  )
  const metrics = OtelMetrics.layer(
    () =>
      new PeriodicExportingMetricReader({
        exporter: new OTLPMetricExporter(exporter),
        exportIntervalMillis: intervalMillis,
        exportTimeoutMillis: Math.min(timeoutMillis, intervalMillis)
      }),
    { shutdownTimeout: settings.flushTimeout }
  )
  return Layer.mergeAll(tracer, logger, metrics).pipe(Layer.provide(Resource.layer(settings.resource)))
}

// Shutting down sends what is left; a collector that refuses it rejects, which must not reach the program.
const provider = <A extends { readonly shutdown: () => Promise<void> }>(settings: Settings, make: () => A) =>
  Effect.acquireRelease(Effect.sync(make), (self) =>
    Effect.tryPromise(() => self.shutdown()).pipe(
      Effect.ignore,
      Effect.interruptible,
      Effect.timeoutOption(settings.flushTimeout)
    )
  )
