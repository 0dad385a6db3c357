import { assert, layer } from "@effect/vitest"
import { asService, asUser, type ServiceContext, UserContext, type WorkspaceClient } from "effect-databricks"
import { Context, Effect, Layer, ManagedRuntime, RcMap } from "effect"
import { alice, bob, requestOf } from "./fixtures/people.ts"
import { seenAs, Workspace } from "./fixtures/workspace.ts"

layer(Workspace, { excludeTestServices: true })("ExecutionContext with a captured context", (it) => {
  it.effect("runs each call of a ManagedRuntime as the user of that call", () =>
    Effect.gen(function* () {
      const context = yield* Effect.context<ServiceContext.ServiceContext | WorkspaceClient.WorkspaceClient>()
      const runtime = ManagedRuntime.make(Layer.succeedContext(context))
      // A service that gives its own start-up context back to what it runs.
      const call = Effect.provide(seenAs, context)
      const asAlice = Effect.provide(call, asUser(yield* requestOf(alice)))
      const asBob = Effect.provide(call, asUser(yield* requestOf(bob)))
      const answers = yield* Effect.promise(() =>
        Promise.all([asAlice, call, asBob, asAlice].map((_) => runtime.runPromise(_)))
      )
      assert.deepStrictEqual(answers, [alice, "service", bob, alice])
      yield* runtime.disposeEffect
    })
  )

  it.effect("keeps the user in whose call the context was captured, unless asService captured it", () =>
    Effect.gen(function* () {
      const build = Effect.map(Effect.context<ServiceContext.ServiceContext>(), (context) =>
        Effect.provide(seenAs, context)
      )
      const shared = yield* RcMap.make({
        lookup: (built: "plainly" | "asService") => (built === "plainly" ? build : asService(build)),
        idleTimeToLive: "1 minute"
      })
      const answers = (built: "plainly" | "asService") => Effect.scoped(Effect.flatten(RcMap.get(shared, built)))
      const asAlice = asUser(yield* requestOf(alice))
      const asBob = asUser(yield* requestOf(bob))
      assert.strictEqual(yield* Effect.provide(answers("asService"), asAlice), alice)
      assert.strictEqual(yield* Effect.provide(answers("asService"), asBob), bob)
      assert.strictEqual(yield* answers("asService"), "service")
      // The hazard: the second caller is answered as the first.
      assert.strictEqual(yield* Effect.provide(answers("plainly"), asAlice), alice)
      assert.strictEqual(yield* Effect.provide(answers("plainly"), asBob), alice)
    })
  )

  it.effect("gives the outer user to a static Layer, and the inner user to a read in the call", () =>
    Effect.gen(function* () {
      class Mine extends Context.Service<Mine, { readonly owner: string }>()("test/Mine") {}
      const MineLive = Layer.effect(
        Mine,
        Effect.map(UserContext, ({ userName }) => ({ owner: userName }))
      )
      const owners = Effect.all([Effect.map(Mine, (_) => _.owner), Effect.map(UserContext, (_) => _.userName)])
      const asBob = Effect.provide(owners, MineLive).pipe(Effect.provide(asUser(yield* requestOf(bob))))
      const asAlice = Effect.provide(asBob, MineLive).pipe(Effect.provide(asUser(yield* requestOf(alice))))
      assert.deepStrictEqual(yield* asBob, [bob, bob])
      assert.deepStrictEqual(yield* asAlice, [alice, bob])
    })
  )
})
