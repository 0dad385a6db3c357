import { assert, describe, it } from "@effect/vitest"
import { Clock, Effect, Schema } from "effect"
import { TestClock } from "effect/testing"
import * as SteadyClock from "../../src/internal/steadyClock.ts"

const Step = Schema.Union([
  Schema.Struct({ pass: Schema.Literals([0, 1, 999, 60_000]) }),
  Schema.Struct({ pass: Schema.Literals([0, 1, 999, 60_000]) }),
  Schema.Struct({ setBack: Schema.Literals([1, 3_600_000]) })
])

describe("SteadyClock.now", () => {
  it.effect.prop(
    "goes on with each millisecond that passes, also when the system's clock is set back, and never by more",
    { steps: Schema.Array(Step).check(Schema.isMaxLength(20)) },
    ({ steps }) =>
      Effect.gen(function* () {
        const now = SteadyClock.now(yield* Clock.Clock)
        const start = now()
        let passed = 0
        for (const step of steps) {
          if ("pass" in step) passed += step.pass
          yield* TestClock.adjust("pass" in step ? step.pass : -step.setBack)
          assert.strictEqual(now() - start, passed)
        }
      })
  )

  it.effect("follows a system's clock that is set forward, or goes on while the machine is suspended", () =>
    Effect.gen(function* () {
      const clock = yield* Clock.Clock
      let wall = 0
      const now = SteadyClock.now({ ...clock, currentTimeMillisUnsafe: () => wall })
      const start = now()
      wall = 3_600_000
      assert.strictEqual(now() - start, 3_600_000)
      wall = 0
      yield* TestClock.adjust("1 minute")
      assert.strictEqual(now() - start, 3_660_000)
    })
  )
})
