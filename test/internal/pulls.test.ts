import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Exit, Fiber, Latch, Queue, Stream } from "effect"
import { TestClock } from "effect/testing"
import * as Pulls from "../../src/internal/pulls.ts"

/** The arrays in which the elements arrive, and how the stream ends. */
const arraysOf = <A, E>(stream: Stream.Stream<A, E>) =>
  Effect.gen(function* () {
    const arrays: Array<ReadonlyArray<A>> = []
    const exit = yield* Effect.exit(Stream.runForEachArray(stream, (some) => Effect.sync(() => void arrays.push(some))))
    return { arrays, exit }
  })

describe("Pulls.mapTogether", () => {
  it.effect("keeps elements together up to maxSize, and those before a failure or a wait", () =>
    Effect.gen(function* () {
      const map = (n: number) =>
        n === 3 ? Effect.yieldNow.pipe(Effect.as(n)) : n === 5 ? Effect.fail("no") : Effect.succeed(n)
      const one = yield* arraysOf(Pulls.mapTogether(Stream.make(1, 2, 3, 4, 5, 6), { map }))
      assert.deepStrictEqual(one, { arrays: [[1, 2], [3], [4]], exit: Exit.fail("no") })
      const sized = Pulls.mapTogether(Stream.make(1, 2, 1, 1, 9), {
        map: (n: number) => Effect.succeed(n),
        sizeOf: (n) => n,
        maxSize: 3
      })
      assert.deepStrictEqual((yield* arraysOf(sized)).arrays, [
        [1, 2],
        [1, 1, 9]
      ])
    })
  )
})

describe("Pulls.watch", () => {
  it.effect("pulls in one fiber, and only while its reader waits", () =>
    Effect.gen(function* () {
      const fibers = new Set<number>()
      let pulls = 0
      const source = Stream.fromEffectRepeat(
        Effect.withFiber(({ id }) => {
          fibers.add(id)
          return Effect.as(Effect.yieldNow, ++pulls)
        })
      )
      const watched = Pulls.watch(source, { within: () => 1_000, late: Effect.fail("late" as const) })
      const seen: Array<readonly [element: unknown, pulls: number]> = []
      yield* Stream.runForEach(Stream.take(watched, 4), (element) =>
        Effect.andThen(
          Effect.repeat(Effect.yieldNow, { times: 3 }),
          Effect.sync(() => seen.push([element, pulls]))
        )
      )
      assert.deepStrictEqual(seen, [
        [1, 1],
        [2, 2],
        [3, 3],
        [4, 4]
      ])
      assert.strictEqual(fibers.size, 1)
    })
  )

  it.effect("counts each wait for an element, not the reader's own time, and goes on waiting", () =>
    Effect.gen(function* () {
      const source = yield* Queue.unbounded<string>()
      const received: Array<string> = []
      const gate = yield* Deferred.make<void>()
      const watched = Pulls.watch(Stream.fromQueue(source), {
        within: () => 10_000,
        late: Effect.succeed(["late"] as const)
      })
      const reader = yield* Effect.forkChild(
        Stream.runForEach(watched, (some) =>
          Effect.andThen(
            Effect.sync(() => received.push(some)),
            some === "slow" ? Deferred.await(gate) : Effect.void
          )
        )
      )
      yield* TestClock.adjust("9 seconds")
      yield* Queue.offer(source, "a")
      yield* TestClock.adjust("9 seconds")
      assert.deepStrictEqual(received, ["a"])
      yield* TestClock.adjust("1 second")
      yield* TestClock.adjust("10 seconds")
      assert.deepStrictEqual(received, ["a", "late", "late"])
      yield* Queue.offer(source, "slow")
      yield* TestClock.adjust("1 hour")
      yield* Deferred.succeed(gate, undefined)
      yield* TestClock.adjust("9 seconds")
      yield* Queue.offer(source, "b")
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual(received, ["a", "late", "late", "slow", "b"])
      yield* Fiber.interrupt(reader)
    })
  )

  it.effect("has a shorter limit for the next element than for the first, and interrupts a pull that is late", () =>
    Effect.gen(function* () {
      let limit = 300_000
      let interrupted = false
      const source = Stream.concat(
        Stream.fromEffect(Effect.sleep("1 second")),
        Stream.onExit(Stream.never, () => Effect.sync(() => void (interrupted = true)))
      )
      const watched = Pulls.watch(source, { within: () => limit, late: Effect.fail("late" as const) })
      const reader = yield* Effect.forkChild(Stream.runForEach(watched, () => Effect.sync(() => void (limit = 1_000))))
      yield* TestClock.adjust("1 second")
      assert.isUndefined(reader.pollUnsafe())
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual(yield* Fiber.await(reader), Exit.fail("late" as const))
      assert.isTrue(interrupted)
    })
  )

  it.effect("lets its readers go on after the elements of all streams that arrive together", () =>
    Effect.gen(function* () {
      const log: Array<string> = []
      const arrival = Latch.makeUnsafe()
      const read = (name: string) => {
        const source = Stream.fromEffect(
          Effect.andThen(
            arrival.await,
            Effect.sync(() => log.push(`${name} arrives`))
          )
        )
        const watched = Pulls.watch(source, { within: () => 1_000, late: Effect.fail("late" as const) })
        return Stream.runForEach(watched, () => Effect.sync(() => log.push(`${name} is read`)))
      }
      const readers = yield* Effect.forkChild(Effect.all([read("a"), read("b")], { concurrency: 2 }))
      yield* TestClock.adjust(0)
      arrival.openUnsafe()
      yield* Fiber.join(readers)
      assert.deepStrictEqual(log, ["a arrives", "b arrives", "a is read", "b is read"])
    })
  )

  it.live("is not late with an element that arrives just before its limit in a busy process", () =>
    Effect.gen(function* () {
      const arrival = Effect.callback<void>((resume) => {
        setImmediate(() => {
          resume(Effect.void)
          const end = performance.now() + 50
          while (performance.now() < end);
        })
      })
      const watched = Pulls.watch(Stream.fromEffect(arrival), { within: () => 25, late: Effect.fail("late" as const) })
      assert.deepStrictEqual(yield* Effect.exit(Stream.runDrain(watched)), Exit.void)
    })
  )
})
