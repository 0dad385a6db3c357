import { assert, describe, it } from "@effect/vitest"
import { Clock, Context, Duration, Effect, Exit, Fiber } from "effect"
import { TestClock } from "effect/testing"
import { timeoutOrFail } from "../../../src/internal/operation/timeout.ts"
import { counting } from "../../fixtures/clock.ts"

class Who extends Context.Service<Who, string>()("test/Who") {}

type Timed = <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E | "late", R>

type Log = (what: string) => Effect.Effect<void>

const late = () => "late" as const

const usual: Timed = (effect) =>
  Effect.timeoutOrElse(effect, { duration: "5 seconds", orElse: () => Effect.failSync(late) })

const timedOut: Timed = (effect) => timeoutOrFail(effect, Duration.seconds(5), late)

/** What happens, and when, of a caller who is interrupted then or never. */
const story = (
  timed: Timed,
  scene: (timed: Timed, log: Log) => Effect.Effect<unknown, unknown, Who>,
  interruptAt: Duration.Input | undefined
) =>
  Effect.gen(function* () {
    const seen: Array<string> = []
    const log: Log = (what) => Effect.map(Clock.currentTimeMillis, (now) => void seen.push(`${now} ${what}`))
    const caller = yield* scene(timed, log).pipe(
      Effect.provideService(Who, "alice"),
      Effect.onExit((exit) => log(JSON.stringify(exit))),
      Effect.forkChild({ startImmediately: true })
    )
    if (interruptAt !== undefined) {
      yield* TestClock.adjust(interruptAt)
      yield* Effect.forkChild(Effect.andThen(Fiber.interrupt(caller), log("interrupted")), { startImmediately: true })
    }
    yield* Effect.repeat(TestClock.adjust("1 second"), { times: 20 })
    assert.isDefined(caller.pollUnsafe())
    return seen.map((line) => line.replaceAll(/"fiberId":\d+/g, ""))
  }).pipe(Effect.provide(TestClock.layer()))

const stopsSlowly = (log: Log) =>
  Effect.onInterrupt(Effect.never, () => Effect.andThen(Effect.sleep("3 seconds"), log("stopped")))

const scenes: ReadonlyArray<
  readonly [string, (timed: Timed, log: Log) => Effect.Effect<unknown, unknown, Who>, interruptAt?: Duration.Input]
> = [
  ["an answer at once", (timed) => timed(Effect.succeed(1))],
  ["a failure at once", (timed) => timed(Effect.fail("no"))],
  ["a defect at once", (timed) => timed(Effect.die("bug"))],
  ["an interruption at once", (timed) => timed(Effect.interrupt)],
  ["an answer in time, from a service", (timed) => timed(Effect.delay(Who, "4999 millis"))],
  ["a failure in time", (timed) => timed(Effect.delay(Effect.fail("no"), "1 second"))],
  ["a defect in time", (timed) => timed(Effect.delay(Effect.die("bug"), "1 second"))],
  ["an interruption in time", (timed) => timed(Effect.delay(Effect.interrupt, "1 second"))],
  ["too late, and slow to stop", (timed, log) => timed(stopsSlowly(log))],
  ["too late, and not to be stopped", (timed) => timed(Effect.uninterruptible(Effect.sleep("8 seconds")))],
  ["a caller who leaves before", (timed, log) => timed(stopsSlowly(log)), "2 seconds"],
  ["a caller who leaves while it stops", (timed, log) => timed(stopsSlowly(log)), "6 seconds"],
  ["a caller who cannot leave", (timed, log) => Effect.uninterruptible(timed(stopsSlowly(log))), "2 seconds"],
  ["one inside another", (timed, log) => timed(timed(stopsSlowly(log)))],
  [
    "work that stops its caller as it begins",
    (timed, log) =>
      Effect.withFiber((caller) =>
        timed(
          Effect.suspend(() => {
            caller.interruptUnsafe()
            return stopsSlowly(log)
          })
        )
      )
  ]
]

describe("timeoutOrFail does what Effect.timeoutOrElse does", () => {
  for (const [what, scene, interruptAt] of scenes) {
    it.effect(what, () =>
      Effect.gen(function* () {
        const expected = yield* story(usual, scene, interruptAt)
        assert.isNotEmpty(expected)
        assert.deepStrictEqual(yield* story(timedOut, scene, interruptAt), expected)
      })
    )
  }

  it.effect("leaves no clock behind", () =>
    Effect.gen(function* () {
      const waits = { asleep: 0 }
      const exits = [Effect.succeed(1), Effect.as(Effect.yieldNow, 1)]
      for (const effect of exits) {
        assert.deepStrictEqual(yield* Effect.exit(counting(waits)(timedOut(effect))), Exit.succeed(1))
        assert.strictEqual(waits.asleep, 0)
      }
    })
  )
})
