/**
 * OpenTelemetry's exporters, assembled from their parts with all settings explicit: the exporter packages would read
 * `OTEL_*` from the process. Only Node's TLS and grpc-js read variables of the process (`GRPC_*`, `*_proxy`).
 */
import { type ExportResult, ExportResultCode } from "@opentelemetry/core"
import type { IOtlpExportDelegate } from "@opentelemetry/otlp-exporter-base"
import * as Otlp from "@opentelemetry/otlp-transformer"
import type { ReadableLogRecord } from "@opentelemetry/sdk-logs"
import type { ResourceMetrics } from "@opentelemetry/sdk-metrics"
import type { ReadableSpan } from "@opentelemetry/sdk-trace"
import { Cause, Duration, Effect, Exit, FiberSet, Schedule, type Scope } from "effect"
import type { Agent } from "node:http"
import type { Settings } from "../../Telemetry.ts"
import * as Loggers from "../logs/loggers.ts"
import * as Proxy from "../proxy.ts"

/** The size of each queue: about 80 MB of spans and 30 MB of logs. Further ones are dropped. */
export const maxQueueSize = 65_536

/** The longest delay of Node's timers. */
export const maxMillis = 2 ** 31 - 1

export const millis = (duration: Duration.Duration) => Math.min(Duration.toMillis(duration), maxMillis)

interface Signal<Items> {
  readonly name: "traces" | "metrics" | "logs"
  readonly service: "Trace" | "Metrics" | "Logs"
  readonly json: Otlp.ISerializer<Items, unknown>
  readonly protobuf: Otlp.ISerializer<Items, unknown>
  readonly helper: Otlp.IExporterMetricsHelper<Items>
}

export const traces: Signal<Array<ReadableSpan>> = {
  name: "traces",
  service: "Trace",
  json: Otlp.JsonTraceSerializer,
  protobuf: Otlp.ProtobufTraceSerializer,
  helper: Otlp.TraceExporterMetricsHelper
}

export const metrics: Signal<ResourceMetrics> = {
  name: "metrics",
  service: "Metrics",
  json: Otlp.JsonMetricsSerializer,
  protobuf: Otlp.ProtobufMetricsSerializer,
  helper: Otlp.MetricsExporterMetricsHelper
}

export const logs: Signal<Array<ReadableLogRecord>> = {
  name: "logs",
  service: "Logs",
  json: Otlp.JsonLogsSerializer,
  protobuf: Otlp.ProtobufLogsSerializer,
  helper: Otlp.LogsExporterMetricsHelper
}

interface Exporter<Items> {
  readonly export: (items: Items, done: (result: ExportResult) => void) => void
  readonly forceFlush: () => Promise<void>
  readonly shutdown: () => Promise<void>
}

export type Make = <Items>(signal: Signal<Items>) => Effect.Effect<Exporter<Items>, never, Scope.Scope>

/** Makes the exporter of each signal. Together they log once that exporting fails, and once that it works again. */
export const make = Effect.fnUntraced(function* (settings: Settings, route: Proxy.Route | undefined) {
  const delegate = settings.protocol === "grpc" ? yield* overGrpc(settings) : yield* overHttp(settings, route)
  const report = reporter(settings, yield* Loggers.ApplicationLog)
  const exporter: Make = Effect.fnUntraced(function* (signal) {
    const to = yield* delegate(signal)
    const fibers = yield* FiberSet.make<void>()
    const run = yield* FiberSet.runtime(fibers)()
    const send = (items: Parameters<typeof to.export>[0]) =>
      Effect.callback<void, Error>((resume) =>
        to.export(items, ({ error }) => resume(error === undefined ? Effect.void : Effect.fail(error)))
      ).pipe(
        Effect.retry({ schedule: backoff, while: isTransient, times: 5 }),
        Effect.timeoutOrElse({ duration: settings.requestTimeout, orElse: () => Effect.fail(new Error("no response")) })
      )
    const settled = () => Effect.runPromise(FiberSet.awaitEmpty(fibers))
    return {
      export: (items, done) =>
        void run(
          send(items).pipe(
            Effect.onExit((exit) => report(signal.name, exit)),
            Effect.ignoreCause,
            // On a failure a processor would call OpenTelemetry's global error handler.
            Effect.ensuring(Effect.sync(() => done({ code: ExportResultCode.SUCCESS })))
          )
        ),
      forceFlush: settled,
      shutdown: settled
    }
  })
  return exporter
})

type MakeDelegate = <Items>(signal: Signal<Items>) => Effect.Effect<IOtlpExportDelegate<Items>, never, Scope.Scope>

const overHttp = Effect.fnUntraced(function* (settings: Settings, route: Proxy.Route | undefined) {
  const { createOtlpHttpExportDelegate, httpAgentFactoryFromOptions } = yield* Effect.promise(
    () => import("@opentelemetry/otlp-exporter-base/node-http")
  )
  const isJson = settings.protocol === "http/json"
  const contentType = isJson ? "application/json" : "application/x-protobuf"
  const delegate: MakeDelegate = Effect.fnUntraced(function* (signal) {
    // A request cannot be interrupted, but its socket can be destroyed, and a retry gets no headers.
    const url = new URL(settings.endpoint)
    const proxy = route?.(url)
    const direct = httpAgentFactoryFromOptions({ keepAlive: true })
    const makeAgent = proxy === undefined ? direct : () => Proxy.agent(proxy, url)
    let agent: Agent | undefined
    let closed = false
    yield* Effect.addFinalizer(() =>
      Effect.sync(() => {
        closed = true
        agent?.destroy()
      })
    )
    return createOtlpHttpExportDelegate(
      {
        ...shared(settings),
        url: `${settings.endpoint.replace(/\/+$/, "")}/v1/${signal.name}`,
        headers: async () => {
          if (closed) throw new Error("The exporter is closed")
          return { ...settings.headers, "content-type": contentType }
        },
        agentFactory: async (protocol) => (agent = await makeAgent(protocol))
      },
      isJson ? signal.json : signal.protobuf,
      "otlp_http_exporter",
      signal.helper,
      undefined
    )
  })
  return delegate
})

const overGrpc = Effect.fnUntraced(function* (settings: Settings) {
  const Grpc = yield* Effect.promise(() => import("@opentelemetry/otlp-grpc-exporter-base"))
  const isPlain = settings.endpoint.startsWith("http://")
  // Made here, to load grpc-js at the start rather than during the first requests.
  const credentials = isPlain ? Grpc.createInsecureCredentials() : Grpc.createSslCredentials()
  const delegate: MakeDelegate = (signal) =>
    Effect.acquireRelease(
      Effect.sync(() =>
        Grpc.createOtlpGrpcExportDelegate(
          {
            ...shared(settings),
            url: new URL(settings.endpoint).host,
            credentials: () => credentials,
            metadata: () => {
              const metadata = Grpc.createEmptyMetadata()
              // The collector of an application may start after it, or restart.
              metadata.setOptions({ waitForReady: true })
              for (const [name, value] of Object.entries(settings.headers)) metadata.set(name, value)
              return metadata
            }
          },
          signal.protobuf,
          "otlp_grpc_exporter",
          signal.helper,
          undefined,
          `${signal.service}ExportService`,
          `/opentelemetry.proto.collector.${signal.name === "traces" ? "trace" : signal.name}.v1.${signal.service}Service/Export`
        )
      ),
      (delegate) => Effect.sync(() => void delegate.shutdown())
    )
  return delegate
})

const shared = (settings: Settings) => ({
  timeoutMillis: millis(settings.requestTimeout),
  // Sends the whole queue at once when it closes.
  concurrencyLimit: Math.ceil(maxQueueSize / settings.maxBatchSize) + 1,
  compression: "none" as const
})

// OpenTelemetry's gRPC exporter does not retry. Its HTTP exporter does, and fails with other statuses than these.
const backoff = Schedule.exponential("1 second", 1.5).pipe(Schedule.jittered)
const isTransient = (error: Error) => "code" in error && (transient.has(error.code) || Proxy.mayPass(error.code))
const transient = new Set<unknown>([
  1, // CANCELLED
  4, // DEADLINE_EXCEEDED
  8, // RESOURCE_EXHAUSTED
  10, // ABORTED
  11, // OUT_OF_RANGE
  14, // UNAVAILABLE
  15 // DATA_LOSS
])

const reporter = (settings: Settings, log: Loggers.ApplicationLog["Service"]) => {
  const { host } = new URL(settings.endpoint)
  const failing = new Set<string>()
  return (signal: string, exit: Exit.Exit<void, Error>) =>
    Effect.suspend(() => {
      // Interrupted because the application stopped: the collector may be fine.
      if (Exit.isFailure(exit) && Cause.hasInterruptsOnly(exit.cause)) return Effect.void
      const failed = failing.size > 0
      if (Exit.isSuccess(exit)) failing.delete(signal)
      else failing.add(signal)
      if (failed === failing.size > 0) return Effect.void
      const line = Exit.isSuccess(exit)
        ? Effect.logInfo(`Telemetry is exported to ${host} again`)
        : Effect.logWarning(
            `Telemetry is not exported to ${host}: ${reason(exit.cause, settings)}. It is dropped until the collector accepts it`
          )
      return Effect.provideContext(line, log.references)
    })
}

// Only the status of the collector's response, whose text could repeat our headers.
const reason = (cause: Cause.Cause<Error>, { headers, protocol }: Settings) => {
  const error = Cause.squash(cause) as Error & { readonly code?: unknown } // or a defect of the exporter, thrown as an Error
  if (typeof error.code === "string") return error.code
  if (typeof error.code === "number") {
    return protocol === "grpc" ? `gRPC status ${error.message.split(":")[0]}` : `HTTP status ${error.code}`
  }
  const secrets = Object.values(headers).filter((value) => value !== "")
  return secrets.reduce((message, secret) => message.replaceAll(secret, "<redacted>"), error.message)
}
