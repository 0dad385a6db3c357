import { assert, layer } from "@effect/vitest"
import { asService, Genie, GenieMessage, HttpFailure, provideUser, SqlWarehouse } from "effect-databricks"
import { LocalWorkspace } from "effect-databricks/testing"
import { Effect, Exit, Fiber, Option, Schema, Stream } from "effect"
import { eventually } from "./fixtures/eventually.ts"
import { fast, followUp, hers, Live, paged, poll, spaceId, spaces, start } from "./fixtures/genie.ts"
import { alice, as, bob, requestOf } from "./fixtures/people.ts"
import { spansOf } from "./fixtures/spans.ts"
import { turn } from "./fixtures/start.ts"
import { misbehave, reasonOf, recording } from "./fixtures/sqlWarehouse.ts"

const Numbers = Schema.Struct({ x: Schema.Int })
const Caller = Schema.Struct({ caller: Schema.String })

// The clock skips waits, and the SQL of an answer takes the time of a real Postgres.
const patient = { totalTimeout: "365 days" } as const

/** The events of a question, without the ids. */
const eventsOf = (question: string, options?: Genie.AskOptions) =>
  Effect.map(
    Effect.flatMap(Genie.Genie, (genie) => Stream.runCollect(genie.ask(spaceId, question, { ...patient, ...options }))),
    (events) => events.map((_) => (_._tag === "Progress" ? _.status : _._tag))
  )

const answer = (question: string, options?: Genie.AskOptions) =>
  Genie.Genie.use((genie) => genie.answer(spaceId, question, { ...patient, ...options }))

const queryOf = (question: string) => Effect.map(answer(question), (message) => GenieMessage.queriesOf(message)[0]!)

const rowsOf = (question: string) =>
  Effect.flatMap(Effect.all([Genie.Genie, queryOf(question)]), ([genie, query]) => genie.rows(query)(Numbers))

const Local = LocalWorkspace.layer({ genie: spaces, rowsPerChunk: 3 })

layer(Local, { timeout: "60 seconds", excludeTestServices: true })("Genie", (it) => {
  it.layer(Live)("ask", (it) => {
    it.effect("streams the start, each new status once and the end", () =>
      Effect.gen(function* () {
        const events = yield* as(alice)(fast(eventsOf("Slowly?")))
        assert.deepStrictEqual(events, [
          "Started",
          "SUBMITTED",
          "FILTERING_CONTEXT",
          "ASKING_AI",
          "A_NEW_STATE",
          "Completed"
        ])
      })
    )

    for (const [question, end] of [
      ["Is it broken?", "Failed"],
      ["Cancelled?", "Cancelled"],
      ["Expired?", "QueryResultExpired"]
    ]) {
      it.effect(`ends with ${end}, and polls no more`, () =>
        Effect.gen(function* () {
          const seen = yield* recording
          assert.strictEqual((yield* as(alice)(fast(eventsOf(question!)))).at(-1), end)
          const polls = (yield* seen("GET", poll)).length
          yield* turn
          assert.lengthOf(yield* seen("GET", poll), polls)
        })
      )
    }

    it.effect("gives the message's own error: of Genie, of the SQL, and none", () =>
      Effect.gen(function* () {
        const genie = yield* Genie.Genie
        const errorOf = (question: string) =>
          Effect.map(Stream.runLast(genie.ask(spaceId, question, patient)), (last) => {
            const event = Option.getOrThrow(last)
            return event._tag === "Failed" ? event.error : assert.fail(event._tag)
          })
        const told = yield* as(alice)(
          fast(Effect.all([errorOf("Is it broken?"), errorOf("Which table?"), errorOf("Without a reason?")]))
        )
        assert.deepStrictEqual(told[0], {
          type: "RETRYABLE_PROCESSING_EXCEPTION",
          message: "The model said: Is it broken? Yes."
        })
        assert.strictEqual(told[1].type, "SQL_EXECUTION_EXCEPTION")
        assert.include(told[1].message, "nowhere")
        assert.strictEqual(told[2].message, "Genie gave no reason")
      })
    )

    it.effect("interrupts a message that never ends at its total timeout, and says how to go on", () =>
      Effect.gen(function* () {
        const seen = yield* recording
        const genie = yield* Genie.Genie
        const ask = yield* as(alice)(fast(Effect.flip(genie.answer(spaceId, "Forever?"))))
        assert.strictEqual(ask._tag, "OperationTimeoutError")
        assert.match(ask.message, /^genie\.ask took longer than 10m: the message 01ef\w+ .* is A_NEW_STATE/)
        // The intervals grow from 1 to 10 seconds.
        assert.isAbove((yield* seen("GET", poll)).length, 50)
        assert.isBelow((yield* seen("GET", poll)).length, 100)
        const [started] = yield* as(alice)(Stream.runCollect(Stream.take(genie.ask(spaceId, "Forever?"), 1)))
        if (started?._tag !== "Started") return assert.fail("no start")
        const watch = yield* as(alice)(fast(Effect.flip(Stream.runDrain(genie.watch(started)))))
        assert.match(watch.message, /^genie\.watch took longer than 10m/)
      })
    )

    it.effect("interrupts a request that hangs at its total timeout, and aborts it", () =>
      Effect.gen(function* () {
        const workspace = yield* LocalWorkspace.LocalWorkspace
        yield* misbehave({ kind: "hang", path: (path) => start.test(path), times: 1 })
        const error = yield* as(alice)(Effect.flip(answer("Slowly?", { totalTimeout: "300 millis" })))
        assert.strictEqual(error._tag, "OperationTimeoutError")
        yield* eventually(workspace.requests, (requests) => requests.at(-1)!.aborted)
      }).pipe(Effect.scoped)
    )

    it.effect("stops polling when its reader leaves, and aborts the poll under way", () =>
      Effect.gen(function* () {
        const workspace = yield* LocalWorkspace.LocalWorkspace
        const seen = yield* recording
        yield* misbehave({ kind: "hang", method: "GET", path: (path) => poll.test(path) })
        const fiber = yield* Effect.forkChild(as(alice)(fast(eventsOf("Forever?"))))
        yield* eventually(seen("GET", poll), (polls) => polls.length === 1)
        yield* Fiber.interrupt(fiber)
        yield* eventually(workspace.requests, (requests) => requests.at(-1)!.aborted)
        assert.lengthOf(yield* seen("GET", poll), 1)
        const genie = yield* Genie.Genie
        yield* as(alice)(Stream.runDrain(Stream.take(genie.ask(spaceId, "Forever?"), 2)))
        assert.lengthOf(yield* seen("GET", poll), 1)
      }).pipe(Effect.scoped)
    )

    it.effect("asks again after a refusal, and never after a question that may have arrived", () =>
      Effect.gen(function* () {
        for (const path of [start, followUp]) {
          const genie = yield* Genie.Genie
          const { conversationId } = yield* as(alice)(fast(answer("Slowly?")))
          const options = path === start ? {} : { conversationId }
          const matching = { method: "POST", path: (_: string) => path.test(_) }
          const seen = yield* recording
          yield* misbehave({ kind: "answer", status: 503, ...matching, times: 2 })
          yield* as(alice)(fast(genie.answer(spaceId, "Slowly?", options)))
          assert.lengthOf(yield* seen("POST", path), 3)
          const once = yield* recording
          yield* misbehave({ kind: "answer", status: 503, ...matching, times: 1 })
          yield* as(alice)(fast(Effect.flip(genie.answer(spaceId, "Slowly?", { ...options, retry: false }))))
          assert.lengthOf(yield* once("POST", path), 1)
          for (const retry of [undefined, { attempts: 5 }, false] as const) {
            for (const fault of [
              { kind: "drop", when: "after" },
              { kind: "answer", status: 500 },
              { kind: "answer", status: 200, body: "<html>a gateway</html>" },
              { kind: "truncate" }
            ] as const) {
              const seen = yield* recording
              yield* misbehave({ ...fault, ...matching, times: 1 })
              yield* as(alice)(fast(Effect.flip(genie.answer(spaceId, "Slowly?", { ...options, retry }))))
              assert.lengthOf(yield* seen("POST", path), 1)
            }
          }
        }
      }).pipe(Effect.scoped)
    )

    it.effect("polls on through 429, 500, half an answer and lost connections", () =>
      Effect.gen(function* () {
        const genie = yield* Genie.Genie
        for (const fault of [
          { kind: "answer", status: 429 },
          { kind: "answer", status: 500 },
          { kind: "truncate" },
          { kind: "drop" }
        ] as const) {
          yield* misbehave({ ...fault, method: "GET", path: (path) => poll.test(path), times: 2 })
          assert.strictEqual((yield* as(alice)(fast(genie.answer(spaceId, "Slowly?")))).status, "COMPLETED")
        }
      }).pipe(Effect.scoped)
    )

    it.effect("goes on with a conversation", () =>
      Effect.gen(function* () {
        const genie = yield* Genie.Genie
        const last = yield* as(alice)(
          fast(
            Effect.gen(function* () {
              const { conversationId } = yield* genie.answer(spaceId, "One")
              yield* genie.answer(spaceId, "Two", { conversationId })
              return yield* genie.answer(spaceId, "Three", { conversationId })
            })
          )
        )
        assert.strictEqual(GenieMessage.textOf(last), "One Two")
      })
    )

    it.effect("is one span with the caller and the ids, and without the question or the answer", () =>
      Effect.gen(function* () {
        const { exit, spans } = yield* spansOf(as(alice)(fast(answer("Is it broken?"))))
        assert.isTrue(Exit.isFailure(exit))
        const operation = spans.find(({ attributes }) => attributes["operation.name"] === "genie.ask")!
        assert.include(operation.attributes, { "genie.space_id": spaceId, "execution.context": "user" })
        assert.match(String(operation.attributes["genie.message_id"]), /^01ef/)
        assert.notInclude(JSON.stringify(spans.map(({ attributes }) => attributes)), "broken")
      })
    )
  })

  it.layer(Live)("answer", (it) => {
    it.effect("fails with the status, the code and a message without the question", () =>
      Effect.gen(function* () {
        const error = yield* as(alice)(fast(Effect.flip(answer("Is it broken?"))))
        if (error._tag !== "MessageFailedError") return assert.fail(error.message)
        assert.include(error, { spaceId, status: "FAILED", type: "RETRYABLE_PROCESSING_EXCEPTION", isRetryable: true })
        assert.match(error.message, /^The message 01ef\w+ of the Genie space \w+ failed: The model said: … Yes\.$/)
        const failure = HttpFailure.fromError(error, { development: false })
        assert.strictEqual(failure.status, 502)
      })
    )

    it.effect("is found again by the ids of its error or of Started", () =>
      Effect.gen(function* () {
        const genie = yield* Genie.Genie
        const error = yield* as(alice)(fast(Effect.flip(answer("Cancelled?"))))
        if (error._tag !== "MessageFailedError") return assert.fail(error.message)
        assert.strictEqual((yield* as(alice)(genie.message(error))).status, "CANCELLED")
        const [started] = yield* as(alice)(Stream.runCollect(Stream.take(genie.ask(spaceId, "Slowly?"), 1)))
        if (started?._tag !== "Started") return assert.fail("no start")
        const resumed = yield* as(alice)(fast(Stream.runCollect(genie.watch(started))))
        assert.deepStrictEqual(resumed.at(0), { _tag: "Progress", status: "FILTERING_CONTEXT" })
        assert.strictEqual(resumed.at(-1)!._tag, "Completed")
      })
    )
  })

  it.layer(Live)("history", (it) => {
    it.effect("streams every message over pages, empty ones among them, newest first", () =>
      Effect.gen(function* () {
        const genie = yield* Genie.Genie
        const contents = yield* as(alice)(
          fast(
            Effect.gen(function* () {
              const { conversationId } = yield* genie.answer(paged, "1")
              for (const question of ["2", "3", "4", "5"]) yield* genie.answer(paged, question, { conversationId })
              const messages = yield* Stream.runCollect(genie.history(paged, conversationId, { pageSize: 2 }))
              const first = yield* genie.page(paged, conversationId, { pageSize: 2 })
              assert.deepStrictEqual(first.messages, [])
              const second = yield* genie.page(paged, conversationId, { pageSize: 2, pageToken: first.nextPageToken })
              assert.notStrictEqual(second.nextPageToken, first.nextPageToken)
              let full = second
              while (full.messages.length === 0)
                full = yield* genie.page(paged, conversationId, { pageSize: 2, pageToken: full.nextPageToken })
              assert.lengthOf(full.messages, 2)
              return messages.map(({ content }) => content)
            })
          )
        )
        assert.deepStrictEqual(contents, ["5", "4", "3", "2", "1"])
      })
    )

    it.effect("has the rating of an answer", () =>
      Effect.gen(function* () {
        const genie = yield* Genie.Genie
        const ratings = yield* as(alice)(
          fast(
            Effect.gen(function* () {
              const message = yield* genie.answer(spaceId, "One")
              yield* genie.feedback(message, "POSITIVE")
              const [rated] = yield* Stream.runCollect(genie.history(spaceId, message.conversationId))
              yield* genie.feedback(message, "NONE")
              return [message.rating, rated!.rating, (yield* genie.message(message)).rating]
            })
          )
        )
        assert.deepStrictEqual(ratings, [undefined, "POSITIVE", undefined])
      })
    )
  })

  it.layer(Live)("rows", (it) => {
    it.effect("reads all chunks, decoded by a Schema, by type and as text", () =>
      Effect.gen(function* () {
        const genie = yield* Genie.Genie
        const numbers = Array.from({ length: 7 }, (_, i) => i + 1)
        yield* as(alice)(
          fast(
            Effect.gen(function* () {
              const query = yield* queryOf("How many?")
              assert.include(query, { title: "Numbers", rowCount: 7, truncated: false })
              const { columns, rows, truncated } = yield* genie.rows(query)(Numbers)
              assert.deepStrictEqual(
                rows,
                numbers.map((x) => ({ x }))
              )
              assert.deepStrictEqual([columns[0]!.name, truncated], ["x", false])
              assert.deepStrictEqual((yield* genie.rows(query)()).rows[6], { x: 7n })
              assert.deepStrictEqual((yield* genie.table(query)).rows[6], ["7"])
              const error = yield* Effect.flip(genie.rows(query)(Schema.Struct({ x: Schema.Boolean })))
              assert.instanceOf(error, SqlWarehouse.RowDecodeError)
            })
          )
        )
      })
    )

    it.effect("says that rows are missing", () =>
      Effect.gen(function* () {
        const genie = yield* Genie.Genie
        const query = yield* as(alice)(fast(queryOf("The first few?")))
        assert.isTrue(query.truncated)
        const byWarehouse = yield* as(alice)(fast(genie.rows({ ...query, truncated: false })(Numbers)))
        assert.deepStrictEqual([byWarehouse.rows.length, byWarehouse.truncated], [5, true])
        const all = yield* as(alice)(fast(queryOf("How many?")))
        const byGenie = yield* as(alice)(fast(genie.rows({ ...all, truncated: true })(Numbers)))
        assert.deepStrictEqual([byGenie.rows.length, byGenie.truncated], [7, true])
      })
    )

    it.effect("runs the query of an expired result again on request only", () =>
      Effect.gen(function* () {
        const genie = yield* Genie.Genie
        yield* as(alice)(
          fast(
            Effect.gen(function* () {
              const error = yield* Effect.flip(answer("Expired?"))
              if (error._tag !== "MessageFailedError") return assert.fail(error.message)
              assert.include(error.message, "rerun: true")
              const [query] = GenieMessage.queriesOf(yield* genie.message(error))
              assert.include(yield* reasonOf(genie.rows(query!)(Numbers)), { _tag: "NotFoundError" })
              assert.deepStrictEqual((yield* genie.rows(query!)(Numbers, { rerun: true })).rows, [{ x: 1 }])
            })
          )
        )
      })
    )

    it.effect("needs the scope sql for more than one chunk", () =>
      Effect.gen(function* () {
        const request = yield* requestOf(alice, { scopes: ["iam.current-user:read", "genie"] })
        const reason = yield* reasonOf(provideUser(fast(rowsOf("How many?")), request))
        assert.include(reason, { _tag: "MissingScopeError", scope: "sql" })
      })
    )
  })

  it.layer(Live)("user", (it) => {
    it.effect("asks, reads and resumes as the user, also inside asService", () =>
      Effect.gen(function* () {
        const whoAmI = Effect.gen(function* () {
          const genie = yield* Genie.user
          const message = yield* asService(genie.answer(spaceId, "Who am I?", patient))
          assert.deepStrictEqual(GenieMessage.suggestedQuestionsOf(message), ["Who else?", "Why?"])
          assert.strictEqual(GenieMessage.textOf(message), "You are:")
          const [query] = GenieMessage.queriesOf(message)
          const { rows } = yield* asService(genie.rows(query!)(Caller))
          const events = yield* asService(Stream.runCollect(genie.watch(message)))
          const history = yield* asService(Stream.runCollect(genie.history(spaceId, message.conversationId)))
          return [rows[0]!.caller, events.at(-1)!._tag, history.length]
        })
        const both = Effect.all([as(alice)(fast(whoAmI)), as(bob)(fast(whoAmI))], { concurrency: 2 })
        assert.deepStrictEqual(yield* both, [
          [alice, "Completed", 1],
          [bob, "Completed", 1]
        ])
      })
    )

    it.effect("dies in another user's call, and sends nothing", () =>
      Effect.gen(function* () {
        const { genie, message } = yield* as(alice)(
          fast(Effect.all({ genie: Genie.user, message: answer("Who am I?") }))
        )
        const [query] = GenieMessage.queriesOf(message)
        const { conversationId } = message
        const calls: Record<keyof typeof genie, Effect.Effect<unknown, unknown>> = {
          ask: Stream.runDrain(genie.ask(spaceId, "Slowly?")),
          answer: genie.answer(spaceId, "Slowly?"),
          watch: Stream.runDrain(genie.watch(message)),
          message: genie.message(message),
          history: Stream.runDrain(genie.history(spaceId, conversationId)),
          page: genie.page(spaceId, conversationId),
          rows: genie.rows(query!)(),
          table: genie.table(query!),
          feedback: genie.feedback(message, "POSITIVE")
        }
        const seen = yield* recording
        for (const [name, call] of Object.entries(calls)) {
          assert.isTrue(Exit.hasDies(yield* Effect.exit(as(bob)(call))), name)
          assert.isTrue(Exit.hasDies(yield* Effect.exit(call)), name)
        }
        assert.isEmpty(yield* seen("GET", /genie/))
        assert.isEmpty(yield* seen("POST", /genie/))
      })
    )

    it.effect("sees neither another user's conversation nor a space that is not shared", () =>
      Effect.gen(function* () {
        const genie = yield* Genie.Genie
        const message = yield* as(alice)(fast(genie.answer(hers, "Hello")))
        const refused = yield* as(bob)(reasonOf(genie.message(message)))
        assert.strictEqual(refused._tag, "PermissionDeniedError")
        assert.include(refused.message, `CAN RUN on the Genie space ${hers}`)
        const own = yield* as(alice)(fast(answer("Slowly?")))
        const { conversationId } = own
        for (const call of [
          genie.message(own),
          genie.page(spaceId, conversationId),
          genie.answer(spaceId, "And what else?", { conversationId }),
          genie.feedback(own, "NEGATIVE")
        ] as ReadonlyArray<Effect.Effect<unknown, unknown>>) {
          assert.strictEqual((yield* as(bob)(reasonOf(call)))._tag, "NotFoundError")
        }
        const missing = yield* as(bob)(reasonOf(genie.answer("a/b?c", "Hello")))
        assert.strictEqual(missing._tag, "NotFoundError")
        assert.include(missing.message, "Check the id of the Genie space a/b?c")
        const request = yield* requestOf(alice, { scopes: ["iam.current-user:read", "sql"] })
        const reason = yield* reasonOf(provideUser(answer("Slowly?"), request))
        assert.include(reason, { _tag: "MissingScopeError", scope: "genie" })
      })
    )
  })
})
