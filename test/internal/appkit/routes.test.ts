import { assert, layer } from "@effect/vitest"
import { asService, DatabricksError, ExecutionContext, UserContext } from "effect-databricks"
import { LocalWorkspace } from "effect-databricks/testing"
import { Context, Effect, Layer, Option, Schema } from "effect"
import { HttpServerResponse } from "effect/http"
import * as Policy from "../../../src/appkit/Policy.ts"
import * as Failure from "../../../src/internal/appkit/failure.ts"
import * as Routes from "../../../src/internal/appkit/routes.ts"
import { serve, Served } from "../../http/harness.ts"
import { alice, requestOf } from "../../fixtures/people.ts"

class Shop extends Context.Service<Shop, { readonly name: string }>()("test/Shop") {}

const who = Effect.gen(function* () {
  const { context, oboDevFallback, userName } = yield* ExecutionContext.current
  const app = yield* asService(ExecutionContext.current)
  const user = yield* Effect.serviceOption(UserContext)
  return HttpServerResponse.jsonUnsafe({
    shop: (yield* Shop).name,
    context,
    oboDevFallback,
    userName,
    app: app.context,
    user: Option.getOrNull(Option.map(user, (_) => _.userName))
  })
})

const denied = new DatabricksError.DatabricksError({
  context: "user",
  reason: new DatabricksError.PermissionDeniedError({ message: "alice may not read secret_table" })
})

const isOwner: Policy.Policy<"delete", string> = (_, owner, caller) => Effect.succeed(caller?.userName === owner)

const Shops = Routes.layer(
  "shop",
  [Shop],
  [
    Routes.asUser("GET", "/user", who),
    Routes.asEither("GET", "/either", who),
    Routes.asEither("POST", "/either", who),
    Routes.asEither("GET", "/denied", Effect.fail(denied)),
    Routes.asEither("GET", "/broken", Effect.die(new Error("the password is secret_table"))),
    Routes.asEither("GET", "/closed", Effect.fail(Failure.refusal(503, "The shop is closed", "SHOP_CLOSED"))),
    Routes.asEither(
      "POST",
      "/order",
      Effect.as(Routes.body(Schema.Struct({ amount: Schema.Int })), HttpServerResponse.empty())
    ),
    Routes.asEither(
      "GET",
      "/list",
      Effect.as(Routes.allow(Policy.readOnly, "list", { shop: 1 }), HttpServerResponse.empty())
    ),
    Routes.asEither(
      "GET",
      "/delete",
      Effect.as(Routes.allow(Policy.readOnly, "delete", { shop: 1 }), HttpServerResponse.empty())
    ),
    Routes.asEither("GET", "/mine", Effect.as(Routes.allow(isOwner, "delete", alice), HttpServerResponse.empty()))
  ]
)

const services = { services: Layer.succeed(Shop, { name: "tea" }) }

const get = Effect.fnUntraced(function* (path: string, user?: string, method = "GET") {
  const { call } = yield* Served
  return yield* call(method, `/api/shop${path}`, { headers: user === undefined ? {} : yield* requestOf(user) })
})

layer(LocalWorkspace.layer(), { timeout: "60 seconds", excludeTestServices: true })("The routes of a plugin", (it) => {
  it.layer(serve(Shops, services))("in production", (it) => {
    it.effect("run as the user who sends the request, with the services of the plugin", () =>
      Effect.gen(function* () {
        for (const path of ["/user", "/either"]) {
          const { json } = yield* get(path, alice)
          assert.deepStrictEqual(json, {
            shop: "tea",
            context: "user",
            oboDevFallback: false,
            userName: alice,
            app: "service",
            user: alice
          })
        }
      })
    )

    it.effect("answer 401 without a token, or run as the app where that may be", () =>
      Effect.gen(function* () {
        const { json, status } = yield* get("/user")
        assert.strictEqual(status, 401)
        assert.deepInclude(json, { code: "STREAM_FORBIDDEN", plugin: "shop" })
        assert.include(json.error, "Databricks Apps proxy")
        const either = yield* get("/either")
        assert.deepInclude(either.json, { context: "service", user: null })
      })
    )

    it.effect("keep each response out of shared caches, with and without a token", () =>
      Effect.gen(function* () {
        for (const user of [alice, undefined]) {
          for (const path of ["/either", "/denied", "/user"]) {
            assert.strictEqual((yield* get(path, user)).headers["cache-control"], "private, no-store", path)
          }
        }
      })
    )

    it.effect("never run as the app for a token that the workspace does not know", () =>
      Effect.gen(function* () {
        const { call } = yield* Served
        const headers = { ...(yield* requestOf(alice)), "x-forwarded-access-token": "junk" }
        const { json, status } = yield* call("GET", "/api/shop/either", { headers })
        assert.strictEqual(status, 401)
        assert.hasAllKeys(json, ["error", "code", "plugin"])
      })
    )

    it.effect("refuse what the page of another site sends, in the form that the hooks read", () =>
      Effect.gen(function* () {
        const { call } = yield* Served
        const headers = { ...(yield* requestOf(alice)), "sec-fetch-site": "cross-site" }
        const { json, status } = yield* call("POST", "/api/shop/either", { headers, body: {} })
        assert.strictEqual(status, 403)
        assert.strictEqual(json.error, "A page of another site may not send this request to this site")
      })
    )

    it.effect("answer failures with sentences for end users, and log those of the workspace", () =>
      Effect.gen(function* () {
        const refused = yield* get("/denied", alice)
        assert.strictEqual(refused.status, 403)
        assert.deepStrictEqual(refused.json, {
          error: "You do not have the permission for this",
          code: "STREAM_FORBIDDEN",
          plugin: "shop"
        })
        const broken = yield* get("/broken", alice)
        assert.strictEqual(broken.status, 500)
        assert.deepStrictEqual(broken.json, {
          error: "The server could not answer this request",
          code: "INTERNAL_ERROR",
          plugin: "shop"
        })
        const { logs } = yield* Served
        assert.isTrue(logs.some(({ text }) => text.includes("the password is secret_table")))
        const closed = yield* get("/closed", alice)
        assert.strictEqual(closed.headers["retry-after"], undefined)
        assert.deepInclude(closed.json, { error: "The shop is closed", errorCode: "SHOP_CLOSED" })
      })
    )

    it.effect("refuse a body that does not match, and name the field", () =>
      Effect.gen(function* () {
        const { call } = yield* Served
        const headers = yield* requestOf(alice)
        for (const body of [{ amount: "many" }, "{", {}]) {
          const { json, status } = yield* call("POST", "/api/shop/order", { headers, body })
          assert.strictEqual(status, 400, JSON.stringify(body))
          assert.hasAllKeys(json, ["error", "code", "plugin"])
        }
        const { json } = yield* call("POST", "/api/shop/order", { headers, body: { amount: "many" } })
        assert.match(json.error, /^amount: /)
      })
    )

    it.effect("ask the policy about the verified user", () =>
      Effect.gen(function* () {
        assert.strictEqual((yield* get("/list")).status, 204)
        assert.strictEqual((yield* get("/delete", alice)).status, 403)
        assert.strictEqual((yield* get("/mine", alice)).status, 204)
        assert.strictEqual((yield* get("/mine", "bob@example.com")).status, 403)
        const { json, status } = yield* get("/mine")
        assert.strictEqual(status, 403)
        assert.strictEqual(json.error, "You may not do this in this app")
      })
    )
  })

  it.layer(serve(Shops, { ...services, development: true }))("in development", (it) => {
    it.effect("run as the service principal without a token, and the caller says so", () =>
      Effect.gen(function* () {
        for (const path of ["/user", "/either"]) {
          assert.deepInclude((yield* get(path)).json, { context: "service", oboDevFallback: true })
        }
      })
    )

    it.effect("show end users no more than production does", () =>
      Effect.gen(function* () {
        const { text } = yield* get("/denied", alice)
        assert.notInclude(text, "secret_table")
      })
    )
  })
})
