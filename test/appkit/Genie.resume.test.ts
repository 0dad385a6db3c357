import { assert, layer } from "@effect/vitest"
import { LocalWorkspace } from "effect-databricks/testing"
import { Effect, Semaphore } from "effect"
import { withSleep } from "../fixtures/clock.ts"
import { call, dataOf, isPoll, Local, serve, typesOf } from "../fixtures/chat.ts"
import { eventually } from "../fixtures/eventually.ts"
import { poll, start } from "../fixtures/genie.ts"
import { alice, bob } from "../fixtures/people.ts"
import { misbehave, recording } from "../fixtures/sqlWarehouse.ts"

const ask = { body: { content: "Slowly?" } }
const path = (requestId: string) => `default/messages?requestId=${requestId}`

/** The question's events: all but the first two need a poll, and the last two come with one. */
const whole = [
  "message_start",
  "SUBMITTED",
  "FILTERING_CONTEXT",
  "ASKING_AI",
  "A_NEW_STATE",
  "message_result",
  "query_result"
]

/** The polls before this many events: `ASKING_AI` is polled twice. */
const pollsBefore = [0, 0, 0, 1, 2, 4]

/** A server that polls this number of times and no more. */
const serveFor = Effect.fnUntraced(function* (polls: number | undefined) {
  if (polls === undefined) return yield* serve()
  const permits = yield* Semaphore.make(polls)
  return yield* serve({
    clock: withSleep((sleep) => (duration) => (isPoll(duration) ? Effect.asVoid(permits.take(1)) : sleep(duration)))
  })
})

/** The ids of a message differ from question to question. */
const shape = (messages: Parameters<typeof dataOf>[0]) =>
  dataOf(messages).map(({ data, message, status, type }) => [type, status, message?.status, data?.result])

layer(Local, { timeout: "60 seconds", excludeTestServices: true })("AppKit.genie, a stream that is cut", (it) => {
  it.effect("continues after each event on the same server, and Genie is asked once", () =>
    Effect.gen(function* () {
      const port = yield* serve()
      const uncut = yield* call(port, alice, path("uncut"), ask)
      assert.deepStrictEqual(typesOf(uncut.messages), whole)
      for (let take = 0; take <= whole.length; take++) {
        const seen = yield* recording
        const { messages } = yield* call(port, alice, path(`same-${take}`), { ...ask, take })
        const rest = yield* call(port, alice, path(`same-${take}`), { ...ask, lastEventId: messages.at(-1)?.id })
        assert.deepStrictEqual(shape([...messages, ...rest.messages]), shape(uncut.messages), `after ${take}`)
        assert.lengthOf(yield* seen("POST", start), 1)
      }
    }).pipe(Effect.scoped)
  )

  it.effect("continues after each event on another server, and Genie is asked once", () =>
    Effect.gen(function* () {
      const other = yield* serve()
      const uncut = yield* call(other, alice, path("uncut"), ask)
      for (let take = 1; take <= whole.length; take++) {
        const port = yield* serveFor(pollsBefore[take])
        const seen = yield* recording
        const { messages } = yield* call(port, alice, path(`other-${take}`), { ...ask, take })
        const rest = yield* call(other, alice, path(`other-${take}`), { ...ask, lastEventId: messages.at(-1)!.id })
        // The status that the first server had read, and had not sent, is past.
        const expected = take === 1 ? uncut.messages.filter(({ data }) => data.status !== "SUBMITTED") : uncut.messages
        assert.deepStrictEqual(shape([...messages, ...rest.messages]), shape(expected), `after ${take}`)
        assert.lengthOf(yield* seen("POST", start), 1)
      }
    }).pipe(Effect.scoped)
  )

  it.effect("answers a repeated question with the same requestId from its first run, and another person's anew", () =>
    Effect.gen(function* () {
      const port = yield* serve()
      const seen = yield* recording
      const first = yield* call(port, alice, path("repeated"), ask)
      const again = yield* call(port, alice, path("repeated"), ask)
      assert.deepStrictEqual(again.messages, first.messages)
      assert.lengthOf(yield* seen("POST", start), 1)
      const his = yield* call(port, bob, path("repeated"), ask)
      assert.notStrictEqual(his.messages[0]!.data.messageId, first.messages[0]!.data.messageId)
    }).pipe(Effect.scoped)
  )

  it.effect("is not continued with an id of another person's message, which Genie refuses", () =>
    Effect.gen(function* () {
      const [port, other] = yield* Effect.all([serve(), serve()])
      const { messages } = yield* call(port, alice, path("hers"), { ...ask, take: 1 })
      const seen = yield* recording
      for (const to of [port, other]) {
        const his = yield* call(to, bob, path("hers"), { ...ask, lastEventId: messages[0]!.id })
        assert.deepStrictEqual(
          dataOf(his.messages).map(({ error }) => error),
          ["This does not exist, or you may not see it"]
        )
      }
      assert.lengthOf(yield* seen("POST", start), 0)
    }).pipe(Effect.scoped)
  )

  it.effect("is not continued with the id of another message or conversation than the request names", () =>
    Effect.gen(function* () {
      const [port, other] = yield* Effect.all([serve(), serve()])
      const hello = (conversationId?: string) =>
        Effect.map(
          call(port, alice, "default/messages", { body: { content: "Hello", conversationId } }),
          ({ messages }) => messages[0]!
        )
      const { data: first } = yield* hello()
      const [second, elsewhere] = [yield* hello(first.conversationId), yield* hello()]
      const seen = yield* recording
      const conversation = `default/conversations/${first.conversationId}`
      const body = { content: "Hello", conversationId: first.conversationId }
      const unknown = "This stream cannot be continued: reload the page"
      for (const [to, request, error] of [
        [`${conversation}/messages/${first.messageId}`, { lastEventId: second.id }, unknown],
        ["default/messages", { body, lastEventId: elsewhere.id }, unknown],
        [conversation, { lastEventId: elsewhere.id }, "The conversation has changed: reload the page"]
      ] as const) {
        const { messages } = yield* call(other, alice, to, request)
        assert.deepStrictEqual(
          dataOf(messages).map((data) => data.error),
          [error],
          to
        )
      }
      assert.lengthOf(yield* seen("POST", /genie/), 0)
    }).pipe(Effect.scoped)
  )

  it.effect("is refused with a made-up Last-Event-ID, and asks nothing", () =>
    Effect.gen(function* () {
      const port = yield* serve()
      const { messages } = yield* call(port, alice, path("one"), { ...ask, take: 1 })
      const [stream, number] = messages[0]!.id.split(".")
      const seen = yield* recording
      for (const lastEventId of ["7", `${stream!.replaceAll(/./g, "x")}.${number}.nothing`]) {
        const answer = yield* call(port, alice, path("two"), { ...ask, lastEventId })
        const error = answer.status === 200 ? answer.messages[0]!.data : answer.json
        assert.property(error, "error")
      }
      assert.lengthOf(yield* seen("POST", start), 0)
    }).pipe(Effect.scoped)
  )

  it.effect("is no longer polled when its client has left for the grace period", () =>
    Effect.gen(function* () {
      const workspace = yield* LocalWorkspace.LocalWorkspace
      yield* misbehave({ kind: "hang", method: "GET", path: (_) => poll.test(_), times: 1 })
      const port = yield* serve({ grace: "300 millis" })
      const { messages } = yield* call(port, alice, path("left"), { ...ask, take: 2 })
      const { messageId } = messages[0]!.data
      const polls = Effect.map(workspace.requests, (all) => all.filter((_) => _.path.endsWith(`/${messageId}`)))
      assert.lengthOf(yield* eventually(polls, (sent) => sent.some(({ aborted }) => aborted)), 1)
    }).pipe(Effect.scoped)
  )
})
