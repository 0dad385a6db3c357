import { assert, layer } from "@effect/vitest"
import {
  asUser,
  type ForwardedHeaders,
  ExecutionContext,
  getCurrentUserId,
  getWarehouseId,
  getWorkspaceClient,
  getWorkspaceId,
  isInUserContext,
  Operation,
  ServiceContext,
  UserContext
} from "effect-databricks"
import { LocalWorkspace } from "effect-databricks/testing"
import { Effect, Exit, Fiber, Logger, Option, Stream } from "effect"
import { HttpServerRequest } from "effect/http"
import * as Http from "node:http"
import { alice, bob, requestOf } from "./fixtures/people.ts"
import { seenAs, seenThrough, serviceContext, Workspace } from "./fixtures/workspace.ts"
import { spansOf } from "./fixtures/spans.ts"
import { me } from "./fixtures/wire.ts"

/** What `effect` logged at the level of a warning. */
const warningsOf = <A, E, R>(effect: Effect.Effect<A, E, R>) => {
  const warnings: Array<unknown> = []
  const logger = Logger.make(({ logLevel, message }) => {
    if (logLevel === "Warn") warnings.push(...[message].flat())
  })
  return Effect.map(Effect.provide(effect, Logger.layer([logger])), (answer) => ({ answer, warnings }))
}

const helpers = Effect.all({
  id: getCurrentUserId,
  user: isInUserContext,
  workspace: getWorkspaceId,
  warehouse: getWarehouseId,
  seen: Effect.flatMap(getWorkspaceClient, seenThrough)
})

layer(Workspace, { excludeTestServices: true })("ExecutionContext", (it) => {
  it.effect("reports the user's id and client inside asUser, and the service principal's outside", () =>
    Effect.gen(function* () {
      const { servicePrincipal, warehouseId, workspaceId } = yield* LocalWorkspace.LocalWorkspace
      const there = { workspace: workspaceId, warehouse: warehouseId }
      assert.deepStrictEqual(yield* helpers, { ...there, id: servicePrincipal.id, user: false, seen: "service" })
      const request = yield* requestOf(alice)
      const id = request["x-forwarded-user"]!
      assert.deepStrictEqual(yield* Effect.provide(helpers, asUser(request)), { ...there, id, user: true, seen: alice })
    })
  )

  it.effect("names DATABRICKS_WAREHOUSE_ID in the error of getWarehouseId without a warehouse", () =>
    Effect.gen(function* () {
      const service = yield* ServiceContext.ServiceContext
      const error = yield* Effect.flip(getWarehouseId).pipe(
        Effect.provideService(ServiceContext.ServiceContext, { ...service, warehouseId: Option.none() })
      )
      assert.strictEqual(error._tag, "ServiceContextError")
      assert.include(error.message, "DATABRICKS_WAREHOUSE_ID")
    })
  )

  it.effect("takes an HttpServerRequest, a web Request, a Node request or a record in asUser", () =>
    Effect.gen(function* () {
      const headers = yield* requestOf(alice)
      const web = new Request("http://app/", { headers })
      const node = new Http.IncomingMessage(undefined as never) // a request with no socket, and so without a client
      node.headers = headers
      const sources: ReadonlyArray<ForwardedHeaders.Source> = [
        headers,
        {
          "X-Forwarded-User": headers["x-forwarded-user"],
          "X-Forwarded-Access-Token": headers["x-forwarded-access-token"]
        },
        web,
        web.headers,
        node,
        HttpServerRequest.fromWeb(web)
      ]
      for (const source of sources) assert.strictEqual(yield* Effect.provide(seenAs, asUser(source)), alice)
    })
  )

  it.effect("provides UserContext with the identity that the workspace confirms for the token", () =>
    Effect.gen(function* () {
      const request = yield* requestOf(bob)
      const both = Effect.all([UserContext, ExecutionContext.current])
      const [user, current] = yield* Effect.provide(both, asUser(request))
      assert.strictEqual(user.userName, bob)
      assert.strictEqual(user.email, bob)
      assert.strictEqual(user.context, "user")
      assert.strictEqual(user.id, request["x-forwarded-user"])
      assert.notStrictEqual(user.scimId, user.id)
      assert.isFalse(user.oboDevFallback)
      assert.strictEqual(current, user)
    })
  )

  it.effect("never runs the effect when the identity is refused or cannot be verified", () =>
    Effect.gen(function* () {
      const headers = yield* requestOf(alice)
      let ran = false
      const work = Effect.sync(() => (ran = true))
      const refused: ReadonlyArray<readonly [ForwardedHeaders.Source, string, RegExp]> = [
        [{}, "AuthenticationError", /did not come through the Databricks Apps proxy/],
        [{ ...headers, "x-forwarded-access-token": undefined }, "AuthenticationError", /user_api_scopes/],
        [{ ...headers, "x-forwarded-user": undefined }, "AuthenticationError", /x-forwarded-user/],
        [{ ...headers, "x-forwarded-access-token": "forged" }, "AuthenticationError", /wrong or expired/],
        [{ ...headers, "x-forwarded-email": bob }, "IdentityMismatchError", /another person/]
      ]
      for (const [source, tag, sentence] of refused) {
        for (const call of [
          Effect.provide(work, asUser(source)),
          ExecutionContext.provideUser(work, source),
          Stream.runDrain(Stream.provide(Stream.fromEffect(work), asUser(source)))
        ]) {
          const error = yield* Effect.flip(call)
          assert.strictEqual(error._tag, tag)
          assert.match(error.message, sentence)
          assert.notInclude(JSON.stringify(error), headers["x-forwarded-access-token"]!)
        }
      }
      const { misbehave } = yield* LocalWorkspace.LocalWorkspace
      yield* misbehave({ kind: "answer", status: 503, path: me })
      const error = yield* Effect.flip(Effect.provide(work, asUser(yield* requestOf(alice))))
      assert.strictEqual(error._tag, "IdentityUnavailableError")
      assert.isFalse(ran)
    })
  )

  it.effect("never runs the effect when interrupted during verification, and the next call succeeds", () =>
    Effect.gen(function* () {
      const { misbehave, requests } = yield* LocalWorkspace.LocalWorkspace
      const request = yield* requestOf(alice)
      const arrived = Effect.filterOrFail(
        requests,
        (_) => Option.exists(Option.fromUndefinedOr(_.at(-1)), (last) => last.user === alice),
        () => "not yet"
      )
      let ran = false
      const call = <R>(work: Effect.Effect<unknown, unknown, R>) => Effect.provide(work, asUser(request))
      yield* Effect.provide(seenAs, asUser(yield* requestOf(bob)))
      yield* Effect.scoped(
        Effect.gen(function* () {
          yield* misbehave({ kind: "hang", path: me })
          const fiber = yield* Effect.forkChild(call(Effect.sync(() => (ran = true))))
          yield* Effect.eventually(arrived)
          yield* Fiber.interrupt(fiber)
          assert.isTrue(Exit.hasInterrupts(yield* Fiber.await(fiber)))
        })
      )
      assert.isFalse(ran)
      assert.strictEqual(yield* call(seenAs), alice)
    })
  )
})

const Development = serviceContext({ NODE_ENV: "development" })

layer(LocalWorkspace.layer(), { excludeTestServices: true })("ExecutionContext development fallback", (it) => {
  it.effect("runs a call without a token as the service principal, with a warning and a span attribute", () =>
    Effect.gen(function* () {
      const { servicePrincipal } = yield* LocalWorkspace.LocalWorkspace
      const call = Effect.all([UserContext, seenAs, getCurrentUserId, isInUserContext]).pipe(
        Operation.execute({ name: "call" })
      )
      for (const headers of [{}, { "x-forwarded-user": alice }, { "x-forwarded-access-token": "" }]) {
        const { answer, warnings } = yield* warningsOf(spansOf(Effect.provide(call, asUser(headers))))
        const [user, ...seen] = yield* answer.exit
        assert.deepStrictEqual(seen, ["service", servicePrincipal.id, false])
        assert.strictEqual(user.oboDevFallback, true)
        assert.strictEqual(user.context, "service")
        assert.strictEqual(user.id, servicePrincipal.id)
        assert.lengthOf(warnings, 1)
        assert.match(String(warnings[0]), /runs as the service principal/)
        assert.strictEqual(answer.spans[0]!.attributes["execution.obo_dev_fallback"], true)
        assert.strictEqual(answer.spans[0]!.attributes["execution.context"], "service")
        assert.strictEqual(answer.spans[0]!.attributes["caller.id"], servicePrincipal.id)
      }
    }).pipe(Effect.provide(Development))
  )

  it.effect("is not used for a token without a user header, which runs as the token's user", () =>
    Effect.gen(function* () {
      const { "x-forwarded-access-token": token } = yield* requestOf(alice)
      const call = Operation.execute(Effect.all([seenAs, isInUserContext]), { name: "call" })
      const { answer, warnings } = yield* warningsOf(
        spansOf(Effect.provide(call, asUser({ "x-forwarded-access-token": token })))
      )
      assert.deepStrictEqual(yield* answer.exit, [alice, true])
      assert.deepStrictEqual(warnings, [])
      assert.notProperty(answer.spans[0]!.attributes, "execution.obo_dev_fallback")
    }).pipe(Effect.provide(Development))
  )

  it.effect("is not used for a refused token, which fails with AuthenticationError", () =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(Effect.provide(seenAs, asUser({ "x-forwarded-access-token": "forged" })))
      assert.strictEqual(error._tag, "AuthenticationError")
    }).pipe(Effect.provide(Development))
  )

  for (const NODE_ENV of ["production", "test", "Development", ""]) {
    it.effect(`is off with NODE_ENV "${NODE_ENV}", and a call without a token fails`, () =>
      Effect.gen(function* () {
        const error = yield* Effect.flip(Effect.provide(seenAs, asUser({})))
        assert.strictEqual(error._tag, "AuthenticationError")
      }).pipe(Effect.provide(serviceContext({ NODE_ENV })))
    )
  }
})
