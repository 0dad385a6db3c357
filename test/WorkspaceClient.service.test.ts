import { assert, describe, it, layer } from "@effect/vitest"
import {
  asService,
  getCurrentUserId,
  getWorkspaceClient,
  Operation,
  ServiceContext,
  WorkspaceClient
} from "effect-databricks"
import { LocalWorkspace, TestContext } from "effect-databricks/testing"
import { Effect, Exit, Layer, Schema } from "effect"
import { HttpClientRequest, HttpClientResponse } from "effect/http"
import { spansOf } from "./fixtures/spans.ts"
import { alice, as, bob } from "./fixtures/people.ts"
import { seenThrough, Workspace } from "./fixtures/workspace.ts"

const cluster = HttpClientRequest.get("/api/2.1/clusters/get")
const ok = (request: HttpClientRequest.HttpClientRequest) => HttpClientResponse.fromWeb(request, new Response())

describe("WorkspaceClient replaced by a test's Layer", () => {
  it.effect("takes the place of the one that ServiceContext provides", () =>
    Effect.gen(function* () {
      const client = yield* getWorkspaceClient
      assert.strictEqual((yield* client.request(cluster)).status, 200)
    }).pipe(
      Effect.provide(Layer.mock(WorkspaceClient.WorkspaceClient, { request: (_) => Effect.succeed(ok(_)) })),
      Effect.provide(TestContext.layer())
    )
  )

  it.effect("sends as the user through WorkspaceClient.user", () => {
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

layer(Workspace, { excludeTestServices: true })("WorkspaceClient", (it) => {
  it.effect("runs as the user of WorkspaceClient.user, also inside asService and in a later call of that user", () =>
    Effect.gen(function* () {
      const kept = yield* as(alice)(WorkspaceClient.user)
      const ways = (client: typeof kept) =>
        Effect.all([
          seenThrough(client),
          asService(seenThrough(client)),
          Effect.map(
            client.use((sdk) => sdk.currentUser.me()),
            (_) => _.userName
          )
        ])
      const { exit, spans } = yield* spansOf(
        as(alice)(Effect.andThen(Effect.flatMap(WorkspaceClient.user, ways), ways(kept)))
      )
      assert.deepStrictEqual(yield* exit, [alice, alice, alice])
      const callers = spans.filter((_) => _.name === "plugin.execute").map((_) => _.attributes["execution.context"])
      assert.deepStrictEqual(callers, ["user", "user", "user", "user", "user", "user"])
    })
  )

  it.effect("dies where the client of WorkspaceClient.user runs in another user's call, or outside of any", () =>
    Effect.gen(function* () {
      const kept = yield* as(alice)(WorkspaceClient.user)
      const me = HttpClientRequest.get("/api/2.0/preview/scim/v2/Me")
      const ways: Record<string, Effect.Effect<unknown, unknown>> = {
        request: kept.request(me),
        requestJson: kept.requestJson(me, Schema.Struct({})),
        use: kept.use((sdk) => sdk.currentUser.me()),
        send: kept.send(me)
      }
      for (const [way, run] of Object.entries(ways)) {
        for (const elsewhere of [as(bob)(run), as(bob)(asService(run)), run]) {
          const exit = yield* Effect.exit(elsewhere)
          assert.isTrue(Exit.hasDies(exit), way)
          assert.include(String(exit), "in the call that uses it", way)
        }
      }
    })
  )

  it.effect("opens no operation span in send, which runs as the caller of its fiber", () =>
    Effect.gen(function* () {
      const client = yield* getWorkspaceClient
      const { requests } = yield* LocalWorkspace.LocalWorkspace
      const me = HttpClientRequest.get("/api/2.0/preview/scim/v2/Me")
      const { spans } = yield* spansOf(as(alice)(Operation.execute(client.send(me), { name: "two" })))
      assert.lengthOf(
        spans.filter((_) => _.name === "plugin.execute"),
        1
      )
      assert.strictEqual((yield* requests).at(-1)?.user, alice)
    })
  )
})
