/** How OTLP's requests travel by gRPC: each is the call of a service, with the body that it would have over HTTP. */
import { Client, credentials, Metadata, status } from "@grpc/grpc-js"
import { Effect, Layer } from "effect"
import * as HttpClient from "effect/http/HttpClient"
import * as HttpClientResponse from "effect/http/HttpClientResponse"
import { basename } from "node:path"
import type { Settings } from "../../Telemetry.ts"

export const layerClient = ({ endpoint, headers }: Settings): Layer.Layer<HttpClient.HttpClient> =>
  Layer.effect(
    HttpClient.HttpClient,
    Effect.gen(function* () {
      const client = yield* Effect.acquireRelease(
        Effect.sync(() => new Client(new URL(endpoint).host, credentialsOf(endpoint))),
        (client) => Effect.sync(() => client.close())
      )
      // The collector that stands beside an application may start after it, or again.
      const metadata = new Metadata({ waitForReady: true })
      for (const [name, value] of Object.entries(headers)) metadata.set(name, value)
      return HttpClient.make((request, { pathname }) =>
        Effect.callback((resume) => {
          const path = `/opentelemetry.proto.collector.${services[basename(pathname)]}/Export`
          const body = request.body._tag === "Uint8Array" ? request.body.body : new Uint8Array()
          const call = client.makeUnaryRequest(path, toBuffer, toBuffer, body, metadata, (error) => {
            const answer = new Response(null, { status: error === null ? 200 : statusOf(error.code) })
            resume(Effect.succeed(HttpClientResponse.fromWeb(request, answer)))
          })
          return Effect.sync(() => call.cancel())
        })
      )
    })
  )

const services: Readonly<Record<string, string>> = {
  traces: "trace.v1.TraceService",
  metrics: "metrics.v1.MetricsService",
  logs: "logs.v1.LogsService"
}

const credentialsOf = (endpoint: string) =>
  endpoint.startsWith("http://") ? credentials.createInsecure() : credentials.createSsl()

// The bytes as they are.
const toBuffer = (bytes: Uint8Array) => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)

/** Which status makes Effect's exporter try again what may succeed then, by OTLP's list, and nothing else. */
const statusOf = (code: status) => (code === status.RESOURCE_EXHAUSTED ? 429 : transient.includes(code) ? 503 : 400)

const transient = [
  status.CANCELLED,
  status.DEADLINE_EXCEEDED,
  status.ABORTED,
  status.OUT_OF_RANGE,
  status.UNAVAILABLE,
  status.DATA_LOSS
]
