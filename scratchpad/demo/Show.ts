/** On the local workspace only: links to switch users, curl commands, and the spans of the last calls. */
import { Middleware, ServiceContext } from "effect-databricks"
import { LocalWorkspace } from "effect-databricks/testing"
import { Console, Context, Effect, Exit, Layer, Option, Tracer } from "effect"
import { HttpMiddleware, HttpRouter, HttpServer, HttpServerResponse } from "effect/http"
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

/** Adds a tracer that keeps the last spans. */
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

/** Adds a route for signed-in users whose requests are not logged. */
export const route = <E, R>(
  method: "GET" | "POST",
  path: `/${string}`,
  answer: Effect.Effect<HttpServerResponse.HttpServerResponse, E, R>
) =>
  HttpRouter.add(method, path, HttpMiddleware.withLoggerDisabled(answer)).pipe(Layer.provide(Middleware.asUser.layer))

/** The name of each caller by the id in its spans. */
const names = Effect.gen(function* () {
  const workspace = yield* LocalWorkspace.LocalWorkspace
  const { principal } = yield* ServiceContext.ServiceContext
  const users = yield* Effect.forEach(people, (name) =>
    Effect.map(workspace.headers(name), (headers) => [headers["x-forwarded-user"] ?? "", name] as const)
  )
  return new Map([...users, [principal.id, "the app"] as const])
})

/** Serves these screens, with links to switch users and with the spans of the last calls. */
export const layerRoutes = (screens: ReadonlyArray<Page.Screen>) =>
  Layer.mergeAll(
    Page.layer(screens, ["/demo/people.js", "/demo/spans.js"]),
    Page.file("/demo/people.js", "people.js"),
    Page.file("/demo/spans.js", "spans.js"),
    route("GET", "/demo/people", Effect.succeed(HttpServerResponse.jsonUnsafe(people))),
    Layer.unwrap(
      Effect.gen(function* () {
        const [spans, known] = yield* Effect.all([Spans, names])
        const named = Effect.sync(() =>
          HttpServerResponse.jsonUnsafe(
            spans.map((span) => ({ ...span, caller: known.get(span.attributes["caller.id"] ?? "") }))
          )
        )
        return route("GET", "/demo/spans", named)
      })
    )
  )

/** Prints curl commands that call the application through the proxy, and one without the proxy. */
export const announce = Effect.fnUntraced(function* (origin: string) {
  const { address } = yield* HttpServer.HttpServer
  const curl = (path: string, as: string, body?: object) =>
    [
      `  curl -s --cookie databricks-apps-user=${as} ${origin}${path}`,
      ...(body === undefined ? [] : [`-H 'content-type: application/json' -d '${JSON.stringify(body)}'`])
    ].join(" ")
  const greeting = { greeting: "hello" }
  const blocks = people.flatMap((name) => [
    `As ${name}:`,
    curl("/api/whoami", name),
    curl("/users/me/data", name, greeting),
    curl("/api/orders", name, { item: "Tea", amount: 2 }),
    curl("/api/orders", name),
    ""
  ])
  yield* Console.log(
    [
      "",
      "DATABRICKS_HOST is not set: the app runs on a local workspace, with its own Postgres, on this machine.",
      "",
      ...blocks,
      "As the service principal, for any user:",
      curl("/system/data", "alice", greeting),
      curl("/api/system/orders", "alice"),
      "",
      "Without the proxy and without a user:",
      `  curl -s http://127.0.0.1:${"port" in address ? address.port : 0}/api/whoami`,
      "",
      `${origin}/      the page`,
      `${origin}/docs  the API`
    ].join("\n")
  )
})
