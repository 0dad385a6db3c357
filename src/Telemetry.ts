/**
 * Spans, metrics and logs to an OpenTelemetry collector, configured by the variables that Databricks Apps sets.
 *
 * @since 0.1.0
 */
import * as NodeHttpClient from "@effect/platform-node/NodeHttpClient"
import { Config, ConfigProvider, Duration, Effect, Layer, Option, Schema, Semaphore } from "effect"
import * as HttpClient from "effect/http/HttpClient"
import * as Otlp from "effect/observability/Otlp"
import * as OtlpSerialization from "effect/observability/OtlpSerialization"

/**
 * How telemetry travels: `"grpc"` is what Databricks Apps sets, `"http/protobuf"` the default of OpenTelemetry.
 *
 * @since 0.1.0
 * @category models
 */
export type Protocol = "grpc" | "http/protobuf" | "http/json"

/**
 * Where telemetry goes and how.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options {
  /**
   * The collector's base URL, `https` unless it says; over HTTP the paths `/v1/traces`, `/v1/metrics` and `/v1/logs` are
   * added, for gRPC its own is left out.
   */
  readonly endpoint: string
  /** `"http/protobuf"` unless given. */
  readonly protocol?: Protocol | undefined
  /** `"databricks-app"` unless given. */
  readonly serviceName?: string | undefined
  /** Resource attributes, sent with every batch. */
  readonly attributes?: Readonly<Record<string, string>> | undefined
  /** Headers of every export request (gRPC metadata). */
  readonly headers?: Readonly<Record<string, string>> | undefined
  /** How long spans and logs wait for their batch: 5 seconds unless given. */
  readonly exportInterval?: Duration.Input | undefined
  /** How often metrics are sent: 60 seconds unless given. */
  readonly metricInterval?: Duration.Input | undefined
  /** The most spans, or logs, in one request: 512 unless given. */
  readonly maxBatchSize?: number | undefined
  /** After this one request to the collector has failed: 10 seconds unless given. */
  readonly requestTimeout?: Duration.Input | undefined
  /** The longest that closing the layer waits for the last batches: 3 seconds unless given. */
  readonly flushTimeout?: Duration.Input | undefined
}

/**
 * Exports spans, metrics and logs beside whatever logs already, and sends what is left when it closes.
 *
 * A collector that is down, hangs or refuses costs telemetry and nothing else: no failure, no log line, bounded memory,
 * and closing takes no longer than `flushTimeout`. What is refused for the moment is sent again, three times at most; then
 * what is held is dropped, and the collector left alone for a minute.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (options: Options): Layer.Layer<never> => {
  const settings = resolve(options)
  return Otlp.layer({
    baseUrl: settings.endpoint,
    resource: settings.resource,
    headers: settings.headers,
    maxBatchSize: settings.maxBatchSize,
    loggerExportInterval: settings.exportInterval,
    tracerExportInterval: settings.exportInterval,
    metricsExportInterval: settings.metricInterval,
    shutdownTimeout: settings.flushTimeout
  }).pipe(
    Layer.provide(layerBounded(settings.requestTimeout)),
    Layer.provide([layerSerialization(settings), layerTransport(settings)]),
    // Otlp reads OTEL_* again by itself and dies of what it dislikes; the settings are whole already.
    Layer.provide(ConfigProvider.layer(ConfigProvider.fromUnknown({})))
  )
}

/**
 * `layer` with the settings of OpenTelemetry's own environment variables; nothing at all without
 * `OTEL_EXPORTER_OTLP_ENDPOINT`, or with `OTEL_SDK_DISABLED=true`.
 *
 * Read are `OTEL_EXPORTER_OTLP_{ENDPOINT,PROTOCOL,HEADERS,TIMEOUT}`, `OTEL_SERVICE_NAME` (else `DATABRICKS_APP_NAME`),
 * `OTEL_RESOURCE_ATTRIBUTES`, `OTEL_BSP_{SCHEDULE_DELAY,MAX_EXPORT_BATCH_SIZE}` and `OTEL_METRIC_EXPORT_INTERVAL`. Fails with a
 * `ConfigError` that names the variable when one of them makes no sense.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerConfig: Layer.Layer<never, Config.ConfigError> = Layer.unwrap(
  Effect.gen(function* () {
    const endpoint = yield* optional(Config.schema(Endpoint, "OTEL_EXPORTER_OTLP_ENDPOINT"))
    const disabled = yield* Config.withDefault(Config.Boolean("OTEL_SDK_DISABLED"), false)
    if (disabled || endpoint === undefined) return Layer.empty
    const attributes = yield* pairs("OTEL_RESOURCE_ATTRIBUTES")
    return layer({
      endpoint,
      protocol: yield* optional(Config.Literals(["grpc", "http/protobuf", "http/json"], "OTEL_EXPORTER_OTLP_PROTOCOL")),
      serviceName:
        (yield* optional(Config.String("OTEL_SERVICE_NAME"))) ??
        attributes?.["service.name"] ??
        (yield* optional(Config.String("DATABRICKS_APP_NAME"))),
      attributes,
      headers: yield* pairs("OTEL_EXPORTER_OTLP_HEADERS"),
      exportInterval: yield* positive("OTEL_BSP_SCHEDULE_DELAY"),
      metricInterval: yield* positive("OTEL_METRIC_EXPORT_INTERVAL"),
      maxBatchSize: yield* positive("OTEL_BSP_MAX_EXPORT_BATCH_SIZE"),
      requestTimeout: yield* positive("OTEL_EXPORTER_OTLP_TIMEOUT")
    })
  })
)

/** @internal */
export type Settings = ReturnType<typeof resolve>

const resolve = (options: Options) => ({
  endpoint: urlOf(options.endpoint),
  protocol: options.protocol ?? "http/protobuf",
  resource: { serviceName: options.serviceName ?? "databricks-app", attributes: { ...options.attributes } },
  headers: { ...options.headers },
  exportInterval: Duration.fromInputUnsafe(options.exportInterval ?? "5 seconds"),
  metricInterval: Duration.fromInputUnsafe(options.metricInterval ?? "60 seconds"),
  maxBatchSize: options.maxBatchSize ?? 512,
  requestTimeout: Duration.fromInputUnsafe(options.requestTimeout ?? "10 seconds"),
  flushTimeout: Duration.fromInputUnsafe(options.flushTimeout ?? "3 seconds")
})

// Only those who use protobuf, or gRPC, pay for loading it.
const layerSerialization = ({ protocol }: Settings) =>
  protocol === "http/json"
    ? OtlpSerialization.layerJson
    : Layer.unwrap(Effect.promise(() => import("./internal/telemetry/otlpProtobuf.ts").then((_) => _.layer)))

const layerTransport = (settings: Settings) =>
  settings.protocol === "grpc"
    ? Layer.unwrap(
        Effect.promise(() => import("./internal/telemetry/otlpGrpc.ts").then((_) => _.layerClient(settings)))
      )
    : NodeHttpClient.layerUndici

// Otlp waits for an answer for ever and sends full batches side by side: a collector that hangs would fill the memory.
// A defect is not retried; Otlp then drops what it holds and leaves the collector alone for a minute.
const layerBounded = (requestTimeout: Duration.Duration) =>
  Layer.effect(
    HttpClient.HttpClient,
    Effect.gen(function* () {
      const client = yield* HttpClient.HttpClient
      const slots = yield* Semaphore.make(32)
      return HttpClient.transform(client, (response) =>
        response.pipe(
          Effect.tap((answer) => Effect.ignore(answer.arrayBuffer)),
          Effect.timeoutOrElse({ duration: requestTimeout, orElse: () => Effect.die("The collector does not answer") }),
          slots.withPermitsIfAvailable(1),
          Effect.flatMap(
            Option.match({ onNone: () => Effect.die("The collector is too slow"), onSome: Effect.succeed })
          )
        )
      )
    })
  )

const optional = <A>(config: Config.Config<A>) => Config.map(Config.option(config), Option.getOrUndefined)

const urlOf = (endpoint: string) => (endpoint.includes("://") ? endpoint : `https://${endpoint}`)

const Endpoint = Schema.String.check(
  Schema.makeFilter(
    (endpoint) => URL.canParse(urlOf(endpoint)) || "A collector has a URL, such as http://localhost:4317"
  )
)

// The exporters throw at a zero.
const positive = (name: string) => optional(Config.schema(Schema.Int.check(Schema.isGreaterThan(0)), name))

const pairs = (name: string) =>
  optional(
    Config.Record(Schema.StringFromUriComponent, Schema.StringFromUriComponent, name, {
      trim: true,
      keepEmptyValues: true
    })
  )
