import { assert, layer } from "@effect/vitest"
import { getWorkspaceClient, Middleware, ServerSentEvents, SqlWarehouse } from "effect-databricks"
import { LocalWorkspace } from "effect-databricks/testing"
import { Effect, Exit, Fiber, Latch, Layer, Schema, Stream } from "effect"
import { HttpClientRequest, HttpRouter } from "effect/http"
import { eventually } from "./fixtures/eventually.ts"
import {
  Caller,
  cancel,
  held,
  Live,
  misbehave,
  One,
  pending,
  poll,
  reasonOf,
  recording,
  start,
  statements
} from "./fixtures/sqlWarehouse.ts"
import { spansOf } from "./fixtures/spans.ts"
import { open } from "./fixtures/sse.ts"
import { alice, as, bob, requestOf } from "./fixtures/people.ts"
import { serve, Served } from "./http/harness.ts"

const link = /^\/external-links\//

const numbers = (count: number) =>
  SqlWarehouse.streamText(Schema.Struct({ x: Schema.Int }))(`SELECT i AS x FROM generate_series(1, ${count}) i`)

layer(LocalWorkspace.layer({ rowsPerChunk: 10 }), { timeout: "60 seconds", excludeTestServices: true })(
  "SqlWarehouse.stream",
  (it) => {
    it.layer(Live)("as a Stream", (it) => {
      it.effect("emits every row in order, as the caller that opened it, in one span", () =>
        Effect.gen(function* () {
          const stream = Stream.zip(
            numbers(95),
            SqlWarehouse.stream(Caller)`SELECT current_user AS caller FROM generate_series(1, 95)`
          )
          const { exit, spans } = yield* spansOf(Stream.runCollect(stream).pipe(as(alice)))
          assert.deepStrictEqual(
            exit,
            Exit.succeed(Array.from({ length: 95 }, (_, index) => [{ x: index + 1 }, { caller: alice }]))
          )
          const operations = spans.filter(({ attributes }) => attributes["operation.name"] === "sql.stream")
          assert.lengthOf(operations, 2)
          assert.include(operations[0]!.attributes, {
            "execution.context": "user",
            "db.response.returned_rows": 95,
            "db.response.truncated": false
          })
        })
      )

      it.effect("fetches 5 chunks and no more while its reader handles the first row", () =>
        Effect.gen(function* () {
          const seen = yield* recording
          const read = Latch.makeUnsafe()
          let rows = 0
          const reading = yield* Effect.forkChild(
            Stream.runForEach(numbers(400), () => Effect.suspend(() => (++rows === 1 ? read.await : Effect.void)))
          )
          yield* eventually(seen("GET", link), ({ length }) => length === 5)
          // Round trips during which a sixth could arrive.
          for (let trip = 0; trip < 5; trip++) yield* SqlWarehouse.query()`SELECT 1`
          assert.lengthOf(yield* seen("GET", link), 5)
          assert.strictEqual(rows, 1)
          yield* read.open
          yield* Fiber.join(reading)
          assert.lengthOf(yield* seen("GET", link), 40)
        })
      )

      it.effect("fetches no further chunk and sends no cancel when its reader stops early", () =>
        Effect.gen(function* () {
          const seen = yield* recording
          assert.lengthOf(yield* Stream.runCollect(Stream.take(numbers(400), 12)), 12)
          for (let trip = 0; trip < 5; trip++) yield* SqlWarehouse.query()`SELECT 1`
          assert.isAtMost((yield* seen("GET", link)).length, 7)
          assert.lengthOf(yield* seen("POST", cancel), 0)
        })
      )

      it.effect("cancels its statement as its caller when interrupted before the first row", () =>
        Effect.gen(function* () {
          const seen = yield* recording
          yield* pending(1000)
          const sleep = SqlWarehouse.stream(One)`SELECT pg_sleep(60) AS x`
          const fiber = yield* Effect.forkChild(Stream.runDrain(sleep).pipe(as(bob), held))
          yield* eventually(seen("GET", poll), ({ length }) => length > 0)
          yield* Fiber.interrupt(fiber)
          const [cancelled, ...others] = yield* seen("POST", cancel)
          assert.strictEqual(cancelled?.user, bob)
          assert.lengthOf(others, 0)
        }).pipe(Effect.scoped)
      )

      it.effect("cancels its statement, and does not restart it, when no row arrives within the timeout", () =>
        Effect.gen(function* () {
          const seen = yield* recording
          yield* pending(1000)
          const sleep = SqlWarehouse.stream(One, { timeout: "2 seconds" })`SELECT pg_sleep(60) AS x`
          assert.strictEqual((yield* Effect.flip(held(Stream.runDrain(sleep))))._tag, "OperationTimeoutError")
          assert.lengthOf(yield* seen("POST", cancel), 1)
          assert.lengthOf(yield* seen("POST", start), 1)
        }).pipe(Effect.scoped)
      )

      it.effect("calls onProgress while the statement is pending, and not for one that runs at once", () =>
        Effect.gen(function* () {
          const { warehouses } = yield* LocalWorkspace.LocalWorkspace
          yield* pending(3)
          const told: Array<SqlWarehouse.Progress> = []
          const onProgress = (progress: SqlWarehouse.Progress) => Effect.sync(() => void told.push(progress))
          const options = { warehouseId: warehouses[1]!.id, onProgress }
          yield* Stream.runDrain(SqlWarehouse.stream(One, options)`SELECT 1 AS x`)
          const { length } = told
          // The warehouse starts meanwhile, and a poll may see RUNNING between the start and the row.
          assert.match(told.map(({ state }) => state).join(), /^(?:STARTING)?,?(?:PENDING)?,?(?:RUNNING)?$/)
          assert.notStrictEqual(told[0]!.statementId, "")
          yield* SqlWarehouse.query(One, options)`SELECT 1 AS x`
          assert.lengthOf(told, length)
        }).pipe(Effect.scoped)
      )

      it.effect("fails with StatementGoneError when its result was closed or has expired", () =>
        Effect.gen(function* () {
          const { send } = yield* getWorkspaceClient
          for (const state of ["CLOSED", "EXPIRED"] as const) {
            const seen = yield* recording
            const lose = Effect.gen(function* () {
              const [first] = yield* seen("GET", link)
              const path = `${statements}/${first!.path.split("/")[2]}`
              if (state === "CLOSED") return yield* send(HttpClientRequest.delete(path))
              return yield* misbehave({ kind: "answer", status: 404, path, method: "GET" })
            })
            const lost = Stream.tap(numbers(400), ({ x }) => (x === 1 ? lose : Effect.void))
            assert.include(yield* reasonOf(Stream.runDrain(lost)), { _tag: "StatementGoneError", state })
          }
        }).pipe(Effect.scoped)
      )
    })

    const Routes = Layer.mergeAll(
      HttpRouter.add(
        "GET",
        "/mine",
        ServerSentEvents.toResponse(
          SqlWarehouse.stream(Caller)`SELECT current_user AS caller FROM generate_series(1, 25)`
        )
      ),
      HttpRouter.add("GET", "/sleep", ServerSentEvents.toResponse(SqlWarehouse.stream(One)`SELECT pg_sleep(60) AS x`))
    ).pipe(Layer.provide(Middleware.asUser.layer))

    it.layer(serve(Routes, { services: SqlWarehouse.layer }))("as server-sent events", (it) => {
      it.effect("runs as the user of the request, and is cancelled when the client disconnects", () =>
        Effect.gen(function* () {
          const { port } = yield* Served
          const seen = yield* recording
          const headers = yield* requestOf(bob)
          const { events } = yield* (yield* open(port, { path: "/mine", headers })).end
          assert.deepStrictEqual(
            events.map(({ data }) => data),
            Array.from({ length: 25 }, () => ({ caller: bob }))
          )
          yield* pending(1000)
          const client = yield* open(port, { path: "/sleep", headers })
          yield* eventually(seen("GET", poll), ({ length }) => length > 0)
          yield* client.leave
          const [cancelled] = yield* eventually(seen("POST", cancel), ({ length }) => length > 0)
          assert.strictEqual(cancelled?.user, bob)
        }).pipe(Effect.scoped)
      )
    })
  }
)
