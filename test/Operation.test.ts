import { assert, describe, it } from "@effect/vitest"
import { asUser, DatabricksError, getCurrentUserId, Operation, type ServiceContext } from "effect-databricks"
import { TestContext } from "effect-databricks/testing"
import { Context, Deferred, Duration, Effect, Exit, Fiber, Layer, Logger, References, Schema } from "effect"
import { TestClock } from "effect/testing"
import { spansOf } from "./fixtures/spans.ts"

const headers = (user: string) => ({ "x-forwarded-user": user, "x-forwarded-access-token": `token-of-${user}` })
const asAlice = asUser(headers("alice"))

const test = TestContext.layer({ servicePrincipalId: "sp" })

class Refused extends Schema.TaggedError<Refused>()("Refused", { message: Schema.String }) {}

const rateLimited = (retryAfter?: Duration.Duration) =>
  DatabricksError.make(new DatabricksError.RateLimitedError({ message: "too many requests", retryAfter }))

/** The annotations of what `effect` logged. */
const annotationsOf = <A, E, R>(effect: Effect.Effect<A, E, R>) => {
  const seen: Array<Readonly<Record<string, unknown>>> = []
  const logger = Logger.make(({ fiber }) => {
    seen.push(fiber.getRef(References.CurrentLogAnnotations))
  })
  return Effect.as(Effect.provide(effect, Logger.layer([logger])), seen)
}

const attributes = { rows: 3, nothing: undefined, none: null, zero: 0, no: false }
const said = { rows: 3, zero: 0, no: false, "operation.name": "greet" }

describe("execute", () => {
  it.effect("says in the span who ran, and strips what is undefined or null", () =>
    Effect.gen(function* () {
      const operation = Operation.execute(getCurrentUserId, { name: "greet", attributes })
      const service = yield* spansOf(operation)
      assert.deepStrictEqual(service, {
        exit: Exit.succeed("sp"),
        spans: [
          {
            name: "plugin.execute",
            attributes: { ...said, "execution.context": "service", "caller.id": "sp" },
            exit: Exit.succeed("sp")
          }
        ]
      })
      const user = yield* spansOf(Effect.provide(operation, asAlice))
      assert.deepStrictEqual(user.spans[0]!.attributes, {
        ...said,
        "execution.context": "user",
        "caller.id": "alice"
      })
    }).pipe(Effect.provide(test))
  )

  it.effect("no attribute of the caller's can claim to be somebody else", () =>
    Effect.gen(function* () {
      const { spans } = yield* Effect.void.pipe(
        Operation.execute({
          name: "greet",
          attributes: {
            "execution.context": "service",
            "caller.id": "mallory",
            "operation.name": "other",
            "execution.obo_dev_fallback": true
          }
        }),
        Effect.provide(asAlice),
        spansOf
      )
      assert.deepStrictEqual(spans[0]!.attributes, {
        "operation.name": "greet",
        "execution.context": "user",
        "caller.id": "alice"
      })
    }).pipe(Effect.provide(test))
  )

  it.effect("log lines inside carry who ran, beside what they had; those after it do not", () =>
    Effect.gen(function* () {
      const seen = yield* Effect.log("inside").pipe(
        Operation.execute({ name: "greet" }),
        Effect.andThen(Effect.log("after")),
        Effect.annotateLogs("request", 7),
        Effect.provide(asAlice),
        annotationsOf
      )
      assert.deepStrictEqual(seen, [
        { request: 7, "operation.name": "greet", "execution.context": "user", "caller.id": "alice" },
        { request: 7 }
      ])
    }).pipe(Effect.provide(test))
  )

  it.effect("spans nest, and each says who ran it", () =>
    Effect.gen(function* () {
      const { spans } = yield* Effect.void.pipe(
        Operation.execute({ name: "inner" }),
        Effect.provide(asAlice),
        Operation.execute({ name: "outer" }),
        spansOf
      )
      const told = spans.map((_) => [_.attributes["operation.name"], _.attributes["caller.id"]])
      assert.deepStrictEqual(told, [
        ["outer", "sp"],
        ["inner", "alice"]
      ])
    }).pipe(Effect.provide(test))
  )

  it.effect("a failure, a defect and an interruption end the span with their cause, and no token is in it", () =>
    Effect.gen(function* () {
      const error = new Refused({ message: "no" })
      const ends = [Effect.fail(error), Effect.die("bug"), Effect.interrupt]
      for (const end of ends) {
        const { exit, spans } = yield* spansOf(Effect.provide(Operation.execute(end, { name: "greet" }), asAlice))
        assert.lengthOf(spans, 1)
        assert.deepStrictEqual(spans[0]!.exit, exit)
        assert.isTrue(Exit.isFailure(exit))
        assert.notInclude(JSON.stringify(spans), "token-of-alice")
      }
      const { spans } = yield* spansOf(Operation.execute(Effect.fail(error), { name: "greet" }))
      assert.deepStrictEqual(spans[0]!.exit, Exit.fail(error))
    }).pipe(Effect.provide(test))
  )

  it.effect("a timeout is reported when the work has stopped", () =>
    Effect.gen(function* () {
      const log: Array<string> = []
      const work = Effect.never.pipe(
        Effect.onInterrupt(() =>
          Effect.delay(
            Effect.sync(() => log.push("stopped")),
            "1 second"
          )
        )
      )
      const fiber = yield* Operation.execute(work, { name: "greet", timeout: "5 seconds" }).pipe(
        Effect.tapError(() => Effect.sync(() => log.push("reported"))),
        Effect.flip,
        Effect.forkChild
      )
      yield* TestClock.adjust("4999 millis")
      assert.deepStrictEqual(log, [])
      yield* TestClock.adjust("2 seconds")
      const error = yield* Fiber.join(fiber)
      assert.deepStrictEqual(log, ["stopped", "reported"])
      assert.strictEqual(error._tag, "OperationTimeoutError")
      assert.strictEqual(error.message, "greet took longer than 5s")
    }).pipe(Effect.provide(test))
  )

  it.effect("what ends in time is not touched by its timeout", () =>
    Effect.gen(function* () {
      const inTime = Operation.execute(getCurrentUserId, { name: "greet", timeout: "5 seconds", retry: {} })
      assert.strictEqual(yield* Effect.provide(inTime, asAlice), "alice")
      const refused = Operation.execute(Effect.fail("no"), { name: "greet", timeout: "5 seconds" })
      assert.strictEqual(yield* Effect.flip(refused), "no")
    }).pipe(Effect.provide(test))
  )
})

describe("execute with retry", () => {
  /** When each attempt began, in milliseconds; `fail` says how each ends. */
  const attempts = (
    options: Omit<Operation.Options, "name">,
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

describe("a service of one's own", () => {
  class Greeter extends Context.Service<
    Greeter,
    { readonly greet: (greeting: string) => Effect.Effect<string, never, ServiceContext.ServiceContext> }
  >()("app/Greeter") {
    static readonly layer = Layer.succeed(Greeter, {
      greet: (greeting) =>
        Effect.map(getCurrentUserId, (id) => `${greeting}, ${id}`).pipe(
          Operation.execute({ name: "greeter.greet", attributes: { "greeter.greeting": greeting } })
        )
    })
  }

  it.effect("runs as the caller, in its span", () =>
    Effect.gen(function* () {
      const greeter = yield* Greeter
      const { exit, spans } = yield* spansOf(Effect.provide(greeter.greet("Hello"), asAlice))
      assert.deepStrictEqual(exit, Exit.succeed("Hello, alice"))
      assert.deepStrictEqual(spans[0]!.attributes, {
        "greeter.greeting": "Hello",
        "operation.name": "greeter.greet",
        "execution.context": "user",
        "caller.id": "alice"
      })
    }).pipe(Effect.provide([Greeter.layer, test]))
  )
})
