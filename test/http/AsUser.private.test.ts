import * as NodeWS from "@effect/platform-node/NodeWS"
import { assert, layer } from "@effect/vitest"
import { asUser, AsUser, Failures, getWorkspaceClient, HttpFailure, Middleware, UserContext } from "effect-databricks"
import { LocalWorkspace } from "effect-databricks/testing"
import { Effect, Inspectable, Layer, Option, Schema, Stream } from "effect"
import { HttpClientRequest, HttpEffect, HttpRouter, HttpServerRequest, HttpServerResponse } from "effect/http"
import { HttpApi, HttpApiBuilder, HttpApiEndpoint, HttpApiGroup, HttpApiSchema } from "effect/http-api"
import { inspect } from "node:util"
import { alice } from "../fixtures/people.ts"
import { serve, Served } from "./harness.ts"

class Declared extends Schema.TaggedError<Declared>()("Declared", {}, { httpApiStatus: 418 }) {}

class Mine extends HttpApiGroup.make("mine")
  .add(
    HttpApiEndpoint.get("value", "/value", { success: Schema.Struct({ user: Schema.String }) }),
    HttpApiEndpoint.get("declared", "/declared", { error: Declared }),
    HttpApiEndpoint.get("failure", "/failure"),
    HttpApiEndpoint.get("defect", "/defect"),
    HttpApiEndpoint.get("lines", "/lines", { success: HttpApiSchema.StreamSse({ data: Schema.String }) })
  )
  .middleware(AsUser) {}

class Open extends HttpApiGroup.make("open").add(HttpApiEndpoint.get("health", "/health")) {}

class Api extends HttpApi.make("test").add(Mine, Open).middleware(Failures) {}

const user = Effect.map(UserContext, (_) => _.userName)

const MineLive = HttpApiBuilder.group(Api, "mine", (handlers) =>
  handlers
    .handle("value", () => Effect.map(user, (user) => ({ user })))
    .handle("declared", () => Effect.fail(new Declared()))
    .handle("failure", () =>
      Effect.fail(new HttpFailure.HttpFailure({ status: 409, body: { _tag: "No", message: "no" } }))
    )
    .handle("defect", () => Effect.die("bug"))
    .handle("lines", () => Effect.succeed(Stream.fromEffect(Effect.succeed("a line"))))
)

const OpenLive = HttpApiBuilder.group(Api, "open", (handlers) => handlers.handle("health", () => Effect.void))

const whoSays = Effect.flatMap(getWorkspaceClient, (client) =>
  client.requestJson(HttpClientRequest.get("/api/2.0/preview/scim/v2/Me"), Schema.Struct({ userName: Schema.String }))
).pipe(
  Effect.map((_) => _.userName),
  Effect.orDie // a failure here is a broken test
)

/** Every form in which a log could show a value. */
const forms = (value: unknown) => {
  const json = () => {
    try {
      return JSON.stringify(value)
    } catch {
      return ""
    }
  }
  return [inspect(value, { depth: 8 }), json(), Inspectable.toStringUnknown(value)].join("\n")
}

/** Whether a handler's values show the token, and whether asUser still finds it there. */
const shown = Effect.gen(function* () {
  const request = yield* HttpServerRequest.HttpServerRequest
  const context = yield* Effect.context<never>()
  const { headers, source } = request
  const token = headers["x-forwarded-access-token"]!
  const values = { request, headers, source, context, map: context.mapUnsafe, copy: { ...headers } }
  const from = (source: Parameters<typeof asUser>[0]) => Effect.provide(user, asUser(source))
  return {
    found: token !== undefined,
    shown: Object.entries(values).flatMap(([name, value]) => (forms(value).includes(token) ? [name] : [])),
    again: [yield* from(request), yield* from(headers), yield* from(source as { headers: Record<string, string> })]
  }
}).pipe(Effect.orDie)

const Plain = HttpRouter.use((router) =>
  Effect.gen(function* () {
    const atStartUp = yield* Effect.context<Effect.Services<typeof whoSays>>()
    const who = Effect.provideContext(whoSays, atStartUp)
    /** Says before the response leaves who runs, and who the user is. */
    const sayWho = HttpEffect.appendPreResponseHandler((_, response) =>
      Effect.gen(function* () {
        const name = Option.getOrElse(
          Option.map(yield* Effect.serviceOption(UserContext), (_) => _.userName),
          () => "-"
        )
        const said = `${response.headers["x-who"] ?? ""} ${yield* who}/${name}`.trim()
        return HttpServerResponse.setHeader(response, "x-who", said)
      })
    )
    const socket = Effect.flatMap(HttpServerRequest.HttpServerRequest, (_) => Effect.orDie(_.upgrade))
    yield* router.add(
      "GET",
      "/plain/value",
      Effect.map(user, (_) => HttpServerResponse.text(_))
    )
    yield* router.add("GET", "/plain/own", HttpServerResponse.text("x", { headers: { "cache-control": "max-age=5" } }))
    yield* router.add(
      "GET",
      "/plain/shown",
      Effect.flatMap(shown, (_) => Effect.orDie(HttpServerResponse.json(_)))
    )
    yield* router.add("GET", "/plain/late", Effect.andThen(sayWho, Effect.as(sayWho, HttpServerResponse.text("x"))))
    yield* router.add("GET", "/plain/late-failure", Effect.andThen(sayWho, Effect.die("bug")))
    yield* router.add(
      "GET",
      "/plain/echo",
      Effect.flatMap(socket, (socket) =>
        Effect.scoped(
          Effect.gen(function* () {
            const { pull } = yield* socket.reader
            const { write } = yield* socket.writer
            const [message] = yield* pull
            yield* write(String(message.length))
            yield* Effect.forever(pull)
            return HttpServerResponse.empty()
          }).pipe(Effect.catch(() => Effect.succeed(HttpServerResponse.empty()))) // the socket has been closed
        )
      )
    )
  })
).pipe(Layer.provide(Middleware.asUser.layer))

const Routes = Layer.mergeAll(
  HttpApiBuilder.layer(Api).pipe(Layer.provide([MineLive, OpenLive]), Layer.provide(Middleware.layer)),
  Plain
)

/** The status of a WebSocket's handshake, or the close code or the answer that follows a message. */
const webSocket = (port: number, headers: Record<string, string>, message = "hello") =>
  Effect.callback<number | string>((resume) => {
    const socket = new NodeWS.WebSocket(`ws://127.0.0.1:${port}/plain/echo`, { headers })
    socket.on("unexpected-response", (_, response) => {
      resume(Effect.succeed(response.statusCode ?? 0))
      response.destroy()
    })
    socket.on("error", () => {})
    socket.on("open", () => socket.send(message))
    socket.on("message", (data: Buffer) => {
      resume(Effect.succeed(data.toString()))
      socket.close()
    })
    socket.on("close", (code) => resume(Effect.succeed(code)))
    return Effect.sync(() => socket.terminate())
  })

layer(LocalWorkspace.layer(), { timeout: "60 seconds", excludeTestServices: true })("A route under AsUser", (it) => {
  it.layer(serve(Routes))("in production", (it) => {
    const asAlice = Effect.fnUntraced(function* (path: string) {
      const { call } = yield* Served
      const { headers } = yield* LocalWorkspace.LocalWorkspace
      return yield* call("GET", path, { headers: yield* headers(alice) })
    })

    it.effect(
      "answers with Cache-Control: private, no-store, its errors included, unless the handler set another",
      () =>
        Effect.gen(function* () {
          const { call } = yield* Served
          const statuses: Record<string, number> = {
            "/value": 200,
            "/declared": 418,
            "/failure": 409,
            "/defect": 500,
            "/plain/value": 200,
            "/plain/late-failure": 500
          }
          for (const [path, status] of Object.entries(statuses)) {
            const answer = yield* asAlice(path)
            assert.strictEqual(answer.status, status, path)
            assert.strictEqual(answer.headers["cache-control"], "private, no-store", path)
          }
          const refused = yield* call("GET", "/value")
          assert.strictEqual(refused.status, 401)
          assert.strictEqual(refused.headers["cache-control"], "private, no-store")
          assert.strictEqual((yield* asAlice("/plain/own")).headers["cache-control"], "max-age=5")
          assert.include((yield* asAlice("/lines")).headers["cache-control"], "private, no-store")
          assert.isUndefined((yield* call("GET", "/health")).headers["cache-control"])
        })
    )

    it.effect("runs the handlers that are registered to run before the response as the user", () =>
      Effect.gen(function* () {
        assert.strictEqual((yield* asAlice("/plain/late")).headers["x-who"], `${alice}/${alice} ${alice}/${alice}`)
        assert.strictEqual((yield* asAlice("/plain/late-failure")).headers["x-who"], `${alice}/${alice}`)
      })
    )

    it.effect("keeps the token out of a log of the request, and asUser still finds it", () =>
      Effect.gen(function* () {
        const answer = yield* asAlice("/plain/shown")
        assert.deepStrictEqual(answer.json, { found: true, shown: [], again: [alice, alice, alice] }, answer.text)
      })
    )

    it.effect("verifies the sender under every spelling of its path", () =>
      Effect.gen(function* () {
        const { call } = yield* Served
        for (const path of ["/value", "/plain/value"]) {
          const spellings = [
            path.toUpperCase(),
            `/${path}`,
            path.replaceAll("/", "//"),
            `${path}/`,
            `${path};x`,
            `${path};x=/health`,
            `${path}?x`,
            `${path}#x`,
            path.replace("a", "%61"),
            path.replace("v", "%2561"),
            `/.${path}`,
            `/health/..${path}`,
            `http://elsewhere${path}`
          ]
          for (const spelling of spellings) {
            const answer = yield* call("GET", spelling)
            assert.include([401, 404], answer.status, spelling)
            assert.notInclude(answer.text, "@", spelling)
          }
        }
      })
    )

    it.effect("refuses the upgrade that a page of another site asks for with 403", () =>
      Effect.gen(function* () {
        const { port } = yield* Served
        const { headers } = yield* LocalWorkspace.LocalWorkspace
        const sent = yield* headers(alice)
        const own = [
          {},
          { origin: `http://127.0.0.1:${port}` },
          { origin: "https://app.example.com", "x-forwarded-host": "app.example.com" },
          { origin: "https://APP.example.com", "x-forwarded-host": "app.example.com:443" }
        ]
        for (const origin of own) {
          assert.strictEqual(
            yield* webSocket(port, { ...sent, ...origin } as Record<string, string>),
            "5",
            inspect(origin)
          )
        }
        const foreign = [
          { origin: "https://evil.example.com" },
          { origin: "null" },
          { origin: "" },
          { origin: `http://127.0.0.1:${port + 1}` },
          { origin: `http://127.0.0.1.evil.example.com:${port}` },
          { origin: "https://app.example.com.evil.org", "x-forwarded-host": "app.example.com" },
          { origin: `http://evil.example.com@127.0.0.1`, "x-forwarded-host": "app.example.com" }
        ]
        for (const origin of foreign) {
          assert.strictEqual(
            yield* webSocket(port, { ...sent, ...origin } as Record<string, string>),
            403,
            inspect(origin)
          )
        }
        assert.strictEqual(yield* webSocket(port, {}), 401)
      })
    )

    it.effect("closes a WebSocket with 1009 when a message is larger than a request body may be", () =>
      Effect.gen(function* () {
        const { port } = yield* Served
        const { headers } = yield* LocalWorkspace.LocalWorkspace
        const sent = yield* headers(alice)
        assert.strictEqual(yield* webSocket(port, sent, "x".repeat(1_000_000)), "1000000")
        assert.strictEqual(yield* webSocket(port, sent, "x".repeat(1_000_001)), 1009)
      })
    )
  })
})
