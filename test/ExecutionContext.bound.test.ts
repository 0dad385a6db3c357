import { assert, layer } from "@effect/vitest"
import { asService, ExecutionContext, Lakebase, UserContext } from "effect-databricks"
import { Deferred, Effect, Exit, Fiber, FiberSet, Layer, Option, PubSub, Queue, Scope } from "effect"
import { SqlClient } from "effect/sql"
import { asAlice, asBob, lakebase, nameOf, who, whoThrough } from "./fixtures/lakebaseClient.ts"
import { alice, bob } from "./fixtures/people.ts"
import { seenAs, Workspace } from "./fixtures/workspace.ts"

const Live = lakebase().pipe(Layer.provideMerge(Workspace))

/** Whom the workspace sees, whom the database sees, and who the user is. */
const three = Effect.all([
  seenAs,
  who,
  Effect.map(Effect.serviceOption(UserContext), (_) =>
    Option.getOrElse(
      Option.map(_, (_) => _.userName),
      () => "nobody"
    )
  )
])

const all = (name: string) => [name, name, name]
const service = ["service", "service", "nobody"]

type Job = Effect.Effect<void>

/** What a job tells that another fiber runs. */
const told = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.gen(function* () {
    const answer = yield* Deferred.make<A, E>()
    return { answer: Deferred.await(answer), job: Effect.asVoid(Deferred.into(effect, answer)) }
  })

layer(Live, { timeout: "60 seconds", excludeTestServices: true })("ExecutionContext.bound", (it) => {
  it.effect("runs a job as the caller that queued it, also in a worker that another user's call started", () =>
    Effect.gen(function* () {
      const queue = yield* Queue.unbounded<Job>()
      const worker = Effect.forkScoped(Effect.forever(Effect.flatten(Queue.take(queue))))
      for (const start of [asAlice, asService]) {
        const fiber = yield* start(worker)
        for (const [as, expected] of [
          [asBob, all(bob)],
          [asAlice, all(alice)],
          [<A, E, R>(effect: Effect.Effect<A, E, R>) => effect, service]
        ] as const) {
          const { answer, job } = yield* told(three)
          yield* as(Effect.flatMap(ExecutionContext.bound(job), (_) => Queue.offer(queue, _)))
          assert.deepStrictEqual(yield* answer, expected)
        }
        // Without it, the job runs as the worker.
        const { answer, job } = yield* told(seenAs)
        yield* asBob(Effect.flatMap(Effect.context<never>(), () => Queue.offer(queue, job as Job)))
        assert.strictEqual(yield* answer, start === asAlice ? alice : "service")
        yield* Fiber.interrupt(fiber)
      }
    }).pipe(Effect.scoped)
  )

  it.effect(
    "runs a job of a PubSub, a FiberSet runtime, a Deferred and a finalizer as the caller that handed it over",
    () =>
      Effect.gen(function* () {
        const bound = <A, E, R>(effect: Effect.Effect<A, E, R>) => asAlice(ExecutionContext.bound(effect))
        const pubsub = yield* PubSub.unbounded<Job>()
        const subscription = yield* PubSub.subscribe(pubsub)
        yield* asBob(Effect.forkScoped(Effect.flatten(PubSub.take(subscription))))
        const published = yield* told(three)
        yield* PubSub.publish(pubsub, yield* bound(published.job))
        assert.deepStrictEqual(yield* published.answer, all(alice))

        const run = yield* FiberSet.makeRuntime<never>()
        assert.deepStrictEqual(yield* Fiber.join(run(yield* bound(three))), all(alice))

        const deferred = yield* Deferred.make<ReadonlyArray<string>, Effect.Error<typeof three>>()
        yield* asBob(Deferred.into(yield* bound(three), deferred))
        assert.deepStrictEqual(yield* Deferred.await(deferred), all(alice))

        const scope = yield* Scope.make()
        const finalized = yield* told(three)
        yield* Scope.addFinalizer(scope, yield* bound(finalized.job))
        yield* asBob(Scope.close(scope, Exit.void))
        assert.deepStrictEqual(yield* finalized.answer, all(alice))
      }).pipe(Effect.scoped)
  )

  it.effect("lets a client of Lakebase.user run where its user's call bound it, and nowhere else", () =>
    Effect.gen(function* () {
      const statement = Effect.map(Lakebase.user, whoThrough)
      const [loose, job] = yield* asAlice(
        Effect.flatMap(statement, (loose) => Effect.map(ExecutionContext.bound(loose), (job) => [loose, job] as const))
      )
      assert.strictEqual(yield* asBob(job), alice)
      assert.isTrue(Exit.hasDies(yield* Effect.exit(asBob(loose))))
    })
  )

  it.effect("takes a job out of the transaction in which it is handed over", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      const xact = Effect.map(
        sql<{ id: string; who: string }>`SELECT pg_backend_pid()::text AS id, current_user AS who`,
        ([row]) => row!
      )
      const [inside, job] = yield* asAlice(
        sql.withTransaction(
          Effect.gen(function* () {
            const job = yield* ExecutionContext.bound(sql.withTransaction(xact))
            const during = yield* job
            const inside = yield* xact
            assert.notStrictEqual(during.id, inside.id)
            return [inside, job] as const
          })
        )
      )
      const after = yield* asBob(job)
      assert.strictEqual(nameOf(inside.who), alice)
      assert.strictEqual(after.who, alice)
    })
  )
})
