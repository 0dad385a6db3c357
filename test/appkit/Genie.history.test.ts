import { assert, layer } from "@effect/vitest"
import { Effect } from "effect"
import { call, dataOf, Local, serve, typesOf } from "../fixtures/chat.ts"
import { alice, bob } from "../fixtures/people.ts"
import { misbehave, recording } from "../fixtures/sqlWarehouse.ts"

/** Asks these in one conversation of alice, and returns its id and the ids of its messages. */
const conversation = Effect.fnUntraced(function* (port: number, questions: ReadonlyArray<string>) {
  const messageIds: Array<string> = []
  let conversationId: string | undefined
  for (const content of questions) {
    const take = content === "Forever?" ? { take: 2 } : {}
    const { messages } = yield* call(port, alice, "default/messages", { body: { content, conversationId }, ...take })
    conversationId = messages[0]!.data.conversationId as string
    messageIds.push(messages[0]!.data.messageId)
  }
  return { conversationId: conversationId!, messageIds }
})

// oxlint-disable-next-line typescript/no-explicit-any -- whatever the server said
const questionsIn = (data: ReadonlyArray<any>) => data.flatMap(({ message }) => message?.content ?? [])

const result = /\/query-result$/

layer(Local, { timeout: "60 seconds", excludeTestServices: true })("AppKit.genie, a conversation", (it) => {
  it.effect("is read page by page, oldest first in each, with the rows after their message", () =>
    Effect.gen(function* () {
      const port = yield* serve()
      const { conversationId } = yield* conversation(port, ["One", "Who am I?", "Cancelled?", "How many?"])
      const path = `default/conversations/${conversationId}?requestId=1`
      const newest = dataOf((yield* call(port, alice, path)).messages)
      assert.deepStrictEqual(
        newest.map(({ type }) => type),
        ["message_result", "query_result", "message_result", "message_result", "query_result", "history_info"]
      )
      assert.deepStrictEqual(questionsIn(newest), ["Who am I?", "Cancelled?", "How many?"])
      assert.deepStrictEqual(newest[1].data.result.data_array, [[alice]])
      assert.include(newest[2].message, { status: "FAILED", error: "The question was cancelled." })
      const info = newest.at(-1)
      assert.include(info, { conversationId, loadedCount: 3 })
      const older = dataOf((yield* call(port, alice, `${path}2&pageToken=${info.nextPageToken}`)).messages)
      assert.deepStrictEqual(questionsIn(older), ["One"])
      assert.include(older.at(-1), { nextPageToken: null, loadedCount: 1 })
    }).pipe(Effect.scoped)
  )

  it.effect("shows the answers whose rows have expired, and says so in each", () =>
    Effect.gen(function* () {
      const port = yield* serve()
      const { conversationId } = yield* conversation(port, ["Who am I?", "Expired?", "How many?"])
      yield* misbehave({ kind: "answer", status: 404, body: "{}", path: (path) => result.test(path), times: 1 })
      const { messages } = yield* call(port, alice, `default/conversations/${conversationId}`)
      assert.notInclude(typesOf(messages), "error")
      const errors = dataOf(messages).flatMap(({ message }) => message?.error ?? [])
      assert.lengthOf(errors, 2)
      for (const error of errors) assert.include(error, "Its rows are no longer stored: ask the question again.")
      assert.lengthOf(
        typesOf(messages).filter((type) => type === "query_result"),
        1
      )
    }).pipe(Effect.scoped)
  )

  it.effect("continues after each event, on another server too, without a duplicate", () =>
    Effect.gen(function* () {
      const [port, other] = yield* Effect.all([serve(), serve()])
      const { conversationId } = yield* conversation(port, ["Who am I?", "One", "How many?"])
      const path = (id: string) => `default/conversations/${conversationId}?requestId=${id}`
      const whole = dataOf((yield* call(port, alice, path("whole"))).messages)
      for (let take = 1; take <= whole.length; take++) {
        for (const to of [port, other]) {
          const { messages } = yield* call(port, alice, path(`${take}-${to}`), { take })
          const rest = yield* call(to, alice, path(`${take}-${to}`), { lastEventId: messages.at(-1)!.id })
          assert.deepStrictEqual(dataOf([...messages, ...rest.messages]), whole)
        }
      }
    }).pipe(Effect.scoped)
  )

  it.effect("is refused to another person, with a sentence", () =>
    Effect.gen(function* () {
      const port = yield* serve()
      const { conversationId, messageIds } = yield* conversation(port, ["One"])
      for (const path of [conversationId, `${conversationId}/messages/${messageIds[0]}`]) {
        const { messages } = yield* call(port, bob, `default/conversations/${path}`)
        assert.deepStrictEqual(typesOf(messages), ["error"])
        assert.strictEqual(messages[0]!.data.error, "This does not exist, or you may not see it")
      }
    }).pipe(Effect.scoped)
  )

  it.effect("has a pending message with its status, which the route of the message finishes", () =>
    Effect.gen(function* () {
      const port = yield* serve()
      const { messages: begun } = yield* call(port, alice, "default/messages", {
        body: { content: "Forever?" },
        take: 2
      })
      const { conversationId } = begun[0]!.data
      const page = dataOf((yield* call(port, alice, `default/conversations/${conversationId}`)).messages)
      assert.notInclude(["COMPLETED", "FAILED"], page[0].message.status)
      assert.deepStrictEqual(page[0].message.attachments, [])
      const { messages } = yield* call(port, alice, "default/messages", { body: { content: "Slowly?" } })
      const ids = messages[0]!.data
      const seen = yield* recording
      const path = `default/conversations/${ids.conversationId}/messages/${ids.messageId}?requestId=1`
      const finished = yield* call(port, alice, path)
      assert.deepStrictEqual(dataOf(finished.messages), dataOf(messages).slice(-2))
      assert.lengthOf(yield* seen("POST", /genie/), 0)
    }).pipe(Effect.scoped)
  )
})
