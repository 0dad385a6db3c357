import { assert, describe, it } from "@effect/vitest"
import { Duration, Effect, Exit, Fiber, Scope } from "effect"
import * as Deadlocks from "../../../src/internal/lakebase/deadlocks.ts"
import * as Fixture from "../../fixtures/pool.ts"
import { pass, settle } from "../../fixtures/pool.ts"

const none = { total: 0, idle: 0, waiting: 0 }

describe("the pool", () => {
  it.effect("reuses a caller's own connection, and never another caller's", () =>
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

  it.effect("lends the most recently used connection first, so that the others fall idle", () =>
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

  it.effect("replaces a dead connection, also one that died idle", () =>
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

  it.effect("closes a connection whose use is interrupted, and keeps one whose use fails", () =>
    Effect.gen(function* () {
      const { hold, made, use } = yield* Fixture.make()
      yield* Effect.exit(use("alice", Effect.fail("no")))
      assert.strictEqual(made[0]!.state, "open")
      yield* Effect.flatMap(hold("alice"), (_) => _.interrupt)
      assert.strictEqual(made.length, 1)
      assert.strictEqual(made[0]!.state, "closed")
    })
  )

  it.effect("closes an idle connection after idleTimeout, and any after maxLifetime", () =>
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
      // In 10 minutes: each connection lives 5 at most.
      assert.strictEqual(made.length, 3)
      // From one that is lent it is taken.
      const holder = yield* hold("carol")
      yield* pass("299 seconds")
      assert.isTrue(made[3]!.alive)
      yield* pass("2 seconds")
      assert.isFalse(made[3]!.alive)
      yield* holder.end
      assert.strictEqual(alive("carol"), 0)
    })
  )

  it.effect("lends no connection past maxLifetime when the system's clock is set back", () =>
    Effect.gen(function* () {
      const { made, use } = yield* Fixture.make({ maxLifetime: Duration.minutes(5) })
      yield* use("alice", Effect.void)
      yield* pass("-1 day")
      for (let i = 0; i < 15; i++) {
        assert.strictEqual(made.length, 1)
        yield* pass("20 seconds")
        yield* use("alice", Effect.void)
      }
      assert.strictEqual(made.length, 2)
    })
  )

  it.effect("never exceeds its limits, counting connections until they have closed", () =>
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

  it.effect("evicts the least recently used idle connection once it has been idle for 30 ms", () =>
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

  it.effect("waits 1 second before it evicts another's connection for a caller that holds one", () =>
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

  it.effect("evicts nothing when 20 callers share 20 connections", () =>
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

  it.effect("frees the place and serves the next caller when a connection fails to open", () =>
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

  it.effect("lends a leased connection until its scope closes, and closes it on interruption", () =>
    Effect.gen(function* () {
      const { made, pool } = yield* Fixture.make()
      const scope = yield* Scope.make()
      const hold = Deadlocks.make()
      const resource = yield* Scope.provide(pool.lease("alice", [], hold), scope)
      assert.strictEqual(resource, made[0])
      assert.deepInclude(pool.stats(), { total: 1, idle: 0 })
      assert.isTrue(Deadlocks.isLive(hold))
      yield* Scope.close(scope, Exit.void)
      assert.isTrue(Deadlocks.hasEnded(hold))
      assert.deepInclude(pool.stats(), { total: 1, idle: 1 })
      const interrupted = yield* Scope.make()
      yield* Scope.provide(pool.lease("alice", [], Deadlocks.make()), interrupted)
      yield* Scope.close(interrupted, Exit.interrupt(1))
      yield* settle
      assert.deepInclude(pool.stats(), none)
    })
  )
})
