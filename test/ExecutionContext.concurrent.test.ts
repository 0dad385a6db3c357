import { assert, layer } from "@effect/vitest"
import {
  asService,
  asUser,
  ExecutionContext,
  getCurrentUserId,
  groupedByCaller,
  Operation,
  ServiceContext,
  type WorkspaceClient,
  UserContext
} from "effect-databricks"
import { LocalWorkspace } from "effect-databricks/testing"
import { Effect, Exit, Fiber, Random, Redacted, Request, RequestResolver, Stream } from "effect"
import { alice, bob, requestOf } from "./fixtures/people.ts"
import { seenAs, Workspace } from "./fixtures/workspace.ts"

layer(Workspace, { excludeTestServices: true })("ExecutionContext", (it) => {
  it.effect("sends exactly the token of the request, through asUser and through provideUser", () =>
    Effect.gen(function* () {
      const { requests } = yield* LocalWorkspace.LocalWorkspace
      const request = yield* requestOf(alice)
      for (const call of [Effect.provide(seenAs, asUser(request)), ExecutionContext.provideUser(seenAs, request)]) {
        assert.strictEqual(yield* call, alice)
        const { token } = (yield* requests).at(-1)!
        assert.strictEqual(Redacted.value(token!), request["x-forwarded-access-token"])
      }
    })
  )

  it.effect("keeps two users and the service principal apart in 100 calls, 20 at a time", () =>
    Effect.gen(function* () {
      const pause = Effect.flatMap(Random.nextIntBetween(0, 5), (times) =>
        Effect.forEach(Array.from({ length: times }), () => Effect.yieldNow, { discard: true })
      )
      const requests = { [alice]: yield* requestOf(alice), [bob]: yield* requestOf(bob), service: undefined }
      const names = Object.keys(requests) as ReadonlyArray<keyof typeof requests>
      const call = Effect.gen(function* () {
        yield* pause
        const before = yield* seenAs
        yield* pause
        const [forked, id] = yield* Effect.all([seenAs, getCurrentUserId], { concurrency: 2 })
        yield* pause
        return [before, forked, yield* seenAs, id]
      })
      const { principal } = yield* ServiceContext.ServiceContext
      const expected: Array<unknown> = []
      const answers = yield* Effect.forEach(
        Array.from({ length: 100 }),
        Effect.fnUntraced(function* (_, index) {
          const name = names[yield* Random.nextIntBetween(0, 2)]!
          const request = requests[name]
          expected[index] = [name, name, name, request?.["x-forwarded-user"] ?? principal.id]
          return yield* request === undefined ? call : Effect.provide(call, asUser(request))
        }),
        { concurrency: 20 }
      )
      assert.deepStrictEqual(answers, expected)
      assert.strictEqual(new Set(answers.map(([name]) => name)).size, 3)
    })
  )

  it.effect("nests callers, and returns to the outer caller when the inner call ends", () =>
    Effect.gen(function* () {
      const asAlice = asUser(yield* requestOf(alice))
      const asBob = asUser(yield* requestOf(bob))
      const seen: Array<string> = []
      const note = Effect.flatMap(seenAs, (name) => Effect.sync(() => seen.push(name)))
      const around = <A, E, R>(inner: Effect.Effect<A, E, R>) => note.pipe(Effect.andThen(inner), Effect.andThen(note))
      yield* around(Effect.void).pipe(
        Effect.provide(asBob),
        around,
        asService,
        around,
        // The same layer value as outside.
        Effect.provide(asAlice),
        around,
        Effect.provide(asBob),
        around,
        Effect.provide(asAlice),
        around
      )
      const inwards = ["service", alice, bob, alice, "service", bob]
      assert.deepStrictEqual(seen, [...inwards, ...inwards.toReversed()])
    })
  )

  it.effect("runs as the service principal under asService, where UserContext is still the user", () =>
    Effect.gen(function* () {
      const inside = asService(
        Effect.all([seenAs, Effect.map(UserContext, (_) => _.userName), ExecutionContext.isInUserContext])
      )
      assert.deepStrictEqual(yield* Effect.provide(inside, asUser(yield* requestOf(alice))), ["service", alice, false])
    })
  )

  it.effect("runs forked fibers as the caller that forked them, also after the call has ended", () =>
    Effect.gen(function* () {
      const inside = Effect.all([
        Effect.forkChild(Effect.delay(seenAs, 0)).pipe(Effect.flatMap(Fiber.join)),
        Effect.map(Effect.forkDetach(Effect.delay(seenAs, 0)), Fiber.join),
        Effect.map(Effect.forkScoped(Effect.delay(seenAs, 0)), Fiber.join)
      ])
      const [child, detached, scoped] = yield* Effect.provide(inside, asUser(yield* requestOf(alice)))
      assert.deepStrictEqual([child, yield* detached, yield* scoped], [alice, alice, alice])
    })
  )

  it.effect("runs every pull as the user under Stream.provide(asUser), also of an unwrapped stream", () =>
    Effect.gen(function* () {
      const pulls = Stream.range(1, 3).pipe(
        Stream.rechunk(1),
        Stream.mapEffect(() => seenAs)
      )
      const asAlice = asUser(yield* requestOf(alice))
      const collected = (stream: typeof pulls) => Effect.map(Stream.runCollect(stream), (_) => [..._])
      assert.deepStrictEqual(yield* Effect.all([collected(pulls)]), [["service", "service", "service"]])
      const [mine, unwrapped, parallel] = yield* Effect.all(
        [
          Stream.runCollect(Stream.provide(pulls, asAlice)),
          Stream.runCollect(Stream.provide(Stream.unwrap(Effect.as(UserContext, pulls)), asAlice)),
          Stream.range(1, 3).pipe(
            Stream.mapEffect(() => seenAs, { concurrency: 3 }),
            Stream.buffer({ capacity: 1 }),
            Stream.provide(asAlice),
            Stream.runCollect
          )
        ],
        { concurrency: 3 }
      )
      for (const names of [mine, unwrapped, parallel]) assert.deepStrictEqual([...names], [alice, alice, alice])
    })
  )

  it.effect("does not follow a stream out of the effect that built it, unless executeStream wraps it", () =>
    Effect.gen(function* () {
      const pulls = Stream.range(1, 2).pipe(
        Stream.rechunk(1),
        Stream.mapEffect(() => seenAs)
      )
      const built = Effect.succeed(pulls).pipe(Effect.provide(asUser(yield* requestOf(alice))))
      assert.deepStrictEqual([...(yield* Stream.runCollect(Stream.unwrap(built)))], ["service", "service"])
      // One pull as alice opens it, and the rest comes from elsewhere.
      const opened = yield* Stream.toPull(Operation.executeStream(pulls, { name: "pulls" }))
      const first = yield* Effect.provide(opened, asUser(yield* requestOf(alice)))
      const second = yield* Effect.provide(opened, asUser(yield* requestOf(bob)))
      assert.deepStrictEqual([...first, ...second], [alice, alice])
    })
  )

  it.effect("does not separate callers of Effect.cached, which returns the first caller's value to all", () =>
    Effect.gen(function* () {
      const cached = yield* Effect.cached(seenAs)
      const both = (effect: typeof seenAs) =>
        Effect.gen(function* () {
          const first = yield* Effect.provide(effect, asUser(yield* requestOf(alice)))
          return [first, yield* Effect.provide(effect, asUser(yield* requestOf(bob)))]
        })
      assert.deepStrictEqual(yield* both(cached), [alice, alice])
      assert.deepStrictEqual(yield* both(seenAs), [alice, bob])
    })
  )

  it.effect("runs a batched resolver once for each caller when groupedByCaller wraps it", () =>
    Effect.gen(function* () {
      const WhoAmI = Request.tagged<WhoAmI>("WhoAmI")
      interface WhoAmI extends Request.Request<
        string,
        never,
        ServiceContext.ServiceContext | WorkspaceClient.WorkspaceClient
      > {
        readonly _tag: "WhoAmI"
        readonly id: number
      }
      const sizes: Array<number> = []
      const resolver = RequestResolver.make<WhoAmI>((entries) =>
        Effect.gen(function* () {
          sizes.push(entries.length)
          const seen = yield* Effect.orDie(Effect.provide(seenAs, entries[0].context)) // requests that cannot fail
          for (const entry of entries) entry.completeUnsafe(Exit.succeed(seen))
        })
      )
      const asAlice = asUser(yield* requestOf(alice))
      const asBob = asUser(yield* requestOf(bob))
      const ask = (through: typeof resolver) => {
        const two = Effect.forEach([1, 2], (id) => Effect.request(WhoAmI({ id }), through), { concurrency: 2 })
        return Effect.all([two, Effect.provide(two, asAlice), Effect.provide(two, asBob)], { concurrency: 3 })
      }
      const grouped = yield* ask(groupedByCaller(resolver))
      assert.deepStrictEqual(grouped, [
        ["service", "service"],
        [alice, alice],
        [bob, bob]
      ])
      assert.deepStrictEqual(sizes, [2, 2, 2])
      // The hazard: one batch, run as the first caller, answers all of them.
      const plain = yield* ask(resolver)
      assert.isBelow(new Set(plain.flat()).size, 3)
    })
  )
})
