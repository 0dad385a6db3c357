import { assert, describe, it, layer } from "@effect/vitest"
import { asService, asUser, Jobs } from "effect-databricks"
import { LocalWorkspace, TestContext } from "effect-databricks/testing"
import { Cause, Effect, Exit, Layer, Pull, Stream } from "effect"
import { cancel, hurried, ids, list, Live, output, recording, run, get } from "./fixtures/jobs.ts"
import { alice, as, bob } from "./fixtures/people.ts"
import { spansOf } from "./fixtures/spans.ts"
import { serviceContext } from "./fixtures/workspace.ts"

/** Every method of the service. */
const calls = (jobs: Jobs.Jobs["Service"]): Record<string, Effect.Effect<unknown, unknown>> => ({
  run: jobs.run(ids.echo),
  watch: Stream.runDrain(jobs.watch("1")),
  runAndWait: jobs.runAndWait(ids.echo),
  get: jobs.get("1"),
  list: Stream.runDrain(jobs.list()),
  cancel: jobs.cancel("1"),
  output: Stream.runDrain(jobs.output("1"))
})

const paths = [run, get, list, cancel, output]

layer(Live)("Jobs", (it) => {
  it.effect("dies in a user's call, sends nothing, and says what to do", () =>
    Effect.gen(function* () {
      const jobs = yield* Jobs.Jobs
      const seen = yield* recording
      for (const [name, call] of Object.entries(calls(jobs))) {
        const exit = yield* Effect.exit(as(alice)(call))
        assert.isTrue(Exit.hasDies(exit), name)
        assert.include(String(exit), "use Jobs.asService", name)
      }
      for (const path of paths) assert.lengthOf(yield* seen(path), 0)
    })
  )

  it.effect("runs in asService inside a user's call", () =>
    Effect.gen(function* () {
      const jobs = yield* Jobs.Jobs
      assert.match(yield* as(alice)(asService(jobs.run(ids.echo))), /^\d+$/)
    })
  )
})

layer(Live)("Jobs.asService", (it) => {
  it.effect("runs every call as the service principal in a user's call, and its spans say so", () =>
    Effect.gen(function* () {
      const { servicePrincipal } = yield* LocalWorkspace.LocalWorkspace
      const seen = yield* recording
      const all = Effect.gen(function* () {
        const jobs = yield* Jobs.asService
        const { runId } = yield* hurried(jobs.runAndWait(ids.etl))
        yield* Stream.runDrain(jobs.watch(yield* jobs.run(ids.echo)))
        yield* jobs.get(runId)
        yield* Stream.runDrain(jobs.list({ jobId: ids.etl }))
        yield* Stream.runDrain(jobs.output(runId))
        yield* jobs.cancel(runId)
      })
      const { exit, spans } = yield* spansOf(as(alice)(all))
      if (Exit.isFailure(exit)) return assert.fail(Cause.pretty(exit.cause))
      const operations = spans.filter(({ name }) => name === "plugin.execute")
      assert.sameMembers(
        operations.map(({ attributes }) => attributes["operation.name"]),
        ["run", "runAndWait", "watch", "get", "list", "output", "cancel"].map((name) => `jobs.${name}`)
      )
      for (const { attributes } of operations) {
        if (attributes["operation.name"] !== "jobs.list") assert.match(String(attributes["job.run_id"]), /^\d+$/)
        assert.include(attributes, { "execution.context": "service", "caller.id": servicePrincipal.id })
      }
      assert.strictEqual(operations[0]!.attributes["job.id"], ids.etl)
      for (const path of paths) {
        for (const { user } of yield* seen(path)) assert.strictEqual(user, servicePrincipal.clientId, path)
        assert.isAbove((yield* seen(path)).length, 0, path)
      }
    })
  )

  it.effect("leaves the other calls of the user to the user", () =>
    Effect.gen(function* () {
      const jobs = yield* Jobs.asService
      const inner = yield* as(bob)(
        Effect.andThen(jobs.run(ids.echo), Effect.exit(Effect.flatMap(Jobs.Jobs, (_) => _.get("1"))))
      )
      assert.isTrue(Exit.hasDies(inner))
    })
  )

  it.effect("stays the service principal when users pull the stream and end it", () =>
    Effect.gen(function* () {
      const { servicePrincipal } = yield* LocalWorkspace.LocalWorkspace
      const seen = yield* recording
      yield* as(alice)(
        Effect.scoped(
          Effect.gen(function* () {
            const jobs = yield* Jobs.asService
            const runId = yield* jobs.run(ids.endless)
            const pull = yield* Stream.toPull(jobs.watch(runId, { cancelOnInterrupt: true }))
            yield* Pull.catchDone(Effect.asVoid(as(bob)(pull)), () => Effect.void)
          })
        )
      )
      const [cancelled] = yield* seen(cancel)
      assert.strictEqual(cancelled!.user, servicePrincipal.clientId)
      for (const { user } of yield* seen(get)) assert.strictEqual(user, servicePrincipal.clientId)
    })
  )
})

layer(LocalWorkspace.layer({ jobs: [{ id: ids.echo, name: "echo", tasks: [] }] }))("Jobs in development", (it) => {
  it.effect("dies in the call of a user without a token too, as it would in production", () =>
    Effect.gen(function* () {
      const seen = yield* recording
      const run = Effect.flatMap(Jobs.Jobs, (jobs) => jobs.run(ids.echo))
      const exit = yield* Effect.exit(run.pipe(Effect.provide(asUser({}))))
      assert.isTrue(Exit.hasDies(exit))
      assert.lengthOf(yield* seen("/api/2.2/jobs/run-now"), 0)
      const named = Effect.flatMap(Jobs.asService, (jobs) => jobs.run(ids.echo))
      assert.match(yield* named.pipe(Effect.provide(asUser({}))), /^\d+$/)
    }).pipe(Effect.provide(Jobs.layer.pipe(Layer.provideMerge(serviceContext({ NODE_ENV: "development" })))))
  )
})

describe("Jobs.asService without a workspace", () => {
  it.effect("runs over a Layer.mock", () =>
    Effect.gen(function* () {
      const jobs = yield* Jobs.asService
      assert.strictEqual(yield* jobs.run("1").pipe(Effect.provide(TestContext.user({ id: "1", userName: alice }))), "2")
    }).pipe(Effect.provide(Layer.mock(Jobs.Jobs, { run: () => Effect.succeed("2") })))
  )
})
