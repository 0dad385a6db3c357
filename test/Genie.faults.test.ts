import { assert, layer } from "@effect/vitest"
import { Genie, GenieMessage, provideUser } from "effect-databricks"
import { LocalWorkspace } from "effect-databricks/testing"
import { Effect, Fiber, Schema, Stream } from "effect"
import { eventually } from "./fixtures/eventually.ts"
import { fast, followUp, Live, paged, poll, spaceId, spaces } from "./fixtures/genie.ts"
import { alice, as, requestOf } from "./fixtures/people.ts"
import { chunk, misbehave, reasonOf, recording } from "./fixtures/sqlWarehouse.ts"

const Numbers = Schema.Struct({ x: Schema.Int })

// The clock skips waits, and the SQL of an answer takes the time of a real Postgres.
const patient = { totalTimeout: "365 days" } as const

const asked = (question: string) => Genie.Genie.use((genie) => genie.answer(spaceId, question, patient))

const queryOf = (question: string) => Effect.map(asked(question), (message) => GenieMessage.queriesOf(message)[0]!)

/** Accepts a question and returns its ids, without a poll. */
const started = (question: string) =>
  Genie.Genie.use((genie) =>
    Effect.map(Stream.runCollect(Stream.take(genie.ask(spaceId, question), 1)), ([event]) =>
      event?._tag === "Started" ? event : assert.fail("no start")
    )
  )

const result = /\/query-result$/
const rerun = /\/execute-query$/

/** Answers the next request to such a path with this JSON. */
const saying = (method: string, path: RegExp, body: object) =>
  misbehave({
    kind: "answer",
    status: 200,
    headers: { "content-type": "application/json" },
    body: JSON.stringify(body),
    method,
    path: (_) => path.test(_),
    times: 1
  })

const failing = (status: number, method: string, path: RegExp, times = 1) =>
  misbehave({ kind: "answer", status, method, path: (_) => path.test(_), times })

const statement = (state: string, more: object = {}) => ({
  statement_response: { statement_id: "s", status: { state, ...more } }
})

const last = LocalWorkspace.LocalWorkspace.use(({ requests }) => Effect.map(requests, (all) => all.at(-1)!))

layer(LocalWorkspace.layer({ genie: spaces, rowsPerChunk: 3 }), { timeout: "60 seconds", excludeTestServices: true })(
  "Genie",
  (it) => {
    it.layer(Live)("a message", (it) => {
      it.effect("that is deleted meanwhile ends its stream with NotFoundError, and its polls", () =>
        Effect.gen(function* () {
          const genie = yield* Genie.Genie
          const ids = yield* as(alice)(started("Forever?"))
          yield* failing(404, "GET", poll, 5)
          const seen = yield* recording
          const reason = yield* as(alice)(fast(reasonOf(Stream.runDrain(genie.watch(ids)))))
          assert.strictEqual(reason._tag, "NotFoundError")
          assert.lengthOf(yield* seen("GET", poll), 1)
        }).pipe(Effect.scoped)
      )

      it.effect("is no longer polled after its total timeout, which aborts a poll under way", () =>
        Effect.gen(function* () {
          const genie = yield* Genie.Genie
          const ids = yield* as(alice)(started("Forever?"))
          yield* misbehave({ kind: "hang", method: "GET", path: (_) => poll.test(_) })
          const seen = yield* recording
          const watched = Stream.runDrain(genie.watch(ids, { totalTimeout: "300 millis" }))
          const error = yield* as(alice)(Effect.flip(watched))
          assert.match(error.message, /^genie\.watch took longer than 300ms: the message 01ef\w+ .* is unread/)
          yield* eventually(last, ({ aborted }) => aborted)
          assert.lengthOf(yield* seen("GET", poll), 1)
        }).pipe(Effect.scoped)
      )

      it.effect("may have a new status, and attachments and fields that this library does not know", () =>
        Effect.gen(function* () {
          const genie = yield* Genie.Genie
          const ids = yield* as(alice)(started("Forever?"))
          yield* saying("GET", poll, {
            status: "PONDERING",
            attachments: [{ chart: {} }, { attachment_id: null, text: { id: "t", content: "Hm" } }],
            error: null,
            thoughts: ["?"]
          })
          const message = yield* as(alice)(genie.message(ids))
          assert.deepStrictEqual(
            [message.messageId, message.status, message.error],
            [ids.messageId, "PONDERING", undefined]
          )
          assert.deepStrictEqual(
            message.attachments.map(({ attachmentId }) => attachmentId),
            ["", "t"]
          )
          assert.strictEqual(GenieMessage.textOf(message), "Hm")
        }).pipe(Effect.scoped)
      )

      it.effect("fails with InvalidResponseError and the caller's context if it does not have the form of one", () =>
        Effect.gen(function* () {
          const genie = yield* Genie.Genie
          const { conversationId, ...ids } = yield* as(alice)(started("Slowly?"))
          const calls = [
            ["GET", poll, { status: 7, error: [] }, genie.message({ conversationId, ...ids })],
            ["GET", poll, { status: [] }, Stream.runDrain(genie.watch({ conversationId, ...ids }))],
            ["POST", followUp, { id: "legacy" }, genie.answer(spaceId, "Hello", { conversationId })],
            ["GET", followUp, { messages: [{ content: "lost" }] }, genie.page(spaceId, conversationId)],
            ["GET", followUp, { messages: [{ message_id: "" }] }, genie.page(spaceId, conversationId)]
          ] as ReadonlyArray<readonly ["GET" | "POST", RegExp, object, Effect.Effect<unknown, unknown>]>
          for (const [method, path, body, call] of calls) {
            yield* saying(method, path, body)
            const error = yield* as(alice)(Effect.flip(call))
            assert.include(error, { _tag: "DatabricksError", context: "user" } as object)
            assert.match(
              (error as Error).message,
              /does not match its schema: "(error|status|messages\.0\.message_id|message_id)"/
            )
          }
        }).pipe(Effect.scoped)
      )

      it.effect("that fails names neither the question, also a long one, nor a credential, nor a row", () =>
        Effect.gen(function* () {
          const genie = yield* Genie.Genie
          const request = yield* requestOf(alice)
          const token = request["x-forwarded-access-token"]!
          const question = `Is ${"very ".repeat(1_000)}long?`
          for (const [said, expected] of [
            [`${"x".repeat(3_000)} ${question}`, undefined],
            [`Bearer ${token} is refused`, "failed: Bearer <redacted> is refused"],
            ["by row with values: 1, alice. SQLSTATE: 22000", "failed: by row with values: … SQLSTATE: 22000"]
          ] as const) {
            yield* saying("GET", poll, { status: "FAILED", error: { error: said, type: "SQL_EXECUTION_EXCEPTION" } })
            const error = yield* provideUser(fast(Effect.flip(genie.answer(spaceId, question))), request)
            if (error._tag !== "MessageFailedError") return assert.fail(error.message)
            assert.isFalse(error.isRetryable)
            assert.notInclude(error.message, "very very")
            if (expected !== undefined) assert.include(error.message, expected)
          }
        }).pipe(Effect.scoped)
      )

      it.effect("keeps the words of its error if the question is one letter", () =>
        Effect.gen(function* () {
          const genie = yield* Genie.Genie
          yield* saying("GET", poll, { status: "CANCELLED" })
          const error = yield* as(alice)(fast(Effect.flip(genie.answer(spaceId, "a"))))
          assert.match(error.message, /was cancelled by another client$/)
        }).pipe(Effect.scoped)
      )
    })

    it.layer(Live)("history", (it) => {
      it.effect("fails if a page names itself as its next page", () =>
        Effect.gen(function* () {
          const genie = yield* Genie.Genie
          const { conversationId } = yield* as(alice)(fast(genie.answer(paged, "1")))
          yield* misbehave({
            kind: "answer",
            status: 200,
            body: JSON.stringify({ messages: [{ message_id: "m" }], next_page_token: "again" }),
            method: "GET",
            path: (_) => followUp.test(_)
          })
          const reason = yield* as(alice)(reasonOf(Stream.runDrain(genie.history(paged, conversationId))))
          assert.include(reason, { _tag: "InvalidResponseError" })
          assert.include(reason.message, "names itself as its next page")
        }).pipe(Effect.scoped)
      )

      it.effect("applies retry and timeout to each page", () =>
        Effect.gen(function* () {
          const genie = yield* Genie.Genie
          const { conversationId } = yield* as(alice)(fast(genie.answer(paged, "1")))
          yield* misbehave({ kind: "drop", when: "after", method: "GET", path: (_) => followUp.test(_), times: 1 })
          const all = Stream.runCollect(genie.history(paged, conversationId, { retry: { attempts: 2 } }))
          assert.lengthOf(yield* as(alice)(fast(all)), 1)
          yield* misbehave({ kind: "hang", method: "GET", path: (_) => followUp.test(_) })
          const timed = Stream.runDrain(genie.history(paged, conversationId, { timeout: "200 millis" }))
          const error = yield* as(alice)(Effect.flip(timed))
          assert.include(error.message, "genie.history took longer than 200ms")
          yield* eventually(last, ({ aborted }) => aborted)
        }).pipe(Effect.scoped)
      )
    })

    it.layer(Live)("rows", (it) => {
      it.effect("waits for a statement that runs, through failures of the workspace, and reads no rows as none", () =>
        Effect.gen(function* () {
          const genie = yield* Genie.Genie
          const query = yield* as(alice)(fast(queryOf("None?")))
          yield* saying("GET", result, statement("PENDING"))
          yield* saying("GET", result, statement("RUNNING"))
          yield* failing(500, "GET", result, 2)
          const seen = yield* recording
          const { columns, rows, truncated } = yield* as(alice)(fast(genie.rows(query)(Numbers)))
          assert.deepStrictEqual([columns[0]!.name, rows, truncated], ["x", [], false])
          assert.lengthOf(yield* seen("GET", result), 5)
        }).pipe(Effect.scoped)
      )

      it.effect("fails as the statement did: with its error, cancelled, or closed", () =>
        Effect.gen(function* () {
          const genie = yield* Genie.Genie
          const query = yield* as(alice)(fast(queryOf("How many?")))
          const error = { error: { error_code: "BAD_REQUEST", message: "No such column" } }
          for (const [body, expected] of [
            [statement("FAILED", error), { _tag: "StatementFailedError", message: "No such column" }],
            [statement("CANCELED"), { _tag: "StatementGoneError", state: "CANCELED" }],
            [statement("CLOSED"), { _tag: "StatementGoneError", state: "CLOSED" }]
          ] as const) {
            yield* saying("GET", result, body)
            assert.include(yield* as(alice)(reasonOf(genie.rows(query)(Numbers))), expected)
          }
        }).pipe(Effect.scoped)
      )

      it.effect("says how to read rows that expired after the message was read", () =>
        Effect.gen(function* () {
          const genie = yield* Genie.Genie
          const query = yield* as(alice)(fast(queryOf("How many?")))
          for (const path of [result, chunk]) {
            yield* failing(404, "GET", path)
            const reason = yield* as(alice)(reasonOf(genie.rows(query)(Numbers)))
            assert.strictEqual(reason._tag, "NotFoundError")
            assert.include(reason.message, `the Genie space ${query.spaceId} `)
            assert.include(reason.message, "rerun: true")
          }
        }).pipe(Effect.scoped)
      )

      it.effect("runs a query again once, and says what that run left out", () =>
        Effect.gen(function* () {
          const genie = yield* Genie.Genie
          const query = { ...(yield* as(alice)(fast(queryOf("How many?")))), truncated: true }
          assert.isTrue((yield* as(alice)(fast(genie.rows(query)(Numbers)))).truncated)
          assert.isFalse((yield* as(alice)(fast(genie.rows(query)(Numbers, { rerun: true })))).truncated)
          for (const fault of [{ kind: "drop", when: "after" }, { kind: "truncate" }] as const) {
            yield* misbehave({ ...fault, method: "POST", path: (_) => rerun.test(_), times: 1 })
            const seen = yield* recording
            yield* as(alice)(fast(Effect.flip(genie.rows(query)(Numbers, { rerun: true }))))
            assert.lengthOf(yield* seen("POST", rerun), 1)
          }
        }).pipe(Effect.scoped)
      )

      it.effect("aborts its request after its total timeout, and when it is interrupted", () =>
        Effect.gen(function* () {
          const genie = yield* Genie.Genie
          const query = yield* as(alice)(fast(queryOf("How many?")))
          for (const path of [chunk, result]) {
            yield* misbehave({ kind: "hang", method: "GET", path: (_) => path.test(_) })
            const error = yield* as(alice)(Effect.flip(genie.rows(query)(Numbers, { totalTimeout: "300 millis" })))
            assert.include(error.message, "genie.rows took longer than 300ms")
            yield* eventually(last, ({ aborted }) => aborted)
            const seen = yield* recording
            const fiber = yield* Effect.forkChild(as(alice)(genie.rows(query)(Numbers)))
            yield* eventually(seen("GET", path), (all) => all.length > 0)
            yield* Fiber.interrupt(fiber)
            yield* eventually(seen("GET", path), (all) => all.every(({ aborted }) => aborted))
          }
        }).pipe(Effect.scoped)
      )
    })
  }
)
