import { assert, layer } from "@effect/vitest"
import { Duration, Effect, Exit, Layer } from "effect"
import { withSleep } from "../fixtures/clock.ts"
import { call, dataOf, Local, serve, spaceId, typesOf } from "../fixtures/chat.ts"
import { alice, bob } from "../fixtures/people.ts"
import { start } from "../fixtures/genie.ts"
import { misbehave, recording } from "../fixtures/sqlWarehouse.ts"
import * as AppKitGenie from "effect-databricks/appkit/Genie"

/** Asks a question, by default as alice. */
const asked = Effect.fnUntraced(function* (content: string, options: { port?: number; user?: string } = {}) {
  const port = options.port ?? (yield* serve())
  const { messages } = yield* call(port, options.user ?? alice, "default/messages?requestId=1", { body: { content } })
  const data = dataOf(messages)
  return { port, messages, data, result: data.find(({ type }) => type === "message_result")?.message }
})

const textsOf = (message: { attachments: ReadonlyArray<{ text?: { content: string } }> }) =>
  message.attachments.flatMap(({ text }) => text?.content ?? [])

const result = /\/query-result$/

layer(Local, { timeout: "60 seconds", excludeTestServices: true })("AppKit.genie", (it) => {
  it.effect("streams message_start, each status, message_result, query_result, and ends", () =>
    Effect.gen(function* () {
      const { data, messages, result } = yield* asked("Who am I?")
      assert.deepStrictEqual(typesOf(messages), [
        "message_start",
        "SUBMITTED",
        "ASKING_AI",
        "message_result",
        "query_result"
      ])
      const { conversationId, messageId } = data[0]
      assert.deepStrictEqual(data[0], { type: "message_start", conversationId, messageId, spaceId })
      assert.include(result, { messageId, conversationId, spaceId, status: "COMPLETED", content: "Who am I?" })
      const [text, query, questions] = result.attachments
      assert.deepStrictEqual([text.text, questions.suggestedQuestions], [{ content: "You are:" }, ["Why?"]])
      assert.include(query.query, { title: "Caller", query: "SELECT current_user AS caller" })
      assert.deepStrictEqual(data[4], {
        type: "query_result",
        attachmentId: query.attachmentId,
        statementId: query.query.statementId,
        data: {
          manifest: { schema: { columns: [{ name: "caller", type_name: "STRING" }] } },
          result: { data_array: [[alice]] }
        }
      })
    }).pipe(Effect.scoped)
  )

  it.effect("asks and reads rows as the person who sent the request, for two people at once", () =>
    Effect.gen(function* () {
      const port = yield* serve()
      const seen = yield* recording
      const both = yield* Effect.all([asked("Who am I?", { port }), asked("Who am I?", { port, user: bob })], {
        concurrency: 2
      })
      assert.deepStrictEqual(
        both.map(({ data }) => data.at(-1).data.result.data_array),
        [[[alice]], [[bob]]]
      )
      const users = [...(yield* seen("POST", start)), ...(yield* seen("GET", /\/genie\//))].map((_) => _.user)
      assert.deepStrictEqual([...new Set(users)].toSorted(), [alice, bob])
    }).pipe(Effect.scoped)
  )

  it.effect("reads all chunks of a result", () =>
    Effect.gen(function* () {
      const { data, result } = yield* asked("How many?")
      assert.deepStrictEqual(data.at(-1).data.result.data_array.flat(), ["1", "2", "3", "4", "5", "6", "7"])
      assert.notProperty(data.at(-1).data, "truncated")
      // Without a text of its own the hook would show the question as the answer.
      assert.deepStrictEqual(textsOf(result), ["Seven."])
    }).pipe(Effect.scoped)
  )

  it.effect("says in the message and in data that Genie kept a part of the rows", () =>
    Effect.gen(function* () {
      const { data, result } = yield* asked("The first few?")
      assert.lengthOf(data.at(-1).data.result.data_array, 5)
      assert.isTrue(data.at(-1).data.truncated)
      assert.deepStrictEqual(textsOf(result), ["Some.", "The result “Few” has only its first 5 rows."])
    }).pipe(Effect.scoped)
  )

  it.effect("sends the rows that fit into an event of 4 MiB, and says so", () =>
    Effect.gen(function* () {
      const { data, result } = yield* asked("A lot?")
      assert.lengthOf(data.at(-1).data.result.data_array, 3)
      assert.isTrue(data.at(-1).data.truncated)
      assert.isBelow(JSON.stringify(data.at(-1)).length, 4 * 2 ** 20)
      assert.include(textsOf(result), "The result has only its first 3 rows.")
    }).pipe(Effect.scoped)
  )

  for (const [question, error, texts] of [
    ["Too much?", "The question is too long for this space.", ["Genie gave no answer."]],
    ["Which table?", "Genie could not answer this question: ask it in another way.", ["Genie gave no answer."]],
    ["Why not?", "Genie could not answer this question: ask it in another way.", ["Genie gave no answer."]],
    ["Cancelled?", "The question was cancelled.", ["Genie gave no answer."]],
    ["Expired?", "Its rows are no longer stored: ask the question again.", ["It was 1."]]
  ] as const) {
    it.effect(`ends with a FAILED message that says why: ${question}`, () =>
      Effect.gen(function* () {
        const { data, messages, result } = yield* asked(question)
        assert.strictEqual(messages.at(-1)!.data.type, "message_result")
        assert.include(result, { status: "FAILED", error })
        assert.deepStrictEqual(textsOf(result), [...texts])
        assert.notInclude(JSON.stringify(data), 'nowhere\\"') // the warehouse's own words
      }).pipe(Effect.scoped)
    )
  }

  for (const [status, reason] of [
    [403, "You do not have the permission for this."],
    [404, "Its rows are no longer stored: ask the question again."]
  ] as const) {
    it.effect(`shows the answer and says in it that its rows cannot be read, after a ${status}`, () =>
      Effect.gen(function* () {
        yield* misbehave({ kind: "answer", status, body: "{}", path: (path) => result.test(path), times: 1 })
        const { messages, result: message } = yield* asked("Who am I?")
        assert.strictEqual(messages.at(-1)!.data.type, "message_result")
        assert.include(message, { status: "COMPLETED", error: `The result “Caller” cannot be shown. ${reason}` })
        assert.include(textsOf(message), "You are:")
      }).pipe(Effect.scoped)
    )
  }

  it.effect("ends with TIMEOUT for a question that Genie never answers", () =>
    Effect.gen(function* () {
      // The total time limit has minutes, and is the only wait of minutes.
      const clock = withSleep(
        (sleep) => (duration) => sleep(Duration.toMinutes(duration) < 2 ? duration : Duration.millis(50))
      )
      const port = yield* serve({ clock })
      const { data } = yield* asked("Forever?", { port })
      assert.deepInclude(data.at(-1), { type: "error", code: "TIMEOUT", error: "This took too long: try again" })
    }).pipe(Effect.scoped)
  )

  it.effect("ends with an error event without the workspace's own words if Genie refuses the question", () =>
    Effect.gen(function* () {
      const port = yield* serve()
      const { messages, status } = yield* call(port, bob, "hers/messages", { body: { content: "Hello" } })
      assert.strictEqual(status, 200)
      assert.deepStrictEqual(dataOf(messages), [
        { type: "error", error: "You do not have the permission for this", code: "STREAM_FORBIDDEN", plugin: "genie" }
      ])
    }).pipe(Effect.scoped)
  )

  it.effect("refuses a wrong request before the stream, and asks nothing", () =>
    Effect.gen(function* () {
      const port = yield* serve()
      const seen = yield* recording
      const content = "content is required"
      for (const [path, body, status, error] of [
        ["nowhere/messages", { content: "Hi" }, 404, "Unknown space alias: nowhere"],
        ["constructor/messages", { content: "Hi" }, 404, "Unknown space alias: constructor"],
        ["nowhere/conversations/c", undefined, 404, "Unknown space alias: nowhere"],
        ["nowhere/conversations/c/messages/m", undefined, 404, "Unknown space alias: nowhere"],
        ["default/messages", {}, 400, content],
        ["default/messages", { content: " \n" }, 400, content],
        ["default/messages", { content: 7 }, 400, content],
        ["default/messages", { content: "x".repeat(10_001) }, 400, "content is longer than 10000 characters"],
        ["default/messages", { content: "Hi", conversationId: 7 }, 400, undefined],
        ["default/messages", "[", 400, undefined],
        ["default/messages", { content: "Hi", conversationId: "" }, 400, undefined],
        [`default/messages?requestId=${"x".repeat(201)}`, { content: "Hi" }, 400, undefined],
        ["default/messages?requestId=", { content: "Hi" }, 400, undefined]
      ] as const) {
        const answer = yield* call(port, alice, path, body === undefined ? {} : { body })
        assert.strictEqual(answer.status, status, path)
        if (error !== undefined) assert.propertyVal(answer.json, "error", error)
      }
      assert.lengthOf(yield* seen("POST", /genie/), 0)
    }).pipe(Effect.scoped)
  )

  it.effect("answers 401 without a token, and goes on to serve", () =>
    Effect.gen(function* () {
      const port = yield* serve()
      for (const path of ["messages", "conversations/c", "conversations/c/messages/m"]) {
        const response = yield* Effect.promise(() =>
          fetch(`http://127.0.0.1:${port}/api/genie/default/${path}`, {
            method: path === "messages" ? "POST" : "GET",
            headers: { "x-forwarded-user": "1" }
          })
        )
        assert.strictEqual(response.status, 401)
        assert.property(yield* Effect.promise(() => response.json()), "error")
      }
      assert.isAbove((yield* asked("Who am I?", { port })).messages.length, 0)
    }).pipe(Effect.scoped)
  )

  it.effect("finds a space by an alias that the URL encodes", () =>
    Effect.gen(function* () {
      const port = yield* serve()
      const { messages } = yield* call(port, alice, "sales%20team/messages", { body: { content: "Hello" } })
      assert.strictEqual(messages.at(-1)!.data.message.spaceId, spaceId)
    }).pipe(Effect.scoped)
  )

  it.effect("does not start with a page size of 0", () =>
    Effect.gen(function* () {
      const exit = yield* Effect.exit(Layer.build(AppKitGenie.layer({ spaces: {}, pageSize: 0 }) as Layer.Layer<never>))
      assert.isTrue(Exit.isFailure(exit))
      assert.include(String(exit), "The option pageSize of AppKit.genie is not a whole number of 1 or more: 0")
    }).pipe(Effect.scoped)
  )
})
