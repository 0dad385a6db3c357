import { assert, describe, layer, vi } from "@effect/vitest"
import { Effect, Exit, Fiber, Redacted, Schema } from "effect"
import { HttpClientRequest } from "effect/http"
import { TestClock } from "effect/testing"
import { asUser, getWorkspaceClient } from "effect-databricks"
import { LocalWorkspace } from "effect-databricks/testing"
import { alice, as, bob, requestOf } from "./fixtures/people.ts"
import { me, turn } from "./fixtures/wire.ts"
import { Workspace } from "./fixtures/workspace.ts"

const getMe = HttpClientRequest.get(me)
const Person = Schema.Struct({ userName: Schema.String })

const byRequest = Effect.flatMap(getWorkspaceClient, (_) => _.requestJson(getMe, Person))
const bySdk = Effect.flatMap(getWorkspaceClient, (_) => _.use((sdk) => sdk.currentUser.me()))

layer(Workspace)("WorkspaceClient", (it) => {
  describe("call", () => {
    it.effect("runs as the caller of the moment, also through a client kept from start-up", () =>
      Effect.gen(function* () {
        const { servicePrincipal } = yield* LocalWorkspace.LocalWorkspace
        const client = yield* getWorkspaceClient
        const calls = [
          Effect.map(client.requestJson(getMe, Person), (_) => _.userName),
          Effect.map(client.request(getMe), () => "asked"),
          Effect.map(
            client.use((sdk) => sdk.currentUser.me()),
            (_) => _.userName
          )
        ]
        for (const call of calls) {
          const answers = yield* Effect.all([call, as(alice)(call), call, as(bob)(call)], { concurrency: "unbounded" })
          if (answers[0] !== "asked") {
            const { clientId } = servicePrincipal
            assert.deepStrictEqual(answers, [clientId, alice, clientId, bob])
          }
        }
      })
    )

    it.effect("uses no credential of the process environment", () =>
      Effect.gen(function* () {
        const { host, servicePrincipal } = yield* LocalWorkspace.LocalWorkspace
        const variables = {
          DATABRICKS_HOST: "https://elsewhere.example.com",
          DATABRICKS_TOKEN: "dapi-of-the-environment",
          DATABRICKS_CLIENT_ID: servicePrincipal.clientId,
          DATABRICKS_CLIENT_SECRET: Redacted.value(servicePrincipal.clientSecret)
        }
        // The SDK reads the real environment of the process, so that is what has to be set.
        yield* Effect.acquireRelease(
          Effect.sync(() => Object.entries(variables).map(([name, value]) => vi.stubEnv(name, value))),
          () => Effect.sync(() => vi.unstubAllEnvs())
        )
        assert.strictEqual((yield* as(alice)(bySdk)).userName, alice)
        assert.strictEqual((yield* bySdk).userName, servicePrincipal.clientId)
        const client = yield* getWorkspaceClient
        const config = yield* client.use(async ({ config }) => config.ensureResolved().then(() => config))
        assert.strictEqual([config.host, config.token, config.clientId, config.clientSecret].join(), `${host},,,`)
      })
    )
  })

  describe("connection pool", () => {
    const ways = { request: byRequest, use: bySdk }
    for (const [way, call] of Object.entries(ways)) {
      it.effect(`serves all users, and opens no connection once warm (${way})`, () =>
        Effect.gen(function* () {
          const { connections, misbehave, requests } = yield* LocalWorkspace.LocalWorkspace
          const people = yield* Effect.forEach([alice, bob], (_) => requestOf(_))
          const calls = Array.from({ length: 40 }, (_, i) =>
            Effect.provide(
              Effect.map(call, (me): unknown => me.userName),
              asUser(people[i % 2]!)
            )
          )
          const run = (concurrency: number) => Effect.all([...calls, call], { concurrency, discard: true })
          yield* run(1)
          // Warm means twice as many as will be under way at once: an answer is read a moment before its connection is free.
          yield* misbehave({ kind: "delay", path: me, duration: "1 second", times: 16 })
          const warm = (yield* requests).length + 16
          const warming = yield* Effect.forkChild(run(16))
          yield* Effect.repeat(turn, { until: () => Effect.map(requests, (_) => _.length >= warm) })
          yield* TestClock.adjust("1 second")
          yield* Fiber.join(warming)
          const before = yield* connections
          const answered = (yield* requests).length
          yield* run(1)
          yield* run(8)
          yield* run(3)
          assert.isAtLeast((yield* requests).length - answered, 3 * 41)
          assert.strictEqual((yield* connections) - before, 0)
        })
      )
    }

    it.effect("keeps its connection after an error response", () =>
      Effect.gen(function* () {
        const { connections } = yield* LocalWorkspace.LocalWorkspace
        const asAlice = asUser(yield* requestOf(alice))
        const failing = Effect.flatMap(getWorkspaceClient, (_) => _.request(HttpClientRequest.get("/api/2.0/nothing")))
        yield* Effect.provide(Effect.flip(failing), asAlice)
        const before = yield* connections
        yield* Effect.forEach(Array.from({ length: 10 }), () => Effect.provide(Effect.flip(failing), asAlice))
        assert.strictEqual((yield* connections) - before, 0)
      })
    )
  })

  it.effect("dies with a TypeError that the function given to use throws or rejects with", () =>
    Effect.gen(function* () {
      const client = yield* getWorkspaceClient
      const bug = new TypeError("a bug")
      for (const call of [
        () => Promise.reject(bug),
        () => {
          throw bug
        }
      ]) {
        assert.deepStrictEqual(yield* Effect.exit(client.use(call)), Exit.die(bug))
      }
    })
  )
})
