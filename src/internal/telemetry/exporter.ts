/**
 * OpenTelemetry's exporters, made of their parts with every setting given: the packages of the exporters would merge
 * `OTEL_*` of the process into them. What is left are the variables of Node's TLS and of grpc-js (`GRPC_*`, `*_proxy`).
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

/** The most spans, and the most logs, that wait to be sent: of spans about 80 MB, of logs 30. More are dropped. */
export const maxQueueSize = 65_536

/** The longest that Node's timers take. */
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

/** Makes the exporter of each signal; together they say once that exporting fails, and once that it works again. */
export const make = Effect.fnUntraced(function* (settings: Settings) {
  const delegate = settings.protocol === "grpc" ? yield* overGrpc(settings) : yield* overHttp(settings)
  const report = reporter(settings)
  const exporter: Make = Effect.fnUntraced(function* (signal) {
    const to = yield* delegate(signal)
    const fibers = yield* FiberSet.make<void>()
    const run = yield* FiberSet.runtime(fibers)()
    const send = (items: Parameters<typeof to.export>[0]) =>
      Effect.callback<void, Error>((resume) =>
        to.export(items, ({ error }) => resume(error === undefined ? Effect.void : Effect.fail(error)))
      ).pipe(
        Effect.retry({ schedule: backoff, while: isTransient, times: 5 }),
        Effect.timeoutOrElse({ duration: settings.requestTimeout, orElse: () => Effect.fail(new Error("no answer")) })
      )
    const settled = () => Effect.runPromise(FiberSet.awaitEmpty(fibers))
    return {
      export: (items, done) =>
        void run(
          send(items).pipe(
            Effect.onExit((exit) => report(signal.name, exit)),
            Effect.ignoreCause,
            // Of a failure a processor would tell OpenTelemetry's global error handler.
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

const overHttp = Effect.fnUntraced(function* (settings: Settings) {
  const { createOtlpHttpExportDelegate, httpAgentFactoryFromOptions } = yield* Effect.promise(
    () => import("@opentelemetry/otlp-exporter-base/node-http")
  )
  const isJson = settings.protocol === "http/json"
  const contentType = isJson ? "application/json" : "application/x-protobuf"
  const delegate: MakeDelegate = Effect.fnUntraced(function* (signal) {
    // A request cannot be interrupted; its socket can, and what is tried again finds no headers.
    const makeAgent = httpAgentFactoryFromOptions({ keepAlive: true })
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
  // Made here, so that grpc-js is loaded at the start and not beside the first requests.
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
              // The collector that stands beside an application may start after it, or again.
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
  // At the end all that waits is sent at once.
  concurrencyLimit: Math.ceil(maxQueueSize / settings.maxBatchSize) + 1,
  compression: "none" as const
})

// By gRPC OpenTelemetry's exporter tries once; by HTTP it retries for itself, and ends with a status that is none of these.
const backoff = Schedule.exponential("1 second", 1.5).pipe(Schedule.jittered)
const isTransient = (error: Error) => "code" in error && transient.has(error.code)
const transient = new Set<unknown>([
  1, // CANCELLED
  4, // DEADLINE_EXCEEDED
  8, // RESOURCE_EXHAUSTED
  10, // ABORTED
  11, // OUT_OF_RANGE
  14, // UNAVAILABLE
  15 // DATA_LOSS
])

const reporter = (settings: Settings) => {
  const { host } = new URL(settings.endpoint)
  const failing = new Set<string>()
  return (signal: string, exit: Exit.Exit<void, Error>) =>
    Effect.suspend(() => {
      // The application stopped first: that says nothing of the collector.
      if (Exit.isFailure(exit) && Cause.hasInterruptsOnly(exit.cause)) return Effect.void
      const failed = failing.size > 0
      if (Exit.isSuccess(exit)) failing.delete(signal)
      else failing.add(signal)
      if (failed === failing.size > 0) return Effect.void
      return Exit.isSuccess(exit)
        ? Effect.logInfo(`Telemetry is exported to ${host} again`)
        : Effect.logWarning(
            `Telemetry is not exported to ${host}: ${reason(exit.cause, settings)}. It is dropped until the collector takes it`
          )
    })
}

// Of what a collector says just its status: it could repeat the headers.
const reason = (cause: Cause.Cause<Error>, { headers, protocol }: Settings) => {
  const error = Cause.squash(cause) as Error & { readonly code?: unknown } // or a defect of the exporter's, thrown as an Error
  if (typeof error.code === "string") return error.code
  if (typeof error.code === "number") {
    return protocol === "grpc" ? `gRPC status ${error.message.split(":")[0]}` : `HTTP status ${error.code}`
  }
  const secrets = Object.values(headers).filter((value) => value !== "")
  return secrets.reduce((message, secret) => message.replaceAll(secret, "<redacted>"), error.message)
}
