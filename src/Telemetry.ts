/**
 * Exports spans, metrics and logs to an OpenTelemetry collector, configured by the variables that Databricks Apps sets.
 *
 * @since 0.1.0
 */
import { Config, Duration, Effect, Layer, Option, Schema } from "effect"
import * as Bounds from "./internal/bounds.ts"
import * as Proxy from "./internal/proxy.ts"

/**
 * The protocol of the exporters. Databricks Apps sets `"grpc"`; OpenTelemetry's default is `"http/protobuf"`.
 *
 * @since 0.1.0
 * @category models
 */
export type Protocol = "grpc" | "http/protobuf" | "http/json"

/**
 * The collector, and the batches that are sent to it.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options {
  /**
   * The collector's base URL. Its scheme defaults to `https`. HTTP appends `/v1/traces`, `/v1/metrics` and `/v1/logs`;
   * gRPC ignores the path.
   */
  readonly endpoint: string
  /** Defaults to `"http/protobuf"`. */
  readonly protocol?: Protocol | undefined
  /** The `service.name` of the resource. Defaults to `"databricks-app"`. */
  readonly serviceName?: string | undefined
  /** Resource attributes, sent with every batch. */
  readonly attributes?: Readonly<Record<string, string>> | undefined
  /** Headers of every export request (gRPC metadata). */
  readonly headers?: Readonly<Record<string, string>> | undefined
  /** The interval between batches of spans and logs. Defaults to 5 seconds. */
  readonly exportInterval?: Duration.Input | undefined
  /** The interval between exports of metrics. Defaults to 60 seconds. */
  readonly metricInterval?: Duration.Input | undefined
  /** The most spans, or logs, in one request. Defaults to 512; at most 65,536. */
  readonly maxBatchSize?: number | undefined
  /** The time limit for one batch, retries included. Defaults to 10 seconds. */
  readonly requestTimeout?: Duration.Input | undefined
  /** The time limit for sending the last batches when the layer closes. Defaults to 3 seconds. */
  readonly flushTimeout?: Duration.Input | undefined
}

/**
 * Exports spans, metrics and logs with OpenTelemetry's SDK, in addition to the current loggers.
 *
 * The layer loads the SDK when it is built, registers nothing globally, and sends the remaining batches when it closes.
 *
 * A collector that is down, hangs or refuses loses telemetry but never fails the application. The log has one warning,
 * and one line when exporting works again. A batch that is refused temporarily is retried up to 5 times within
 * `requestTimeout`, then dropped. Meanwhile at most 65,536 spans and 65,536 logs are queued, in about 110 MB of memory;
 * further ones are dropped. Closing takes no longer than `flushTimeout`.
 *
 * HTTP uses the proxy of `HTTPS_PROXY` unless `NO_PROXY` excludes the collector. gRPC reads `grpc_proxy`, `https_proxy`
 * and `no_proxy` from the process, in lower case. Fails with a `ConfigError` that names the invalid option or variable.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (options: Options): Layer.Layer<never, Config.ConfigError> =>
  Layer.unwrap(
    Effect.gen(function* () {
      yield* Bounds.check("Telemetry", options, bounds)
      const sdk = yield* Effect.promise(() => import("./internal/telemetry/sdk.ts"))
      return sdk.layer(resolve(options), yield* Proxy.config)
    })
  )

/**
 * Provides `layer` from OpenTelemetry's environment variables, with `overrides` on top.
 *
 * Without an endpoint, or with `OTEL_SDK_DISABLED=true`, the layer is empty. Without overrides every call returns the
 * same layer, which a composition builds once.
 *
 * It reads `OTEL_EXPORTER_OTLP_{ENDPOINT,PROTOCOL,HEADERS,TIMEOUT}`, `OTEL_SERVICE_NAME` (else `DATABRICKS_APP_NAME`),
 * `OTEL_RESOURCE_ATTRIBUTES`, `OTEL_BSP_{SCHEDULE_DELAY,MAX_EXPORT_BATCH_SIZE}` and `OTEL_METRIC_EXPORT_INTERVAL`.
 * Fails with a `ConfigError` that names the invalid variable.
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
        ? Bounds.variable("OTEL_EXPORTER_OTLP_ENDPOINT", (name) => Config.schema(Endpoint, name), collectorUrl)
        : Effect.succeed(overrides.endpoint)
      const disabled = yield* Bounds.variable("OTEL_SDK_DISABLED", Config.Boolean, "true or false")
      if (disabled === true || endpoint === undefined) return Layer.empty
      const attributes = overrides.attributes ?? (yield* pairs("OTEL_RESOURCE_ATTRIBUTES"))
      return layer({
        endpoint,
        protocol:
          overrides.protocol ??
          (yield* Bounds.variable(
            "OTEL_EXPORTER_OTLP_PROTOCOL",
            (name) => Config.Literals(protocols, name),
            anyProtocol
          )),
        serviceName:
          overrides.serviceName ??
          (yield* optional(Config.String("OTEL_SERVICE_NAME"))) ??
          attributes?.["service.name"] ??
          (yield* optional(Config.String("DATABRICKS_APP_NAME"))),
        attributes,
        headers: overrides.headers ?? (yield* pairs("OTEL_EXPORTER_OTLP_HEADERS")),
        exportInterval: overrides.exportInterval ?? (yield* positive("OTEL_BSP_SCHEDULE_DELAY")),
        metricInterval: overrides.metricInterval ?? (yield* positive("OTEL_METRIC_EXPORT_INTERVAL")),
        maxBatchSize: overrides.maxBatchSize ?? (yield* positive("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", maxBatchSize)),
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

const protocols = ["grpc", "http/protobuf", "http/json"] as const

const isEndpoint: Bounds.Bound = (value) => {
  // A word alone is not meant as the name of a host.
  const url = typeof value === "string" && /[.:]/.test(value) ? URL.parse(urlOf(value)) : null
  return url !== null && ["http:", "https:"].includes(url.protocol) && url.hostname !== "" ? undefined : collectorUrl
}

const collectorUrl = "the URL of a collector, such as http://localhost:4317"

const anyProtocol = `one of ${protocols.join(", ")}`

const Endpoint = Schema.String.check(Schema.makeFilter((endpoint) => isEndpoint(endpoint) === undefined))

/** The size of the queue. */
const maxBatchSize = 65_536

const bounds = {
  endpoint: isEndpoint,
  protocol: Bounds.text(new RegExp(`^(${protocols.join("|")})$`), anyProtocol),
  exportInterval: Bounds.duration(),
  metricInterval: Bounds.duration(),
  maxBatchSize: Bounds.integer(1, maxBatchSize),
  requestTimeout: Bounds.duration(),
  flushTimeout: Bounds.duration("moment")
}

// The exporters throw at a zero.
const positive = (name: string, most = Number.MAX_SAFE_INTEGER) =>
  Bounds.variable(
    name,
    (_) => Config.schema(Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: most })), _),
    Bounds.wholeNumber(1, most)
  )

const pairs = (name: string) =>
  optional(
    Config.Record(Schema.StringFromUriComponent, Schema.StringFromUriComponent, name, {
      trim: true,
      keepEmptyValues: true
    })
  )

const fromEnvironment = withOverrides({})
