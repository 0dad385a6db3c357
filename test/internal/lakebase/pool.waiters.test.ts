import { assert, describe, it } from "@effect/vitest"
import { Duration, Effect, Exit, Fiber } from "effect"
import type * as Pool from "../../../src/internal/lakebase/pool.ts"
import * as Fixture from "../../fixtures/pool.ts"
import * as Deadlocks from "../../../src/internal/lakebase/deadlocks.ts"
import { pass, settle } from "../../fixtures/pool.ts"

/** What a nested call is inside of. */
const inside: ReadonlyArray<Pool.Hold> = [{ ...Deadlocks.make(), state: "live" }]

const none = { total: 0, idle: 0, waiting: 0 }

describe("the pool", () => {
  it.effect("serves waiting callers in order of arrival", () =>
    Effect.gen(function* () {
      const { hold, use } = yield* Fixture.make({ total: 1 })
      const first = yield* hold("alice")
      const served: Array<string> = []
      const callers = ["bob", "alice", "carol", "bob", "dave", "alice", "alice", "erin"]
      const fibers = []
      for (const [i, caller] of callers.entries()) {
        const effect = Effect.andThen(
          Effect.sync(() => {
            served.push(`${i} ${caller}`)
          }),
          Effect.sleep("40 millis")
        )
        fibers.push(yield* Effect.forkChild(use(caller, effect)))
        yield* pass("1 millis")
      }
      yield* pass("40 millis")
      yield* first.end
      for (let i = 0; i < 40; i++) yield* pass("40 millis")
      yield* Fiber.awaitAll(fibers)
      assert.deepStrictEqual(
        served,
        callers.map((caller, i) => `${i} ${caller}`)
      )
    })
  )

  it.effect("serves other callers while one caller waits at its own limit", () =>
    Effect.gen(function* () {
      const { hold, pool } = yield* Fixture.make({ total: 6, perCaller: 2 })
      for (let i = 0; i < 5; i++) yield* hold("alice", [], false)
      assert.strictEqual(pool.stats().waiting, 3)
      const bob = yield* hold("bob")
      assert.isTrue(bob.has())
    })
  )

  it.effect("lends a released connection to its caller while another waits out the 30 ms grace", () =>
    Effect.gen(function* () {
      const { hold, made } = yield* Fixture.make({ total: 1 })
      const alice = yield* hold("alice")
      const bob = yield* hold("bob")
      yield* pass("10 millis")
      const again = yield* hold("alice")
      yield* alice.end
      assert.isTrue(again.has())
      yield* pass("30 millis")
      yield* again.end
      assert.isTrue(bob.has())
      assert.strictEqual(made.length, 2)
    })
  )

  it.effect("fails a waiting call after acquireTimeout, and no longer counts it", () =>
    Effect.gen(function* () {
      const { hold, pool, use } = yield* Fixture.make({ total: 1, acquireTimeout: Duration.seconds(10) })
      const alice = yield* hold("alice")
      const bob = yield* Effect.forkChild(Effect.flip(use("bob", Effect.void)))
      yield* pass("9999 millis")
      assert.isUndefined(bob.pollUnsafe())
      yield* pass("1 millis")
      assert.strictEqual(yield* Fiber.join(bob), "exhausted: total 1")
      assert.deepInclude(pool.stats(), { total: 1, waiting: 0 })
      yield* alice.end
      assert.deepInclude(pool.stats(), { total: 1, idle: 1, waiting: 0 })
    })
  )

  it.effect("counts waiting for an evicted connection to close towards acquireTimeout", () =>
    Effect.gen(function* () {
      const { alive, pool, use } = yield* Fixture.make({
        total: 1,
        closeTakes: "1 minute",
        acquireTimeout: Duration.seconds(10)
      })
      yield* use("alice", Effect.void)
      yield* pass("1 second")
      const bob = yield* Effect.forkChild(Effect.flip(use("bob", Effect.void)))
      yield* pass("10 seconds")
      assert.strictEqual(yield* Fiber.join(bob), "exhausted: total 1")
      assert.strictEqual(alive(), 1)
      assert.deepInclude(pool.stats(), { total: 1, waiting: 0 })
      yield* pass("1 minute")
      assert.deepInclude(pool.stats(), none)
    })
  )

  it.effect("serves 10,000 waiting callers with fewer than 50 looks at the budget each", () =>
    Effect.gen(function* () {
      const n = 10_000
      const { hold, looks, pool, use, wrong } = yield* Fixture.make({ total: 50, acquireTimeout: Duration.hours(1) })
      const holders = []
      for (let i = 0; i < 50; i++) holders.push(yield* hold(`holder ${i}`, [], false))
      const arriving = looks()
      const fibers = []
      for (let i = 0; i < n; i++) fibers.push(yield* Effect.forkChild(use(`user ${i}`, Effect.void)))
      yield* pass("1 second")
      assert.strictEqual(pool.stats().waiting, n)
      const serving = looks()
      for (const holder of holders) yield* holder.end
      yield* Fiber.awaitAll(fibers)
      assert.deepStrictEqual(wrong, [])
      assert.isBelow((serving - arriving) / n, 50)
      assert.isBelow((looks() - serving) / n, 50)
    })
  )

  it.effect("queues 10,000 calls in the 30 ms grace with fewer than 50 looks at the budget each", () =>
    Effect.gen(function* () {
      const n = 10_000
      const { looks, pool, use } = yield* Fixture.make({ total: 1 })
      yield* use("alice", Effect.void)
      const before = looks()
      const fibers = []
      for (let i = 0; i < n; i++) fibers.push(yield* Effect.forkChild(use(`user ${i}`, Effect.void)))
      yield* settle
      assert.strictEqual(pool.stats().waiting, n)
      assert.isBelow((looks() - before) / n, 50)
      yield* Fiber.interruptAll(fibers)
    })
  )

  for (const total of [2, 4, 10]) {
    it.effect(`completes nested calls in both directions between two full pools of ${total}`, () =>
      Effect.gen(function* () {
        const limits = { total, perCaller: total, openTakes: "5 millis", acquireTimeout: Duration.minutes(5) } as const
        const service = yield* Fixture.make(limits)
        const users = yield* Fixture.make(limits)
        const work = Effect.sleep("10 millis")
        // Each keeps what it has while it goes on to the next.
        const chain = (
          [first, ...rest]: ReadonlyArray<readonly [typeof service, string]>,
          within: ReadonlyArray<Pool.Hold> = []
        ): Effect.Effect<void, string> =>
          first === undefined
            ? Effect.void
            : first[0].keep(first[1], (within) => Effect.andThen(work, chain(rest, within)), within)
        const app = [service, "service"] as const
        const one = Array.from({ length: 30 }, (_, i) => {
          const user = [users, `user ${i}`] as const
          return chain(i % 2 === 0 ? [app, user] : [user, app])
        })
        const two = Array.from({ length: 30 }, (_, i) => {
          const [user, friend] = [[users, `user ${i}`] as const, [users, `friend ${i}`] as const]
          return chain(i % 2 === 0 ? [app, user, friend] : [user, friend, app])
        })
        // In the second round the connections of nested calls are idle, and the reserve still holds.
        for (let round = 0; round < 2; round++) {
          const fiber = yield* Effect.forkChild(
            Effect.all(total < 4 ? one : [...one, ...two], { concurrency: "unbounded", discard: true })
          )
          for (let i = 0; i < 500 && fiber.pollUnsafe() === undefined; i++) yield* pass("40 millis")
          const exit = fiber.pollUnsafe()
          assert.isTrue(exit !== undefined && Exit.isSuccess(exit))
        }
        assert.deepStrictEqual([...service.wrong, ...users.wrong], [])
      })
    )
  }

  it.effect("serves a nested call first, as if it had waited as long as its caller's own call", () =>
    Effect.gen(function* () {
      const { hold } = yield* Fixture.make({ total: 3, closeTakes: 0 })
      const holders = [yield* hold("alice"), yield* hold("bob"), yield* hold("dave", inside)]
      yield* hold("carol")
      yield* pass("1 second")
      const nested = yield* hold("carol", inside)
      for (const holder of holders.slice(0, 2)) yield* holder.end
      assert.isTrue(nested.has())
    })
  )

  it.effect("serves a nested call before a call whose caller holds no connection", () =>
    Effect.gen(function* () {
      const { hold } = yield* Fixture.make({ total: 2 })
      const alice = yield* hold("alice")
      const bob = yield* hold("bob")
      assert.isFalse(bob.has())
      const nested = yield* hold("carol", inside)
      assert.isTrue(nested.has())
      const another = yield* hold("dave", inside)
      yield* pass("1 second")
      yield* alice.end
      assert.deepStrictEqual([bob.has(), another.has()], [false, true])
    })
  )
})
