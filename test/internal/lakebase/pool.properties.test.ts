import { assert, describe, it } from "@effect/vitest"
import { Clock, Duration, Effect, Schema } from "effect"
import * as Fixture from "../../fixtures/pool.ts"
import { pass, settle } from "../../fixtures/pool.ts"

const Step = Schema.Union([
  Schema.Struct({
    do: Schema.Literals(["acquire", "acquire", "acquire", "nested"]),
    caller: Schema.Literals(["a", "b", "c", "d", "e", "f"])
  }),
  Schema.Struct({
    do: Schema.Literals(["release", "release", "interrupt", "kill", "break", "mend"]),
    which: Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 50 }))
  }),
  Schema.Struct({ do: Schema.Literal("pass"), millis: Schema.Literals([0, 1, 7, 29, 30, 31, 100, 999, 1_000, 40_000]) })
])

const callers = ["a", "b", "c", "d", "e", "f"]

describe("the pool", () => {
  it.effect.prop(
    "keeps its limits, serves every call that it can and ends empty under random steps",
    {
      steps: Schema.Array(Step).check(Schema.isMinLength(100), Schema.isMaxLength(400)),
      total: Schema.Literals([1, 2, 3, 4, 6]),
      perCaller: Schema.Literals([1, 2, 3]),
      openTakes: Schema.Literals([0, 5, 50]),
      closeTakes: Schema.Literals([0, 5, 50])
    },
    ({ closeTakes, openTakes, perCaller, steps, total }) =>
      Effect.scoped(
        Effect.gen(function* () {
          const fixture = yield* Fixture.make({
            total,
            perCaller,
            maxLifetime: Duration.minutes(2),
            openTakes,
            closeTakes
          })
          const { alive, close, failing, hold, made, pool, wrong } = fixture
          type Holder = Effect.Success<ReturnType<typeof hold>> & {
            readonly caller: string
            readonly depth: number
            readonly since: number
          }
          let holders: Array<Holder> = []
          const left = new Map<string, number>()

          const check = Effect.fnUntraced(function* () {
            yield* settle
            const time = yield* Clock.currentTimeMillis
            for (const { caller, ended } of holders) if (ended()) left.set(caller, time)
            holders = holders.filter((_) => !_.ended())
            const { idle, total: counted, waiting } = pool.stats()
            const using = holders.filter((_) => _.has())
            assert.deepStrictEqual(wrong, [])
            assert.isAtMost(counted, total)
            assert.isAtMost(alive(), counted)
            assert.strictEqual(made.filter((_) => _.state === "open" && _.users === 0).length, idle)
            assert.strictEqual(made.filter((_) => _.users > 0).length, using.length)
            const waiters = holders.filter((_) => !_.has())
            const opening = waiters.length - waiting
            assert.isAtLeast(opening, 0)
            const allowed = total - Math.min(2, Math.floor(total / 2))
            // A call that is not nested never takes a reserved connection.
            assert.isAtMost(using.filter((_) => _.depth === 0).length, allowed)
            // A call waits only if all connections are in use, its caller is at the limit, or its grace is not over.
            if (opening > 0 || using.length >= allowed) return
            for (const { caller, since } of waiters) {
              // A call that has ended keeps its place until its connection has closed.
              const mayHaveLeft = time - (left.get(caller) ?? -Infinity) < closeTakes
              if (alive(caller) >= perCaller || mayHaveLeft) continue
              assert.strictEqual(counted, total, `${caller} waits though there is room`)
              if (idle > 0 && alive(caller) === 0)
                assert.isAtMost(time - since, 60, `${caller} waits though another's connection is idle`)
            }
          })

          for (const step of steps) {
            switch (step.do) {
              case "acquire":
              case "nested": {
                const depth = step.do === "nested" ? 1 : 0
                const { caller } = step
                const since = yield* Clock.currentTimeMillis
                holders.push({ ...(yield* hold(caller, depth)), caller, depth, since })
                break
              }
              case "release":
              case "interrupt": {
                const holder = holders[step.which % holders.length]
                if (holder === undefined) break
                yield* step.do === "release" ? holder.end : holder.interruptUnsafe
                break
              }
              case "kill": {
                const open = made.filter((_) => _.state === "open")
                const resource = open[step.which % open.length]
                if (resource !== undefined) resource.alive = false
                break
              }
              case "break":
                failing.add(callers[step.which % callers.length]!)
                break
              case "mend":
                failing.clear()
                break
              case "pass":
                yield* pass(step.millis)
            }
            yield* check()
          }

          // All calls finish, then all connections fall idle and close.
          for (const holder of holders) yield* holder.end
          for (let i = 0; i < 12; i++) yield* pass("1 second")
          yield* check()
          assert.deepStrictEqual(holders, [])
          yield* pass("32 seconds")
          assert.deepInclude(pool.stats(), { total: 0, idle: 0, waiting: 0 })
          assert.isTrue(made.every((_) => _.state === "closed"))
          yield* close
        })
      ),
    // They take as long as the machine needs for them.
    { arbitrary: { runs: 100 }, timeout: 300_000 }
  )
})
