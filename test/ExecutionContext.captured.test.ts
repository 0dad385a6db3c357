import { assert, layer } from "@effect/vitest"
import { asService, asUser, type ServiceContext, UserContext, type WorkspaceClient } from "effect-databricks"
import { Context, Effect, Layer, ManagedRuntime, RcMap } from "effect"
import { alice, bob, requestOf, seenAs, Workspace } from "./fixtures/workspace.ts"

layer(Workspace, { excludeTestServices: true })("built at start-up", (it) => {
  it.effect("a ManagedRuntime runs as the user whom each call names", () =>
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

  it.effect("what is first built in a user's call keeps that user, unless it is built asService", () =>
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
      // The hazard, so that whoever reads this knows it: the second caller is answered as the first.
      assert.strictEqual(yield* Effect.provide(answers("plainly"), asAlice), alice)
      assert.strictEqual(yield* Effect.provide(answers("plainly"), asBob), alice)
    })
  )

  it.effect("a static layer that reads the user leaks to a user nested inside, a value read in the call does not", () =>
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
