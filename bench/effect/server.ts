/** From a bare fiber to an endpoint of HttpApi: a GET with 12 headers, answered in memory. */
import { Context, Effect, Layer, Schema, Scope, Tracer } from "effect"
import { HttpEffect, HttpRouter, HttpServer, HttpServerRequest, HttpServerResponse } from "effect/http"
import { HttpApi, HttpApiBuilder, HttpApiEndpoint, HttpApiGroup } from "effect/http-api"
import { type Case, measure } from "./cost.ts"
import { application } from "./operations.ts"

const Orders = Schema.Array(Schema.Struct({ item: Schema.String, amount: Schema.Int }))
const orders = Array.from({ length: 3 }, (_, index) => ({ item: `item ${index}`, amount: index }))
const json = Effect.sync(() => HttpServerResponse.text(JSON.stringify(orders), { contentType: "application/json" }))

class Api extends HttpApi.make("orders").add(
  HttpApiGroup.make("orders").add(
    HttpApiEndpoint.get("encoded", "/encoded", { success: Orders }),
    HttpApiEndpoint.get("raw", "/raw", { success: Orders })
  )
) {}

const Handlers = HttpApiBuilder.group(Api, "orders", (handlers) =>
  handlers.handle("encoded", () => Effect.succeed(orders)).handleRaw("raw", () => json)
)

const routes = Layer.mergeAll(
  HttpRouter.add("GET", "/plain", json),
  HttpApiBuilder.layer(Api).pipe(Layer.provide(Handlers), Layer.provide(HttpServer.layerServices))
)

const headers = Object.fromEntries(Array.from({ length: 12 }, (_, index) => [`x-header-${index}`, `value ${index}`]))
const requestTo = (path: string) =>
  HttpServerRequest.fromWeb(
    new Request(`http://127.0.0.1:8000${path}`, { headers: { ...headers, host: "127.0.0.1:8000" } })
  )

/** As `NodeHttpServer` runs it, without Node. */
const serving = <E>(
  app: Effect.Effect<HttpServerResponse.HttpServerResponse, E, HttpServerRequest.HttpServerRequest | Scope.Scope>,
  path: string,
  tracer?: Tracer.Tracer
) => {
  const request = requestTo(path)
  const services = tracer === undefined ? application : Context.merge(application, Context.make(Tracer.Tracer, tracer))
  const handled = HttpEffect.toHandled(app, () => Effect.void)
  return () => Effect.runForkWith(Context.add(services, HttpServerRequest.HttpServerRequest, request))(handled)
}

const recording = Tracer.make({ span: (options) => new Tracer.NativeSpan(options) })
const encode = Schema.encodeUnknownEffect(Orders)

export const server = async () => {
  const scope = Scope.makeUnsafe()
  const app = await Effect.runPromise(
    Scope.provide(HttpRouter.toHttpEffect(routes), scope).pipe(Effect.provideContext(application))
  )
  const cases: ReadonlyArray<Case> = [
    { name: "a fiber that succeeds", run: () => Effect.runFork(Effect.void) },
    { name: "the response alone: JSON.stringify, Response.text", run: () => Effect.runSync(json) },
    { name: "Schema.encodeUnknownEffect of 3 rows", run: () => Effect.runSync(encode(orders)) },
    { name: "HttpEffect.toHandled", run: serving(json, "/plain") },
    { name: "HttpRouter", run: serving(app, "/plain"), over: "HttpEffect.toHandled" },
    { name: "HttpApi, handleRaw with a response", run: serving(app, "/raw"), over: "HttpRouter" },
    { name: "HttpApi, handle with a value", run: serving(app, "/encoded"), over: "HttpApi, handleRaw with a response" },
    { name: "HttpRouter with a tracer that records", run: serving(app, "/plain", recording), over: "HttpRouter" },
    { name: "new URL of that request", run: () => new URL("http://127.0.0.1:8000/plain") }
  ]
  await measure("A request, in memory", cases)
}
