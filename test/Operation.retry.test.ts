import { assert, describe, it } from "@effect/vitest"
import { asUser, DatabricksError, getCurrentUserId, Operation } from "effect-databricks"
import { TestContext } from "effect-databricks/testing"
import { Clock, Deferred, Duration, Effect, Exit, Fiber, Random } from "effect"
import { TestClock } from "effect/testing"
import { spansOf } from "./fixtures/spans.ts"

const asAlice = asUser({ "x-forwarded-user": "alice", "x-forwarded-access-token": "token-of-alice" })

const test = TestContext.layer({ servicePrincipalId: "sp" })

const rateLimited = (retryAfter?: Duration.Duration) =>
  DatabricksError.make(new DatabricksError.RateLimitedError({ message: "too many requests", retryAfter }))

/** Each wait is half of the delay. */
const halfway = Effect.provideService(Random.Random, { nextDoubleUnsafe: () => 0.5, nextIntUnsafe: () => 0 })

const gapsOf = (began: ReadonlyArray<number>) => began.slice(1).map((at, index) => at - began[index]!)

describe("Operation.execute with retry", () => {
  /** When each attempt began, in milliseconds; `fail` says how each ends. */
  const attempts = (
    options: Operation.Policy,
    fail: (attempt: number) => Effect.Effect<string, unknown>,
    waited: ReadonlyArray<Duration.Input>
  ) =>
    Effect.gen(function* () {
      const began: Array<number> = []
      const work = Effect.flatMap(
        TestClock.testClockWith((clock) => Effect.succeed(clock.currentTimeMillisUnsafe())),
        (now) => Effect.suspend(() => fail(began.push(now)))
      )
      const fiber = yield* Effect.forkChild(Effect.exit(Operation.execute(work, { name: "greet", ...options })))
      const counts: Array<number> = []
      for (const duration of waited) {
        yield* TestClock.adjust(duration)
        counts.push(began.length)
      }
      return { began, counts, exit: fiber.pollUnsafe() && (yield* Fiber.join(fiber)) }
    })

  it.effect("makes 3 attempts, up to 1 s and then 2 s apart, and fails with the last error", () =>
    Effect.gen(function* () {
      const { counts, exit } = yield* attempts(
        { retry: {} },
        () => Effect.fail(rateLimited()),
        [0, 499, 1, 999, 1, 60_000]
      )
      assert.deepStrictEqual(counts, [1, 1, 2, 2, 3, 3])
      assert.deepStrictEqual(exit, Exit.fail(rateLimited()))
    }).pipe(halfway, Effect.provide(test))
  )

  it.effect("waits a random part of the delay, from nearly none to nearly all", () =>
    Effect.gen(function* () {
      const { began } = yield* attempts(
        { retry: { attempts: 200, delay: 1000, maxDelay: 1000 } },
        () => Effect.fail(rateLimited()),
        ["5 minutes"]
      )
      const gaps = gapsOf(began)
      assert.lengthOf(gaps, 199)
      assert.isBelow(Math.min(...gaps), 50)
      assert.isAbove(Math.max(...gaps), 950)
      assert.isAtMost(Math.max(...gaps), 1000)
    }).pipe(Random.withSeed("jitter"), Effect.provide(test))
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

  it.effect("doubles the delay up to maxDelay, which is 30 s by default", () =>
    Effect.gen(function* () {
      const gapsWith = (retry: Operation.Retry) =>
        Effect.map(
          attempts({ retry }, () => Effect.fail(rateLimited()), ["5 minutes"]),
          ({ began }) => gapsOf(began)
        )
      const gaps = yield* gapsWith({ attempts: 6, delay: "10 seconds" })
      assert.deepStrictEqual(gaps, [5000, 10_000, 15_000, 15_000, 15_000])
      const capped = yield* gapsWith({ attempts: 5, delay: "10 seconds", maxDelay: "12 seconds" })
      assert.deepStrictEqual(capped, [5000, 6000, 6000, 6000])
    }).pipe(halfway, Effect.provide(test))
  )

  it.effect("waits for the error's retryAfter plus a part of the delay, also beyond maxDelay", () =>
    Effect.gen(function* () {
      const { began } = yield* attempts(
        { retry: { delay: "10 millis" } },
        () => Effect.fail(rateLimited(Duration.seconds(45))),
        ["5 minutes"]
      )
      assert.deepStrictEqual(gapsOf(began), [45_005, 45_010])
    }).pipe(halfway, Effect.provide(test))
  )

  it.effect("starts no attempt beyond the budget, and fails with the last error at once", () =>
    Effect.gen(function* () {
      const slow = Effect.delay(Effect.fail(rateLimited()), "10 seconds")
      const spent = yield* attempts({ retry: { attempts: 9, delay: 0, budget: "25 seconds" } }, () => slow, [
        "40 seconds"
      ])
      assert.deepStrictEqual(gapsOf(spent.began), [10_000, 10_000, 10_000])
      assert.deepStrictEqual(spent.exit, Exit.fail(rateLimited()))
      const asked = Effect.fail(rateLimited(Duration.minutes(5)))
      const late = yield* attempts({ retry: {} }, () => asked, [0])
      assert.lengthOf(late.began, 1)
      assert.deepStrictEqual(late.exit, Exit.fail(rateLimited(Duration.minutes(5))))
    }).pipe(Effect.provide(test))
  )

  it.effect("makes 1 attempt for an error that is not retryable, a defect or an interruption", () =>
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

  it.effect("does not retry with attempts: 1", () =>
    Effect.gen(function* () {
      const { began } = yield* attempts({ retry: { attempts: 1 } }, () => Effect.fail(rateLimited()), [60_000])
      assert.lengthOf(began, 1)
    }).pipe(Effect.provide(test))
  )

  it.effect("applies the timeout to each attempt, and retries one that timed out", () =>
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

  it.effect("stops when interrupted during a wait, or during an attempt that fails as it stops", () =>
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

  it.effect("uses one span and one caller for all attempts", () =>
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
      const { spans } = yield* Fiber.join(fiber)
      assert.lengthOf(spans, 1)
      assert.strictEqual(spans[0]!.attributes["retry.attempts"], 3)
      assert.deepStrictEqual(callers, ["alice", "alice", "alice"])
    }).pipe(Effect.provide(test))
  )
})

describe("Operation.schedule", () => {
  it.effect("retries any effect with the delays of Operation.execute, for as long as `while` holds", () =>
    Effect.gen(function* () {
      const began: Array<number> = []
      const fiber = yield* Effect.flatMap(Clock.currentTimeMillis, (now) =>
        Effect.fail({ attempt: began.push(now), retryAfter: Duration.seconds(1) })
      ).pipe(
        Effect.retry({
          schedule: Operation.schedule({ attempts: 9, delay: 100, maxDelay: 150 }),
          while: ({ attempt }) => attempt < 4
        }),
        Effect.flip,
        Effect.forkChild
      )
      yield* TestClock.adjust("1 minute")
      assert.strictEqual((yield* Fiber.join(fiber)).attempt, 4)
      assert.deepStrictEqual(gapsOf(began), [1050, 1075, 1075])
    }).pipe(halfway)
  )

  it.effect("allows 3 attempts by default, and starts afresh for each run", () =>
    Effect.gen(function* () {
      let attempts = 0
      const retried = Effect.ignore(
        Effect.retry(
          Effect.suspend(() => Effect.fail(++attempts)),
          Operation.schedule()
        )
      )
      const fiber = yield* Effect.forkChild(Effect.andThen(retried, retried))
      yield* TestClock.adjust("1 minute")
      yield* Fiber.join(fiber)
      assert.strictEqual(attempts, 6)
    })
  )
})
