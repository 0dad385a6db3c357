import { assert, describe, it } from "@effect/vitest"
import { Effect, Schema, Stream, Tracer } from "effect"
import { TestClock } from "effect/testing"
import { asUser, getCurrentUserId, Operation } from "effect-databricks"
import { TestContext } from "effect-databricks/testing"

const headers = (user: string) => ({ "x-forwarded-user": user, "x-forwarded-access-token": `token-of-${user}` })

const spans = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.gen(function* () {
    const seen: Array<Tracer.NativeSpan> = []
    const tracer = Tracer.make({
      span: (options) => {
        const span = new Tracer.NativeSpan(options)
        seen.push(span)
        return span
      }
    })
    const exit = yield* Effect.exit(Effect.withTracer(effect, tracer))
    return { exit, seen: seen.map((_) => ({ name: _.name, attributes: Object.fromEntries(_.attributes) })) }
  })

describe("Operation.execute", () => {
  it.effect("says who ran, in the span", () =>
    Effect.gen(function* () {
      const operation = getCurrentUserId.pipe(
        Operation.execute({ name: "greet", attributes: { rows: 3, nothing: undefined, none: null } })
      )
      const service = yield* spans(operation)
      assert.deepStrictEqual(service.seen, [
        {
          name: "plugin.execute",
          attributes: { rows: 3, "operation.name": "greet", "execution.context": "service", "caller.id": "sp" }
        }
      ])
      const user = yield* spans(Effect.provide(operation, asUser(headers("alice"))))
      assert.deepStrictEqual(user.seen[0]!.attributes["caller.id"], "alice")
      assert.deepStrictEqual(user.seen[0]!.attributes["execution.context"], "user")
      assert.notProperty(user.seen[0]!.attributes, "execution.obo_dev_fallback")
    }).pipe(Effect.provide(TestContext.layer({ servicePrincipalId: "sp" }))))
  void [Schema, Stream, TestClock]
})
