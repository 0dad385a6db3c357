import { assert, describe, it } from "@effect/vitest"
import { Deferred, Duration, Effect, Exit, Fiber } from "effect"
import { TestClock } from "effect/testing"
import { setFlagsFromString } from "node:v8"
import { runInNewContext } from "node:vm"
import * as Pool from "../../../src/internal/lakebase/pool.ts"
import { counting } from "../../fixtures/clock.ts"
import * as Fixture from "../../fixtures/pool.ts"
import { pass, settle } from "../../fixtures/pool.ts"

const none = { total: 0, idle: 0, waiting: 0 }

describe("the pool", () => {
  const points = {
    "waiting for a connection": { before: ["alice"], wait: "10 millis" },
    "waiting for an evicted connection to close": { before: [], wait: "40 millis" },
    "opening a connection": { before: [], wait: "150 millis" },
    "using a connection": { before: [], wait: "300 millis" }
  } as const

  for (const [point, { before, wait }] of Object.entries(points)) {
    it.effect(`leaks nothing when a call is interrupted while ${point}`, () =>
      Effect.gen(function* () {
        const { alive, hold, made, pool, use, wrong } = yield* Fixture.make({
          total: 1,
          openTakes: "100 millis",
          closeTakes: "100 millis"
        })
        const first = yield* Effect.forkChild(use("carol", Effect.void))
        yield* pass("100 millis")
        yield* Fiber.join(first)
        const holders = []
        for (const caller of before) {
          holders.push(yield* hold(caller))
          yield* pass("1 second")
        }
        const bob = yield* hold("bob")
        yield* pass(wait)
        yield* bob.interruptUnsafe
        // At once, whatever the server does.
        const exit = yield* Effect.race(bob.exit, Effect.as(settle, undefined))
        assert.isTrue(exit !== undefined && Exit.hasInterrupts(exit))
        for (const holder of holders) yield* holder.end
        const dave = yield* hold("dave")
        yield* pass("1 second")
        assert.isTrue(dave.has())
        yield* dave.end
        yield* pass("40 seconds")
        assert.deepInclude(pool.stats(), none)
        assert.strictEqual(alive(), 0)
        assert.isTrue(made.every((_) => _.state === "closed"))
        assert.deepStrictEqual(wrong, [])
      })
    )
  }

  it.effect("leaks nothing when a call is interrupted before it takes its granted connection", () =>
    Effect.gen(function* () {
      for (const granted of ["connection", "place"]) {
        const { hold, made, pool, use, wrong } = yield* Fixture.make({ total: 1 })
        const alice = yield* hold("alice")
        const bob = yield* hold(granted === "connection" ? "alice" : "bob")
        yield* pass("50 millis")
        assert.strictEqual(pool.stats().waiting, 1)
        const end = Deferred.makeUnsafe<void>()
        const fiber = yield* Effect.forkChild(Effect.andThen(Deferred.await(end), use("carol", Effect.void)))
        // The grant happens within the release, and bob is interrupted before he runs.
        yield* Effect.forkChild(alice.end)
        while (pool.stats().waiting > 0) yield* Effect.yieldNow
        yield* bob.interruptUnsafe
        assert.isFalse(bob.has())
        yield* Deferred.succeed(end, undefined)
        yield* pass("1 second")
        yield* Fiber.join(fiber)
        yield* pass("40 seconds")
        assert.deepInclude(pool.stats(), none)
        assert.isTrue(made.every((_) => _.state === "closed"))
        assert.deepStrictEqual(wrong, [])
      }
    })
  )

  it.effect("finishes calls in use, and fails waiting and new calls, when it closes", () =>
    Effect.gen(function* () {
      const { alive, close, hold, made, pool, use, wrong } = yield* Fixture.make({ total: 2, closeTakes: "10 millis" })
      yield* use("idle", Effect.void)
      const alice = yield* hold("alice")
      const bob = yield* hold("bob")
      const closing = yield* Effect.forkChild(close)
      yield* settle
      assert.strictEqual(String(yield* Effect.flip(Effect.flatten(bob.exit))), "closed")
      assert.strictEqual(yield* Effect.flip(use("carol", Effect.void)), "closed")
      yield* pass("1 second")
      assert.strictEqual(alive(), 1)
      assert.isUndefined(closing.pollUnsafe())
      yield* alice.end
      assert.isTrue(Exit.isSuccess(yield* alice.exit))
      yield* pass("10 millis")
      yield* Fiber.join(closing)
      assert.isTrue(made.every((_) => _.state === "closed"))
      assert.deepInclude(pool.stats(), none)
      assert.deepStrictEqual(wrong, [])
    })
  )

  it.effect("closes connections that are still in use 10 seconds after closing began", () =>
    Effect.gen(function* () {
      const { alive, close, hold, pool, wrong } = yield* Fixture.make({ acquireTimeout: Duration.seconds(10) })
      const alice = yield* hold("alice")
      const closing = yield* Effect.forkChild(close)
      yield* pass("9 seconds")
      assert.strictEqual(alive(), 1)
      yield* pass("1 second")
      yield* Fiber.join(closing)
      assert.strictEqual(alive(), 0)
      yield* alice.end
      assert.deepInclude(pool.stats(), none)
      assert.deepStrictEqual(wrong, [])
    })
  )

  it.effect("finishes closing within 20 seconds when a connection does not close", () =>
    Effect.gen(function* () {
      const { close, use } = yield* Fixture.make({ closeTakes: "1 day", acquireTimeout: Duration.seconds(10) })
      yield* use("alice", Effect.void)
      const closing = yield* Effect.forkChild(close)
      yield* pass("20 seconds")
      assert.isDefined(closing.pollUnsafe())
    })
  )

  it.effect("opens no connection in the place of an evicted one once closing has begun", () =>
    Effect.gen(function* () {
      const { alive, close, hold, made, use } = yield* Fixture.make({ total: 1, closeTakes: "1 second" })
      yield* use("alice", Effect.void)
      yield* pass("1 second")
      const bob = yield* hold("bob")
      const closing = yield* Effect.forkChild(close)
      yield* pass("1 second")
      assert.strictEqual(String(yield* Effect.flip(Effect.flatten(bob.exit))), "closed")
      yield* Fiber.join(closing)
      assert.strictEqual(made.length, 1)
      assert.strictEqual(alive(), 0)
    })
  )

  setFlagsFromString("--expose-gc")
  const collect = runInNewContext("gc") as () => void // it says nothing of its type
  const limits: Pool.Limits = {
    total: 10,
    perCaller: 3,
    idleTimeout: Duration.seconds(30),
    maxLifetime: Duration.hours(1),
    acquireTimeout: Duration.seconds(10)
  }
  const driver: Pool.Driver<number, object, string> = {
    // Large enough to be seen.
    keyOf: (caller) => Buffer.alloc(2_000, `${caller} `).toString("latin1"),
    open: () => Effect.sync(() => ({})),
    isUsable: () => true,
    expire: () => Effect.void,
    refusedBy: () => undefined,
    exhausted: () => "exhausted",
    stuck: () => "stuck",
    closed: "closed"
  }

  it.effect("retains nothing about 10,000 callers whose connections have closed", () =>
    Effect.gen(function* () {
      const pool = yield* Pool.make(limits, driver)
      const comeAndGo = Effect.fnUntraced(function* (first: number) {
        const fiber = yield* Effect.forEach(
          Array.from({ length: 10_000 }, (_, i) => first + i),
          (caller) =>
            Effect.timeoutOption(
              pool.use(caller, [], () => Effect.yieldNow),
              "9 seconds"
            ),
          { concurrency: 100, discard: true }
        ).pipe(Effect.forkChild)
        while (fiber.pollUnsafe() === undefined) yield* TestClock.adjust("15 millis")
        yield* pass("32 seconds")
        assert.deepInclude(pool.stats(), none)
        collect()
        return process.memoryUsage().heapUsed
      })
      const before = yield* comeAndGo(0)
      const after = yield* comeAndGo(10_000)
      assert.isBelow(after - before, 5_000_000)
    })
  )

  it.live("leaves no timer when it has closed", () =>
    Effect.gen(function* () {
      // Its own alone, for those of the process come and go.
      const timers = { asleep: 0 }
      yield* Effect.scoped(
        Effect.gen(function* () {
          const pool = yield* Pool.make({ ...limits, total: 1 }, driver)
          yield* pool.use(1, [], () => Effect.void)
          // The call has to wait, which starts the timer of the grace period.
          const fiber = yield* Effect.forkChild(pool.use(2, [], () => Effect.void))
          yield* Effect.yieldNow
          assert.isAbove(timers.asleep, 1)
          yield* Fiber.interrupt(fiber)
        })
      ).pipe(counting(timers))
      assert.strictEqual(timers.asleep, 0)
    })
  )
})
