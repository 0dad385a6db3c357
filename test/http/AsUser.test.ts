import { assert, describe, it, layer } from "@effect/vitest"
import { AsUser, getCurrentUserId, getWorkspaceClient, Middleware, UserContext } from "effect-databricks"
import { LocalWorkspace } from "effect-databricks/testing"
import { Effect, Layer, Schema, Stream } from "effect"
import { HttpClientRequest, HttpRouter, HttpServerResponse } from "effect/http"
import { HttpApi, HttpApiBuilder, HttpApiEndpoint, HttpApiGroup, HttpApiSchema, OpenApi } from "effect/http-api"
import { alice, bob } from "../fixtures/people.ts"
import { serve, Served, tokensSeen } from "./harness.ts"

const Person = Schema.Struct({ id: Schema.String, userName: Schema.String, workspaceSays: Schema.String })

class Mine extends HttpApiGroup.make("mine")
  .add(
    HttpApiEndpoint.get("me", "/me", { success: Person }),
    HttpApiEndpoint.get("lines", "/lines", { success: HttpApiSchema.StreamSse({ data: Schema.String }) }),
    HttpApiEndpoint.get("raw", "/raw")
  )
  .middleware(AsUser) {}

class Open extends HttpApiGroup.make("open").add(
  HttpApiEndpoint.get("health", "/health", { success: Schema.Struct({ userName: Schema.String }) })
) {}

class Api extends HttpApi.make("test").add(Mine, Open) {}

const whoSays = Effect.gen(function* () {
  const client = yield* getWorkspaceClient
  const Me = Schema.Struct({ userName: Schema.String })
  const me = yield* client.requestJson(HttpClientRequest.get("/api/2.0/preview/scim/v2/Me"), Me)
  return me.userName
}).pipe(Effect.orDie) // a failure here is a broken test

// Built once, at start-up, and keeps what it found there.
const MineLive = HttpApiBuilder.group(
  Api,
  "mine",
  Effect.fnUntraced(function* (handlers) {
    const service = yield* Effect.context<Effect.Services<typeof whoSays>>()
    const atStartUp = Effect.provideContext(whoSays, service)
    const lines = Stream.range(1, 3).pipe(Stream.mapEffect(() => atStartUp))
    return handlers
      .handle(
        "me",
        Effect.fnUntraced(function* () {
          const { userName } = yield* UserContext
          return {
            id: yield* Effect.provideContext(getCurrentUserId, service),
            userName,
            workspaceSays: yield* atStartUp
          }
        })
      )
      .handle("lines", () => Effect.succeed(lines))
      .handle("raw", () => Effect.succeed(HttpServerResponse.stream(Stream.encodeText(lines))))
  })
)

// Not of an HttpApi: the middleware of the router is what knows the user.
const Plain = HttpRouter.use((router) =>
  Effect.gen(function* () {
    const service = yield* Effect.context<Effect.Services<typeof whoSays>>()
    const atStartUp = Effect.provideContext(whoSays, service)
    yield* router.add(
      "GET",
      "/plain",
      Effect.map(UserContext, ({ userName }) =>
        HttpServerResponse.stream(
          Stream.succeed(userName).pipe(Stream.concat(Stream.fromEffect(atStartUp)), Stream.encodeText)
        )
      )
    )
  })
).pipe(Layer.provide(Middleware.asUser.layer))

const OpenLive = HttpApiBuilder.group(Api, "open", (handlers) =>
  handlers.handle("health", () => Effect.map(whoSays, (userName) => ({ userName })))
)

const Routes = Layer.merge(
  HttpApiBuilder.layer(Api).pipe(Layer.provide([MineLive, OpenLive]), Layer.provide(Middleware.layerAsUser)),
  Plain
)

layer(LocalWorkspace.layer(), { timeout: "60 seconds", excludeTestServices: true })("AsUser", (it) => {
  it.layer(serve(Routes))("in production", (it) => {
    it.effect("runs its group as the sender, and other groups as the service principal", () =>
      Effect.gen(function* () {
        const { call } = yield* Served
        const { headers, servicePrincipal } = yield* LocalWorkspace.LocalWorkspace
        const sent = yield* headers(alice)
        const me = yield* call("GET", "/me", { headers: sent })
        assert.strictEqual(me.status, 200, me.text)
        assert.deepStrictEqual(me.json, { id: sent["x-forwarded-user"], userName: alice, workspaceSays: alice })
        const health = yield* call("GET", "/health", { headers: sent })
        assert.deepStrictEqual(health.json, { userName: servicePrincipal.clientId })
      })
    )

    it.effect("keeps 40 concurrent requests of two users apart", () =>
      Effect.gen(function* () {
        const { call } = yield* Served
        const { headers } = yield* LocalWorkspace.LocalWorkspace
        const sent: Record<string, Record<string, string>> = {
          [alice]: yield* headers(alice),
          [bob]: yield* headers(bob)
        }
        const answers = yield* Effect.forEach(
          Array.from({ length: 40 }, (_, index) => (index % 2 === 0 ? alice : bob)),
          (name) => Effect.map(call("GET", "/me", { headers: sent[name]! }), ({ json }) => [name, json] as const),
          { concurrency: "unbounded" }
        )
        for (const [name, json] of answers) {
          assert.deepStrictEqual(json, { id: sent[name]!["x-forwarded-user"], userName: name, workspaceSays: name })
        }
      })
    )

    it.effect("runs the streams that a handler returns as the user", () =>
      Effect.gen(function* () {
        const { call } = yield* Served
        const { headers } = yield* LocalWorkspace.LocalWorkspace
        const sse = yield* call("GET", "/lines", { headers: yield* headers(bob) })
        assert.strictEqual(sse.headers["content-type"], "text/event-stream")
        assert.strictEqual(sse.text.split(bob).length - 1, 3, sse.text)
        const plain = yield* call("GET", "/plain", { headers: yield* headers(bob) })
        assert.strictEqual(plain.text, bob.repeat(2))
        assert.strictEqual((yield* call("GET", "/plain")).status, 401)
        const raw = yield* call("GET", "/raw", { headers: yield* headers(bob) })
        assert.strictEqual(raw.text, bob.repeat(3))
      })
    )

    it.effect("answers a refused request with 401, 403 or 503, a tag and a message", () =>
      Effect.gen(function* () {
        const { call } = yield* Served
        const workspace = yield* LocalWorkspace.LocalWorkspace
        const ofAlice = yield* workspace.headers(alice)
        const { "x-forwarded-access-token": token, ...noToken } = ofAlice
        const { "x-forwarded-user": user, ...noUser } = ofAlice
        const refused = (
          headers: Record<string, string | Array<string>>,
          status: number,
          _tag: string,
          message: string
        ) =>
          Effect.map(call("GET", "/me", { headers }), (answer) => {
            assert.strictEqual(answer.status, status, answer.text)
            assert.strictEqual(answer.headers["content-type"], "application/json")
            assert.strictEqual(answer.json._tag, _tag)
            assert.include(answer.json.message, message)
            assert.deepStrictEqual(Object.keys(answer.json), ["_tag", "message"])
            return answer
          })
        yield* refused({}, 401, "AuthenticationError", "did not come through the Databricks Apps proxy")
        yield* refused(noToken, 401, "AuthenticationError", "user authorization is off for this app")
        yield* refused(noUser, 401, "AuthenticationError", "no x-forwarded-user")
        yield* refused({ ...ofAlice, "x-forwarded-user": "" }, 401, "AuthenticationError", "no x-forwarded-user")
        yield* refused(
          { ...ofAlice, "x-forwarded-access-token": "" },
          401,
          "AuthenticationError",
          "is off for this app"
        )
        yield* refused({ ...ofAlice, "x-forwarded-user": [user!, user!] }, 401, "AuthenticationError", "sent twice")
        yield* refused(
          { ...ofAlice, "x-forwarded-access-token": [token!, token!] },
          401,
          "AuthenticationError",
          "sent twice"
        )
        yield* refused(
          { ...ofAlice, "x-forwarded-access-token": "nonsense" },
          401,
          "AuthenticationError",
          "wrong or expired"
        )
        yield* refused({ ...ofAlice, "x-forwarded-email": bob }, 403, "IdentityMismatchError", "another person")
        yield* refused({ ...ofAlice, "x-forwarded-user": "1001@4242" }, 403, "IdentityMismatchError", "another person")
        const ofApp = yield* workspace.headers(workspace.servicePrincipal.clientId)
        yield* refused(ofApp, 401, "AuthenticationError", "the app's own service principal")
        const ofBob = yield* workspace.headers(bob)
        yield* workspace.updateUser(bob, { active: false })
        yield* refused(ofBob, 401, "AuthenticationError", "has been deactivated")
        yield* workspace.updateUser(bob, { active: true })

        const fresh = yield* workspace.headers(alice)
        yield* workspace.misbehave({ kind: "answer", status: 503, path: "/api/2.0/preview/scim", body: "down" })
        const down = yield* refused(fresh, 503, "IdentityUnavailableError", "Server error")
        assert.strictEqual(down.headers["retry-after"], "5")
      }).pipe(Effect.scoped)
    )

    it.effect("writes no token to a log or a span", () =>
      Effect.gen(function* () {
        const { everythingRecorded, logs, spans } = yield* Served
        const recorded = everythingRecorded()
        assert.isAbove(logs.length, 10)
        assert.isAbove(spans.length, 10)
        for (const token of yield* tokensSeen) assert.notInclude(recorded, token)
      })
    )
  })

  it.layer(serve(Routes, { development: true }))("in development", (it) => {
    it.effect("runs a request without a token as the service principal, with a warning", () =>
      Effect.gen(function* () {
        const { call, logs, spans } = yield* Served
        const { servicePrincipal } = yield* LocalWorkspace.LocalWorkspace
        const me = yield* call("GET", "/me")
        assert.deepStrictEqual(me.json, {
          id: servicePrincipal.id,
          userName: servicePrincipal.clientId,
          workspaceSays: servicePrincipal.clientId
        })
        assert.isTrue(
          logs.some(({ level, text }) => level === "Warn" && text.includes("runs as the service principal"))
        )
        const execute = spans.find(({ name }) => name === "plugin.execute")
        assert.strictEqual(execute?.attributes.get("execution.obo_dev_fallback"), true)
      })
    )

    it.effect("says in a 503 why the sender could not be verified", () =>
      Effect.gen(function* () {
        const { call } = yield* Served
        const workspace = yield* LocalWorkspace.LocalWorkspace
        const fresh = yield* workspace.headers(alice)
        yield* workspace.misbehave({ kind: "answer", status: 503, path: "/api/2.0/preview/scim" })
        const down = yield* call("GET", "/me", { headers: fresh })
        assert.strictEqual(down.status, 503)
        assert.include(down.json.message, "could not verify the sender of this request")
      }).pipe(Effect.scoped)
    )
  })
})

describe("AsUser", () => {
  it("declares 401, 403 and 503 in the OpenAPI document for its group only", () => {
    const { components, paths } = OpenApi.fromApi(Api)
    const responses = paths["/me"]!.get!.responses
    assert.includeMembers(Object.keys(responses), ["200", "401", "403", "503"])
    assert.notInclude(Object.keys(paths["/health"]!.get!.responses), "401")
    const { $ref } = responses["401"]!.content!["application/json"]!.schema as { readonly $ref: string }
    const body = components.schemas[$ref.split("/").at(-1)!] as { readonly required: ReadonlyArray<string> }
    assert.deepStrictEqual(body.required, ["_tag", "message"])
  })
})
