import { assert, describe, it, layer } from "@effect/vitest"
import {
  asService,
  asUser,
  getCurrentUserId,
  getWorkspaceClient,
  Operation,
  ServiceContext,
  WorkspaceClient
} from "effect-databricks"
import { LocalWorkspace, TestContext } from "effect-databricks/testing"
import { Effect, Layer } from "effect"
import { HttpClientRequest, HttpClientResponse } from "effect/http"
import { layerOf } from "./fixtures/start.ts"
import { spansOf } from "./fixtures/spans.ts"
import { alice, bob, requestOf, seenAs, seenThrough, Workspace } from "./fixtures/workspace.ts"

const cluster = HttpClientRequest.get("/api/2.1/clusters/get")
const ok = (request: HttpClientRequest.HttpClientRequest) => HttpClientResponse.fromWeb(request, new Response())

describe("a WorkspaceClient of a test's own", () => {
  it.effect("takes the place of the one that ServiceContext provides", () =>
    Effect.gen(function* () {
      const client = yield* getWorkspaceClient
      assert.strictEqual((yield* client.request(cluster)).status, 200)
    }).pipe(
      Effect.provide(Layer.mock(WorkspaceClient.WorkspaceClient, { request: (_) => Effect.succeed(ok(_)) })),
      Effect.provide(TestContext.layer())
    )
  )

  it.effect("is what WorkspaceClient.user runs as the user", () => {
    const senders: Array<string> = []
    const Client = Layer.effect(
      WorkspaceClient.WorkspaceClient,
      Effect.gen(function* () {
        const service = yield* ServiceContext.ServiceContext
        const client = yield* getWorkspaceClient
        return WorkspaceClient.WorkspaceClient.of({
          ...client,
          send: (request) =>
            Effect.map(Effect.provideService(getCurrentUserId, ServiceContext.ServiceContext, service), (id) => {
              senders.push(id)
              return ok(request)
            })
        })
      })
    )
    return Effect.gen(function* () {
      const mine = yield* WorkspaceClient.user
      yield* asService(mine.send(cluster))
      yield* Effect.flatMap(asService(getWorkspaceClient), (client) => asService(client.send(cluster)))
      assert.deepStrictEqual(senders, ["alice", "service-principal"])
    }).pipe(
      Effect.provide(TestContext.user({ id: "alice" })),
      Effect.provide(Layer.provideMerge(Client, TestContext.layer()))
    )
  })
})

layer(Workspace, { excludeTestServices: true })("WorkspaceClient.user", (it) => {
  it.effect("runs as its user, in another user's call and asService too, and its span says so", () =>
    Effect.gen(function* () {
      const client = yield* Effect.provide(WorkspaceClient.user, asUser(yield* requestOf(alice)))
      const asBob = asUser(yield* requestOf(bob))
      const { exit, spans } = yield* spansOf(
        Effect.all([
          Effect.provide(seenThrough(client), asBob),
          asService(seenThrough(client)),
          seenThrough(client),
          Effect.map(
            Effect.provide(
              client.use((sdk) => sdk.currentUser.me()),
              asBob
            ),
            (_) => _.userName
          ),
          Effect.provide(seenAs, asBob)
        ])
      )
      assert.deepStrictEqual(yield* exit, [alice, alice, alice, alice, bob])
      const callers = spans.filter((_) => _.name === "plugin.execute").map((_) => _.attributes["execution.context"])
      assert.deepStrictEqual(callers, ["user", "user", "user", "user", "user"])
    })
  )

  it.effect("send makes no operation of its own, and runs as the caller of the fiber", () =>
    Effect.gen(function* () {
      const client = yield* getWorkspaceClient
      const { requests } = yield* LocalWorkspace.LocalWorkspace
      const me = HttpClientRequest.get("/api/2.0/preview/scim/v2/Me")
      const { spans } = yield* spansOf(
        Effect.provide(Operation.execute(client.send(me), { name: "two" }), asUser(yield* requestOf(alice)))
      )
      assert.lengthOf(
        spans.filter((_) => _.name === "plugin.execute"),
        1
      )
      assert.strictEqual((yield* requests).at(-1)?.user, alice)
    })
  )
})

layer(LocalWorkspace.layer())("ServiceContext.layerConfig", (it) => {
  it.effect("has the environment first and the overrides on top, where undefined overrides nothing", () =>
    Effect.gen(function* () {
      const { env } = yield* LocalWorkspace.LocalWorkspace
      const started = (overrides: ServiceContext.Options) =>
        Effect.provide(
          ServiceContext.ServiceContext,
          layerOf({ ...env, DATABRICKS_WAREHOUSE_ID: "environment" }, overrides),
          { local: true }
        )
      assert.deepInclude((yield* started({ warehouseId: "override" })).warehouseId, { value: "override" })
      assert.deepInclude((yield* started({ warehouseId: undefined })).warehouseId, { value: "environment" })
      assert.strictEqual(ServiceContext.layerConfig(), ServiceContext.layerConfig())
    })
  )
})
