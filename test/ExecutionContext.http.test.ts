import * as NodeHttpServer from "@effect/platform-node/NodeHttpServer"
import { assert, layer } from "@effect/vitest"
import type { ServiceContext } from "effect-databricks"
import { asUser, getWorkspaceClient } from "effect-databricks"
import { Effect, Layer, Schema } from "effect"
import { HttpClient, HttpRouter, HttpServerRequest, HttpServerResponse } from "effect/http"
import { HttpApi, HttpApiBuilder, HttpApiEndpoint, HttpApiGroup } from "effect/http-api"
import { alice, bob, requestOf, seenAs, seenThrough, Workspace } from "./fixtures/workspace.ts"

const Who = Schema.Struct({ client: Schema.String, context: Schema.String, now: Schema.String })

class Api extends HttpApi.make("test").add(
  HttpApiGroup.make("who").add(HttpApiEndpoint.get("who", "/who", { success: Who }))
) {}

// A group gives the context it was built with back to its handlers.
const Handlers = HttpApiBuilder.group(
  Api,
  "who",
  Effect.fnUntraced(function* (handlers) {
    const client = seenThrough(yield* getWorkspaceClient)
    const context = yield* Effect.context<ServiceContext.ServiceContext>()
    return handlers.handle("who", () =>
      Effect.all({ client, context: Effect.provide(seenAs, context), now: seenAs }).pipe(
        Effect.orDie // the endpoint declares no error
      )
    )
  })
)

const AsUserEverywhere = HttpRouter.middleware(
  (app) =>
    Effect.flatMap(HttpServerRequest.HttpServerRequest, (request) => Effect.provide(app, asUser(request))).pipe(
      Effect.catchTag("AuthenticationError", () => Effect.succeed(HttpServerResponse.empty({ status: 401 })))
    ),
  { global: true }
)

const Served = HttpRouter.serve(
  HttpApiBuilder.layer(Api).pipe(Layer.provide(Handlers), Layer.provide(AsUserEverywhere)),
  { disableListenLog: true, disableLogger: true }
).pipe(Layer.provideMerge(NodeHttpServer.layerTest), Layer.provideMerge(Workspace))

layer(Served, { excludeTestServices: true })("asUser as a global router middleware", (it) => {
  const who = (userName: string) =>
    Effect.gen(function* () {
      const response = yield* HttpClient.get("/who", { headers: yield* requestOf(userName) })
      return yield* response.json
    })

  it.effect("runs the handlers of an HttpApi as whoever sent each of many requests at once", () =>
    Effect.gen(function* () {
      const users = Array.from({ length: 40 }, (_, index) => (index % 3 === 0 ? alice : bob))
      const answers = yield* Effect.forEach(users, who, { concurrency: "unbounded" })
      assert.deepStrictEqual(
        answers,
        users.map((user) => ({ client: user, context: user, now: user }))
      )
    })
  )

  it.effect("does not run the handler of a request that nobody sent", () =>
    Effect.gen(function* () {
      assert.strictEqual((yield* HttpClient.get("/who")).status, 401)
    })
  )
})
