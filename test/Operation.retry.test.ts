import { assert, describe, it } from "@effect/vitest"
import { asUser, DatabricksError, getCurrentUserId, Operation } from "effect-databricks"
import { TestContext } from "effect-databricks/testing"
import { Deferred, Duration, Effect, Exit, Fiber } from "effect"
import { TestClock } from "effect/testing"
import { spansOf } from "./fixtures/spans.ts"

const asAlice = asUser({ "x-forwarded-user": "alice", "x-forwarded-access-token": "token-of-alice" })

const test = TestContext.layer({ servicePrincipalId: "sp" })

const rateLimited = (retryAfter?: Duration.Duration) =>
  DatabricksError.make(new DatabricksError.RateLimitedError({ message: "too many requests", retryAfter }))

describe("execute with retry", () => {
  /** When each attempt began, in milliseconds; `fail` says how each ends. */
  const attempts = (
    options: Operation.Chain,
    fail: (attempt: number) => Effect.Effect<string, unknown>,
    waited: ReadonlyArray<number>
  ) =>
    Effect.gen(function* () {
      const began: Array<number> = []
      const work = Effect.flatMap(
        TestClock.testClockWith((clock) => Effect.succeed(clock.currentTimeMillisUnsafe())),
        (now) => Effect.suspend(() => fail(began.push(now)))
      )
      const fiber = yield* Effect.forkChild(Effect.exit(Operation.execute(work, { name: "greet", ...options })))
      const counts: Array<number> = []
      for (const millis of waited) {
        yield* TestClock.adjust(millis)
        counts.push(began.length)
      }
      return { began, counts, exit: fiber.pollUnsafe() && (yield* Fiber.join(fiber)) }
    })

  it.effect("three attempts, one second and then two apart, each a fifth off at most; the last error is told", () =>
    Effect.gen(function* () {
      const { counts, exit } = yield* attempts(
        { retry: {} },
        () => Effect.fail(rateLimited()),
        [0, 799, 401, 1199, 1201, 60_000]
      )
      assert.deepStrictEqual(counts, [1, 1, 2, 2, 3, 3])
      assert.deepStrictEqual(exit, Exit.fail(rateLimited()))
    }).pipe(Effect.provide(test))
  )

  it.effect("stops at the first success", () =>
    Effect.gen(function* () {
      const { began, exit } = yield* attempts(
        { retry: { attempts: 5, delay: "10 millis" } },
        (attempt) => (attempt < 3 ? Effect.fail(rateLimited()) : Effect.succeed("done")),
        [60_000]
      )
      assert.lengthOf(began, 3)
      assert.deepStrictEqual(exit, Exit.succeed("done"))
    }).pipe(Effect.provide(test))
  )

  it.effect("the delay doubles up to half a minute", () =>
    Effect.gen(function* () {
      const { began } = yield* attempts(
        { retry: { attempts: 8, delay: "10 seconds" } },
        () => Effect.fail(rateLimited()),
        Array.from({ length: 300 }, () => 1000)
      )
      const gaps = began.slice(1).map((at, index) => at - began[index]!)
      const expected = [10_000, 20_000, 30_000, 30_000, 30_000, 30_000, 30_000]
      assert.lengthOf(gaps, 7)
      for (const [index, gap] of gaps.entries()) {
        assert.isAtLeast(gap, expected[index]! * 0.8)
        assert.isAtMost(gap, expected[index]! * 1.2 + 1000)
      }
      assert.isAbove(new Set(gaps).size, 3, "the delays are spread")
    }).pipe(Effect.provide(test))
  )

  it.effect("waits as long as the error asks, also beyond the longest delay", () =>
    Effect.gen(function* () {
      const { counts } = yield* attempts(
        { retry: { delay: "10 millis" } },
        () => Effect.fail(rateLimited(Duration.seconds(45))),
        [44_999, 1, 44_999, 1]
      )
      assert.deepStrictEqual(counts, [1, 2, 2, 3])
    }).pipe(Effect.provide(test))
  )

  it.effect("an error that is not retryable, a defect and an interruption end it at once", () =>
    Effect.gen(function* () {
      const ends = [
        Effect.fail("no"),
        Effect.fail({ isRetryable: false }),
        Effect.fail({ isRetryable: "yes" }),
        Effect.fail(DatabricksError.make(new DatabricksError.NotFoundError({ message: "no" }))),
        Effect.die(rateLimited()),
        Effect.interrupt
      ]
      for (const end of ends) {
        const { began, exit } = yield* attempts({ retry: {} }, () => end, [60_000])
        assert.lengthOf(began, 1)
        assert.isTrue(exit !== undefined && Exit.isFailure(exit))
      }
    }).pipe(Effect.provide(test))
  )

  it.effect("one attempt is no retry", () =>
    Effect.gen(function* () {
      const { began } = yield* attempts({ retry: { attempts: 1 } }, () => Effect.fail(rateLimited()), [60_000])
      assert.lengthOf(began, 1)
    }).pipe(Effect.provide(test))
  )

  it.effect("each attempt has the timeout for itself, and one that timed out is tried again", () =>
    Effect.gen(function* () {
      const { counts, exit } = yield* attempts(
        { timeout: "5 seconds", retry: { attempts: 2, delay: 1 } },
        (attempt) => (attempt === 1 ? Effect.never : Effect.delay(Effect.succeed("done"), "4 seconds")),
        [4999, 3, 4000]
      )
      assert.deepStrictEqual(counts, [1, 2, 2])
      assert.deepStrictEqual(exit, Exit.succeed("done"))
    }).pipe(Effect.provide(test))
  )

  it.effect("an interruption ends it while it waits, and while an attempt that then fails is being stopped", () =>
    Effect.gen(function* () {
      let attempts = 0
      const count = Effect.sync(() => attempts++)
      const waiting = yield* Effect.andThen(count, Effect.fail(rateLimited())).pipe(
        Operation.execute({ name: "greet", retry: {} }),
        Effect.forkChild
      )
      yield* TestClock.adjust(0)
      yield* Fiber.interrupt(waiting)
      yield* TestClock.adjust("1 minute")
      assert.strictEqual(attempts, 1)

      const started = yield* Deferred.make<void>()
      const stubborn = yield* Effect.andThen(count, Deferred.succeed(started, undefined)).pipe(
        Effect.andThen(Effect.never),
        Effect.onInterrupt(() => Effect.fail(rateLimited())),
        Operation.execute({ name: "greet", retry: { delay: 0 } }),
        Effect.forkChild
      )
      yield* Deferred.await(started)
      yield* Fiber.interrupt(stubborn)
      yield* TestClock.adjust("1 minute")
      assert.strictEqual(attempts, 2)
    }).pipe(Effect.provide(test))
  )

  it.effect("one span and one caller for all attempts", () =>
    Effect.gen(function* () {
      let attempts = 0
      const callers: Array<string> = []
      const work = Effect.flatMap(getCurrentUserId, (id) => {
        callers.push(id)
        return ++attempts < 3 ? Effect.fail(rateLimited()) : Effect.void
      })
      const fiber = yield* Operation.execute(work, { name: "greet", retry: {} }).pipe(
        Effect.provide(asAlice),
        spansOf,
        Effect.forkChild
      )
      yield* TestClock.adjust("1 minute")
      assert.lengthOf((yield* Fiber.join(fiber)).spans, 1)
      assert.deepStrictEqual(callers, ["alice", "alice", "alice"])
    }).pipe(Effect.provide(test))
  )
})
