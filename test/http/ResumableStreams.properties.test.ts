import { assert, describe, it } from "@effect/vitest"
import { ResumableStreams } from "effect-databricks"
import { TestContext } from "effect-databricks/testing"
import { Cause, Effect, Exit, Fiber, Latch, Layer, Queue, Schema, Stream } from "effect"
import { TestClock } from "effect/testing"

const utf8 = new TextDecoder()

const Who = Schema.Literals(["alice", "bob"])
const Step = Schema.Union([
  Schema.Struct({ do: Schema.Literal("emit"), who: Who, events: Schema.Literals([1, 3, 12]) }),
  Schema.Struct({ do: Schema.Literal("emit"), who: Who, events: Schema.Literals([1, 3, 12]) }),
  Schema.Struct({ do: Schema.Literal("connect"), who: Who }),
  Schema.Struct({ do: Schema.Literal("connect"), who: Who }),
  Schema.Struct({ do: Schema.Literals(["cut", "stall", "read", "steal"]), who: Who }),
  Schema.Struct({ do: Schema.Literals(["end", "fail"]), who: Who }),
  Schema.Struct({ do: Schema.Literal("pass"), seconds: Schema.Literals([1, 14, 29, 31]) })
])

/** The text of an event, of which a buffer of 2,400 bytes holds ten: each counts 200 more. */
const textOf = (id: string, who: string) => `${id} ${who}`.padEnd(40)
const textsOf = (bytes: Uint8Array) => utf8.decode(bytes).match(/.{40}/g) ?? []
const buffered = 10

const eventsOf = <E>(body: Stream.Stream<Uint8Array, E>) =>
  Stream.flatMap(body, (bytes) => Stream.fromIterable(textsOf(bytes)))

const Live = Layer.merge(
  TestContext.layer(),
  ResumableStreams.layerWith({ grace: "30 seconds", maxBufferSize: "2400 B" })
)

const settle = Effect.repeat(Effect.yieldNow, { times: 30 })

/** A person who asks one question, and again under a new request id when its stream is gone. */
const person = (who: "alice" | "bob") => {
  let question = 0
  const fresh = () => ({
    requestId: `question ${++question}`,
    source: Effect.runSync(Queue.unbounded<number, Cause.Done | "no">()),
    emitted: 0,
    pulled: 0,
    runs: 0,
    isRunning: false,
    ending: undefined as "end" | "fail" | undefined,
    received: [] as Array<number>,
    lastId: undefined as string | undefined
  })
  let asked = fresh()
  let connection: Fiber.Fiber<void, unknown> | undefined
  let leftAt: number | undefined
  let gate = Latch.makeUnsafe(true)
  let hasEnded = false

  const run = (asks: typeof asked) => (streamId: string) =>
    Stream.suspend(() => {
      asks.runs++
      asks.isRunning = true
      return Stream.fromQueue(asks.source).pipe(
        Stream.rechunk(1),
        Stream.map((number) => {
          asks.pulled = number
          return { number, text: textOf(`${streamId}.${number}`, who) }
        }),
        Stream.onExit((exit) =>
          Effect.sync(() => {
            asks.isRunning = false
            hasEnded = Exit.isSuccess(exit) || !Cause.hasInterruptsOnly(exit.cause)
          })
        )
      )
    })
  const open = (requestId: string, lastEventId: string | undefined, source: ReturnType<typeof run>) =>
    ResumableStreams.ResumableStreams.use((streams) =>
      streams.open({
        route: "GET /",
        sender: undefined,
        requestId,
        lastEventId,
        heartbeat: { interval: "10 seconds", bytes: new Uint8Array() },
        run: source,
        after: undefined
      })
    ).pipe(Effect.provide(TestContext.user({ id: who })))
  return {
    who,
    asked: () => asked,
    isReading: () => connection !== undefined && gate.isOpen(),
    isConnected: () => connection !== undefined,
    leftAt: () => leftAt,
    open,
    run,
    renew: () => void (asked = fresh()),
    gate: (isOpen: boolean) => (isOpen ? gate.openUnsafe() : gate.closeUnsafe()),
    connect: Effect.fnUntraced(function* () {
      const asks = asked
      const body = yield* open(asks.requestId, asks.lastId, run(asks))
      const before = connection
      gate = Latch.makeUnsafe(true)
      const mine = gate
      connection = yield* Effect.forkChild(
        Stream.runForEach(eventsOf(body), (event) => {
          const [id = "", whose] = event.split(/ +/)
          assert.strictEqual(whose, who)
          asks.received.push(Number(id.split(".")[1]))
          asks.lastId = id
          return mine.await
        })
      )
      leftAt = undefined
      yield* settle
      // The connection before this one is cut, and does not look like an end.
      if (before !== undefined) assert.isTrue(Exit.isFailure(yield* Fiber.await(before)))
    }),
    cut: Effect.fnUntraced(function* (now: number) {
      if (connection === undefined) return
      yield* Fiber.interrupt(connection)
      connection = undefined
      leftAt = now
    }),
    /** An end gives the client that has left another 30 seconds. */
    settled: (now: number) => {
      if (hasEnded && leftAt !== undefined) leftAt = now
      hasEnded = false
    },
    /** How the connection has ended, if it has. */
    ended: (now: number) => {
      const exit = connection?.pollUnsafe()
      if (exit === undefined) return undefined
      connection = undefined
      leftAt = now
      return Exit.isSuccess(exit) ? "end" : "fail"
    }
  }
}

describe("ResumableStreams under any schedule of two people", () => {
  it.effect.prop(
    "sends each event once and in order, runs a source once, and ends only what has ended",
    { steps: Schema.Array(Step).check(Schema.isMinLength(30), Schema.isMaxLength(60)) },
    ({ steps }) =>
      Effect.gen(function* () {
        const people = { alice: person("alice"), bob: person("bob") }
        let now = 0
        const check = (someone: ReturnType<typeof person>) => {
          const { emitted, ending, pulled, received, runs } = someone.asked()
          assert.deepStrictEqual(
            received,
            received.map((_, index) => index + 1)
          )
          assert.isAtMost(runs, 1)
          // One more is in the hand of the source.
          assert.isAtMost(pulled - received.length, buffered + 1)
          const outcome = someone.ended(now)
          if (outcome !== undefined) assert.deepStrictEqual([outcome, received.length], [ending, emitted])
          if (someone.isReading()) {
            assert.lengthOf(received, emitted)
            assert.isUndefined(ending)
          }
        }
        for (const step of steps) {
          const someone = people["who" in step ? step.who : "alice"]
          const asks = someone.asked()
          switch (step.do) {
            case "emit":
              if (asks.ending !== undefined) break
              for (let i = 0; i < step.events; i++) yield* Queue.offer(asks.source, ++asks.emitted)
              break
            case "end":
            case "fail":
              if (asks.ending !== undefined) break
              asks.ending = step.do
              yield* step.do === "end" ? Queue.end(asks.source) : Queue.fail(asks.source, "no")
              break
            case "connect": {
              const leftAt = someone.leftAt()
              const isGone = leftAt !== undefined && now - leftAt >= 30 && !asks.isRunning
              if (isGone && asks.lastId !== undefined) {
                const refused = yield* Effect.flip(someone.open(asks.requestId, asks.lastId, someone.run(asks)))
                assert.strictEqual(refused._tag, "StreamGoneError")
              }
              if (isGone) someone.renew()
              yield* someone.connect()
              break
            }
            case "steal": {
              const thief = people[step.who === "alice" ? "bob" : "alice"]
              if (asks.lastId === undefined) break
              const refused = yield* Effect.flip(thief.open(asks.requestId, asks.lastId, () => Stream.die("ran")))
              assert.strictEqual(refused._tag, "StreamGoneError")
              break
            }
            case "cut":
              yield* someone.cut(now)
              break
            case "stall":
            case "read":
              someone.gate(step.do === "read")
              break
            case "pass":
              now += step.seconds
              yield* TestClock.adjust(step.seconds * 1000)
          }
          yield* settle
          for (const someone of Object.values(people)) {
            someone.settled(now)
            check(someone)
            const leftAt = someone.leftAt()
            if (leftAt !== undefined && now - leftAt >= 30) assert.isFalse(someone.asked().isRunning)
          }
        }
        // All return, if they can, and read to the end.
        for (const someone of Object.values(people)) {
          const asks = someone.asked()
          const leftAt = someone.leftAt()
          if (leftAt !== undefined && now - leftAt >= 30) continue
          if (asks.ending === undefined) yield* Queue.end(asks.source)
          asks.ending ??= "end"
          yield* settle
          check(someone)
          yield* someone.connect()
          yield* settle
          check(someone)
          assert.isFalse(someone.isConnected())
          assert.lengthOf(asks.received, asks.emitted)
        }
      }).pipe(Effect.provide(Live, { local: true }))
  )

  it.effect("keep a finished stream whose client has not taken all longer than one whose client has", () =>
    Effect.gen(function* () {
      const { open } = yield* ResumableStreams.ResumableStreams
      const read = (requestId: string, events: number) =>
        Effect.flatMap(
          open({
            route: "GET /",
            sender: undefined,
            requestId,
            lastEventId: undefined,
            heartbeat: { interval: "10 seconds", bytes: new Uint8Array() },
            run: () => Stream.map(Stream.make(1, 2), (number) => ({ number, text: textOf(String(number), requestId) })),
            after: undefined
          }),
          (stream) => Effect.andThen(Stream.runCount(Stream.take(eventsOf(stream), events)), settle)
        )
      yield* read("cut", 1)
      yield* read("whole", 3)
      yield* read("next", 3)
      // Joins the kept stream, whose events it gets from the first one.
      let runs = 0
      const again = yield* open({
        route: "GET /",
        sender: undefined,
        requestId: "cut",
        lastEventId: undefined,
        heartbeat: { interval: "10 seconds", bytes: new Uint8Array() },
        run: () => Stream.suspend(() => (runs++, Stream.empty)),
        after: undefined
      })
      assert.strictEqual(yield* Stream.runCount(eventsOf(again)), 2)
      assert.strictEqual(runs, 0)
    }).pipe(Effect.provide(Layer.merge(TestContext.layer(), ResumableStreams.layerWith({ maxStreams: 2 }))))
  )
})
