import * as NodeHttpServer from "@effect/platform-node/NodeHttpServer"
import { assert, describe, it } from "@effect/vitest"
import {
  asService,
  AsUser,
  asUser,
  getCurrentUserId,
  getWarehouseId,
  getWorkspaceClient,
  getWorkspaceId,
  isInUserContext,
  Middleware,
  Operation,
  UserContext
} from "effect-databricks"
import { TestContext } from "effect-databricks/testing"
import { Context, Effect, Layer, Schema } from "effect"
import { HttpClient, HttpClientRequest, HttpRouter } from "effect/http"
import { HttpApi, HttpApiBuilder, HttpApiEndpoint, HttpApiGroup } from "effect/http-api"
import { alice, bob } from "../fixtures/people.ts"

const helpers = Effect.all([getCurrentUserId, isInUserContext, getWorkspaceId, getWarehouseId])

class Greeter extends Context.Service<Greeter, { readonly greet: Effect.Effect<string> }>()("test/Greeter") {}

class Api extends HttpApi.make("test").add(
  HttpApiGroup.make("mine")
    .add(HttpApiEndpoint.get("greet", "/greet", { success: Schema.String }))
    .middleware(AsUser)
) {}

const Handlers = HttpApiBuilder.group(Api, "mine", (handlers) =>
  handlers.handle("greet", () =>
    Effect.gen(function* () {
      const { greet } = yield* Greeter
      const { userName } = yield* UserContext
      return `${yield* greet}, ${userName}`
    })
  )
)

describe("TestContext", () => {
  it.effect("provides the given service principal, workspace and warehouse", () =>
    Effect.gen(function* () {
      assert.deepStrictEqual(yield* Effect.provide(helpers, TestContext.layer()), [
        "service-principal",
        false,
        "1",
        "test-warehouse"
      ])
      const given = TestContext.layer({ servicePrincipalId: "sp", workspaceId: "42", warehouseId: "w" })
      assert.deepStrictEqual(yield* Effect.provide(helpers, given), ["sp", false, "42", "w"])
    })
  )

  it.effect("provides the given user without a request", () =>
    Effect.gen(function* () {
      const whole = Effect.all([getCurrentUserId, isInUserContext, Effect.map(UserContext, (_) => _.userName)])
      const byId = TestContext.user({ id: "alice" })
      const asBob = TestContext.user({ id: "123", userName: bob })
      assert.deepStrictEqual(yield* Effect.provide(whole, byId), ["alice", true, "alice"])
      assert.deepStrictEqual(yield* Effect.provide(whole, asBob), ["123", true, bob])
      assert.deepStrictEqual(yield* Effect.provide(Effect.provide(whole, asBob), byId), ["123", true, bob])
      assert.strictEqual(yield* Effect.provide(asService(getCurrentUserId), byId), "service-principal")
    }).pipe(Effect.provide(TestContext.layer()))
  )

  it.effect("lets asUser believe a request's headers, and refuses a request without a token", () =>
    Effect.gen(function* () {
      const headers = { "x-forwarded-user": "alice", "x-forwarded-access-token": "any" }
      assert.strictEqual(yield* Effect.provide(getCurrentUserId, asUser(headers)), "alice")
      const error = yield* Effect.flip(Effect.provide(getCurrentUserId, asUser({ "x-forwarded-user": "alice" })))
      assert.strictEqual(error._tag, "AuthenticationError")
    }).pipe(Effect.provide(TestContext.layer()))
  )

  it.effect("fails a call to the workspace with a message that names the call and LocalWorkspace", () =>
    Effect.gen(function* () {
      const client = yield* getWorkspaceClient
      const calls = [
        Effect.asVoid(client.request(HttpClientRequest.get("/api/2.0/clusters/list"))),
        Effect.asVoid(client.use((sdk) => sdk.currentUser.me()))
      ]
      for (const call of calls) {
        const error = yield* Effect.flip(Operation.execute(call, { name: "call", retry: {} }))
        assert.isFalse(error.isRetryable)
        assert.match(error.message, /TestContext has no workspace to send GET \/api\S+ to: use LocalWorkspace/)
      }
    }).pipe(Effect.provide(TestContext.layer()))
  )

  it.effect("serves an HttpApi under AsUser with a service that the test provides", () =>
    Effect.gen(function* () {
      const greeted = yield* HttpClient.get("/greet", {
        headers: {
          "x-forwarded-user": "123",
          "x-forwarded-email": alice,
          "x-forwarded-access-token": "any"
        }
      })
      assert.deepStrictEqual(yield* greeted.json, `Hello, ${alice}`)
      const refused = yield* HttpClient.get("/greet")
      assert.strictEqual(refused.status, 401)
      assert.propertyVal(yield* refused.json, "_tag", "AuthenticationError")
    }).pipe(
      Effect.provide(
        HttpRouter.serve(
          HttpApiBuilder.layer(Api).pipe(Layer.provide(Handlers), Layer.provide(Middleware.layerAsUser)),
          {
            disableListenLog: true,
            disableLogger: true
          }
        ).pipe(
          Layer.provideMerge(NodeHttpServer.layerTest),
          Layer.provide(Layer.succeed(Greeter, { greet: Effect.succeed("Hello") })),
          Layer.provide(TestContext.layer())
        )
      )
    )
  )
})
