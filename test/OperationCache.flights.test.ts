import { assert, describe, it } from "@effect/vitest"
import {
  asService,
  asUser,
  ExecutionContext,
  getCurrentUserId,
  Operation,
  OperationCache,
  type ServiceContext
} from "effect-databricks"
import { TestContext } from "effect-databricks/testing"
import { Deferred, Effect, Exit, Fiber, Layer } from "effect"
import { TestClock } from "effect/testing"
import { queryObjects } from "node:v8"
import { eventually } from "./fixtures/eventually.ts"

const test = Layer.merge(TestContext.layer({ servicePrincipalId: "sp" }), OperationCache.layer())

const as = (id: string) => Effect.provide(TestContext.user({ id }))
const asAlice = as("alice")

const settle = TestClock.adjust(0)

/** An operation whose runs wait to be told how to end; one that is stopped takes a second to stop. */
const makeSales = () => {
  const runs: Array<{ readonly end: Deferred.Deferred<string, string>; readonly who: string; stopped: boolean }> = []
  const run = Effect.gen(function* () {
    const run = { end: yield* Deferred.make<string, string>(), who: yield* getCurrentUserId, stopped: false }
    runs.push(run)
    return yield* Effect.onInterrupt(Deferred.await(run.end), () =>
      Effect.delay(
        Effect.sync(() => (run.stopped = true)),
        "1 second"
      )
    )
  })
  return { runs, sales: Operation.execute(run, { name: "sales", cache: { key: [] } }) }
}

/** Starts `size` calls of it. */
const crowd = <A, E, R>(size: number, effect: Effect.Effect<A, E, R>) =>
  Effect.tap(
    Effect.forEach(Array.from({ length: size }), () => Effect.forkChild(effect)),
    () => settle
  )

describe("OperationCache under concurrent calls", () => {
  it.effect("runs the work once for 5 calls that overlap, and caches its value", () =>
    Effect.gen(function* () {
      const { runs, sales } = makeSales()
      const waiting = yield* crowd(5, asAlice(sales))
      assert.lengthOf(runs, 1)
      yield* Deferred.succeed(runs[0]!.end, "done")
      assert.deepStrictEqual(yield* Fiber.joinAll(waiting), ["done", "done", "done", "done", "done"])
      assert.strictEqual(yield* asAlice(sales), "done")
      assert.lengthOf(runs, 1)
    }).pipe(Effect.provide(test))
  )

  it.effect("lets work call its own operation, without joining or ending another run", () =>
    Effect.gen(function* () {
      const ends = yield* Effect.replicateEffect(Deferred.make<number>(), 4)
      let runs = 0
      const run: Effect.Effect<number, never, ServiceContext.ServiceContext | OperationCache.OperationCache> =
        Effect.suspend(() => {
          const end = Deferred.await(ends[runs++]!)
          return runs === 1 ? Effect.andThen(recurring, end) : end
        })
      const recurring = Operation.execute(run, { name: "recurring", cache: { key: [], timeToLive: 0 } })
      const outer = yield* crowd(1, recurring)
      assert.strictEqual(runs, 2)
      yield* Deferred.succeed(ends[1]!, 1)
      yield* settle
      const third = yield* crowd(1, recurring)
      yield* Deferred.succeed(ends[0]!, 0)
      assert.deepStrictEqual(yield* Fiber.joinAll(outer), [0])
      const joined = yield* crowd(1, recurring)
      assert.strictEqual(runs, 3)
      yield* Deferred.succeed(ends[2]!, 2)
      assert.deepStrictEqual(yield* Fiber.joinAll([...third, ...joined]), [2, 2])
    }).pipe(Effect.provide(test))
  )

  it.live("releases the value of a run that has ended when it is not cached", () =>
    Effect.gen(function* () {
      class Answer {
        readonly isAnswer = true
      }
      const answer = Effect.sync(() => new Answer())
      for (const work of [answer, Effect.andThen(Effect.yieldNow, answer)]) {
        yield* Effect.asVoid(Operation.execute(work, { name: "answer", cache: { key: [], timeToLive: 0 } }))
        // `queryObjects` collects the garbage first.
        yield* eventually(() => queryObjects(Answer, { format: "count" }) === 0)
      }
    }).pipe(Effect.provide(test))
  )

  it.effect("shares no run between callers, and runs each as its own caller", () =>
    Effect.gen(function* () {
      const { runs, sales } = makeSales()
      const token = (token: string) => asUser({ "x-forwarded-user": "alice", "x-forwarded-access-token": token })
      const calls = [sales, asAlice(sales), as("bob")(sales), as("sp")(sales), asAlice(asService(sales))]
      const all = [...calls, Effect.provide(sales, token("one")), Effect.provide(sales, token("two"))]
      const waiting = yield* Effect.forEach(all, (_) => Effect.forkChild(_))
      yield* settle
      assert.deepStrictEqual(
        runs.map((_) => _.who),
        ["sp", "alice", "bob", "sp"]
      )
      for (const [index, { end, who }] of runs.entries()) yield* Deferred.succeed(end, `${who} ${index}`)
      assert.deepStrictEqual(yield* Fiber.joinAll(waiting), [
        "sp 0",
        "alice 1",
        "bob 2",
        "sp 3",
        "sp 0",
        "alice 1",
        "alice 1"
      ])
    }).pipe(Effect.provide(test))
  )

  it.effect("continues a run for its last waiting call, also after the first caller has left", () =>
    Effect.gen(function* () {
      for (let left = 0; left < 3; left++) {
        const { runs, sales } = makeSales()
        const waiting = yield* crowd(3, as(`alice ${left}`)(sales))
        const others = waiting.filter((_, index) => index !== left)
        // Leaving does not wait: the work goes on.
        for (const other of others) yield* Fiber.interrupt(other)
        assert.isFalse(runs[0]!.stopped)
        yield* Deferred.succeed(runs[0]!.end, "done")
        assert.strictEqual(yield* Fiber.join(waiting[left]!), "done")
        for (const other of others) assert.isTrue(Exit.hasInterrupts(yield* Fiber.await(other)))
        assert.lengthOf(runs, 1)
      }
    }).pipe(Effect.provide(test))
  )

  it.effect("interrupts a run when its last caller leaves, and lets that caller wait until it has stopped", () =>
    Effect.gen(function* () {
      const { runs, sales } = makeSales()
      const waiting = yield* crowd(3, asAlice(sales))
      yield* Fiber.interrupt(waiting[1]!)
      yield* Fiber.interrupt(waiting[0]!)
      const last = yield* Effect.forkChild(Fiber.interrupt(waiting[2]!))
      yield* TestClock.adjust(999)
      assert.isUndefined(last.pollUnsafe())
      assert.isFalse(runs[0]!.stopped)
      yield* TestClock.adjust(1)
      assert.isDefined(last.pollUnsafe())
      assert.isTrue(runs[0]!.stopped)
    }).pipe(Effect.provide(test))
  )

  it.effect("starts a new run for a call that arrives while the last run stops", () =>
    Effect.gen(function* () {
      const { runs, sales } = makeSales()
      const [first] = yield* crowd(1, asAlice(sales))
      const stopping = yield* Effect.forkChild(Fiber.interrupt(first!))
      yield* settle
      const waiting = yield* crowd(2, asAlice(sales))
      assert.lengthOf(runs, 2)
      yield* TestClock.adjust("1 second")
      yield* Fiber.join(stopping)
      // That the first has stopped is no reason for the second to be forgotten.
      const late = yield* crowd(1, asAlice(sales))
      assert.lengthOf(runs, 2)
      yield* Deferred.succeed(runs[1]!.end, "second")
      assert.deepStrictEqual(yield* Fiber.joinAll([...waiting, ...late]), ["second", "second", "second"])
      assert.strictEqual(yield* asAlice(sales), "second")
    }).pipe(Effect.provide(test))
  )

  it.effect("ends only the call that timed out, and not the run that another call waits for", () =>
    Effect.gen(function* () {
      const { runs, sales } = makeSales()
      const hasty = yield* Effect.forkChild(Effect.timeoutOption(asAlice(sales), "3 seconds"))
      const [patient] = yield* crowd(1, asAlice(sales))
      yield* TestClock.adjust("3 seconds")
      assert.strictEqual((yield* Fiber.join(hasty))._tag, "None")
      yield* Deferred.succeed(runs[0]!.end, "done")
      assert.strictEqual(yield* Fiber.join(patient!), "done")
    }).pipe(Effect.provide(test))
  )

  it.effect("gives a failure, defect or interruption to every waiting call, and does not cache it", () =>
    Effect.gen(function* () {
      const ends = [Exit.fail("no"), Exit.die("bug"), Exit.interrupt(7)]
      for (const [index, end] of ends.entries()) {
        const { runs, sales } = makeSales()
        const who = as(`alice ${index}`)
        const waiting = yield* crowd(3, Effect.exit(who(sales)))
        yield* Deferred.done(runs[0]!.end, end)
        yield* TestClock.adjust("1 second")
        assert.deepStrictEqual(yield* Fiber.joinAll(waiting), [end, end, end])
        const [again] = yield* crowd(1, who(sales))
        assert.lengthOf(runs, 2)
        yield* Deferred.succeed(runs[1]!.end, "done")
        assert.strictEqual(yield* Fiber.join(again!), "done")
      }
    }).pipe(Effect.provide(test))
  )

  it.effect("caches the value of work that completes synchronously", () =>
    Effect.gen(function* () {
      let runs = 0
      const run = Effect.sync(() => ++runs)
      const count = Operation.execute(run, { name: "count", cache: { key: [] } })
      assert.deepStrictEqual(yield* Effect.all([count, count], { concurrency: 2 }), [1, 1])
      const none = Operation.execute(run, { name: "none", cache: { key: [], timeToLive: 0 } })
      assert.deepStrictEqual(yield* Effect.all([none, none]), [2, 3])
    }).pipe(Effect.provide(test))
  )
})

describe("OperationCache invalidation during a run", () => {
  const invalidations = [
    ["operation and key", OperationCache.invalidate("sales", [])],
    ["operation", OperationCache.invalidate("sales")],
    ["caller", Effect.flatMap(ExecutionContext.current, OperationCache.invalidateCaller).pipe(asAlice)]
  ] as const

  it.effect.each(invalidations)("by %s keeps the old value from the cache and from later calls", ([, forget]) =>
    Effect.gen(function* () {
      const { runs, sales } = makeSales()
      const before = yield* crowd(2, asAlice(sales))
      yield* forget
      const after = yield* crowd(2, asAlice(sales))
      assert.lengthOf(runs, 2)
      yield* Deferred.succeed(runs[0]!.end, "old")
      assert.deepStrictEqual(yield* Fiber.joinAll(before), ["old", "old"])
      // Neither is in the cache yet.
      const late = yield* crowd(1, asAlice(sales))
      assert.lengthOf(runs, 2)
      yield* Deferred.succeed(runs[1]!.end, "new")
      assert.deepStrictEqual(yield* Fiber.joinAll([...after, ...late]), ["new", "new", "new"])
      assert.strictEqual(yield* asAlice(sales), "new")
      assert.lengthOf(runs, 2)
    }).pipe(Effect.provide(test))
  )

  it.effect("by another key, operation or caller leaves the run alone", () =>
    Effect.gen(function* () {
      const { runs, sales } = makeSales()
      const waiting = yield* crowd(1, asAlice(sales))
      yield* OperationCache.invalidate("sales", [1])
      yield* OperationCache.invalidate("other", [])
      yield* Effect.flatMap(ExecutionContext.current, OperationCache.invalidateCaller)
      const more = yield* crowd(1, asAlice(sales))
      assert.lengthOf(runs, 1)
      yield* Deferred.succeed(runs[0]!.end, "done")
      assert.deepStrictEqual(yield* Fiber.joinAll([...waiting, ...more]), ["done", "done"])
      assert.strictEqual(yield* asAlice(sales), "done")
      assert.lengthOf(runs, 1)
    }).pipe(Effect.provide(test))
  )

  it.effect("by the work itself, before its first wait, keeps the value from the cache", () =>
    Effect.gen(function* () {
      let runs = 0
      const gate = yield* Deferred.make<void>()
      const run = Effect.suspend(() => {
        runs++
        return Effect.as(Effect.andThen(OperationCache.invalidate("refresh", []), Deferred.await(gate)), runs)
      })
      const refresh = Operation.execute(run, { name: "refresh", cache: { key: [] } })
      const first = yield* crowd(1, refresh)
      const second = yield* crowd(1, refresh)
      assert.strictEqual(runs, 2)
      yield* Deferred.succeed(gate, undefined)
      assert.deepStrictEqual(yield* Fiber.joinAll([...first, ...second]), [1, 2])
      yield* refresh
      assert.strictEqual(runs, 3)
    }).pipe(Effect.provide(test))
  )
})

describe("OperationCache invalidation", () => {
  it.effect("by key removes it for all callers, and by caller removes all of their entries", () =>
    Effect.gen(function* () {
      let runs = 0
      const call = (name: string, key: number) =>
        Operation.execute(
          Effect.sync(() => ++runs),
          { name, cache: { key: [key] } }
        )
      const each = [call("a", 1), call("a", 2), call("b", 1)]
      const all = Effect.all([Effect.all(each), asAlice(Effect.all(each)), as("sp")(Effect.all(each))])
      yield* all
      yield* OperationCache.invalidate("a", [1])
      assert.deepStrictEqual(yield* all, [
        [10, 2, 3],
        [11, 5, 6],
        [12, 8, 9]
      ])
      const forgetMe = Effect.flatMap(ExecutionContext.current, OperationCache.invalidateCaller)
      yield* asAlice(forgetMe)
      assert.deepStrictEqual(yield* all, [
        [10, 2, 3],
        [13, 14, 15],
        [12, 8, 9]
      ])
      yield* forgetMe
      assert.deepStrictEqual(yield* all, [
        [16, 17, 18],
        [13, 14, 15],
        [12, 8, 9]
      ])
    }).pipe(Effect.provide(test))
  )
})
