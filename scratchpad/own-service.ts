/** A custom service whose operation is retried, and writes its caller into the span and into every log line. */
import { App, asUser, getCurrentUserId, Operation } from "effect-databricks"
import { TestContext } from "effect-databricks/testing"
import { Console, Context, Data, Effect, Layer } from "effect"

class Busy extends Data.TaggedError("Busy") {
  readonly isRetryable = true
}

class Reports extends Context.Service<Reports>()("demo/Reports", {
  make: Effect.sync(() => {
    let calls = 0
    const write = Effect.gen(function* () {
      yield* Effect.logInfo(`attempt ${++calls}`)
      if (calls === 1) return yield* new Busy()
      return `a report for ${yield* getCurrentUserId}`
    })
    return { write: Operation.execute(write, { name: "reports.write", retry: { delay: "100 millis" } }) }
  })
}) {
  static readonly layer = Layer.effect(this, this.make)
}

const request = { "x-forwarded-user": "alice", "x-forwarded-access-token": "token-of-alice" }

const program = Effect.gen(function* () {
  const { write } = yield* Reports
  yield* Console.log(yield* Effect.provide(write, asUser(request)))
  yield* Console.log(yield* write)
})

App.runMain(program.pipe(Effect.provide([Reports.layer, TestContext.layer({ servicePrincipalId: "the-app" })])))
