/** What exists for show, on the local workspace only: identities to choose from, curl lines, the spans of the last calls. */
import { LocalWorkspace } from "effect-databricks/testing"
import { Console, Context, Effect, Exit, Layer, Option, Tracer } from "effect"
import { HttpMiddleware, HttpRouter, HttpServer, HttpServerRequest, HttpServerResponse } from "effect/http"
import * as Page from "./Page.ts"

export const people = ["alice@example.com", "bob@example.com"]

interface FinishedSpan {
  readonly id: string
  readonly parent: string | null
  readonly trace: string
  readonly name: string
  readonly milliseconds: number
  readonly failed: boolean
  readonly attributes: Readonly<Record<string, string>>
}

const kept = 60

class Spans extends Context.Service<Spans, Array<FinishedSpan>>()("demo/Spans") {}

/** Remembers the last spans beside whatever traces already. */
export const layerRecorder = Layer.effectContext(
  Effect.map(Tracer.Tracer, (tracer) => {
    const spans: Array<FinishedSpan> = []
    const recorder = Tracer.make({
      ...tracer,
      span: (options) => {
        const span = tracer.span(options)
        const end = span.end.bind(span)
        span.end = (time, exit) => {
          end(time, exit)
          spans.unshift({
            id: span.spanId,
            parent: Option.getOrNull(Option.map(span.parent, (_) => _.spanId)),
            trace: span.traceId,
            name: span.name,
            milliseconds: Number(time - options.startTime) / 1e6,
            failed: Exit.isFailure(exit),
            attributes: Object.fromEntries(Array.from(span.attributes, ([key, value]) => [key, String(value)]))
          })
          spans.length = Math.min(spans.length, kept)
        }
        return span
      }
    })
    return Context.make(Spans, spans).pipe(
      Context.add(Tracer.Tracer, recorder),
      Context.add(HttpMiddleware.TracerDisabledWhen, ({ url }) => !/^\/(api|users|system)\//.test(url))
    )
  })
)

// The server listens on loopback only; a page of elsewhere that has its name point here gets nothing either.
export const onLoopback = <E, R>(answer: Effect.Effect<HttpServerResponse.HttpServerResponse, E, R>) =>
  Effect.flatMap(HttpServerRequest.HttpServerRequest, ({ headers, remoteAddress }) => {
    const near = Option.exists(remoteAddress, (_) => /^(127\.|::1$|::ffff:127\.)/.test(_))
    const named = /^(localhost|127\.0\.0\.1|\[::1\])(:\d+)?$/.test(headers["host"] ?? "")
    const own = headers["origin"] === undefined || headers["origin"] === `http://${headers["host"]}`
    return near && named && own
      ? HttpMiddleware.withLoggerDisabled(answer)
      : Effect.succeed(HttpServerResponse.empty({ status: 403 }))
  })

const identities = Effect.gen(function* () {
  const workspace = yield* LocalWorkspace.LocalWorkspace
  return yield* Effect.forEach(people, (name) =>
    Effect.map(workspace.headers(name, { ttl: "30 days" }), (headers) => ({ name, headers }))
  )
})

class Identities extends Context.Service<Identities, Effect.Success<typeof identities>>()("demo/Identities") {}

export const layerIdentities = Layer.effect(Identities, identities)

export const layerRoutes = Layer.mergeAll(
  Page.layer(`<script type="module" src="/demo/show.js"></script>`),
  Page.file("/demo/load.js", "load.js"),
  Page.file("/demo/show.js", "show.js"),
  HttpRouter.use((router) =>
    Effect.gen(function* () {
      const spans = yield* Spans
      const people = yield* Identities
      yield* router.add("GET", "/demo/identities", onLoopback(Effect.sync(() => HttpServerResponse.jsonUnsafe(people))))
      yield* router.add("GET", "/demo/spans", onLoopback(Effect.sync(() => HttpServerResponse.jsonUnsafe(spans))))
    })
  )
)

/** Tells how to call what now listens. Here alone a token is printed: it is good for the local workspace and nothing else. */
export const announce = Effect.gen(function* () {
  const { address } = yield* HttpServer.HttpServer
  const origin = `http://localhost:${address._tag === "UnixPathAddress" ? 0 : address.port}`
  const curl = (path: string, headers: Record<string, string>, more = "") =>
    [
      `curl -s${more} ${origin}${path}`,
      ...Object.entries(headers).map(([name, value]) => `-H '${name}: ${value}'`)
    ].join(" ")
  const json = (path: string, headers: Record<string, string>, body: object) =>
    curl(path, { ...headers, "content-type": "application/json" }, ` -d '${JSON.stringify(body)}'`)
  const block = (who: string, lines: ReadonlyArray<string>) => [`As ${who}:`, ...lines.map((_) => `  ${_}`), ""]
  const greeting = { greeting: "hello" }
  const blocks = (yield* Identities).flatMap(({ headers, name }) =>
    block(name, [
      curl("/api/whoami", headers),
      json("/users/me/data", headers, greeting),
      json("/api/orders", headers, { item: "Tea", amount: 2 }),
      curl("/api/orders", headers)
    ])
  )
  yield* Console.log(
    [
      "",
      "DATABRICKS_HOST is not set: this is a local workspace, with a Postgres of its own, on this machine only.",
      "",
      ...blocks,
      ...block("the service principal", [json("/system/data", {}, greeting), curl("/api/system/orders", {})]),
      `${origin}/      the page`,
      `${origin}/docs  the API`,
      ""
    ].join("\n")
  )
})
