/** The ways in by HTTP: whoever sent the request runs, and in the handler whoever the query names. */
import { AsUser, Middleware, ServerSentEvents } from "effect-databricks"
import { Effect, Layer, Schema, Stream } from "effect"
import { HttpRouter, HttpServerRequest, HttpServerResponse } from "effect/http"
import { HttpApi, HttpApiBuilder, HttpApiEndpoint, HttpApiGroup, HttpApiSchema } from "effect/http-api"
import { Served } from "../http/harness.ts"
import type { Services } from "./entryPoints.ts"
import { both, People, type Situation, within } from "./situations.ts"

const Names = Schema.Array(Schema.String)
const asks = { query: { inside: Schema.optionalKey(Schema.String) } }

class Ways extends HttpApiGroup.make("ways")
  .add(
    HttpApiEndpoint.get("handler", "/handler", { ...asks, success: Names }),
    HttpApiEndpoint.get("kept", "/kept", { ...asks, success: Names }),
    HttpApiEndpoint.get("stream", "/stream", { ...asks, success: HttpApiSchema.StreamSse({ data: Names }) })
  )
  .middleware(AsUser) {}

class Api extends HttpApi.make("test").add(Ways) {}

/** Whom a handler switches to, for what is in it. */
const inside = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.flatMap(HttpServerRequest.HttpServerRequest, ({ url }) =>
    within((new URL(url, "http://app").searchParams.get("inside") ?? "").split(",").filter(Boolean) as never, effect)
  ).pipe(Effect.orDie) // whoever is refused here is a mistake of the test

/** A stream that knows what an application took at start-up, and the request. */
const pulled = Effect.map(Effect.context<Services>(), (atStartUp) =>
  Effect.map(HttpServerRequest.HttpServerRequest, (request) =>
    Stream.fromEffect(inside(both)).pipe(
      Stream.provideService(HttpServerRequest.HttpServerRequest, request),
      Stream.provideContext(atStartUp)
    )
  )
)

const WaysLive = HttpApiBuilder.group(
  Api,
  "ways",
  Effect.fnUntraced(function* (handlers) {
    const context = yield* Effect.context<Services>()
    const stream = yield* pulled
    return handlers
      .handle("handler", () => inside(both))
      .handle("kept", () => inside(Effect.provide(both, context)))
      .handle("stream", () => stream)
  })
)

const Plain = HttpRouter.use((router) =>
  Effect.gen(function* () {
    const body = Effect.map(yield* pulled, (stream) =>
      HttpServerResponse.stream(Stream.encodeText(Stream.map(stream, (names) => JSON.stringify(names))))
    )
    yield* router.add("GET", "/body", body)
    yield* router.add(
      "GET",
      "/route",
      Effect.flatMap(inside(both), (names) => HttpServerResponse.json(names))
    )
    yield* router.add("GET", "/events", inside(ServerSentEvents.toResponse(Stream.fromEffect(both))))
  })
).pipe(Layer.provide(Middleware.asUser.layer))

export const Routes = Layer.merge(
  HttpApiBuilder.layer(Api).pipe(Layer.provide(WaysLive), Layer.provide(Middleware.layerAsUser)),
  Plain
)

const ask = (path: string) => (situation: Situation) =>
  Effect.gen(function* () {
    const [sender, ...inside] = situation
    const headers = sender === undefined || sender === "service" ? {} : (yield* People)[sender]
    const { call } = yield* Served
    const { status, text } = yield* call("GET", `${path}?inside=${inside.join()}`, { headers })
    const [names] = /\[".*\]/.exec(text) ?? []
    return names === undefined ? [String(status)] : Schema.decodeSync(Schema.fromJsonString(Names))(names)
  })

/** They run as whoever sent the request, until they switch; who is nobody is refused. */
export const ofSender = {
  "a handler of an HttpApi": ask("/handler"),
  "a handler under a start-up context": ask("/kept"),
  "the stream of a handler": ask("/stream"),
  "a route of Middleware.asUser": ask("/route"),
  "ServerSentEvents.toResponse": ask("/events"),
  "a response with a stream": ask("/body")
}
