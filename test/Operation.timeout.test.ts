import { assert, describe, it } from "@effect/vitest"
import { Operation, type ServiceContext } from "effect-databricks"
import { TestContext } from "effect-databricks/testing"
import { Cause, Clock, Context, type Duration, Effect, Exit, Fiber, Layer } from "effect"
import { TestClock } from "effect/testing"
import { counting } from "./fixtures/clock.ts"

class Who extends Context.Service<Who, string>()("test/Who") {}

type Call = Effect.Effect<unknown, unknown, Who | ServiceContext.ServiceContext>

type Log = (what: string) => Effect.Effect<void>

const timed = Operation.execute({ name: "greet", timeout: "5 seconds" })

/** Takes 3 seconds to stop. */
const slowToStop = (log: Log) =>
  Effect.onInterrupt(Effect.never, () => Effect.andThen(Effect.sleep("3 seconds"), log("stopped")))

const told = Exit.match({
  onSuccess: String,
  onFailure: (cause: Cause.Cause<unknown>) => {
    if (Cause.hasInterrupts(cause)) return "interrupted"
    const error = Cause.squash(cause)
    return error instanceof Operation.OperationTimeoutError ? error.message : String(error)
  }
})

/** What happens, and at which second, to a caller who is interrupted at `leaves` or never. */
const story = (call: (log: Log) => Call, leaves?: Duration.Input) =>
  Effect.gen(function* () {
    const seen: Array<string> = []
    const log: Log = (what) => Effect.map(Clock.currentTimeMillis, (now) => void seen.push(`${now / 1000} ${what}`))
    const caller = yield* call(log).pipe(
      Effect.onExit((exit) => log(told(exit))),
      Effect.forkChild({ startImmediately: true })
    )
    if (leaves !== undefined) {
      yield* TestClock.adjust(leaves)
      yield* Effect.forkChild(Effect.andThen(Fiber.interrupt(caller), log("left")), { startImmediately: true })
    }
    yield* TestClock.adjust("20 seconds")
    return seen
  }).pipe(Effect.provide(Layer.mergeAll(TestContext.layer(), TestClock.layer(), Layer.succeed(Who, "alice"))))

describe("Operation.execute with a timeout", () => {
  const inTime = [
    ["an immediate success", Effect.succeed(1), "0 1"],
    ["an immediate failure", Effect.fail("no"), "0 no"],
    ["an immediate defect", Effect.die("bug"), "0 bug"],
    ["an immediate interruption", Effect.interrupt, "0 interrupted"],
    ["a success in time, from a service", Effect.delay(Who, "4999 millis"), "4.999 alice"],
    ["a failure in time", Effect.delay(Effect.fail("no"), "1 second"), "1 no"],
    ["a defect in time", Effect.delay(Effect.die("bug"), "1 second"), "1 bug"],
    ["an interruption in time", Effect.delay(Effect.interrupt, "1 second"), "1 interrupted"]
  ] as const satisfies ReadonlyArray<readonly [string, Call, string]>

  it.effect.each(inTime)("passes on %s", ([, work, expected]) =>
    Effect.gen(function* () {
      assert.deepStrictEqual(yield* story(() => timed(work as Call)), [expected])
    })
  )

  it.effect("fails only when work that takes 3 s to stop has stopped", () =>
    Effect.gen(function* () {
      const expected = ["8 stopped", "8 greet took longer than 5s"]
      assert.deepStrictEqual(yield* story((log) => timed(slowToStop(log))), expected)
      assert.deepStrictEqual(yield* story((log) => timed(timed(slowToStop(log)))), expected)
    })
  )

  it.effect("waits for work that cannot be interrupted, and then fails", () =>
    Effect.gen(function* () {
      const seen = yield* story(() => timed(Effect.uninterruptible(Effect.sleep("8 seconds"))))
      assert.deepStrictEqual(seen, ["8 greet took longer than 5s"])
    })
  )

  it.effect("returns to an interrupted caller when the work has stopped, before and after the timeout", () =>
    Effect.gen(function* () {
      const call = (log: Log) => timed(slowToStop(log))
      assert.deepStrictEqual(yield* story(call, "2 seconds"), ["5 stopped", "5 interrupted", "5 left"])
      assert.deepStrictEqual(yield* story(call, "6 seconds"), ["8 stopped", "8 interrupted", "8 left"])
    })
  )

  it.effect("stops the work after the timeout also for a caller that cannot be interrupted", () =>
    Effect.gen(function* () {
      const seen = yield* story((log) => Effect.uninterruptible(timed(slowToStop(log))), "2 seconds")
      assert.deepStrictEqual(seen, ["8 stopped", "8 interrupted", "8 left"])
    })
  )

  it.effect("stops work that interrupts its caller as it starts", () =>
    Effect.gen(function* () {
      const seen = yield* story((log) =>
        Effect.withFiber((caller) =>
          timed(
            Effect.suspend(() => {
              caller.interruptUnsafe()
              return slowToStop(log)
            })
          )
        )
      )
      assert.deepStrictEqual(seen, ["3 stopped", "3 interrupted"])
    })
  )

  it.effect("leaves no timer behind when the work ends in time", () =>
    Effect.gen(function* () {
      const waits = { asleep: 0 }
      for (const work of [Effect.succeed(1), Effect.as(Effect.yieldNow, 1)]) {
        assert.strictEqual(yield* counting(waits)(timed(work)), 1)
        assert.strictEqual(waits.asleep, 0)
      }
    }).pipe(Effect.provide(TestContext.layer()))
  )
})
