import { assert, describe, it } from "@effect/vitest"
import { Operation } from "effect-databricks"
import { TestContext } from "effect-databricks/testing"
import { Clock, Duration, Effect, Exit, Fiber, Random, Schema } from "effect"
import { TestClock } from "effect/testing"

const Retry = Schema.Struct({
  attempts: Schema.Literals([0, 1, 2, 3, 7]),
  delay: Schema.Literals([0, 1, 1000, 20_000]),
  maxDelay: Schema.Literals([0, 500, 3000, 30_000]),
  budget: Schema.Literals([0, 1, 2500, 60_000, 300_000])
})

/** How an attempt fails, and how long it takes to. */
const Failed = Schema.Struct({
  isRetryable: Schema.Literals([true, true, true, true, false]),
  retryAfter: Schema.UndefinedOr(Schema.Literals([0, 700, 45_000])),
  takes: Schema.Literals([0, 0, 10, 1500, 100_000])
})

// These attempts fail, and the next succeeds.
const Failures = Schema.Array(Failed).check(Schema.isMaxLength(8))

const Seed = Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 1_000_000 }))

// A sleep keeps whole nanoseconds.
const rounding = 0.001

const observed = Effect.fnUntraced(function* (retry: Operation.Retry, failures: typeof Failures.Type, seed: number) {
  const began: Array<number> = []
  const ended: Array<number> = []
  const errors = failures.map(({ isRetryable, retryAfter }) => ({
    isRetryable,
    retryAfter: retryAfter === undefined ? undefined : Duration.millis(retryAfter)
  }))
  const work = Effect.gen(function* () {
    const attempt = began.push(yield* Clock.currentTimeMillis) - 1
    const failure = failures[attempt]
    if (failure === undefined) return "done"
    // An interrupted attempt fails as well, and must not be retried.
    yield* Effect.onInterrupt(Effect.sleep(failure.takes), () => Effect.fail(errors[attempt]))
    ended.push(yield* Clock.currentTimeMillis)
    return yield* Effect.fail(errors[attempt])
  })
  const fiber = yield* Operation.execute(work, { name: "greet", retry }).pipe(
    Random.withSeed(seed),
    Effect.provide(TestContext.layer()),
    Effect.forkChild({ startImmediately: true })
  )
  return { began, ended, errors, fiber }
})

describe("Operation.execute with retry", () => {
  it.effect.prop(
    "retries only retryable errors within attempts, delays and budget, for any failures",
    { retry: Retry, failures: Failures, seed: Seed },
    ({ failures, retry, seed }) =>
      Effect.gen(function* () {
        const { began, ended, errors, fiber } = yield* observed(retry, failures, seed)
        yield* TestClock.adjust("1 day")
        const exit = yield* Fiber.await(fiber)

        const backoff = (failed: number) => Math.min(retry.delay * 2 ** failed, retry.maxDelay)
        const end = ended[0]! + retry.budget
        for (const [failed, at] of began.slice(1).entries()) {
          const { isRetryable, retryAfter = 0 } = failures[failed]!
          assert.isTrue(isRetryable)
          const wait = at - ended[failed]!
          assert.isAtLeast(wait, retryAfter - rounding)
          assert.isAtMost(wait, retryAfter + backoff(failed) + rounding)
          assert.isBelow(at, end)
        }

        const last = began.length - 1
        assert.isBelow(last, Math.max(retry.attempts, 1))
        const failure = failures[last]
        if (failure === undefined) return assert.deepStrictEqual(exit, Exit.succeed("done"))
        assert.deepStrictEqual(exit, Exit.fail(errors[last]))
        if (failure.isRetryable && began.length < retry.attempts) {
          assert.isAtLeast(ended[last]! + (failure.retryAfter ?? 0) + backoff(last), end, "it gave up too soon")
        }
      })
  )

  it.effect.prop(
    "starts no attempt after an interruption, at any moment and for any failures",
    { retry: Retry, failures: Failures, seed: Seed, after: Schema.Literals([0, 1, 10, 400, 1500, 2000, 50_000]) },
    ({ after, failures, retry, seed }) =>
      Effect.gen(function* () {
        const { began, fiber } = yield* observed(retry, failures, seed)
        yield* TestClock.adjust(after)
        const done = fiber.pollUnsafe() !== undefined
        const { length } = began
        yield* Fiber.interrupt(fiber)
        yield* TestClock.adjust("1 day")
        assert.lengthOf(began, length)
        if (!done) assert.isTrue(Exit.hasInterrupts(yield* Fiber.await(fiber)))
      })
  )
})
