import { assert, describe, it } from "@effect/vitest"
import { asUser, HttpFailure, Operation, OperationCache } from "effect-databricks"
import { TestContext } from "effect-databricks/testing"
import { Effect, Exit, Fiber, Random } from "effect"
import { TestClock } from "effect/testing"
import { spansOf } from "./fixtures/spans.ts"

const test = TestContext.layer({ servicePrincipalId: "sp" })

const asAlice = asUser({ "x-forwarded-user": "alice", "x-forwarded-access-token": "token-of-alice" })

const later = { isRetryable: true }

/** Each wait is half of the delay. */
const halfway = Effect.provideService(Random.Random, { nextDoubleUnsafe: () => 0.5, nextIntUnsafe: () => 0 })

/** Work that logs when each attempt begins and stops, and ends as `end` says. */
const logged = (log: Array<string>, end: (attempt: number) => Effect.Effect<string, unknown>) => {
  let attempts = 0
  return Effect.suspend(() => {
    const attempt = ++attempts
    log.push(`begin ${attempt}`)
    return Effect.onInterrupt(end(attempt), () => Effect.sync(() => log.push(`stop ${attempt}`)))
  })
}

describe("Operation.execute with totalTimeout", () => {
  it.effect("interrupts the attempt under way and starts no other", () =>
    Effect.gen(function* () {
      const log: Array<string> = []
      const fiber = yield* logged(log, () => Effect.never).pipe(
        Operation.execute({ name: "greet", timeout: "2 seconds", totalTimeout: "5 seconds", retry: { delay: 2000 } }),
        Effect.tapError(() => Effect.sync(() => log.push("reported"))),
        Effect.flip,
        Effect.forkChild
      )
      yield* TestClock.adjust("4999 millis")
      assert.deepStrictEqual(log, ["begin 1", "stop 1", "begin 2"])
      yield* TestClock.adjust("1 minute")
      assert.deepStrictEqual(log, ["begin 1", "stop 1", "begin 2", "stop 2", "reported"])
      const error = yield* Fiber.join(fiber)
      assert.instanceOf(error, Operation.OperationTimeoutError)
      assert.strictEqual(error instanceof Error && error.message, "greet took longer than 5s")
    }).pipe(halfway, Effect.provide(test))
  )

  it.effect("ends the wait between two attempts", () =>
    Effect.gen(function* () {
      const log: Array<string> = []
      const fiber = yield* logged(log, () => Effect.fail({ ...later, retryAfter: undefined })).pipe(
        Operation.execute({ name: "greet", totalTimeout: "3 seconds", retry: { delay: "20 seconds" } }),
        Effect.flip,
        Effect.forkChild
      )
      yield* TestClock.adjust("3 seconds")
      assert.instanceOf(yield* Fiber.join(fiber), Operation.OperationTimeoutError)
      yield* TestClock.adjust("1 minute")
      assert.deepStrictEqual(log, ["begin 1"])
    }).pipe(halfway, Effect.provide(test))
  )
})

describe("Operation.execute with cache, retry and timeout", () => {
  const greet = {
    name: "greet",
    timeout: "2 seconds",
    retry: { attempts: 2, delay: 0 },
    cache: { key: ["hello"] }
  } as const

  it.effect("retries a timed-out attempt, caches the result, and runs nothing on a hit", () =>
    Effect.gen(function* () {
      const log: Array<string> = []
      const work = logged(log, (attempt) => (attempt === 1 ? Effect.never : Effect.succeed("hello")))
      const both = yield* Effect.all([Operation.execute(work, greet), Operation.execute(work, greet)]).pipe(
        spansOf,
        Effect.forkChild
      )
      yield* TestClock.adjust("2 seconds")
      const { exit, spans } = yield* Fiber.join(both)
      assert.deepStrictEqual(exit, Exit.succeed(["hello", "hello"]))
      assert.deepStrictEqual(log, ["begin 1", "stop 1", "begin 2"])
      const identity = {
        "operation.name": "greet",
        "execution.context": "service",
        "caller.id": "sp",
        "enduser.id": "sp"
      }
      assert.deepStrictEqual(
        spans.map((_) => _.attributes),
        [
          { ...identity, timeout_ms: 2000, "cache.hit": false, "retry.attempts": 2 },
          { ...identity, timeout_ms: 2000, "cache.hit": true }
        ]
      )
    }).pipe(Effect.provide([test, OperationCache.layer()]))
  )

  it.effect("does not cache a failure, and caches a success for its caller only", () =>
    Effect.gen(function* () {
      const log: Array<string> = []
      const work = logged(log, (attempt) => (attempt < 3 ? Effect.fail("no") : Effect.succeed(`hello ${attempt}`)))
      const operation = Operation.execute(work, greet)
      assert.strictEqual(yield* Effect.flip(operation), "no")
      assert.strictEqual(yield* Effect.flip(operation), "no")
      assert.strictEqual(yield* operation, "hello 3")
      assert.strictEqual(yield* Effect.provide(operation, asAlice), "hello 4")
      assert.strictEqual(yield* operation, "hello 3")
    }).pipe(Effect.provide([test, OperationCache.layer()]))
  )

  it.effect("sets retry.attempts and timeout_ms on its span only when those options are set", () =>
    Effect.gen(function* () {
      const attributesOf = (options: Operation.Policy & Pick<Operation.SpanOptions, "attributes">) =>
        Effect.map(spansOf(Operation.execute(Effect.void, { name: "greet", ...options })), ({ spans }) => {
          const {
            "caller.id": _,
            "enduser.id": __,
            "execution.context": ___,
            "operation.name": ____,
            ...others
          } = spans[0]!.attributes
          return others
        })
      assert.deepStrictEqual(yield* attributesOf({}), {})
      assert.deepStrictEqual(yield* attributesOf({ retry: {} }), { "retry.attempts": 1 })
      assert.deepStrictEqual(yield* attributesOf({ timeout: "3 seconds" }), { timeout_ms: 3000 })
      const told = yield* attributesOf({ timeout: "3 seconds", attributes: { timeout_ms: 1 } })
      assert.deepStrictEqual(told, { timeout_ms: 3000 })
    }).pipe(Effect.provide(test))
  )
})

describe("Operation.merge", () => {
  it("takes each option of three levels from the innermost level that sets it", () => {
    const library: Operation.Policy = {
      timeout: 1,
      totalTimeout: 1,
      retry: { attempts: 1, delay: 1, maxDelay: 1, budget: 1 }
    }
    const connector: Operation.Policy = { totalTimeout: 2, retry: { delay: 2, maxDelay: 2 } }
    const call: Operation.Policy = { retry: { maxDelay: 3 } }
    assert.deepStrictEqual(Operation.merge(Operation.merge(library, connector), call), {
      timeout: 1,
      totalTimeout: 2,
      retry: { attempts: 1, delay: 2, maxDelay: 3, budget: 1 }
    })
  })

  it("treats undefined as unset and zero as set", () => {
    const retry = { attempts: 4, delay: 4, maxDelay: 4, budget: 4 }
    const defaults: Operation.Policy = { timeout: 4, totalTimeout: 4, retry }
    const nothing: Operation.Policy = { timeout: undefined, totalTimeout: undefined, retry: undefined }
    assert.deepStrictEqual(Operation.merge(defaults, nothing), defaults)
    assert.deepStrictEqual(Operation.merge(nothing, defaults), defaults)
    const blank = { attempts: undefined, delay: undefined, maxDelay: undefined, budget: undefined }
    assert.deepStrictEqual(Operation.merge(defaults, { retry: blank }), defaults)
    assert.isFalse(Operation.merge(defaults, { retry: false }).retry)
    assert.isFalse(Operation.merge({ retry: false }, {}).retry)
    assert.deepStrictEqual(Operation.merge({ retry: false }, { retry: { attempts: 2 } }).retry, { attempts: 2 })
    assert.deepStrictEqual(Operation.merge(defaults, { timeout: 0, retry: { delay: 0 } }), {
      timeout: 0,
      totalTimeout: 4,
      retry: { ...retry, delay: 0 }
    })
  })
})

describe("OperationTimeoutError", () => {
  it.effect("becomes a 504 response, with its message in development only", () =>
    Effect.gen(function* () {
      const fiber = yield* Effect.forkChild(
        Effect.flip(Operation.execute(Effect.never, { name: "greet", totalTimeout: "1 second" }))
      )
      yield* TestClock.adjust("1 second")
      const error = yield* Fiber.join(fiber)
      for (const [development, message] of [
        [true, "greet took longer than 1s"],
        [false, "Server error"]
      ] as const) {
        const { body, status } = HttpFailure.fromError(error, { development })
        assert.deepStrictEqual({ status, body }, { status: 504, body: { _tag: "OperationTimeoutError", message } })
      }
    }).pipe(Effect.provide(test))
  )
})
