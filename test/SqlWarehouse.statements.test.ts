import { assert, describe, it, layer } from "@effect/vitest"
import { asUser, getWorkspaceClient, SqlWarehouse, WorkspaceClient } from "effect-databricks"
import { make as databricksError, UnavailableError } from "effect-databricks/DatabricksError"
import { LocalWorkspace, TestContext } from "effect-databricks/testing"
import { Duration, Effect, Exit, Fiber, Layer, Redacted, Schema } from "effect"
import { HttpClientRequest, HttpClientResponse } from "effect/http"
import { TestClock } from "effect/testing"
import { eventually } from "./fixtures/eventually.ts"
import {
  cancel,
  chunk,
  endless,
  held,
  Live,
  misbehave,
  One,
  pending,
  poll,
  reasonOf,
  recording,
  refuseStarts,
  start,
  statements,
  whoAmI
} from "./fixtures/sqlWarehouse.ts"
import { hurried } from "./fixtures/start.ts"
import { alice, as, requestOf } from "./fixtures/people.ts"

const stateOf = (cancelPath: string) =>
  Effect.gen(function* () {
    const Answer = Schema.Struct({ status: Schema.Struct({ state: Schema.String }) })
    const client = yield* getWorkspaceClient
    const answer = yield* client.requestJson(HttpClientRequest.get(cancelPath.replace(/\/cancel$/, "")), Answer)
    return answer.status.state
  })

const isPoll = (path: string) => poll.test(path)

const sqlStateOf = <A, E, R>(query: Effect.Effect<A, E, R>) =>
  Effect.map(reasonOf(query), (reason) => {
    assert.include(reason, { _tag: "StatementFailedError", errorCode: "BAD_REQUEST" })
    return reason._tag === "StatementFailedError" && reason.statementId !== "" ? reason.sqlState : undefined
  })

/** A workspace whose statements never end and whose cancels are never answered; `asked` has the time of each poll. */
const running = (asked: Array<number>, cancelled: Array<string> = []) =>
  Layer.mock(WorkspaceClient.WorkspaceClient, {
    send: Effect.fnUntraced(function* (request: HttpClientRequest.HttpClientRequest) {
      if (request.url === `${statements}/a%2Fb`) {
        asked.push(yield* Effect.clockWith((clock) => clock.currentTimeMillis))
        if (asked.length === 4) {
          const retryAfter = Duration.seconds(20)
          return yield* databricksError(new UnavailableError({ message: "Later", retryAfter }))
        }
      }
      if (request.url.endsWith("/cancel")) {
        cancelled.push(request.url)
        return yield* Effect.never
      }
      const answer = { statement_id: "a/b", status: { state: "RUNNING" } }
      return HttpClientResponse.fromWeb(request, Response.json(answer))
    })
  }).pipe(Layer.provideMerge(TestContext.layer()))

layer(LocalWorkspace.layer({ rowsPerChunk: 3 }), { timeout: "60 seconds", excludeTestServices: true })(
  "SqlWarehouse",
  (it) => {
    it.layer(Live)("statement", (it) => {
      it.effect("is polled until it ends, also when polls fail for a moment", () =>
        Effect.gen(function* () {
          const seen = yield* recording
          yield* pending(3)
          yield* misbehave({ kind: "answer", status: 503, method: "GET", path: isPoll, times: 2 })
          yield* misbehave({ kind: "drop", method: "GET", path: isPoll, times: 1 })
          assert.strictEqual(yield* whoAmI.pipe(as(alice)), alice)
          assert.lengthOf(yield* seen("POST", start), 1)
          assert.isAtLeast((yield* seen("GET", poll)).length, 7)
          assert.lengthOf(yield* seen("POST", cancel), 0)
        }).pipe(Effect.scoped)
      )

      it.effect("starts a stopped warehouse, and runs in the schema of its options", () =>
        Effect.gen(function* () {
          const { administer, warehouses } = yield* LocalWorkspace.LocalWorkspace
          yield* administer(`CREATE SCHEMA shop; CREATE TABLE shop.sale (x int); INSERT INTO shop.sale VALUES (1);
            GRANT USAGE ON SCHEMA shop TO public; GRANT SELECT ON shop.sale TO public`)
          const options = { warehouseId: warehouses[1]!.id, schema: "shop" }
          assert.deepStrictEqual(yield* SqlWarehouse.query(One, options)`SELECT x FROM sale`, [{ x: "1" }])
        })
      )

      it.effect("fails with the SQLSTATE that the warehouse reports, and repeats no row", () =>
        Effect.gen(function* () {
          assert.strictEqual(yield* sqlStateOf(SqlWarehouse.query(One)`SELEC 1`), "42601")
          assert.strictEqual(yield* sqlStateOf(SqlWarehouse.query(One)`SELECT * FROM nowhere`), "42P01")
          assert.strictEqual(yield* sqlStateOf(SqlWarehouse.queryText(One)("SELECT :unbound AS x")), "42P02")
          assert.strictEqual(yield* sqlStateOf(SqlWarehouse.query(One)`SELECT ${"x"}::text::int AS x`), "22018")
          for (const status of [
            { error: { error_code: "BAD_REQUEST", message: "[PARSE] Oh. SQLSTATE: 42601 (line 1)" } },
            { error: { error_code: "BAD_REQUEST", message: `${"Oh ".repeat(9_000)} SQLSTATE: 42601` } },
            {
              error: { error_code: "BAD_REQUEST", message: "CHECK violated by row with values: bob@x" },
              sql_state: "42601"
            },
            { error: { error_code: "BAD_REQUEST", message: "[PARSE] Oh." }, sql_state: "42601" }
          ]) {
            const body = JSON.stringify({ statement_id: "1", status: { state: "FAILED", ...status } })
            yield* misbehave({ kind: "answer", status: 200, body, method: "POST", path: statements, times: 1 })
            const reason = yield* reasonOf(SqlWarehouse.query(One)`SELECT 1`)
            assert.include(reason, { _tag: "StatementFailedError", sqlState: "42601" })
            assert.isAtMost(reason.message.length, 4_000)
            assert.notInclude(reason.message, "bob@x")
          }
        }).pipe(Effect.scoped)
      )

      it.effect("fails with StatementGoneError when another client cancels or closes it", () =>
        Effect.gen(function* () {
          for (const [request, state] of [
            [HttpClientRequest.post, "CANCELED"],
            [HttpClientRequest.delete, "CLOSED"]
          ] as const) {
            const seen = yield* recording
            yield* pending(1000)
            const fiber = yield* Effect.forkChild(reasonOf(SqlWarehouse.query(One)`SELECT pg_sleep(60) AS x`))
            const polled = yield* eventually(seen("GET", poll), (_) => _.length > 0)
            const path = polled[0]!.path
            const client = yield* getWorkspaceClient
            yield* client.request(request(state === "CANCELED" ? `${path}/cancel` : path))
            assert.include(yield* Fiber.join(fiber), { _tag: "StatementGoneError", state })
          }
        }).pipe(Effect.scoped)
      )

      it.effect(
        "is started again after a 503: twice by default, as often as `retry` says, not with `retry: false`",
        () =>
          Effect.gen(function* () {
            for (const [retry, starts] of [
              [undefined, 3],
              [{ attempts: 5, delay: "1 millis" }, 5],
              [false, 1]
            ] as const) {
              const seen = yield* recording
              yield* Effect.gen(function* () {
                yield* refuseStarts(starts)
                const query = SqlWarehouse.query(One, { retry })`SELECT 1 AS x`
                assert.include(yield* hurried(reasonOf(query)), { _tag: "UnavailableError" })
                assert.lengthOf(yield* seen("POST", start), starts)
                yield* refuseStarts(starts - 1)
                yield* hurried(query)
                assert.lengthOf(yield* seen("POST", start), starts * 2)
              }).pipe(Effect.scoped)
            }
          })
      )

      it.effect("is not started again when it may have started", () =>
        Effect.gen(function* () {
          const seen = yield* recording
          yield* misbehave({ kind: "drop", when: "after", method: "POST", path: statements, times: 1 })
          const retry = { attempts: 3, delay: "1 millis" } as const
          const reason = yield* reasonOf(SqlWarehouse.query(One, { retry })`SELECT 1 AS x`)
          assert.include(reason, { _tag: "ConnectionError" })
          assert.lengthOf(yield* seen("POST", start), 1)

          yield* pending(1000)
          yield* misbehave({ kind: "answer", status: 400, method: "GET", path: (path) => poll.test(path), times: 1 })
          const lost = yield* reasonOf(SqlWarehouse.query(One, { retry })`SELECT pg_sleep(60) AS x`)
          assert.include(lost, { _tag: "InvalidRequestError" })
          const cancelled = yield* eventually(seen("POST", cancel), (_) => _.length > 0)
          yield* eventually(stateOf(cancelled[0]!.path), (_) => _ === "CANCELED")
          assert.lengthOf(yield* seen("POST", start), 2)
        }).pipe(Effect.scoped)
      )
    })

    it.layer(Live)("interruption of a query", (it) => {
      it.effect("cancels the running statement with the caller's own token before it returns", () =>
        Effect.gen(function* () {
          const seen = yield* recording
          yield* pending(1000)
          const headers = yield* requestOf(alice)
          const query = SqlWarehouse.query(One)`SELECT pg_sleep(60) AS x`
          const fiber = yield* Effect.forkChild(query.pipe(Effect.provide(asUser(headers)), held))
          yield* eventually(seen("GET", poll), (_) => _.length > 0)
          yield* Fiber.interrupt(fiber)
          const [request] = yield* seen("POST", cancel)
          assert.strictEqual(Redacted.value(request!.token!), headers["x-forwarded-access-token"])
          assert.strictEqual(yield* stateOf(request!.path).pipe(Effect.provide(asUser(headers))), "CANCELED")
        }).pipe(Effect.scoped)
      )

      it.effect("cancels a statement whose id is not known yet, in the background", () =>
        Effect.gen(function* () {
          const seen = yield* recording
          const fiber = yield* Effect.forkChild(SqlWarehouse.query(One)`SELECT pg_sleep(60) AS x`.pipe(as(alice)))
          yield* eventually(seen("POST", start), (_) => _.length > 0)
          yield* Fiber.interrupt(fiber)
          assert.lengthOf(yield* seen("POST", cancel), 0)
          const [request] = yield* eventually(seen("POST", cancel), (_) => _.length > 0)
          assert.strictEqual(request!.user, alice)
          yield* eventually(stateOf(request!.path), (_) => _ === "CANCELED").pipe(as(alice))
          assert.lengthOf(yield* seen("POST", start), 1)
        })
      )

      it.effect("by its timeout cancels the statement before the timeout is reported", () =>
        Effect.gen(function* () {
          const seen = yield* recording
          yield* pending(1000)
          const query = SqlWarehouse.query(One, { timeout: "2 seconds" })`SELECT pg_sleep(60) AS x`
          assert.strictEqual((yield* Effect.flip(held(query)))._tag, "OperationTimeoutError")
          const [request] = yield* seen("POST", cancel)
          assert.strictEqual(yield* stateOf(request!.path), "CANCELED")
        }).pipe(Effect.scoped)
      )

      it.effect("cancels before its layer has closed, and repeats a cancel that is answered 503", () =>
        Effect.gen(function* () {
          const seen = yield* recording
          yield* pending(1000)
          yield* misbehave({ kind: "answer", status: 503, method: "POST", path: (path) => cancel.test(path), times: 1 })
          const query = SqlWarehouse.query(One)`SELECT pg_sleep(60) AS x`
          // Closing may take a second and a half.
          const closing = endless(Duration.millis(1_500))
          const fiber = yield* Effect.forkChild(closing(Effect.provide(query, Layer.fresh(SqlWarehouse.layer))))
          yield* eventually(seen("GET", poll), (_) => _.length > 0)
          yield* Fiber.interrupt(fiber)
          const requests = yield* seen("POST", cancel)
          assert.lengthOf(requests, 2)
          yield* eventually(stateOf(requests[0]!.path), (_) => _ === "CANCELED")
        }).pipe(Effect.scoped)
      )

      it.effect("sends no cancel for a statement that ends before its id is known", () =>
        Effect.gen(function* () {
          const seen = yield* recording
          yield* misbehave({ kind: "delay", duration: "100 millis", method: "POST", path: statements, times: 1 })
          const query = SqlWarehouse.query(One)`SELECT 1 AS x`
          const fiber = yield* Effect.forkChild(Effect.provide(query, Layer.fresh(SqlWarehouse.layer)))
          yield* eventually(seen("POST", start), (_) => _.length > 0)
          yield* Fiber.interrupt(fiber)
          assert.lengthOf(yield* seen("POST", cancel), 0)
        }).pipe(Effect.scoped)
      )

      it.effect("sends no cancel while the result is being read", () =>
        Effect.gen(function* () {
          const seen = yield* recording
          yield* misbehave({ kind: "hang", path: (path) => chunk.test(path) })
          const query = SqlWarehouse.query(One)`SELECT * FROM generate_series(1, 9) AS x`
          const fiber = yield* Effect.forkChild(Effect.provide(query, Layer.fresh(SqlWarehouse.layer)))
          yield* eventually(seen("GET", chunk), (_) => _.length > 0)
          yield* Fiber.interrupt(fiber)
          assert.lengthOf(yield* seen("POST", cancel), 0)
        }).pipe(Effect.scoped)
      )
    })
  }
)

describe("SqlWarehouse statement", () => {
  it.effect("is polled after 100 ms, then less often, up to every 5 s, and not before Retry-After", () =>
    Effect.gen(function* () {
      const asked: Array<number> = []
      const fiber = yield* Effect.forkChild(Effect.provide(whoAmI, Layer.provide(SqlWarehouse.layer, running(asked))))
      yield* TestClock.adjust("2 minutes")
      const gaps = asked.map((at, index) => Math.round(at - (asked[index - 1] ?? 0)))
      assert.deepStrictEqual(gaps.slice(0, 4), [100, 150, 225, 338])
      assert.isAtLeast(gaps[4]!, 20_000)
      assert.isAtMost(gaps[4]!, 20_100)
      assert.isAtMost(Math.max(...gaps.slice(5)), 5000)
      assert.strictEqual(gaps.at(-1), 5000)
      yield* Effect.forkChild(Fiber.interrupt(fiber))
      yield* TestClock.adjust("1 minute")
      assert.isTrue(Exit.hasInterrupts(yield* Fiber.await(fiber)))
    })
  )

  it.effect("delays the report of its timeout by at most 1 s when the cancel is not answered", () => {
    const cancelled: Array<string> = []
    return Effect.gen(function* () {
      const { execute } = yield* SqlWarehouse.SqlWarehouse
      const timed = yield* Effect.forkChild(Effect.flip(execute({ text: "SELECT 1" }, { timeout: "10 seconds" })))
      yield* TestClock.adjust("10 seconds")
      assert.deepStrictEqual(cancelled, [`${statements}/a%2Fb/cancel`])
      yield* TestClock.adjust("999 millis")
      assert.isUndefined(timed.pollUnsafe())
      yield* TestClock.adjust("1 millis")
      assert.strictEqual(timed.pollUnsafe() && (yield* Fiber.join(timed))._tag, "OperationTimeoutError")
      // The cancel is given up, or the layer would wait for it on this clock.
      yield* TestClock.adjust("1 minute")
    }).pipe(Effect.provide(Layer.provide(SqlWarehouse.layer, running([], cancelled))))
  })
})
