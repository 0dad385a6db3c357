import { assert, describe, it } from "@effect/vitest"
import { asService, getCurrentUserId, UserContext } from "effect-databricks"
import { TestContext } from "effect-databricks/testing"
import { Context, Effect, Exit, Layer, Stream } from "effect"
import { ownedBy } from "../src/internal/owner.ts"

const id = Effect.provide(getCurrentUserId, TestContext.layer(), { local: true })

/** A connector whose methods are those of a class. */
class Connector {
  readonly name = "connector"
  readonly state = id
  readonly method = (): Effect.Effect<string> => id
  ofClass(): Effect.Effect<string> {
    return this.state
  }
  stream(): Stream.Stream<string> {
    return Stream.fromEffect(this.state)
  }
  curried(): () => Effect.Effect<string> {
    return () => this.state
  }
}

const ways = (owned: Connector): Record<string, Effect.Effect<string, unknown>> => ({
  state: owned.state,
  method: owned.method(),
  ofClass: owned.ofClass(),
  stream: Stream.runHead(owned.stream()).pipe(Effect.flatMap(Effect.fromOption)),
  curried: owned.curried()()
})

const alice = TestContext.user({ id: "alice" }).pipe(Layer.provideMerge(TestContext.layer()))
const bob = TestContext.user({ id: "bob" }).pipe(Layer.provideMerge(TestContext.layer()))

describe("A client of one user", () => {
  it.effect("runs the effects, streams and functions of a connector as its owner, also inside asService", () =>
    Effect.gen(function* () {
      const owned = ownedBy(new Connector(), yield* UserContext)
      assert.strictEqual(owned.name, "connector")
      for (const [way, run] of Object.entries(ways(owned))) assert.strictEqual(yield* asService(run), "alice", way)
    }).pipe(Effect.provide(alice))
  )

  it.effect("dies in another user's call, and says to get the connector there", () =>
    Effect.gen(function* () {
      const owned = ownedBy(new Connector(), yield* Effect.provide(UserContext, alice))
      for (const [way, run] of Object.entries(ways(owned))) {
        const exit = yield* Effect.exit(Effect.provide(run, bob))
        assert.isTrue(Exit.hasDies(exit), way)
        assert.include(String(exit), 'get it from its accessor "user" in the call that uses it', way)
      }
    })
  )

  it.effect("takes `own` properties as they are, and the missing ones of a Layer.mock", () =>
    Effect.gen(function* () {
      class Mocked extends Context.Service<Mocked, { readonly a: () => typeof id; readonly b: () => typeof id }>()(
        "test/Mocked"
      ) {}
      const mocked = yield* Effect.provide(Mocked, Layer.mock(Mocked, {}))
      const owned = ownedBy(mocked, yield* UserContext, { a: () => id })
      assert.strictEqual(yield* asService(owned.a()), "service-principal")
      assert.include(String(yield* Effect.exit(owned.b())), "UnimplementedError")
    }).pipe(Effect.provide(alice))
  )
})
