import { assert, layer } from "@effect/vitest"
import { getWorkspaceClient, Operation, SqlWarehouse } from "effect-databricks"
import { LocalWorkspace } from "effect-databricks/testing"
import { Effect, Exit, Fiber, Layer, Schema } from "effect"
import { HttpClientRequest } from "effect/http"
import { SqlClient } from "effect/sql"
import { TestClock } from "effect/testing"
import { lakebase } from "./fixtures/lakebaseClient.ts"
import { eventually } from "./fixtures/eventually.ts"
import { cancel, held, misbehave, One, poll, recording, start } from "./fixtures/sqlWarehouse.ts"
import { Workspace } from "./fixtures/workspace.ts"

const Live = Layer.mergeAll(SqlWarehouse.layer, lakebase()).pipe(Layer.provideMerge(Workspace))

/** Waits in real time for what the server sees, while the clock of the test stands still. */
const arrives = <A, E, R>(effect: Effect.Effect<A, E, R>, is: (a: A) => boolean) =>
  TestClock.withLive(eventually(effect, is))

const Status = Schema.Struct({ status: Schema.Struct({ state: Schema.String }) })

layer(Live, { timeout: "60 seconds", excludeTestServices: true })("Operation.execute that timed out", (it) => {
  it.effect("has cancelled its statement at the warehouse", () =>
    Effect.gen(function* () {
      const seen = yield* recording
      yield* misbehave({ kind: "pending", polls: 1000, method: "POST", path: "/api/2.0/sql/statements" })
      const query = SqlWarehouse.query(One, { timeout: "2 seconds" })`SELECT pg_sleep(60), ${"warehouse"} AS x`
      assert.strictEqual((yield* Effect.flip(held(query)))._tag, "OperationTimeoutError")
      const [request] = yield* seen("POST", cancel)
      const client = yield* getWorkspaceClient
      const path = request!.path.replace(/\/cancel$/, "")
      const answer = yield* client.requestJson(HttpClientRequest.get(path), Status)
      assert.strictEqual(answer.status.state, "CANCELED")
      assert.lengthOf(yield* seen("POST", start), 1)
    }).pipe(Effect.scoped)
  )

  it.effect("has cancelled a query inside it, also when the first cancel is answered 503", () =>
    Effect.gen(function* () {
      const seen = yield* recording
      yield* misbehave({ kind: "pending", polls: 1000, method: "POST", path: "/api/2.0/sql/statements" })
      yield* misbehave({ kind: "answer", status: 503, method: "POST", path: (path) => cancel.test(path), times: 1 })
      const query = SqlWarehouse.query(One)`SELECT pg_sleep(60) AS x`.pipe(
        Operation.execute({ name: "report", totalTimeout: "2 seconds" })
      )
      assert.strictEqual((yield* Effect.flip(held(query)))._tag, "OperationTimeoutError")
      assert.lengthOf(yield* seen("POST", cancel), 2)
      assert.isAbove((yield* seen("GET", poll)).length, 0)
    }).pipe(Effect.scoped)
  )

  it.effect("has aborted its workspace request, whose connection the workspace sees close", () =>
    Effect.gen(function* () {
      const { requests } = yield* LocalWorkspace.LocalWorkspace
      const client = yield* getWorkspaceClient
      const hung = (name: string) => HttpClientRequest.get(`/api/2.0/hung/${name}`)
      yield* misbehave({ kind: "hang", path: "/api/2.0/hung" })
      const calls = {
        request: client.request(hung("request"), { timeout: "1 minute" }),
        requestJson: client.requestJson(hung("requestJson"), Schema.Unknown, { totalTimeout: "1 minute" }),
        use: client.use(
          (sdk) =>
            sdk.apiClient.request({ path: "/api/2.0/hung/use", method: "GET", headers: new Headers(), raw: false }),
          { timeout: "1 minute" }
        )
      }
      for (const [name, call] of Object.entries<Effect.Effect<unknown, { readonly _tag: string }>>(calls)) {
        const seen = Effect.map(requests, (all) => all.filter((_) => _.path === `/api/2.0/hung/${name}`))
        const calling = yield* Effect.forkChild(Effect.flip(call))
        yield* arrives(seen, ([_]) => _?.aborted === false)
        yield* TestClock.adjust("1 minute")
        assert.strictEqual((yield* Fiber.join(calling))._tag, "OperationTimeoutError", name)
        yield* arrives(seen, ([_]) => _?.aborted === true)
      }
    }).pipe(Effect.scoped, Effect.provide(TestClock.layer()))
  )

  it.effect("has aborted each attempt that timed out, and not the one that was answered", () =>
    Effect.gen(function* () {
      const { requests } = yield* LocalWorkspace.LocalWorkspace
      const path = "/api/2.0/preview/scim/v2/Me"
      const before = (yield* requests).length
      const aborted = Effect.map(requests, (all) => all.slice(before).map((_) => _.aborted))
      const client = yield* getWorkspaceClient
      yield* misbehave({ kind: "hang", path, times: 2 })
      const options = { timeout: "1 minute", retry: { attempts: 3, delay: 1 } } as const
      const calling = yield* Effect.forkChild(client.requestJson(HttpClientRequest.get(path), Schema.Unknown, options))
      for (const attempt of [1, 2]) {
        yield* arrives(aborted, (_) => _.length === attempt)
        yield* TestClock.adjust("1 minute")
        // The waits between attempts: up to 1 ms, then 2 ms.
        yield* TestClock.adjust("2 millis")
      }
      yield* Fiber.join(calling)
      yield* arrives(aborted, (_) => _[0] === true && _[1] === true)
      assert.deepStrictEqual(yield* aborted, [true, true, false])
    }).pipe(Effect.scoped, Effect.provide(TestClock.layer()))
  )

  it.effect("has cancelled its Postgres statement", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      const active = sql`SELECT pid FROM pg_stat_activity
        WHERE state = 'active' AND query LIKE '%pg_sleep(61)%' AND pid <> pg_backend_pid()`
      const sleeping = yield* sql`SELECT pg_sleep(61)`.pipe(
        Operation.execute({ name: "sleep", timeout: "1 minute" }),
        // Looks at the moment of the report.
        Effect.catchTag("OperationTimeoutError", () => active),
        Effect.forkChild
      )
      yield* arrives(active, (_) => _.length === 1)
      yield* TestClock.adjust("1 minute")
      assert.deepStrictEqual(yield* Fiber.await(sleeping), Exit.succeed([]))
    }).pipe(Effect.provide(TestClock.layer()))
  )
})
