import { assert, layer } from "@effect/vitest"
import {
  asService,
  DatabricksError,
  getWorkspaceClient,
  Operation,
  OperationCache,
  provideUser
} from "effect-databricks"
import { LocalWorkspace } from "effect-databricks/testing"
import { Cause, Data, Deferred, Effect, Exit, Fiber, Layer } from "effect"
import { HttpClientRequest } from "effect/http"
import { eventually } from "./fixtures/eventually.ts"
import { alice, requestOf } from "./fixtures/people.ts"
import { serviceContext } from "./fixtures/workspace.ts"

const Live = OperationCache.layer().pipe(
  Layer.provideMerge(serviceContext()),
  Layer.provideMerge(LocalWorkspace.layer())
)

class Wrapped extends Data.TaggedError("Wrapped")<{ readonly cause: unknown }> {}

const path = "/api/2.1/clusters/list"
const list = Effect.flatMap(getWorkspaceClient, (client) => client.request(HttpClientRequest.get(path)))

/** An operation that waits to be told to ask the workspace, which then says no as often as it is told. */
const makeOperation = Effect.fnUntraced(function* (
  no: { readonly status: number; readonly body?: string; readonly times?: number },
  name: string,
  work: Effect.Effect<unknown, unknown, Effect.Services<typeof list>> = list
) {
  const { misbehave, requests } = yield* LocalWorkspace.LocalWorkspace
  // The one that was added first comes first.
  yield* misbehave({ kind: "answer", times: 1, ...no, path })
  yield* misbehave({ kind: "answer", status: 200, body: "{}", path })
  const gate = yield* Deferred.make<void>()
  let runs = 0
  const run = Effect.suspend(() => {
    runs++
    return Effect.andThen(Deferred.await(gate), work)
  })
  const before = (yield* requests).length
  return {
    gate,
    runs: () => runs,
    asked: Effect.map(requests, (all) => all.slice(before).filter((_) => _.path === path).length),
    operation: Effect.exit(Operation.execute(Effect.asVoid(run), { name, cache: { key: [] } }))
  }
})

/** The exits of calls that overlap, in the order in which they came. */
const overlapping = <A, E, R, E2, R2>(
  gate: Deferred.Deferred<void>,
  calls: ReadonlyArray<Effect.Effect<A, E, R>>,
  ready: Effect.Effect<void, E2, R2>
) =>
  Effect.gen(function* () {
    const fibers = yield* Effect.forEach(calls, (_) => Effect.tap(Effect.forkChild(_), ready))
    yield* Effect.yieldNow
    yield* Deferred.succeed(gate, undefined)
    return yield* Fiber.joinAll(fibers)
  })

layer(Live, { timeout: "60 seconds", excludeTestServices: true })("OperationCache", (it) => {
  const refusals = {
    "an expired token": [{ status: 401, body: `{"message":"Token is expired"}` }, list],
    "a token without the scope": [
      { status: 403, body: `{"message":"Invalid scope, required scopes: clusters"}` },
      list
    ],
    "an expired token that the application wraps in an error of its own": [
      { status: 401 },
      Effect.mapError(list, (cause) => new Wrapped({ cause }))
    ],
    "an expired token that is a defect": [{ status: 401 }, Effect.orDie(list)] // the defect is what is tried
  } as const

  for (const [what, [no, work]] of Object.entries(refusals)) {
    it.effect(`asks again for a call that waited with another token of the user, after ${what}`, () =>
      Effect.gen(function* () {
        const { asked, gate, operation, runs } = yield* makeOperation(no, what, work)
        const [old, fresh] = [yield* requestOf(alice), yield* requestOf(alice)]
        const began = eventually(() => runs() === 1)
        const exits = yield* overlapping(
          gate,
          [old, fresh, old, fresh].map((request) => provideUser(operation, request)),
          began
        )
        assert.deepStrictEqual(exits.map(Exit.isSuccess), [false, true, false, true])
        // One run for each token.
        assert.strictEqual(yield* asked, 2)
        assert.strictEqual(runs(), 2)
      }).pipe(Effect.scoped)
    )
  }

  const shared = {
    "a missing permission": { status: 403, body: `{"message":"alice does not have permission"}` },
    "a missing object": { status: 404 },
    "a failed workspace": { status: 500 }
  }

  for (const [what, no] of Object.entries(shared)) {
    it.effect(`gives ${what} to every call that waited, whatever its token`, () =>
      Effect.gen(function* () {
        const { asked, gate, operation, runs } = yield* makeOperation(no, what)
        const calls = [yield* requestOf(alice), yield* requestOf(alice)].map((_) => provideUser(operation, _))
        const exits = yield* overlapping(
          gate,
          calls,
          eventually(() => runs() === 1)
        )
        assert.deepStrictEqual(exits.map(Exit.isFailure), [true, true])
        assert.strictEqual(yield* asked, 1)
      }).pipe(Effect.scoped)
    )
  }

  it.effect("gives a refused credential of the service principal to every call that waited", () =>
    Effect.gen(function* () {
      const { gate, operation, runs } = yield* makeOperation({ status: 401, times: 2 }, "service")
      const calls = [yield* requestOf(alice), yield* requestOf(alice)].map((_) => provideUser(asService(operation), _))
      const exits = yield* overlapping(
        gate,
        [...calls, operation],
        eventually(() => runs() === 1)
      )
      for (const exit of exits) {
        const error = Exit.isFailure(exit) ? Cause.squash(exit.cause) : undefined
        assert.isTrue(error instanceof DatabricksError.DatabricksError && error.status === 401)
      }
      // Its credential has been renewed once.
      assert.strictEqual(runs(), 1)
    }).pipe(Effect.scoped)
  )
})
