/**
 * Spans, metrics and logs to an OpenTelemetry collector, configured by the variables that Databricks Apps sets.
 *
 * @since 0.1.0
 */
import { Config, Duration, Effect, Layer, Option, Schema } from "effect"

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
  /** After this one batch, with all its retries, has failed: 10 seconds unless given. */
  readonly requestTimeout?: Duration.Input | undefined
  /** The longest that closing the layer waits for the last batches: 3 seconds unless given. */
  readonly flushTimeout?: Duration.Input | undefined
}

/**
 * Exports spans, metrics and logs with OpenTelemetry's SDK, beside the loggers that are there, and sends what is left when
 * it closes. The SDK is loaded when the layer is built, and registers nothing globally.
 *
 * A collector that is down, hangs or refuses costs telemetry and nothing else: no failure, one warning in the log and one
 * line when it works again, bounded memory, and closing takes no longer than `flushTimeout`. A batch that is refused for the
 * moment is sent again, five times at most, within `requestTimeout`, and then dropped. Meanwhile 65,536 spans and as many
 * logs wait, in about 110 MB of memory; what exceeds them is dropped.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (options: Options): Layer.Layer<never> => {
  const settings = resolve(options)
  return Layer.unwrap(Effect.promise(() => import("./internal/telemetry/sdk.ts").then((sdk) => sdk.layer(settings))))
}

/**
 * `layer` with the settings of OpenTelemetry's own environment variables, and `overrides` on top; nothing at all without
 * an endpoint, or with `OTEL_SDK_DISABLED=true`. Without overrides it is the same layer each time.
 *
 * Read are `OTEL_EXPORTER_OTLP_{ENDPOINT,PROTOCOL,HEADERS,TIMEOUT}`, `OTEL_SERVICE_NAME` (else `DATABRICKS_APP_NAME`),
 * `OTEL_RESOURCE_ATTRIBUTES`, `OTEL_BSP_{SCHEDULE_DELAY,MAX_EXPORT_BATCH_SIZE}` and `OTEL_METRIC_EXPORT_INTERVAL`. Fails with a
 * `ConfigError` that names the variable when one of them makes no sense.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerConfig = (overrides?: Partial<Options>): Layer.Layer<never, Config.ConfigError> =>
  overrides === undefined ? fromEnvironment : withOverrides(overrides)

const withOverrides = (overrides: Partial<Options>) =>
  Layer.unwrap(
    Effect.gen(function* () {
      const endpoint = yield* overrides.endpoint === undefined
        ? optional(Config.schema(Endpoint, "OTEL_EXPORTER_OTLP_ENDPOINT"))
        : Effect.mapError(Schema.decodeEffect(Endpoint)(overrides.endpoint), (error) => new Config.ConfigError(error))
      const disabled = yield* Config.withDefault(Config.Boolean("OTEL_SDK_DISABLED"), false)
      if (disabled || endpoint === undefined) return Layer.empty
      const attributes = overrides.attributes ?? (yield* pairs("OTEL_RESOURCE_ATTRIBUTES"))
      return layer({
        endpoint,
        protocol:
          overrides.protocol ??
          (yield* optional(Config.Literals(["grpc", "http/protobuf", "http/json"], "OTEL_EXPORTER_OTLP_PROTOCOL"))),
        serviceName:
          overrides.serviceName ??
          (yield* optional(Config.String("OTEL_SERVICE_NAME"))) ??
          attributes?.["service.name"] ??
          (yield* optional(Config.String("DATABRICKS_APP_NAME"))),
        attributes,
        headers: overrides.headers ?? (yield* pairs("OTEL_EXPORTER_OTLP_HEADERS")),
        exportInterval: overrides.exportInterval ?? (yield* positive("OTEL_BSP_SCHEDULE_DELAY")),
        metricInterval: overrides.metricInterval ?? (yield* positive("OTEL_METRIC_EXPORT_INTERVAL")),
        maxBatchSize: overrides.maxBatchSize ?? (yield* positive("OTEL_BSP_MAX_EXPORT_BATCH_SIZE")),
        requestTimeout: overrides.requestTimeout ?? (yield* positive("OTEL_EXPORTER_OTLP_TIMEOUT")),
        flushTimeout: overrides.flushTimeout
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

const fromEnvironment = withOverrides({})
