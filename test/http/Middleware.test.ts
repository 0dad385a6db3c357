import { assert, layer } from "@effect/vitest"
import { asService, AsService, AsUser, getWorkspaceClient, Middleware, UserContext } from "effect-databricks"
import { LocalWorkspace } from "effect-databricks/testing"
import { Effect, Layer, Option, Schema, Stream } from "effect"
import { HttpClientRequest, HttpRouter, HttpServerResponse } from "effect/http"
import { HttpApi, HttpApiBuilder, HttpApiEndpoint, HttpApiGroup, HttpApiSchema } from "effect/http-api"
import { alice } from "../fixtures/people.ts"
import { serve, Served } from "./harness.ts"

const who = { success: Schema.Struct({ workspaceSays: Schema.String, user: Schema.NullOr(Schema.String) }) }
const one = HttpApiEndpoint.get("one", "/one", who)

/** Every way to say it; those that say both end as the user. */
class Api extends HttpApi.make("test").add(
  HttpApiGroup.make("service")
    .add(one, HttpApiEndpoint.get("lines", "/lines", { success: HttpApiSchema.StreamSse({ data: Schema.String }) }))
    .middleware(AsService)
    .prefix("/service"),
  HttpApiGroup.make("user").add(one).middleware(AsUser).prefix("/user"),
  HttpApiGroup.make("neither").add(one).prefix("/neither"),
  HttpApiGroup.make("service-in-user").add(one.middleware(AsService)).middleware(AsUser).prefix("/service-in-user"),
  HttpApiGroup.make("user-in-service").add(one.middleware(AsUser)).middleware(AsService).prefix("/user-in-service")
) {}

const whoSays = Effect.gen(function* () {
  const client = yield* getWorkspaceClient
  const Me = Schema.Struct({ userName: Schema.String })
  const { userName } = yield* client.requestJson(HttpClientRequest.get("/api/2.0/preview/scim/v2/Me"), Me)
  const user = yield* Effect.serviceOption(UserContext)
  return { workspaceSays: userName, user: Option.getOrNull(Option.map(user, (_) => _.userName)) }
}).pipe(Effect.orDie) // a failure here is a broken test

const lines = Stream.range(1, 3).pipe(Stream.mapEffect(() => Effect.map(whoSays, (_) => _.workspaceSays)))

const Handlers = Layer.mergeAll(
  HttpApiBuilder.group(Api, "service", (handlers) =>
    Effect.map(Effect.context<Effect.Services<typeof whoSays>>(), (atStartUp) =>
      handlers
        .handle("one", () => whoSays)
        .handle("lines", () => Effect.succeed(Stream.provideContext(lines, atStartUp)))
    )
  ),
  HttpApiBuilder.group(Api, "user", (handlers) => handlers.handle("one", () => whoSays)),
  HttpApiBuilder.group(Api, "neither", (handlers) => handlers.handle("one", () => whoSays)),
  HttpApiBuilder.group(Api, "service-in-user", (handlers) => handlers.handle("one", () => whoSays)),
  HttpApiBuilder.group(Api, "user-in-service", (handlers) => handlers.handle("one", () => whoSays))
)

/** Apis whose groups say one thing, inside a middleware of the router that says the other. */
const nested = (group: "service" | "user", around: "service" | "user") => {
  const name = `${group}-in-router-${around}` as const
  const Group = HttpApiGroup.make(name)
    .add(one, HttpApiEndpoint.get("lines", "/lines", { success: HttpApiSchema.StreamSse({ data: Schema.String }) }))
    .prefix(`/${name}`)
  const api = HttpApi.make(name).add(group === "user" ? Group.middleware(AsUser) : Group.middleware(AsService))
  const handlers = HttpApiBuilder.group(api, name, (handlers) =>
    Effect.map(Effect.context<Effect.Services<typeof whoSays>>(), (atStartUp) =>
      handlers
        .handle("one", () => whoSays)
        .handle("lines", () => Effect.succeed(Stream.provideContext(lines, atStartUp)))
    )
  )
  return HttpApiBuilder.layer(api).pipe(
    Layer.provide(handlers),
    Layer.provide(Middleware.layer),
    Layer.provide(around === "user" ? Middleware.asUser.layer : Middleware.asService.layer)
  )
}

const plain = (path: `/${string}`) =>
  HttpRouter.add(
    "GET",
    path,
    Effect.flatMap(whoSays, (_) => HttpServerResponse.json(_))
  )

const Routes = Layer.mergeAll(
  HttpApiBuilder.layer(Api).pipe(Layer.provide(Handlers), Layer.provide(Middleware.layer)),
  plain("/plain/service").pipe(Layer.provide(Middleware.asService.layer)),
  plain("/plain/user").pipe(Layer.provide(Middleware.asUser.layer)),
  nested("service", "user"),
  nested("user", "service"),
  nested("user", "user"),
  nested("service", "service"),
  plain("/plain/neither"),
  plain("/plain/service-in-user").pipe(
    Layer.provide(Middleware.asService.layer),
    Layer.provide(Middleware.asUser.layer)
  ),
  plain("/plain/user-in-service").pipe(
    Layer.provide(Middleware.asUser.layer),
    Layer.provide(Middleware.asService.layer)
  ),
  plain("/plain/both").pipe(Layer.provide([Middleware.asUser.layer, Middleware.asService.layer])),
  HttpRouter.add("GET", "/plain/by-hand", asService(Effect.flatMap(whoSays, (_) => HttpServerResponse.json(_)))).pipe(
    Layer.provide(Middleware.asUser.layer)
  )
)

/** A request of alice, and what the server's span says of it. */
const asked = Effect.fnUntraced(function* (path: string, headers?: Record<string, string>) {
  const { call, spans } = yield* Served
  const workspace = yield* LocalWorkspace.LocalWorkspace
  const sent = headers ?? (yield* workspace.headers(alice))
  spans.length = 0
  const answer = yield* call("GET", path, { headers: sent })
  const { attributes } = spans.find((_) => _.kind === "server")!
  return { ...answer, sent, says: ["execution.context", "caller.id", "enduser.id"].map((_) => attributes.get(_)) }
})

layer(LocalWorkspace.layer(), { timeout: "60 seconds", excludeTestServices: true })("Middleware", (it) => {
  it.layer(serve(Routes))("in production", (it) => {
    it.effect.each(["/service/one", "/plain/service", "/service-in-router-service/one"])(
      "runs %s as the service principal under AsService, and says so in its span",
      (path) =>
        Effect.gen(function* () {
          const { servicePrincipal } = yield* LocalWorkspace.LocalWorkspace
          for (const headers of [undefined, {}]) {
            const { json, says, text } = yield* asked(path, headers)
            assert.deepStrictEqual(json, { workspaceSays: servicePrincipal.clientId, user: null }, text)
            assert.deepStrictEqual(says, ["service", servicePrincipal.id, servicePrincipal.id])
          }
        })
    )

    it.effect.each(["/neither/one", "/plain/neither"])(
      "runs %s without middleware as the service principal, and names it in no span",
      (path) =>
        Effect.gen(function* () {
          const { servicePrincipal } = yield* LocalWorkspace.LocalWorkspace
          const { json, says } = yield* asked(path)
          assert.strictEqual(json.workspaceSays, servicePrincipal.clientId)
          assert.deepStrictEqual(says, [undefined, undefined, undefined])
        })
    )

    it.effect.each([
      "/user/one",
      "/service-in-user/one",
      "/user-in-service/one",
      "/plain/user",
      "/plain/service-in-user",
      "/plain/user-in-service",
      "/plain/both",
      "/service-in-router-user/one",
      "/user-in-router-service/one",
      "/user-in-router-user/one"
    ])("runs %s as the user under AsUser, and says so in its span", (path) =>
      Effect.gen(function* () {
        const { json, says, sent, text } = yield* asked(path)
        assert.deepStrictEqual(json, { workspaceSays: alice, user: alice }, text)
        const id = sent["x-forwarded-user"]!
        assert.deepStrictEqual(says, ["user", id, id.split("@")[0]])
        assert.strictEqual((yield* asked(path, {})).status, 401)
      })
    )

    it.effect("names the proven person in the span, whatever name x-forwarded-user holds", () =>
      Effect.gen(function* () {
        const { headers } = yield* LocalWorkspace.LocalWorkspace
        const sent = yield* headers(alice)
        const id = sent["x-forwarded-user"]!.split("@")[0]
        const { says } = yield* asked("/user/one", { ...sent, "x-forwarded-user": "Bob Smith" })
        assert.deepStrictEqual(says, ["user", id, id])
        const forged = yield* asked("/user/one", { ...sent, "x-forwarded-user": "1001@4242" })
        assert.strictEqual(forged.status, 403)
        assert.deepStrictEqual(forged.says, [undefined, undefined, undefined])
      })
    )

    it.effect("runs asService in the handler of a user's route as the service principal", () =>
      Effect.gen(function* () {
        const { servicePrincipal } = yield* LocalWorkspace.LocalWorkspace
        const { json } = yield* asked("/plain/by-hand")
        assert.deepStrictEqual(json, { workspaceSays: servicePrincipal.clientId, user: alice })
      })
    )

    it.effect.each(["service-in-router-user", "user-in-router-service", "user-in-router-user"])(
      "runs the stream of /%s/lines as the user",
      (name) =>
        Effect.gen(function* () {
          const { text } = yield* asked(`/${name}/lines`)
          assert.strictEqual(text.split(alice).length - 1, 3, text)
        })
    )

    it.effect("runs the stream of an endpoint under AsService as the service principal", () =>
      Effect.gen(function* () {
        const { servicePrincipal } = yield* LocalWorkspace.LocalWorkspace
        const { text } = yield* asked("/service/lines")
        assert.strictEqual(text.split(servicePrincipal.clientId).length - 1, 3, text)
      })
    )
  })

  it.layer(serve(Routes, { development: true }))("in development", (it) => {
    it.effect("marks the fallback in the span under AsUser, and not under AsService", () =>
      Effect.gen(function* () {
        const { call, spans } = yield* Served
        const fallback = function* (path: string) {
          spans.length = 0
          assert.strictEqual((yield* call("GET", path)).status, 200)
          return spans.find((_) => _.kind === "server")?.attributes.get("execution.obo_dev_fallback")
        }
        assert.strictEqual(yield* fallback("/user/one"), true)
        assert.strictEqual(yield* fallback("/service/one"), undefined)
      })
    )
  })
})
