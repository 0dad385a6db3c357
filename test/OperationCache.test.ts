import { assert, describe, it } from "@effect/vitest"
import { asService, asUser, getCurrentUserId, Operation, OperationCache, UserContext } from "effect-databricks"
import { TestContext } from "effect-databricks/testing"
import { Cause, Effect, Exit, Layer } from "effect"
import { TestClock } from "effect/testing"
import { spansOf } from "./fixtures/spans.ts"

const service = TestContext.layer({ servicePrincipalId: "sp" })
const test = Layer.merge(service, OperationCache.layer())

const as = (id: string) => Effect.provide(TestContext.user({ id }))
const withToken = (user: string, token: string) =>
  Effect.provide(asUser({ "x-forwarded-user": user, "x-forwarded-access-token": token }))

/** An operation that returns its caller and the number of its run. */
const makeSales = (cache: Partial<Operation.Cache> = {}) => {
  let runs = 0
  const run = Effect.map(getCurrentUserId, (id) => `${id} ${++runs}`)
  return Operation.execute(run, { name: "sales", cache: { key: [], ...cache } })
}

/** An operation whose key is a day. */
const makeDays = () => {
  let runs = 0
  return (day: string | number, value: (run: number) => unknown = (run) => run) =>
    Operation.execute(
      Effect.sync(() => value(++runs)),
      { name: "day", cache: { key: [day] } }
    )
}

describe("Operation.execute with OperationCache", () => {
  it.effect("answers the same call of the same caller without running the work", () =>
    Effect.gen(function* () {
      const sales = makeSales()
      assert.strictEqual(yield* as("alice")(sales), "alice 1")
      assert.strictEqual(yield* as("alice")(sales), "alice 1")
    }).pipe(Effect.provide(test))
  )

  it.effect("never answers another caller, not even a user with the service principal's id", () =>
    Effect.gen(function* () {
      const sales = makeSales()
      assert.strictEqual(yield* sales, "sp 1")
      assert.strictEqual(yield* as("alice")(sales), "alice 2")
      assert.strictEqual(yield* as("bob")(sales), "bob 3")
      assert.strictEqual(yield* as("sp")(sales), "sp 4")
      // Each has their own from now on.
      assert.strictEqual(yield* sales, "sp 1")
      assert.strictEqual(yield* as("alice")(asService(sales)), "sp 1")
      assert.strictEqual(yield* as("alice")(sales), "alice 2")
      assert.strictEqual(yield* as("sp")(sales), "sp 4")
    }).pipe(Effect.provide(test))
  )

  it.effect("never answers another service principal that shares the cache", () =>
    Effect.gen(function* () {
      const sales = makeSales()
      const other = TestContext.layer({ servicePrincipalId: "other" })
      assert.strictEqual(yield* Effect.provide(sales, service), "sp 1")
      assert.strictEqual(yield* Effect.provide(sales, other), "other 2")
    }).pipe(Effect.provide(OperationCache.layer()))
  )

  it.effect("shares an entry among all tokens of one person", () =>
    Effect.gen(function* () {
      const sales = makeSales()
      assert.strictEqual(yield* withToken("alice", "one")(sales), "alice 1")
      assert.strictEqual(yield* withToken("alice", "two")(sales), "alice 1")
      assert.strictEqual(yield* withToken("bob", "one")(sales), "bob 2")
    }).pipe(Effect.provide(test))
  )

  it.effect("shares the service principal's entries with the development fallback", () =>
    Effect.gen(function* () {
      const sales = makeSales()
      assert.strictEqual(yield* sales, "sp 1")
      const { exit, spans } = yield* spansOf(Effect.provide(sales, asUser({ "x-forwarded-user": "alice" })))
      assert.deepStrictEqual(exit, Exit.succeed("sp 1"))
      assert.deepInclude(spans[0]!.attributes, { "execution.obo_dev_fallback": true, "cache.hit": true })
      // In the fallback UserContext is the service principal, and may be read.
      const user = UserContext.useSync((_) => _.id)
      const whoAmI = Operation.execute(user, { name: "who", cache: { key: [] } })
      assert.strictEqual(yield* Effect.provide(whoAmI, asUser({ "x-forwarded-user": "alice" })), "sp")
    }).pipe(
      Effect.provide([TestContext.layer({ servicePrincipalId: "sp", development: true }), OperationCache.layer()])
    )
  )

  it.effect("dies when cached work under asService reads UserContext", () =>
    Effect.gen(function* () {
      const mine = Operation.execute(
        UserContext.useSync((_) => _.id),
        { name: "mine", cache: { key: [] } }
      )
      assert.strictEqual(yield* as("alice")(mine), "alice")
      assert.strictEqual(yield* as("bob")(mine), "bob")
      const exit = yield* Effect.exit(as("alice")(asService(mine)))
      assert.isTrue(Exit.isFailure(exit) && Cause.hasDies(exit.cause))
      assert.include(String(Exit.isFailure(exit) && Cause.squash(exit.cause)), "UserContext")
    }).pipe(Effect.provide(test))
  )

  it.effect("keeps separate entries for other parameters and other operations", () =>
    Effect.gen(function* () {
      const day = makeDays()
      assert.strictEqual(yield* day("a"), 1)
      assert.strictEqual(yield* day("b"), 2)
      assert.strictEqual(yield* day("1"), 3)
      assert.strictEqual(yield* day(1), 4)
      assert.strictEqual(yield* Operation.execute(Effect.succeed(5), { name: "other", cache: { key: ["a"] } }), 5)
      assert.deepStrictEqual(yield* Effect.all([day("a"), day("b"), day("1"), day(1)]), [1, 2, 3, 4])
    }).pipe(Effect.provide(test))
  )

  it.effect("runs the work of every call that has no cache option", () =>
    Effect.gen(function* () {
      let runs = 0
      const run = Operation.execute(
        Effect.sync(() => ++runs),
        { name: "sales" }
      )
      assert.deepStrictEqual(yield* Effect.all([run, run]), [1, 2])
    }).pipe(Effect.provide(test))
  )

  it.effect("does not cache a failure, a defect or an interruption", () =>
    Effect.gen(function* () {
      const ends = { fail: Effect.fail("no"), die: Effect.die("bug"), interrupt: Effect.interrupt }
      for (const [name, end] of Object.entries<Effect.Effect<never, string>>(ends)) {
        let runs = 0
        const run = Effect.suspend(() => (++runs === 1 ? end : Effect.succeed("done")))
        const operation = Operation.execute(run, { name, cache: { key: [] } })
        assert.isTrue(Exit.isFailure(yield* Effect.exit(operation)))
        assert.strictEqual(yield* operation, "done")
        assert.strictEqual(yield* operation, "done")
        assert.strictEqual(runs, 2)
      }
    }).pipe(Effect.provide(test))
  )

  it.effect("caches undefined, null and false", () =>
    Effect.gen(function* () {
      const day = makeDays()
      for (const value of [undefined, null, false]) {
        const once = day(String(value), (run) => (run > 100 ? "again" : value))
        assert.deepStrictEqual(yield* Effect.all([once, day(String(value), () => "again")]), [value, value])
      }
    }).pipe(Effect.provide(test))
  )

  it.effect("dies for a key part that cannot tell calls apart, such as a Map", () =>
    Effect.gen(function* () {
      const key = [new Map()] as unknown as Operation.Cache["key"]
      const exit = yield* Effect.exit(makeSales({ key }))
      assert.isTrue(Exit.isFailure(exit) && Cause.hasDies(exit.cause))
      assert.include(String(Exit.isFailure(exit) && Cause.squash(exit.cause)), "cannot be part of a cache key")
    }).pipe(Effect.provide(test))
  )
})

describe("Operation.execute with OperationCache", () => {
  it.effect("keeps an entry for 1 h by default, and a hit does not extend it", () =>
    Effect.gen(function* () {
      const sales = makeSales()
      assert.strictEqual(yield* sales, "sp 1")
      yield* TestClock.adjust(3_599_999)
      assert.strictEqual(yield* sales, "sp 1")
      // The hit has not made it live longer.
      yield* TestClock.adjust(1)
      assert.strictEqual(yield* sales, "sp 2")
      yield* TestClock.adjust(3_599_999)
      assert.strictEqual(yield* sales, "sp 2")
    }).pipe(Effect.provide(test))
  )

  it.effect("keeps an entry no longer when the system's clock is set back", () =>
    Effect.gen(function* () {
      const sales = makeSales({ timeToLive: "10 seconds" })
      assert.strictEqual(yield* sales, "sp 1")
      yield* TestClock.adjust("-1 hour")
      yield* TestClock.adjust(9_999)
      assert.strictEqual(yield* sales, "sp 1")
      yield* TestClock.adjust(1)
      assert.strictEqual(yield* sales, "sp 2")
    }).pipe(Effect.provide(test))
  )

  it.effect("keeps an entry for the call's timeToLive, and none with timeToLive 0", () =>
    Effect.gen(function* () {
      const short = makeSales({ timeToLive: "10 seconds", key: ["short"] })
      assert.strictEqual(yield* short, "sp 1")
      yield* TestClock.adjust(9_999)
      assert.strictEqual(yield* short, "sp 1")
      yield* TestClock.adjust(1)
      assert.strictEqual(yield* short, "sp 2")
      const never = makeSales({ timeToLive: 0, key: ["never"] })
      assert.deepStrictEqual(yield* Effect.all([never, never]), ["sp 1", "sp 2"])
      const forever = makeSales({ timeToLive: "Infinity", key: ["forever"] })
      yield* forever
      yield* TestClock.adjust("365 days")
      assert.strictEqual(yield* forever, "sp 1")
    }).pipe(Effect.provide(test))
  )
})

describe("OperationCache.layer", () => {
  const bounded = (options: Parameters<typeof OperationCache.layer>[0]) =>
    Effect.provide(Layer.merge(service, OperationCache.layer(options)))

  it.effect("keeps 1,000 entries by default, and evicts the least recently used", () =>
    Effect.gen(function* () {
      const day = makeDays()
      for (let index = 1; index <= 1_000; index++) yield* day(index)
      assert.strictEqual(yield* day(1), 1)
      yield* day(1_001)
      assert.deepStrictEqual(yield* Effect.all([day(1), day(3), day(1_000), day(1_001)]), [1, 3, 1_000, 1_001])
      assert.strictEqual(yield* day(2), 1_002)
    }).pipe(Effect.provide(test))
  )

  it.effect("counts the entries of all callers toward maxEntries", () =>
    Effect.gen(function* () {
      const sales = makeSales()
      assert.strictEqual(yield* as("a")(sales), "a 1")
      assert.strictEqual(yield* as("b")(sales), "b 2")
      assert.strictEqual(yield* as("a")(sales), "a 1")
      assert.strictEqual(yield* as("c")(sales), "c 3")
      assert.strictEqual(yield* as("a")(sales), "a 1")
      assert.strictEqual(yield* as("b")(sales), "b 4")
    }).pipe(bounded({ maxEntries: 2 }))
  )

  it.effect("evicts down to maxBytes, and neither keeps nor evicts for a value above maxBytes", () =>
    Effect.gen(function* () {
      const day = makeDays()
      const kilobytes = (kilobytes: number) => (run: number) => [run, new Uint8Array(kilobytes * 1024)]
      const runOf = (name: string, size: number) =>
        Effect.map(day(name, kilobytes(size)), (value) => (value as ReadonlyArray<unknown>)[0])
      assert.strictEqual(yield* runOf("a", 30), 1)
      assert.strictEqual(yield* runOf("b", 30), 2)
      assert.strictEqual(yield* runOf("huge", 200), 3)
      assert.strictEqual(yield* runOf("huge", 200), 4)
      assert.deepStrictEqual(yield* Effect.all([runOf("a", 30), runOf("b", 30)]), [1, 2])
      // Both have to go for this one.
      assert.strictEqual(yield* runOf("c", 90), 5)
      assert.deepStrictEqual(yield* Effect.all([runOf("c", 90), runOf("a", 1), runOf("b", 1)]), [5, 6, 7])
    }).pipe(bounded({ maxBytes: 100 * 1024 }))
  )

  it.effect("keeps nothing with maxEntries 0", () =>
    Effect.gen(function* () {
      const sales = makeSales()
      assert.deepStrictEqual(yield* Effect.all([sales, sales]), ["sp 1", "sp 2"])
    }).pipe(bounded({ maxEntries: 0 }))
  )
})
