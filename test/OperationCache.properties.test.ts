import { assert, describe, it } from "@effect/vitest"
import { asUser, ExecutionContext, getCurrentUserId, Operation, OperationCache } from "effect-databricks"
import { TestContext } from "effect-databricks/testing"
import { Clock, Deferred, Effect, Exit, type Fiber, Layer, Schema } from "effect"
import { TestClock } from "effect/testing"

// The service principal and a user have the same id.
const callers = {
  service: <A, E, R>(effect: Effect.Effect<A, E, R>) => effect,
  fallback: Effect.provide(asUser({ "x-forwarded-user": "a" })),
  sp: Effect.provide(TestContext.user({ id: "sp" })),
  a: Effect.provide(TestContext.user({ id: "a" })),
  b: Effect.provide(asUser({ "x-forwarded-user": "b", "x-forwarded-access-token": "one" })),
  bAgain: Effect.provide(asUser({ "x-forwarded-user": "b", "x-forwarded-access-token": "two" }))
}
type Who = keyof typeof callers

/** The caller whose entries each of them shares. */
const owners = {
  service: "service sp",
  fallback: "service sp",
  sp: "user sp",
  a: "user a",
  b: "user b",
  bAgain: "user b"
}

const currentCaller = Effect.map(ExecutionContext.current, (_) => `${_.context} ${_.id}`)

const Caller = Schema.Literals(["service", "fallback", "sp", "a", "b", "bAgain"])
const Key = Schema.Literals(["x", "user:a", 1, '1,"x'])

/** Made anew for each run: a layer that is provided twice is built once. */
const live = (maxEntries: number) =>
  Layer.merge(TestContext.layer({ servicePrincipalId: "sp", development: true }), OperationCache.layer({ maxEntries }))

describe("OperationCache in any sequence of calls", () => {
  const Ask = Schema.Struct({ do: Schema.Literal("ask"), who: Caller, key: Key })
  // Each member is as likely as any other.
  const Step = Schema.Union([
    Ask,
    Ask,
    Ask,
    Ask,
    Ask,
    Ask,
    Schema.Struct({ do: Schema.Literal("forgetKey"), key: Key }),
    Schema.Struct({ do: Schema.Literal("forgetCaller"), who: Caller }),
    Schema.Struct({ do: Schema.Literal("pass"), seconds: Schema.Literals([1, 1_799, 3_600]) })
  ])

  it.effect.prop(
    "returns only values of the same caller and key, made within 1 h and not invalidated",
    {
      steps: Schema.Array(Step).check(Schema.isMinLength(80), Schema.isMaxLength(160)),
      maxEntries: Schema.Literals([1, 3, 100])
    },
    ({ maxEntries, steps }) =>
      Effect.gen(function* () {
        const made = new Map<string, { readonly at: number; readonly run: number }>()
        let runs = 0
        const ask = (key: typeof Key.Type) =>
          Operation.execute(
            Effect.gen(function* () {
              return { by: yield* currentCaller, key, at: yield* Clock.currentTimeMillis, run: ++runs }
            }),
            { name: "ask", cache: { key: [key] } }
          )
        for (const step of steps) {
          const now = yield* Clock.currentTimeMillis
          switch (step.do) {
            case "ask": {
              const owner = owners[step.who]
              const id = JSON.stringify([owner, step.key])
              const last = made.get(id)
              const before = runs
              const { at, by, key, run } = yield* callers[step.who](ask(step.key))
              assert.deepStrictEqual([by, key], [owner, step.key])
              // What was made last, or made now; and what has to be there is.
              if (runs === before) assert.deepStrictEqual({ at, run }, last)
              else assert.strictEqual(at, now)
              const isKept = last !== undefined && now < last.at + 3_600_000
              if (!isKept || maxEntries === 100) assert.strictEqual(runs === before, isKept)
              made.set(id, { at, run })
              break
            }
            case "forgetKey":
              yield* OperationCache.invalidate("ask", [step.key])
              for (const id of made.keys()) if (JSON.parse(id)[1] === step.key) made.delete(id)
              break
            case "forgetCaller":
              yield* callers[step.who](Effect.flatMap(ExecutionContext.current, OperationCache.invalidateCaller))
              for (const id of made.keys()) if (JSON.parse(id)[0] === owners[step.who]) made.delete(id)
              break
            case "pass":
              yield* TestClock.adjust(step.seconds * 1_000)
          }
        }
      }).pipe(Effect.provide(live(maxEntries))),
    { arbitrary: { runs: 100 } }
  )
})

describe("OperationCache under any concurrent calls", () => {
  const Which = Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 20 }))
  const Come = Schema.Struct({
    do: Schema.Literal("come"),
    who: Schema.Literals(["service", "a", "sp"]),
    key: Schema.Literals(["x", "y"])
  })
  const Go = Schema.Struct({ do: Schema.Literals(["go", "go", "succeed", "fail", "die"]), which: Which })
  const Step = Schema.Union([
    Come,
    Come,
    Come,
    Come,
    Go,
    Go,
    Go,
    Schema.Struct({ do: Schema.Literal("forgetKey"), key: Schema.Literals(["x", "y"]) }),
    Schema.Struct({ do: Schema.Literal("forgetCaller"), who: Schema.Literals(["service", "a", "sp"]) }),
    Schema.Struct({ do: Schema.Literal("pass"), millis: Schema.Literals([1, 500, 1_000]) })
  ])

  interface Run {
    readonly who: Who
    readonly key: string
    readonly end: Deferred.Deferred<string, string>
    state: "running" | "stopping" | "over"
  }

  it.effect.prop(
    "shares one run per caller and key for as long as a call waits for it",
    { steps: Schema.Array(Step).check(Schema.isMinLength(80), Schema.isMaxLength(160)) },
    ({ steps }) =>
      Effect.gen(function* () {
        const runs: Array<Run> = []
        const work = (who: Who, key: string) =>
          Effect.gen(function* () {
            assert.strictEqual(yield* getCurrentUserId, who === "service" ? "sp" : who)
            const run: Run = { who, key, end: yield* Deferred.make<string, string>(), state: "running" }
            runs.push(run)
            return yield* Deferred.await(run.end).pipe(
              Effect.onInterrupt(() => {
                run.state = "stopping"
                return Effect.sleep("1 second")
              }),
              Effect.ensuring(Effect.sync(() => void (run.state = "over")))
            )
          })

        // What should be: the flight of each call, who waits for which, and what is kept.
        const current = new Map<string, Run>()
        const kept = new Map<string, string>()
        let waiting: Array<{ readonly fiber: Fiber.Fiber<string, string>; readonly run: Run }> = []
        const stopping: Array<{ readonly fiber: Fiber.Fiber<string, string>; readonly run: Run }> = []
        const idOf = (who: Who, key: string) => `${who} ${key}`
        const running = () => runs.filter((_) => waiting.some(({ run }) => run === _))

        const check = () => {
          for (const run of runs) {
            if (running().includes(run)) assert.strictEqual(run.state, "running")
            else assert.notStrictEqual(run.state, "running", "it runs, and no call waits")
          }
          for (const { fiber } of waiting) assert.isUndefined(fiber.pollUnsafe())
          // The last caller to leave returns when the work has stopped, and not before.
          for (const { fiber, run } of stopping)
            assert.strictEqual(fiber.pollUnsafe() === undefined, run.state !== "over")
        }

        const land = Effect.fnUntraced(function* (run: Run, exit: Exit.Exit<string, string>) {
          const mine = waiting.filter((_) => _.run === run)
          waiting = waiting.filter((_) => _.run !== run)
          yield* Deferred.done(run.end, exit)
          yield* TestClock.adjust(0)
          for (const { fiber } of mine) assert.deepStrictEqual(fiber.pollUnsafe(), exit)
          const id = idOf(run.who, run.key)
          if (current.get(id) !== run) return
          current.delete(id)
          if (Exit.isSuccess(exit)) kept.set(id, exit.value)
        })

        const go = Effect.fnUntraced(function* (leaver: (typeof waiting)[number]) {
          waiting = waiting.filter((_) => _ !== leaver)
          leaver.fiber.interruptUnsafe()
          yield* TestClock.adjust(0)
          if (waiting.some(({ run }) => run === leaver.run)) assert.isDefined(leaver.fiber.pollUnsafe())
          else {
            stopping.push(leaver)
            const id = idOf(leaver.run.who, leaver.run.key)
            if (current.get(id) === leaver.run) current.delete(id)
          }
        })

        for (const step of steps) {
          switch (step.do) {
            case "come": {
              const { key, who } = step
              const id = idOf(who, key)
              const before = runs.length
              const operation = Operation.execute(work(who, key), { name: "ask", cache: { key: [key] } })
              const fiber = yield* Effect.forkChild(callers[who](operation))
              yield* TestClock.adjust(0)
              const value = kept.get(id)
              if (value !== undefined) {
                assert.deepStrictEqual(fiber.pollUnsafe(), Exit.succeed(value))
                break
              }
              assert.strictEqual(runs.length, current.has(id) ? before : before + 1)
              const run = current.get(id) ?? runs.at(-1)!
              current.set(id, run)
              waiting.push({ fiber, run })
              break
            }
            case "go": {
              const leaver = waiting[step.which % waiting.length]
              if (leaver !== undefined) yield* go(leaver)
              break
            }
            case "succeed":
            case "fail":
            case "die": {
              const active = running()
              const run = active[step.which % active.length]
              const end = { succeed: Exit.succeed(`value ${runs.length}`), fail: Exit.fail("no"), die: Exit.die("bug") }
              if (run !== undefined) yield* land(run, end[step.do])
              break
            }
            case "forgetKey":
              yield* OperationCache.invalidate("ask", [step.key])
              for (const who of ["service", "a", "sp"] as const) {
                current.delete(idOf(who, step.key))
                kept.delete(idOf(who, step.key))
              }
              break
            case "forgetCaller":
              yield* callers[step.who](Effect.flatMap(ExecutionContext.current, OperationCache.invalidateCaller))
              for (const key of ["x", "y"]) {
                current.delete(idOf(step.who, key))
                kept.delete(idOf(step.who, key))
              }
              break
            case "pass":
              yield* TestClock.adjust(step.millis)
          }
          check()
        }
        while (waiting.length > 0) yield* go(waiting[0]!)
        yield* TestClock.adjust("1 second")
        check()
        assert.isTrue(runs.every((_) => _.state === "over"))
      }).pipe(Effect.provide(live(100))),
    { arbitrary: { runs: 100 } }
  )
})
