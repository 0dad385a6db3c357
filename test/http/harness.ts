import * as App from "effect-databricks/App"
import { ServiceContext } from "effect-databricks"
import { LocalWorkspace } from "effect-databricks/testing"
import { Cause, Context, Effect, Inspectable, Layer, Logger, Redacted, Tracer } from "effect"
import { HttpRouter, HttpServer } from "effect/http"
import * as Http from "node:http"
import { inspect } from "node:util"
import { makeRecorder } from "../fixtures/spans.ts"

export interface Answer {
  readonly status: number
  readonly headers: Http.IncomingHttpHeaders
  readonly text: string
  /** The body as JSON, `undefined` if it is none. */
  readonly json: any // oxlint-disable-line typescript/no-explicit-any -- whatever the server said
}

export interface Call {
  readonly headers?: Http.OutgoingHttpHeaders
  /** A string is sent as it is, with the content type of JSON. */
  readonly body?: unknown
}

/** A served application: what it answers, logs and traces. */
export class Served extends Context.Service<
  Served,
  {
    readonly port: number
    readonly call: (method: string, path: string, options?: Call) => Effect.Effect<Answer, Error>
    readonly logs: Array<{ readonly level: string; readonly text: string }>
    readonly spans: Array<Tracer.NativeSpan>
    /** All that left for a log or a trace, in every form that a logger or an exporter could give it. */
    readonly everythingRecorded: () => string
  }
>()("test/Served") {}

/** Serves `routes` on a free port over the real local workspace. */
export const serve = <A, E, R, A2 = never, E2 = never, R2 = never>(
  routes: Layer.Layer<A, E, R>,
  options: { readonly development?: boolean; readonly services?: Layer.Layer<A2, E2, R2> } = {}
) => {
  const logs: Array<{ readonly level: string; readonly text: string }> = []
  const { spans, tracer } = makeRecorder()
  const Recorded = Layer.mergeAll(
    Logger.layer([
      Logger.make((entry) => {
        const forms = [Logger.formatJson.log(entry), Logger.formatLogFmt.log(entry), Cause.pretty(entry.cause)]
        logs.push({
          level: entry.logLevel,
          text: [...forms, inspect(entry.message, { depth: 20 }), inspect(entry.cause, { depth: 20 })].join("\n")
        })
      })
    ]),
    Layer.succeed(Tracer.Tracer, tracer)
  )
  return Layer.effect(
    Served,
    Effect.map(HttpServer.HttpServer, ({ address }) => {
      const port = address._tag === "UnixPathAddress" ? 0 : address.port
      return {
        port,
        logs,
        spans,
        call: (method: string, path: string, call: Call = {}) => send(port, method, path, call),
        everythingRecorded: () => [...logs.map((_) => _.text), ...spans.map(describe)].join("\n")
      }
    })
  ).pipe(
    Layer.provideMerge(HttpRouter.serve(routes, { disableListenLog: true })),
    Layer.provide(App.layerHttpServer({ port: 0, host: "127.0.0.1" })),
    // oxlint-disable-next-line typescript/no-explicit-any -- no services are a layer of none
    Layer.provide(options.services ?? (Layer.empty as Layer.Layer<any>)),
    Layer.provideMerge(
      Layer.provide(
        ServiceContext.layerConfig(),
        LocalWorkspace.layerEnv(options.development ? { NODE_ENV: "development" } : {})
      )
    ),
    Layer.provide(Recorded)
  )
}

const send = (port: number, method: string, path: string, { body, headers }: Call): Effect.Effect<Answer, Error> =>
  Effect.callback((resume) => {
    const text = body === undefined || typeof body === "string" ? body : JSON.stringify(body)
    const request = Http.request({
      port,
      host: "127.0.0.1",
      method,
      path,
      headers: {
        ...(text !== undefined && { "content-type": "application/json", "content-length": Buffer.byteLength(text) }),
        ...headers
      }
    })
    request.on("error", (error) => resume(Effect.fail(error)))
    request.on("response", (response) => {
      let received = ""
      response.setEncoding("utf8")
      response.on("data", (chunk) => (received += chunk))
      response.on("error", (error) => resume(Effect.fail(error)))
      response.on("end", () =>
        resume(
          Effect.succeed({
            status: response.statusCode ?? 0,
            headers: response.headers,
            text: received,
            json: parse(received)
          })
        )
      )
    })
    request.end(text)
    return Effect.sync(() => request.destroy())
  })

const parse = (text: string): unknown => {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

/** Every token that these headers hold or that the workspace has seen. */
export const tokensSeen = Effect.gen(function* () {
  const { requests } = yield* LocalWorkspace.LocalWorkspace
  const tokens = (yield* requests).flatMap(({ token }) => (token === undefined ? [] : [Redacted.value(token)]))
  return new Set(tokens)
})

const describe = (span: Tracer.NativeSpan) =>
  [
    span.name,
    Inspectable.toStringUnknown(Object.fromEntries(span.attributes)),
    Inspectable.toStringUnknown(span.events),
    span.status._tag === "Ended" && span.status.exit._tag === "Failure" ? Cause.pretty(span.status.exit.cause) : ""
  ].join("\n")
