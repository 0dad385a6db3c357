import { assert, layer } from "@effect/vitest"
import { getWorkspaceClient, Operation, SqlWarehouse } from "effect-databricks"
import { LocalWorkspace } from "effect-databricks/testing"
import { Effect, Exit, Fiber, Layer, Schema } from "effect"
import { HttpClientRequest } from "effect/http"
import { SqlClient } from "effect/sql"
import { lakebase } from "./fixtures/lakebaseClient.ts"
import { cancel, eventually, One, poll, recording, start } from "./fixtures/sqlWarehouse.ts"
import { Workspace } from "./fixtures/workspace.ts"

const Live = Layer.mergeAll(SqlWarehouse.layer, lakebase()).pipe(Layer.provideMerge(Workspace))

const misbehave = (fault: LocalWorkspace.Fault) => LocalWorkspace.LocalWorkspace.use((_) => _.misbehave(fault))

const Status = Schema.Struct({ status: Schema.Struct({ state: Schema.String }) })

layer(Live, { timeout: "60 seconds", excludeTestServices: true })("when a timeout is reported", (it) => {
  it.effect("the statement is cancelled at the warehouse, and its session in the database has nothing to do", () =>
    Effect.gen(function* () {
      const seen = yield* recording
      yield* misbehave({ kind: "pending", polls: 1000, method: "POST", path: "/api/2.0/sql/statements" })
      const query = SqlWarehouse.query(One, { timeout: "500 millis" })`SELECT pg_sleep(60), ${"warehouse"} AS x`
      assert.strictEqual((yield* Effect.flip(query))._tag, "OperationTimeoutError")
      const [request] = yield* seen("POST", cancel)
      const client = yield* getWorkspaceClient
      const path = request!.path.replace(/\/cancel$/, "")
      const answer = yield* client.requestJson(HttpClientRequest.get(path), Status)
      assert.strictEqual(answer.status.state, "CANCELED")
      assert.lengthOf(yield* seen("POST", start), 1)
    }).pipe(Effect.scoped)
  )

  it.effect("also one that has not reached its work, however often the cancel has to be asked for", () =>
    Effect.gen(function* () {
      const seen = yield* recording
      yield* misbehave({ kind: "pending", polls: 1000, method: "POST", path: "/api/2.0/sql/statements" })
      yield* misbehave({ kind: "answer", status: 503, method: "POST", path: (path) => cancel.test(path), times: 1 })
      const query = SqlWarehouse.query(One)`SELECT pg_sleep(60) AS x`.pipe(
        Operation.execute({ name: "report", totalTimeout: "500 millis" })
      )
      assert.strictEqual((yield* Effect.flip(query))._tag, "OperationTimeoutError")
      assert.lengthOf(yield* seen("POST", cancel), 2)
      assert.isAbove((yield* seen("GET", poll)).length, 0)
    }).pipe(Effect.scoped)
  )

  it.effect("the request is aborted: the workspace sees its connection close", () =>
    Effect.gen(function* () {
      const { requests } = yield* LocalWorkspace.LocalWorkspace
      const client = yield* getWorkspaceClient
      const hung = (timeout: string) => HttpClientRequest.get(`/api/2.0/hung/${timeout}`)
      const seenOf = (path: string) => Effect.map(requests, (all) => all.filter((_) => _.path === path))
      yield* misbehave({ kind: "hang", path: "/api/2.0/hung" })
      const calls = {
        request: client.request(hung("request"), { timeout: "200 millis" }),
        requestJson: client.requestJson(hung("requestJson"), Schema.Unknown, { totalTimeout: "200 millis" }),
        use: client.use(
          (sdk) =>
            sdk.apiClient.request({ path: "/api/2.0/hung/use", method: "GET", headers: new Headers(), raw: false }),
          { timeout: "200 millis" }
        )
      }
      for (const [name, call] of Object.entries<Effect.Effect<unknown, { readonly _tag: string }>>(calls)) {
        assert.strictEqual((yield* Effect.flip(call))._tag, "OperationTimeoutError", name)
        // The news travels over the wire.
        const [request] = yield* eventually(seenOf(`/api/2.0/hung/${name}`), ([_]) => _?.aborted === true)
        assert.isDefined(request)
      }
    }).pipe(Effect.scoped)
  )

  it.effect("each attempt that timed out is aborted, and one that is answered is not", () =>
    Effect.gen(function* () {
      const { requests } = yield* LocalWorkspace.LocalWorkspace
      const path = "/api/2.0/preview/scim/v2/Me"
      const before = (yield* requests).length
      const client = yield* getWorkspaceClient
      yield* misbehave({ kind: "hang", path, times: 2 })
      const retry = { attempts: 3, delay: 1 }
      yield* client.requestJson(HttpClientRequest.get(path), Schema.Unknown, { timeout: "500 millis", retry })
      const aborted = Effect.map(requests, (all) => all.slice(before).map((_) => _.aborted))
      assert.deepStrictEqual(yield* eventually(aborted, (_) => _[1] === true), [true, true, false])
    }).pipe(Effect.scoped)
  )

  it.effect("the Postgres statement is cancelled", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      const active = sql`SELECT pid FROM pg_stat_activity
        WHERE state = 'active' AND query LIKE '%pg_sleep(61)%' AND pid <> pg_backend_pid()`
      const fiber = yield* sql`SELECT pg_sleep(61)`.pipe(
        Operation.execute({ name: "sleep", timeout: "1 second" }),
        // The moment that it is reported.
        Effect.catchTag("OperationTimeoutError", () => active),
        Effect.forkChild
      )
      yield* eventually(active, (_) => _.length === 1)
      assert.deepStrictEqual(yield* Fiber.await(fiber), Exit.succeed([]))
    })
  )
})
