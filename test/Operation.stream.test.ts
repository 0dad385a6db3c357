import { assert, describe, it } from "@effect/vitest"
import { asUser, getCurrentUserId, Operation, type ServiceContext } from "effect-databricks"
import { TestContext } from "effect-databricks/testing"
import { Cause, Deferred, Effect, Exit, Fiber, Logger, Queue, References, Stream, type Tracer } from "effect"
import { spansOf } from "./fixtures/spans.ts"

const headers = (user: string) => ({ "x-forwarded-user": user, "x-forwarded-access-token": `token-of-${user}` })
const asAlice = asUser(headers("alice"))
const asBob = asUser(headers("bob"))

const test = TestContext.layer({ servicePrincipalId: "sp" })

const ids = Stream.range(1, 3).pipe(
  Stream.rechunk(1),
  Stream.mapEffect(() => getCurrentUserId)
)
const operation = Operation.executeStream(ids, {
  name: "ids",
  attributes: { rows: 3, none: null, "caller.id": "eve", "enduser.id": "eve" }
})

describe("Operation.executeStream", () => {
  it.effect("opens one span for the whole stream, with its caller", () =>
    Effect.gen(function* () {
      const { exit, spans } = yield* spansOf(Stream.runCollect(Stream.provide(operation, asAlice)))
      assert.deepStrictEqual(exit, Exit.succeed(["alice", "alice", "alice"]))
      assert.lengthOf(spans, 1)
      assert.strictEqual(spans[0]!.name, "plugin.execute")
      assert.deepStrictEqual(spans[0]!.attributes, {
        rows: 3,
        "operation.name": "ids",
        "execution.context": "user",
        "caller.id": "alice",
        "enduser.id": "alice"
      })
      assert.isTrue(spans[0]!.exit !== undefined && Exit.isSuccess(spans[0]!.exit))
    }).pipe(Effect.provide(test))
  )

  it.effect("marks the development fallback in its span", () =>
    Effect.gen(function* () {
      const { spans } = yield* spansOf(Stream.runDrain(Stream.provide(operation, asUser({}))))
      assert.strictEqual(spans[0]!.attributes["execution.obo_dev_fallback"], true)
      assert.strictEqual(spans[0]!.attributes["caller.id"], "sp")
    }).pipe(Effect.provide(TestContext.layer({ servicePrincipalId: "sp", development: true })))
  )

  it.effect("lets a context captured in a service principal's stream run as a later user", () =>
    Effect.gen(function* () {
      const build = Effect.map(Effect.context<ServiceContext.ServiceContext>(), (context) =>
        Effect.provideContext(getCurrentUserId, context)
      )
      const streams = Operation.executeStream(Stream.fromEffect(build), { name: "build" })
      const [service] = yield* Stream.runCollect(streams)
      assert.strictEqual(yield* Effect.provide(service!, asAlice), "alice")
    }).pipe(Effect.provide(test))
  )

  it.effect("opens its span with the first pull and ends it with the stream", () =>
    Effect.gen(function* () {
      const gate = yield* Deferred.make<void>()
      const spans = yield* Queue.unbounded<Tracer.Span>()
      const stream = Stream.fromEffect(Effect.currentSpan).pipe(
        Stream.concat(Stream.fromEffect(Effect.andThen(Deferred.await(gate), Effect.currentSpan))),
        Operation.executeStream({ name: "spans" })
      )
      const fiber = yield* Effect.forkChild(Stream.runForEach(stream, (span) => Queue.offer(spans, span)))
      const span = yield* Queue.take(spans)
      assert.strictEqual(span.name, "plugin.execute")
      assert.strictEqual(span.status._tag, "Started")
      yield* Deferred.succeed(gate, undefined)
      yield* Fiber.join(fiber)
      assert.strictEqual(yield* Queue.take(spans), span)
      assert.strictEqual(span.status._tag, "Ended")
      // Nothing pulls, nothing is traced.
      assert.deepStrictEqual((yield* spansOf(Effect.sync(() => stream))).spans, [])
    }).pipe(Effect.provide(test))
  )

  it.effect("ends its span with the cause of a failure or an interruption, and on an early end", () =>
    Effect.gen(function* () {
      const failing = Operation.executeStream(Stream.concat(ids, Stream.fail("no")), { name: "ids" })
      const failed = yield* spansOf(Stream.runDrain(failing))
      assert.deepStrictEqual(failed.exit, Exit.fail("no"))
      assert.deepStrictEqual(failed.spans[0]!.exit, Exit.fail("no"))

      const taken = yield* spansOf(Stream.runCollect(Stream.take(operation, 1)))
      assert.deepStrictEqual(taken.exit, Exit.succeed(["sp"]))
      assert.isDefined(taken.spans[0]!.exit)

      const started = yield* Deferred.make<void>()
      const endless = Operation.executeStream(
        Stream.concat(Stream.fromEffect(Deferred.succeed(started, undefined)), Stream.never),
        { name: "endless" }
      )
      const traced = yield* Effect.forkChild(
        spansOf(
          Effect.gen(function* () {
            const fiber = yield* Effect.forkChild(Stream.runDrain(endless))
            yield* Deferred.await(started)
            yield* Fiber.interrupt(fiber)
          })
        )
      )
      const { spans } = yield* Fiber.join(traced)
      const exit = spans[0]!.exit
      assert.isTrue(exit !== undefined && Exit.isFailure(exit) && Cause.hasInterruptsOnly(exit.cause))
    }).pipe(Effect.provide(test))
  )

  it.effect("runs every pull as the caller that opened the stream, in any call and fiber", () =>
    Effect.gen(function* () {
      const collect = Effect.fnUntraced(function* (opener: typeof asAlice | undefined) {
        const pull = yield* Stream.toPull(operation)
        const first = yield* opener === undefined ? pull : Effect.provide(pull, opener)
        const second = yield* Effect.provide(pull, asBob)
        const third = yield* Effect.flatMap(Effect.forkChild(pull), Fiber.join)
        return [...first, ...second, ...third]
      })
      assert.deepStrictEqual(yield* collect(asAlice), ["alice", "alice", "alice"])
      assert.deepStrictEqual(yield* collect(undefined), ["sp", "sp", "sp"])
    }).pipe(Effect.scoped, Effect.provide(test))
  )

  it.effect("annotates log lines inside with the caller, beside their own annotations", () =>
    Effect.gen(function* () {
      const seen: Array<unknown> = []
      const logger = Logger.make(({ fiber }) => {
        seen.push(fiber.getRef(References.CurrentLogAnnotations))
      })
      yield* Stream.tap(ids, () => Effect.log("pulled")).pipe(
        Operation.executeStream({ name: "ids" }),
        Stream.provide(asAlice),
        Stream.take(1),
        Stream.runDrain,
        Effect.annotateLogs("request", 7),
        Effect.provide(Logger.layer([logger]))
      )
      assert.deepStrictEqual(seen, [
        {
          request: 7,
          "operation.name": "ids",
          "execution.context": "user",
          "caller.id": "alice",
          "enduser.id": "alice"
        }
      ])
    }).pipe(Effect.provide(test))
  )
})
