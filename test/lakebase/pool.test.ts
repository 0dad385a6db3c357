import { assert, describe, it } from "@effect/vitest"
import { Deferred, Duration, Effect, Exit, Fiber, Scope } from "effect"
import { TestClock } from "effect/testing"
import { setFlagsFromString } from "node:v8"
import { runInNewContext } from "node:vm"
import * as Pool from "../../src/internal/lakebase/pool.ts"
import * as Fixture from "../fixtures/pool.ts"
import { pass, settle } from "../fixtures/pool.ts"

const none = { total: 0, idle: 0, waiting: 0 }

describe("whose connection", () => {
  it.effect("a caller's own connection is used again, nobody else's", () =>
    Effect.gen(function* () {
      const { made, use, wrong } = yield* Fixture.make()
      for (const caller of ["alice", "bob", "alice", "bob", "alice"]) yield* use(caller, Effect.void)
      assert.deepStrictEqual(
        made.map((_) => _.caller),
        ["alice", "bob"]
      )
      assert.deepStrictEqual(wrong, [])
    })
  )

  it.effect("the most recently used is taken first, so that the others fall idle", () =>
    Effect.gen(function* () {
      const { alive, hold, use } = yield* Fixture.make({ total: 8 })
      const first = yield* hold("alice")
      const second = yield* hold("alice")
      yield* first.end
      yield* second.end
      for (let i = 0; i < 8; i++) {
        yield* use("alice", Effect.void)
        yield* pass("5 seconds")
      }
      assert.strictEqual(alive(), 1)
    })
  )

  it.effect("a dead connection is replaced, also when it died idle", () =>
    Effect.gen(function* () {
      const { made, pool, use, wrong } = yield* Fixture.make({ perCaller: 1 })
      yield* use(
        "alice",
        Effect.sync(() => {
          made[0]!.alive = false
        })
      )
      yield* use("alice", Effect.void)
      made[1]!.alive = false
      yield* use("alice", Effect.void)
      made[2]!.alive = false
      yield* pass("1 second")
      assert.deepStrictEqual(
        made.map((_) => _.state),
        ["closed", "closed", "closed"]
      )
      assert.deepInclude(pool.stats(), none)
      assert.deepStrictEqual(wrong, [])
    })
  )

  it.effect("a connection whose use was interrupted is closed, one whose use failed is kept", () =>
    Effect.gen(function* () {
      const { hold, made, use } = yield* Fixture.make()
      yield* Effect.exit(use("alice", Effect.fail("no")))
      assert.strictEqual(made[0]!.state, "open")
      yield* Effect.flatMap(hold("alice"), (_) => _.interrupt)
      assert.strictEqual(made.length, 1)
      assert.strictEqual(made[0]!.state, "closed")
    })
  )

  it.effect("idle connections close after the idle timeout, all after their lifetime", () =>
    Effect.gen(function* () {
      const { alive, hold, made, use } = yield* Fixture.make({
        idleTimeout: Duration.seconds(30),
        maxLifetime: Duration.minutes(5)
      })
      yield* use("alice", Effect.void)
      yield* pass("29 seconds")
      assert.strictEqual(alive(), 1)
      yield* pass("2 seconds")
      assert.strictEqual(alive(), 0)
      for (let i = 0; i < 30; i++) {
        yield* use("bob", Effect.void)
        yield* pass("20 seconds")
      }
      // 10 minutes, of which none lives longer than 5.
      assert.strictEqual(made.length, 3)
      const holder = yield* hold("carol")
      yield* pass("10 minutes")
      yield* holder.end
      assert.strictEqual(alive("carol"), 0)
    })
  )
})

describe("the budget", () => {
  it.effect("holds, for all callers and for each, until what was open has closed", () =>
    Effect.gen(function* () {
      const { alive, limits, made, pool, use, wrong } = yield* Fixture.make({
        total: 10,
        openTakes: "5 millis",
        closeTakes: "20 millis",
        acquireTimeout: Duration.minutes(10)
      })
      let most = 0
      const fiber = yield* Effect.forEach(
        Array.from({ length: 600 }, (_, i) => `user ${(i * 7) % 40}`),
        (caller) =>
          use(
            caller,
            Effect.andThen(
              Effect.sync(() => {
                most = Math.max(most, alive())
              }),
              Effect.sleep("10 millis")
            )
          ),
        { concurrency: "unbounded", discard: true }
      ).pipe(Effect.forkChild)
      for (let i = 0; i < 1_000 && fiber.pollUnsafe() === undefined; i++) yield* pass("20 millis")
      assert.isTrue(Exit.isSuccess(yield* Fiber.await(fiber)))
      assert.strictEqual(most, limits.total)
      assert.deepStrictEqual(wrong, [])
      yield* pass("32 seconds")
      assert.deepInclude(pool.stats(), none)
      assert.isTrue(made.every((_) => _.state === "closed"))
    })
  )

  it.effect("the least recently used idle connection gives way, whoever's it is, and not a warm one", () =>
    Effect.gen(function* () {
      const { alive, hold, pool, use } = yield* Fixture.make({ total: 3, perCaller: 3 })
      const bobs = yield* hold("bob")
      yield* use("alice", Effect.void)
      yield* pass("10 millis")
      yield* use("carol", Effect.void)
      yield* pass("10 millis")
      yield* bobs.end
      const dave = yield* hold("dave")
      assert.isFalse(dave.has())
      yield* pass("30 millis")
      assert.isTrue(dave.has())
      assert.deepStrictEqual([alive("alice"), alive("bob"), alive("carol")], [0, 1, 1])
      assert.strictEqual(pool.stats().evictions, 1)
    })
  )

  it.effect("who has a connection gets another's only when that is cold, or after having waited as long", () =>
    Effect.gen(function* () {
      const { hold, use } = yield* Fixture.make({ total: 4 })
      const alice = yield* hold("alice")
      for (const caller of ["b", "c", "d"]) yield* use(caller, Effect.void)
      const second = yield* hold("alice")
      // The others are never idle for long.
      for (let i = 0; i < 9; i++) {
        yield* pass("100 millis")
        for (const caller of ["b", "c", "d"]) yield* use(caller, Effect.void)
      }
      assert.isFalse(second.has())
      yield* pass("130 millis")
      assert.isTrue(second.has())
      yield* alice.end
    })
  )

  it.effect("callers who are as many as the connections do not take them from each other", () =>
    Effect.gen(function* () {
      const { made, pool, use } = yield* Fixture.make({ total: 20, openTakes: "5 millis" })
      const callers = Array.from({ length: 20 }, (_, i) => `user ${i}`)
      const fiber = yield* Effect.forEach(
        callers,
        (caller) => Effect.repeat(use(caller, Effect.sleep("1 millis")), { times: 200 }),
        { concurrency: "unbounded", discard: true }
      ).pipe(Effect.forkChild)
      for (let i = 0; i < 1_000 && fiber.pollUnsafe() === undefined; i++) yield* pass("1 millis")
      assert.isDefined(fiber.pollUnsafe())
      assert.strictEqual(made.length, 20)
      assert.strictEqual(pool.stats().evictions, 0)
    })
  )
})

describe("who waits", () => {
  it.effect("first come, first served", () =>
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

  it.effect("a caller at their own limit holds up nobody else", () =>
    Effect.gen(function* () {
      const { hold, pool } = yield* Fixture.make({ total: 6, perCaller: 2 })
      for (let i = 0; i < 5; i++) yield* hold("alice")
      assert.strictEqual(pool.stats().waiting, 3)
      const bob = yield* hold("bob")
      assert.isTrue(bob.has())
    })
  )

  it.effect("a released connection goes to its caller at once, while another's first waiter is in the grace", () =>
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

  it.effect("fails once the acquire timeout has passed, and leaves nothing", () =>
    Effect.gen(function* () {
      const { hold, pool, use } = yield* Fixture.make({ total: 1, acquireTimeout: Duration.seconds(10) })
      const alice = yield* hold("alice")
      const bob = yield* Effect.forkChild(Effect.flip(use("bob", Effect.void)))
      yield* pass("9999 millis")
      assert.isUndefined(bob.pollUnsafe())
      yield* pass("1 millis")
      assert.strictEqual(yield* Fiber.join(bob), "exhausted")
      assert.deepInclude(pool.stats(), { total: 1, waiting: 0 })
      yield* alice.end
      assert.deepInclude(pool.stats(), { total: 1, idle: 1, waiting: 0 })
    })
  )

  it.effect("an evicted connection that does not close is within the timeout too", () =>
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
      assert.strictEqual(yield* Fiber.join(bob), "exhausted")
      assert.strictEqual(alive(), 1)
      assert.deepInclude(pool.stats(), { total: 1, waiting: 0 })
      yield* pass("1 minute")
      assert.deepInclude(pool.stats(), none)
    })
  )

  it.effect("10,000 callers wait, and what is released costs no search among them", () =>
    Effect.gen(function* () {
      const n = 10_000
      const { hold, looks, pool, use, wrong } = yield* Fixture.make({ total: 50, acquireTimeout: Duration.hours(1) })
      const holders = []
      for (let i = 0; i < 48; i++) holders.push(yield* hold(`holder ${i}`))
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

  it.effect("nor do 10,000 who are refused for the moment cost those who come after them", () =>
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
})

describe("interruption leaves neither count nor connection", () => {
  const points = {
    waiting: { before: ["alice"], wait: "10 millis" },
    "waiting for an evicted one to close": { before: [], wait: "40 millis" },
    opening: { before: [], wait: "150 millis" },
    using: { before: [], wait: "300 millis" }
  } as const

  for (const [point, { before, wait }] of Object.entries(points)) {
    it.effect(point, () =>
      Effect.gen(function* () {
        const { alive, hold, made, pool, use, wrong } = yield* Fixture.make({
          total: 1,
          openTakes: "100 millis",
          closeTakes: "100 millis"
        })
        const first = yield* Effect.forkChild(use("carol", Effect.void))
        yield* pass("100 millis")
        yield* Fiber.join(first)
        const holders = []
        for (const caller of before) {
          holders.push(yield* hold(caller))
          yield* pass("1 second")
        }
        const bob = yield* hold("bob")
        yield* pass(wait)
        yield* bob.interruptUnsafe
        // At once, whatever the server does.
        const exit = yield* Effect.race(bob.exit, Effect.as(settle, undefined))
        assert.isTrue(exit !== undefined && Exit.hasInterrupts(exit))
        for (const holder of holders) yield* holder.end
        const dave = yield* hold("dave")
        yield* pass("1 second")
        assert.isTrue(dave.has())
        yield* dave.end
        yield* pass("40 seconds")
        assert.deepInclude(pool.stats(), none)
        assert.strictEqual(alive(), 0)
        assert.isTrue(made.every((_) => _.state === "closed"))
        assert.deepStrictEqual(wrong, [])
      })
    )
  }

  it.effect("granted, but not yet taken", () =>
    Effect.gen(function* () {
      for (const granted of ["connection", "place"]) {
        const { hold, made, pool, use, wrong } = yield* Fixture.make({ total: 1 })
        const alice = yield* hold("alice")
        const bob = yield* hold(granted === "connection" ? "alice" : "bob")
        yield* pass("50 millis")
        assert.strictEqual(pool.stats().waiting, 1)
        const end = Deferred.makeUnsafe<void>()
        const fiber = yield* Effect.forkChild(Effect.andThen(Deferred.await(end), use("carol", Effect.void)))
        // The grant happens within the release, and bob is interrupted before he runs.
        yield* Effect.forkChild(alice.end)
        while (pool.stats().waiting > 0) yield* Effect.yieldNow
        yield* bob.interruptUnsafe
        assert.isFalse(bob.has())
        yield* Deferred.succeed(end, undefined)
        yield* pass("1 second")
        yield* Fiber.join(fiber)
        yield* pass("40 seconds")
        assert.deepInclude(pool.stats(), none)
        assert.isTrue(made.every((_) => _.state === "closed"))
        assert.deepStrictEqual(wrong, [])
      }
    })
  )
})

describe("opening", () => {
  it.effect("that fails frees the place and wakes the next", () =>
    Effect.gen(function* () {
      const { failing, hold, pool, use, wrong } = yield* Fixture.make({
        total: 1,
        openTakes: "10 millis",
        closeTakes: "10 millis"
      })
      failing.add("alice")
      const alice = yield* Effect.forkChild(Effect.flip(use("alice", Effect.void)))
      yield* settle
      const bob = yield* hold("bob")
      yield* pass("10 millis")
      assert.strictEqual(yield* Fiber.join(alice), "refused")
      yield* pass("20 millis")
      assert.isTrue(bob.has())
      assert.strictEqual(pool.stats().total, 1)
      assert.deepStrictEqual(wrong, [])
    })
  )
})

describe("fibers that hold connections and need another", () => {
  for (const total of [2, 4, 10]) {
    it.effect(`finish at a full budget: service and user, both ways, ${total} each`, () =>
      Effect.gen(function* () {
        const limits = { total, perCaller: total, openTakes: "5 millis", acquireTimeout: Duration.minutes(5) } as const
        const service = yield* Fixture.make(limits)
        const users = yield* Fixture.make(limits)
        const work = Effect.sleep("10 millis")
        const one = Array.from({ length: 30 }, (_, i) =>
          i % 2 === 0
            ? service.use("service", Effect.andThen(work, users.use(`user ${i}`, work, 1)))
            : users.use(`user ${i}`, Effect.andThen(work, service.use("service", work, 1)))
        )
        const two = Array.from({ length: 30 }, (_, i) =>
          i % 2 === 0
            ? service.use(
                "service",
                Effect.andThen(work, users.use(`user ${i}`, Effect.andThen(work, users.use(`friend ${i}`, work, 2)), 1))
              )
            : users.use(
                `user ${i}`,
                Effect.andThen(work, users.use(`friend ${i}`, Effect.andThen(work, service.use("service", work, 2)), 1))
              )
        )
        // Connections that nested use has opened are there for all, and still the reserve is kept.
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

  it.effect("come before those who hold none", () =>
    Effect.gen(function* () {
      const { hold } = yield* Fixture.make({ total: 2 })
      const alice = yield* hold("alice")
      const bob = yield* hold("bob")
      assert.isFalse(bob.has())
      const nested = yield* hold("carol", 1)
      assert.isTrue(nested.has())
      const another = yield* hold("dave", 1)
      yield* pass("1 second")
      yield* alice.end
      assert.deepStrictEqual([bob.has(), another.has()], [false, true])
    })
  )
})

describe("leases", () => {
  it.effect("last until their scope closes", () =>
    Effect.gen(function* () {
      const { made, pool } = yield* Fixture.make()
      const scope = yield* Scope.make()
      const resource = yield* Scope.provide(pool.lease("alice", 0), scope)
      assert.strictEqual(resource, made[0])
      assert.deepInclude(pool.stats(), { total: 1, idle: 0 })
      yield* Scope.close(scope, Exit.void)
      assert.deepInclude(pool.stats(), { total: 1, idle: 1 })
      const interrupted = yield* Scope.make()
      yield* Scope.provide(pool.lease("alice", 0), interrupted)
      yield* Scope.close(interrupted, Exit.interrupt(1))
      yield* settle
      assert.deepInclude(pool.stats(), none)
    })
  )
})

describe("closing", () => {
  it.effect("those in use finish, those who wait fail, and nobody gets a new one", () =>
    Effect.gen(function* () {
      const { alive, close, hold, made, pool, use, wrong } = yield* Fixture.make({ total: 2, closeTakes: "10 millis" })
      yield* use("idle", Effect.void)
      const alice = yield* hold("alice")
      const bob = yield* hold("bob")
      const closing = yield* Effect.forkChild(close)
      yield* settle
      assert.strictEqual(String(yield* Effect.flip(Effect.flatten(bob.exit))), "closed")
      assert.strictEqual(yield* Effect.flip(use("carol", Effect.void)), "closed")
      yield* pass("1 second")
      assert.strictEqual(alive(), 1)
      assert.isUndefined(closing.pollUnsafe())
      yield* alice.end
      assert.isTrue(Exit.isSuccess(yield* alice.exit))
      yield* pass("10 millis")
      yield* Fiber.join(closing)
      assert.isTrue(made.every((_) => _.state === "closed"))
      assert.deepInclude(pool.stats(), none)
      assert.deepStrictEqual(wrong, [])
    })
  )

  it.effect("takes connections from those who do not finish", () =>
    Effect.gen(function* () {
      const { alive, close, hold, pool, wrong } = yield* Fixture.make({ acquireTimeout: Duration.seconds(10) })
      const alice = yield* hold("alice")
      const closing = yield* Effect.forkChild(close)
      yield* pass("9 seconds")
      assert.strictEqual(alive(), 1)
      yield* pass("1 second")
      yield* Fiber.join(closing)
      assert.strictEqual(alive(), 0)
      yield* alice.end
      assert.deepInclude(pool.stats(), none)
      assert.deepStrictEqual(wrong, [])
    })
  )

  it.effect("ends, though a connection does not close", () =>
    Effect.gen(function* () {
      const { close, use } = yield* Fixture.make({ closeTakes: "1 day", acquireTimeout: Duration.seconds(10) })
      yield* use("alice", Effect.void)
      const closing = yield* Effect.forkChild(close)
      yield* pass("20 seconds")
      assert.isDefined(closing.pollUnsafe())
    })
  )

  it.effect("closes what was opening, and opens nothing in an evicted one's place", () =>
    Effect.gen(function* () {
      const { alive, close, hold, made, use } = yield* Fixture.make({ total: 1, closeTakes: "1 second" })
      yield* use("alice", Effect.void)
      yield* pass("1 second")
      const bob = yield* hold("bob")
      const closing = yield* Effect.forkChild(close)
      yield* pass("1 second")
      assert.strictEqual(String(yield* Effect.flip(Effect.flatten(bob.exit))), "closed")
      yield* Fiber.join(closing)
      assert.strictEqual(made.length, 1)
      assert.strictEqual(alive(), 0)
    })
  )
})

describe("in the end", () => {
  setFlagsFromString("--expose-gc")
  const collect = runInNewContext("gc") as () => void // it says nothing of its type
  const timers = () => process.getActiveResourcesInfo().filter((_) => _ === "Timeout").length
  const limits: Pool.Limits = {
    total: 10,
    perCaller: 3,
    idleTimeout: Duration.seconds(30),
    maxLifetime: Duration.hours(1),
    acquireTimeout: Duration.seconds(10)
  }
  const driver: Pool.Driver<number, object, string> = {
    // Large enough to be seen.
    keyOf: (caller) => Buffer.alloc(2_000, `${caller} `).toString("latin1"),
    open: () => Effect.sync(() => ({})),
    isUsable: () => true,
    exhausted: "exhausted",
    closed: "closed"
  }

  it.effect("10,000 callers have come and gone, and nothing is known of them", () =>
    Effect.gen(function* () {
      const pool = yield* Pool.make(limits, driver)
      const comeAndGo = Effect.fnUntraced(function* (first: number) {
        const fiber = yield* Effect.forEach(
          Array.from({ length: 10_000 }, (_, i) => first + i),
          (caller) =>
            Effect.timeoutOption(
              pool.use(caller, 0, () => Effect.yieldNow),
              "9 seconds"
            ),
          { concurrency: 100, discard: true }
        ).pipe(Effect.forkChild)
        while (fiber.pollUnsafe() === undefined) yield* TestClock.adjust("15 millis")
        yield* pass("32 seconds")
        assert.deepInclude(pool.stats(), none)
        collect()
        return process.memoryUsage().heapUsed
      })
      const before = yield* comeAndGo(0)
      const after = yield* comeAndGo(10_000)
      assert.isBelow(after - before, 5_000_000)
    })
  )

  it.live("a pool that has closed leaves no timer", () =>
    Effect.gen(function* () {
      const before = timers()
      yield* Effect.scoped(
        Effect.gen(function* () {
          const pool = yield* Pool.make({ ...limits, total: 1 }, driver)
          yield* pool.use(1, 0, () => Effect.void)
          // Refused for now, which sets the timer of those who will be served for having waited.
          const fiber = yield* Effect.forkChild(pool.use(2, 0, () => Effect.void))
          yield* Effect.yieldNow
          assert.isAbove(timers(), before)
          yield* Fiber.interrupt(fiber)
        })
      )
      yield* settle
      assert.isAtMost(timers(), before)
    })
  )
})
