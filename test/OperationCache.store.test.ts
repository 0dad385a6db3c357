import { assert, describe, it } from "@effect/vitest"
import { ExecutionContext, Operation, OperationCache } from "effect-databricks"
import { TestContext } from "effect-databricks/testing"
import { Cause, Deferred, Duration, Effect, Exit, Fiber, Layer, Logger, Option } from "effect"
import { TestClock } from "effect/testing"

const service = TestContext.layer()

const makeStore = (faults: Partial<OperationCache.Store> = {}) => {
  const values = new Map<string, unknown>()
  const store: OperationCache.Store = {
    get: ({ id }) => Effect.sync(() => (values.has(id) ? Option.some(values.get(id)) : Option.none())),
    set: ({ id }, value) => Effect.sync(() => void values.set(id, value)),
    remove: () => Effect.sync(() => values.clear()),
    ...faults
  }
  return { layer: OperationCache.layerStore(Effect.succeed(store)), values }
}

const makeCount = () => {
  let runs = 0
  const run = Effect.sync(() => ++runs)
  return Operation.execute(run, { name: "count", cache: { key: ["a"] } })
}

/** How `effect` ended, and what was logged. */
const logged = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.gen(function* () {
    const lines: Array<{ readonly level: string; readonly text: string }> = []
    const logger = Logger.make(({ cause, logLevel, message }) => {
      lines.push({ level: logLevel, text: `${message} ${Cause.pretty(cause)}` })
    })
    const exit = yield* Effect.exit(Effect.provide(effect, Logger.layer([logger])))
    return { exit, lines }
  })

const faults: ReadonlyArray<readonly [string, () => Effect.Effect<never, unknown>]> = [
  ["fails", () => Effect.fail("the store is down")],
  ["dies", () => Effect.die("the store is down")],
  ["is interrupted", () => Effect.interrupt],
  [
    "throws",
    () => {
      throw new Error("the store is down")
    }
  ],
  ["fails after 10 ms", () => Effect.delay(Effect.fail("the store is down"), 10)]
]

describe("OperationCache", () => {
  it.effect("passes key, value and time to live to its store, and each invalidation", () =>
    Effect.gen(function* () {
      const told: Array<unknown> = []
      const { layer } = makeStore({
        set: (...all) => Effect.sync(() => void told.push(all)),
        remove: (which) => Effect.sync(() => void told.push(which))
      })
      yield* Effect.gen(function* () {
        const caller = yield* ExecutionContext.current
        const key = OperationCache.keyOf(caller, "count", ["a"])
        yield* makeCount()
        yield* OperationCache.invalidate("count", ["a"])
        yield* OperationCache.invalidateCaller(caller)
        assert.deepStrictEqual(told, [
          [key, 1, Duration.hours(1)],
          { operation: key.operation },
          { caller: key.caller }
        ])
      }).pipe(Effect.provide(layer))
    }).pipe(Effect.provide(service))
  )

  it.effect("does not store a value with timeToLive 0, or one that its own work invalidated", () =>
    Effect.gen(function* () {
      let sets = 0
      const { layer } = makeStore({ set: () => Effect.sync(() => void sets++) })
      const forgetful = Effect.andThen(OperationCache.invalidate("self", []), Effect.succeed(1))
      yield* Effect.gen(function* () {
        yield* Operation.execute(Effect.succeed(1), { name: "now", cache: { key: [], timeToLive: 0 } })
        // Invalidated before it was stored.
        yield* Operation.execute(forgetful, { name: "self", cache: { key: [] } })
        assert.strictEqual(sets, 0)
      }).pipe(Effect.provide(layer))
    }).pipe(Effect.provide(service))
  )

  it.effect("returns from get the value and whether it was a hit", () =>
    Effect.gen(function* () {
      const key = OperationCache.keyOf(yield* ExecutionContext.current, "count", [])
      const { get } = yield* OperationCache.OperationCache
      let runs = 0
      const count = get(
        key,
        Duration.hours(1),
        Effect.sync(() => ++runs)
      )
      assert.deepStrictEqual(yield* Effect.all([count, count]), [
        { value: 1, hit: false },
        { value: 1, hit: true }
      ])
    }).pipe(Effect.provide([service, makeStore().layer]))
  )

  it.effect("returns the value that its store holds, without running the work", () =>
    Effect.gen(function* () {
      const count = makeCount()
      assert.deepStrictEqual(yield* Effect.all([count, count]), [1, 1])
    }).pipe(Effect.provide([service, makeStore().layer]))
  )

  it.effect("keeps the entries of two in-memory layers apart", () =>
    Effect.gen(function* () {
      const count = makeCount()
      const once = yield* Effect.provide(Effect.all([count, count]), OperationCache.layer(), { local: true })
      const twice = yield* Effect.provide(count, OperationCache.layer(), { local: true })
      assert.deepStrictEqual([...once, twice], [1, 1, 2])
    }).pipe(Effect.provide(service))
  )
})

describe("OperationCache whose store", () => {
  it.effect.each(faults)("%s on get runs the work and logs a warning", ([, fault]) =>
    Effect.gen(function* () {
      const { layer } = makeStore({ get: fault })
      const count = makeCount()
      const fiber = yield* Effect.forkChild(logged(Effect.provide(Effect.all([count, count]), layer)))
      yield* TestClock.adjust("1 second")
      const { exit, lines } = yield* Fiber.join(fiber)
      assert.deepStrictEqual(exit, Exit.succeed([1, 2]))
      assert.deepStrictEqual(
        lines.map((_) => _.level),
        ["Warn", "Warn"]
      )
      assert.include(lines[0]!.text, "could not be read")
    }).pipe(Effect.provide(service))
  )

  it.effect("never answers get runs the work after 1 s and logs a warning", () =>
    Effect.gen(function* () {
      const { layer } = makeStore({ get: () => Effect.never })
      const fiber = yield* Effect.forkChild(logged(Effect.provide(makeCount(), layer)))
      yield* TestClock.adjust(999)
      assert.isUndefined(fiber.pollUnsafe())
      yield* TestClock.adjust(1)
      const { exit, lines } = yield* Fiber.join(fiber)
      assert.deepStrictEqual(exit, Exit.succeed(1))
      assert.lengthOf(lines, 1)
    }).pipe(Effect.provide(service))
  )

  it.effect("never answers get interrupts that get when its caller is interrupted", () =>
    Effect.gen(function* () {
      const stopped = yield* Deferred.make<void>()
      const get = () => Effect.onInterrupt(Effect.never, () => Deferred.succeed(stopped, undefined))
      const fiber = yield* Effect.forkChild(logged(Effect.provide(makeCount(), makeStore({ get }).layer)))
      yield* TestClock.adjust(0)
      yield* Fiber.interrupt(fiber)
      assert.isTrue(yield* Deferred.isDone(stopped))
    }).pipe(Effect.provide(service))
  )
})

describe("OperationCache whose store", () => {
  it.effect.each(faults)("%s on set returns the value and logs a warning", ([, fault]) =>
    Effect.gen(function* () {
      const { layer } = makeStore({ set: fault })
      const count = makeCount()
      const fiber = yield* Effect.forkChild(logged(Effect.provide(Effect.all([count, count]), layer)))
      yield* TestClock.adjust("1 second")
      const { exit, lines } = yield* Fiber.join(fiber)
      assert.deepStrictEqual(exit, Exit.succeed([1, 2]))
      assert.lengthOf(lines, 2)
      assert.include(lines[0]!.text, "could not be written")
    }).pipe(Effect.provide(service))
  )

  it.effect("never answers set returns the value after 1 s and logs a warning", () =>
    Effect.gen(function* () {
      const { layer } = makeStore({ set: () => Effect.never })
      const fiber = yield* Effect.forkChild(logged(Effect.provide(makeCount(), layer)))
      yield* TestClock.adjust(999)
      assert.isUndefined(fiber.pollUnsafe())
      yield* TestClock.adjust(1)
      const { exit, lines } = yield* Fiber.join(fiber)
      assert.deepStrictEqual(exit, Exit.succeed(1))
      assert.lengthOf(lines, 1)
    }).pipe(Effect.provide(service))
  )

  it.effect("is in memory returns a value that it cannot measure, uncached, and logs a warning", () =>
    Effect.gen(function* () {
      let runs = 0
      const run = Effect.sync(() => ({
        run: ++runs,
        get broken() {
          throw new Error("nobody reads me")
        }
      }))
      const operation = Effect.map(Operation.execute(run, { name: "odd", cache: { key: [] } }), (_) => _.run)
      const { exit, lines } = yield* logged(Effect.all([operation, operation]))
      assert.deepStrictEqual(exit, Exit.succeed([1, 2]))
      assert.lengthOf(lines, 2)
      assert.include(lines[0]!.text, "nobody reads me")
    }).pipe(Effect.provide(Layer.merge(service, OperationCache.layer())))
  )
})

describe("OperationCache.invalidate", () => {
  it.effect.each(faults)("fails with InvalidationError when the store %s on remove", ([, fault]) =>
    Effect.gen(function* () {
      const { layer } = makeStore({ remove: fault })
      const caller = yield* ExecutionContext.current
      for (const forget of [OperationCache.invalidate("count", []), OperationCache.invalidateCaller(caller)]) {
        const fiber = yield* Effect.forkChild(Effect.flip(Effect.provide(forget, layer)))
        yield* TestClock.adjust("1 second")
        const error = yield* Fiber.join(fiber)
        assert.strictEqual(error._tag, "InvalidationError")
        assert.include(error.message, "invalidate again")
        assert.isDefined(error.cause)
      }
    }).pipe(Effect.provide(service))
  )

  it.effect("also removes a value whose write to the store is under way", () =>
    Effect.gen(function* () {
      const gate = yield* Deferred.make<void>()
      const { layer, values } = makeStore({
        set: ({ id }, value) =>
          Effect.andThen(
            Deferred.await(gate),
            Effect.sync(() => void values.set(id, value))
          )
      })
      yield* Effect.gen(function* () {
        const count = makeCount()
        const first = yield* Effect.forkChild(count)
        yield* TestClock.adjust(0)
        yield* OperationCache.invalidate("count", ["a"])
        yield* Deferred.succeed(gate, undefined)
        assert.strictEqual(yield* Fiber.join(first), 1)
        assert.strictEqual(values.size, 0)
        assert.deepStrictEqual(yield* Effect.all([count, count]), [2, 2])
      }).pipe(Effect.provide(layer))
    }).pipe(Effect.provide(service))
  )
})
