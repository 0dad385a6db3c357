import { assert, describe, it } from "@effect/vitest"
import { asUser, getCurrentUserId, Operation, type ServiceContext } from "effect-databricks"
import { TestContext } from "effect-databricks/testing"
import { Context, Effect, Exit, Fiber, Layer, Logger, References, Schema } from "effect"
import { TestClock } from "effect/testing"
import { spansOf } from "./fixtures/spans.ts"

const asAlice = asUser({ "x-forwarded-user": "alice", "x-forwarded-access-token": "token-of-alice" })

const test = TestContext.layer({ servicePrincipalId: "sp" })

class Refused extends Schema.TaggedError<Refused>()("Refused", { message: Schema.String }) {}

/** The annotations of what `effect` logged. */
const annotationsOf = <A, E, R>(effect: Effect.Effect<A, E, R>) => {
  const seen: Array<Readonly<Record<string, unknown>>> = []
  const logger = Logger.make(({ fiber }) => {
    seen.push(fiber.getRef(References.CurrentLogAnnotations))
  })
  return Effect.as(Effect.provide(effect, Logger.layer([logger])), seen)
}

const attributes = { rows: 3, nothing: undefined, none: null, zero: 0, no: false }
const said = { rows: 3, zero: 0, no: false, "operation.name": "greet" }

describe("Operation.execute", () => {
  it.effect("names the caller in its span, and drops attributes that are undefined or null", () =>
    Effect.gen(function* () {
      const operation = Operation.execute(getCurrentUserId, { name: "greet", attributes })
      const service = yield* spansOf(operation)
      assert.deepStrictEqual(service, {
        exit: Exit.succeed("sp"),
        spans: [
          {
            name: "plugin.execute",
            attributes: { ...said, "execution.context": "service", "caller.id": "sp", "enduser.id": "sp" },
            exit: Exit.succeed("sp")
          }
        ]
      })
      const user = yield* spansOf(Effect.provide(operation, asAlice))
      assert.deepStrictEqual(user.spans[0]!.attributes, {
        ...said,
        "execution.context": "user",
        "caller.id": "alice",
        "enduser.id": "alice"
      })
    }).pipe(Effect.provide(test))
  )

  it.effect("ignores attributes that claim another caller", () =>
    Effect.gen(function* () {
      const { spans } = yield* Effect.void.pipe(
        Operation.execute({
          name: "greet",
          attributes: {
            "execution.context": "service",
            "caller.id": "mallory",
            "enduser.id": "mallory",
            "operation.name": "other",
            "execution.obo_dev_fallback": true
          }
        }),
        Effect.provide(asAlice),
        spansOf
      )
      assert.deepStrictEqual(spans[0]!.attributes, {
        "operation.name": "greet",
        "execution.context": "user",
        "caller.id": "alice",
        "enduser.id": "alice"
      })
    }).pipe(Effect.provide(test))
  )

  it.effect("annotates only log lines inside it with the caller", () =>
    Effect.gen(function* () {
      const seen = yield* Effect.log("inside").pipe(
        Operation.execute({ name: "greet" }),
        Effect.andThen(Effect.log("after")),
        Effect.annotateLogs("request", 7),
        Effect.provide(asAlice),
        annotationsOf
      )
      assert.deepStrictEqual(seen, [
        {
          request: 7,
          "operation.name": "greet",
          "execution.context": "user",
          "caller.id": "alice",
          "enduser.id": "alice"
        },
        { request: 7 }
      ])
    }).pipe(Effect.provide(test))
  )

  it.effect("nests spans, each with its own caller", () =>
    Effect.gen(function* () {
      const { spans } = yield* Effect.void.pipe(
        Operation.execute({ name: "inner" }),
        Effect.provide(asAlice),
        Operation.execute({ name: "outer" }),
        spansOf
      )
      const told = spans.map((_) => [_.attributes["operation.name"], _.attributes["caller.id"]])
      assert.deepStrictEqual(told, [
        ["outer", "sp"],
        ["inner", "alice"]
      ])
    }).pipe(Effect.provide(test))
  )

  it.effect("ends its span with the cause of a failure, defect or interruption, without a token", () =>
    Effect.gen(function* () {
      const error = new Refused({ message: "no" })
      const ends = [Effect.fail(error), Effect.die("bug"), Effect.interrupt]
      for (const end of ends) {
        const { exit, spans } = yield* spansOf(Effect.provide(Operation.execute(end, { name: "greet" }), asAlice))
        assert.lengthOf(spans, 1)
        assert.deepStrictEqual(spans[0]!.exit, exit)
        assert.isTrue(Exit.isFailure(exit))
        assert.notInclude(JSON.stringify(spans), "token-of-alice")
      }
      const { spans } = yield* spansOf(Operation.execute(Effect.fail(error), { name: "greet" }))
      assert.deepStrictEqual(spans[0]!.exit, Exit.fail(error))
    }).pipe(Effect.provide(test))
  )

  it.effect("reports a timeout only when the work has stopped", () =>
    Effect.gen(function* () {
      const log: Array<string> = []
      const work = Effect.never.pipe(
        Effect.onInterrupt(() =>
          Effect.delay(
            Effect.sync(() => log.push("stopped")),
            "1 second"
          )
        )
      )
      const fiber = yield* Operation.execute(work, { name: "greet", timeout: "5 seconds" }).pipe(
        Effect.tapError(() => Effect.sync(() => log.push("reported"))),
        Effect.flip,
        Effect.forkChild
      )
      yield* TestClock.adjust("4999 millis")
      assert.deepStrictEqual(log, [])
      yield* TestClock.adjust("2 seconds")
      const error = yield* Fiber.join(fiber)
      assert.deepStrictEqual(log, ["stopped", "reported"])
      assert.strictEqual(error._tag, "OperationTimeoutError")
      assert.strictEqual(error.message, "greet took longer than 5s")
    }).pipe(Effect.provide(test))
  )

  it.effect("returns or fails as the work does when that ends before the timeout", () =>
    Effect.gen(function* () {
      const inTime = Operation.execute(getCurrentUserId, { name: "greet", timeout: "5 seconds", retry: {} })
      assert.strictEqual(yield* Effect.provide(inTime, asAlice), "alice")
      const refused = Operation.execute(Effect.fail("no"), { name: "greet", timeout: "5 seconds" })
      assert.strictEqual(yield* Effect.flip(refused), "no")
    }).pipe(Effect.provide(test))
  )
})

describe("Operation.execute in an application's service", () => {
  class Greeter extends Context.Service<
    Greeter,
    { readonly greet: (greeting: string) => Effect.Effect<string, never, ServiceContext.ServiceContext> }
  >()("app/Greeter") {
    static readonly layer = Layer.succeed(Greeter, {
      greet: (greeting) =>
        Effect.map(getCurrentUserId, (id) => `${greeting}, ${id}`).pipe(
          Operation.execute({ name: "greeter.greet", attributes: { "greeter.greeting": greeting } })
        )
    })
  }

  it.effect("runs as the caller, with the service's attributes in its span", () =>
    Effect.gen(function* () {
      const greeter = yield* Greeter
      const { exit, spans } = yield* spansOf(Effect.provide(greeter.greet("Hello"), asAlice))
      assert.deepStrictEqual(exit, Exit.succeed("Hello, alice"))
      assert.deepStrictEqual(spans[0]!.attributes, {
        "greeter.greeting": "Hello",
        "operation.name": "greeter.greet",
        "execution.context": "user",
        "caller.id": "alice",
        "enduser.id": "alice"
      })
    }).pipe(Effect.provide([Greeter.layer, test]))
  )
})
