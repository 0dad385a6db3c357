import * as NodeHttpServer from "@effect/platform-node/NodeHttpServer"
import { assert, layer } from "@effect/vitest"
import type { ServiceContext } from "effect-databricks"
import { asUser, getWorkspaceClient } from "effect-databricks"
import { Effect, Layer, Schema } from "effect"
import { HttpClient, HttpRouter, HttpServerRequest, HttpServerResponse } from "effect/http"
import { HttpApi, HttpApiBuilder, HttpApiEndpoint, HttpApiGroup } from "effect/http-api"
import { alice, bob, requestOf } from "./fixtures/people.ts"
import { seenAs, seenThrough, Workspace } from "./fixtures/workspace.ts"

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

  it.effect("runs the handlers of 40 concurrent requests as the user of each request", () =>
    Effect.gen(function* () {
      const users = Array.from({ length: 40 }, (_, index) => (index % 3 === 0 ? alice : bob))
      const answers = yield* Effect.forEach(users, who, { concurrency: "unbounded" })
      assert.deepStrictEqual(
        answers,
        users.map((user) => ({ client: user, context: user, now: user }))
      )
    })
  )

  it.effect("answers 401 to a request without identity headers, and does not run its handler", () =>
    Effect.gen(function* () {
      assert.strictEqual((yield* HttpClient.get("/who")).status, 401)
    })
  )
})
