import { assert, layer } from "@effect/vitest"
import { asService, asUser, getWorkspaceClient, ServiceContext, UserContext } from "effect-databricks"
import { Context, Deferred, Effect, Fiber, FiberSet, Layer, ManagedRuntime, Queue, RcMap } from "effect"
import { alice, bob, requestOf, seenAs, seenThrough, Workspace } from "./fixtures/workspace.ts"

// What an application builds once, at start-up, and keeps: each asks the workspace whom it sees.
class Kept extends Context.Service<
  Kept,
  {
    readonly client: typeof seenAs
    readonly sdk: Effect.Effect<string | undefined, unknown>
    readonly context: typeof seenAs
  }
>()("test/Kept") {
  static readonly layer = Layer.effect(
    Kept,
    Effect.gen(function* () {
      const client = yield* getWorkspaceClient
      const context = yield* Effect.context<ServiceContext.ServiceContext>()
      return {
        client: seenThrough(client),
        sdk: client.use(async (sdk) => (await sdk.currentUser.me()).userName),
        context: Effect.provide(seenAs, context)
      }
    })
  )
}

layer(Kept.layer.pipe(Layer.provideMerge(Workspace)), { excludeTestServices: true })("built at start-up", (it) => {
  it.effect("a captured client runs as whoever calls", () =>
    Effect.gen(function* () {
      const { client, sdk } = yield* Kept
      assert.strictEqual(yield* client, "service")
      assert.strictEqual(yield* Effect.provide(client, asUser(yield* requestOf(alice))), alice)
      assert.strictEqual(yield* Effect.provide(sdk, asUser(yield* requestOf(bob))), bob)
      assert.strictEqual(yield* client, "service")
    })
  )

  it.effect("a captured context, given back inside a method, does not take the user away", () =>
    Effect.gen(function* () {
      const { context } = yield* Kept
      assert.strictEqual(yield* Effect.provide(context, asUser(yield* requestOf(alice))), alice)
      assert.strictEqual(yield* context, "service")
    })
  )

  it.effect("a ManagedRuntime runs as the user whom each call names", () =>
    Effect.gen(function* () {
      const context = yield* Effect.context<Kept | ServiceContext.ServiceContext>()
      const runtime = ManagedRuntime.make(Layer.succeedContext(context))
      const call = Effect.flatMap(Kept, (kept) => kept.context)
      const asAlice = Effect.provide(call, asUser(yield* requestOf(alice)))
      const asBob = Effect.provide(call, asUser(yield* requestOf(bob)))
      const answers = yield* Effect.promise(() =>
        Promise.all([asAlice, call, asBob, asAlice].map((_) => runtime.runPromise(_)))
      )
      assert.deepStrictEqual(answers, [alice, "service", bob, alice])
      yield* runtime.disposeEffect
    })
  )

  it.effect("runPromise from inside a call is a new root, runPromiseWith the call's context is not", () =>
    Effect.gen(function* () {
      const runtime = ManagedRuntime.make(Layer.succeedContext(yield* Effect.context<ServiceContext.ServiceContext>()))
      const inside = Effect.gen(function* () {
        const root = yield* Effect.promise(() => runtime.runPromise(seenAs))
        const context = yield* Effect.context<ServiceContext.ServiceContext>()
        return [root, yield* Effect.promise(() => Effect.runPromiseWith(context)(seenAs))]
      })
      const answers = yield* Effect.provide(inside, asUser(yield* requestOf(alice)))
      assert.deepStrictEqual(answers, ["service", alice])
      yield* runtime.disposeEffect
    })
  )

  it.effect("a worker of start-up runs as the service principal, and a job that brings its context as its user", () =>
    Effect.gen(function* () {
      const jobs = yield* Queue.unbounded<Effect.Effect<void>>()
      yield* Effect.forkScoped(Effect.forever(Effect.flatten(Queue.take(jobs))))
      const submit = Effect.gen(function* () {
        const context = yield* Effect.context<ServiceContext.ServiceContext>()
        const bare = yield* Deferred.make<string, unknown>()
        const bound = yield* Deferred.make<string, unknown>()
        const service = yield* ServiceContext.ServiceContext
        yield* Queue.offer(
          jobs,
          Effect.asVoid(Deferred.complete(bare, Effect.provideService(seenAs, ServiceContext.ServiceContext, service)))
        )
        yield* Queue.offer(jobs, Effect.asVoid(Deferred.complete(bound, Effect.provide(seenAs, context))))
        return [yield* Deferred.await(bare), yield* Deferred.await(bound)]
      })
      assert.deepStrictEqual(yield* Effect.provide(submit, asUser(yield* requestOf(alice))), ["service", alice])
    })
  )

  it.effect("FiberSet.run forks as the user, a runtime taken from the set at start-up as the service principal", () =>
    Effect.gen(function* () {
      const set = yield* FiberSet.make<string, unknown>()
      const fork = yield* FiberSet.runtime(set)<ServiceContext.ServiceContext>()
      const inside = Effect.gen(function* () {
        const forked = yield* FiberSet.run(set, seenAs)
        return [yield* Fiber.join(forked), yield* Fiber.join(fork(seenAs))]
      })
      assert.deepStrictEqual(yield* Effect.provide(inside, asUser(yield* requestOf(alice))), [alice, "service"])
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
