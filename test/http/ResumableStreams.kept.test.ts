import { assert, describe, it } from "@effect/vitest"
import { ServerSentEvents } from "effect-databricks"
import { TestContext } from "effect-databricks/testing"
import { Context, Effect, Exit, Layer, Scope, Stream } from "effect"
import { HttpServerRequest } from "effect/http"
import { TestClock } from "effect/testing"
import { queryObjects } from "node:v8"
import * as Streams from "../../src/internal/resume/streams.ts"
import { ResumableStreams } from "../../src/http/ResumableStreams.ts"
import { eventually } from "../fixtures/eventually.ts"
import { idIn, serve } from "../fixtures/resumed.ts"
import { open, serving } from "../fixtures/sse.ts"
import { turn } from "../fixtures/wire.ts"

/** The id of the question in `/?id=…`. */
const question = Effect.map(HttpServerRequest.HttpServerRequest, ({ url }) => url.split("=")[1] ?? "")

/** Answers each question with its source, and counts the runs and the ends of the sources. */
const answering = (sourceOf: (id: string) => Stream.Stream<unknown, unknown> = () => Stream.never) => {
  const runs: Array<string> = []
  const ends: Array<string> = []
  const handler = Effect.flatMap(question, (id) =>
    ServerSentEvents.toResponse(
      Stream.suspend(() => {
        runs.push(id)
        return Stream.concat(Stream.make("first"), sourceOf(id))
      }).pipe(Stream.ensuring(Effect.sync(() => void ends.push(id)))),
      { failure: "cut", resume: { requestId: id } }
    )
  )
  return { runs, ends, handler }
}

const endless = (id: string) => (id.startsWith("end") ? Stream.empty : Stream.never)

const settle = Effect.repeat(turn, { times: 50 })

/** A request that names no stream. */
const plain = {
  route: "GET /",
  sender: undefined,
  requestId: undefined,
  lastEventId: undefined,
  heartbeat: { interval: "10 seconds", bytes: new Uint8Array() },
  after: undefined
} as const

describe("ResumableStreams.layerWith", () => {
  const limited = Effect.fnUntraced(function* () {
    const answers = answering(endless)
    const { connect } = yield* serve(answers.handler, { maxStreams: 3, maxTotalStreams: 4 })
    const ask = Effect.fnUntraced(function* (user: string, id: string) {
      const client = yield* connect({ user, path: `/?id=${id}` })
      if (client.status === 200) yield* client.receives("first")
      return client
    })
    /** Asks, and leaves when the server has noticed: from then on, the stream has no connection. */
    const left = Effect.fnUntraced(function* (user: string, id: string) {
      const client = yield* ask(user, id)
      yield* id.startsWith("end") ? client.end : client.leave
      yield* settle
    })
    return { ...answers, ask, left }
  })
  it.effect("drops the stream of a caller at maxStreams that ended first, then the one that was left first", () =>
    Effect.gen(function* () {
      const { ask, ends, left, runs } = yield* limited()
      yield* left("alice", "a")
      yield* left("alice", "end1")
      yield* left("alice", "end2")
      // It ended first, but was read again.
      yield* left("alice", "end1")
      yield* ask("alice", "b")
      yield* left("alice", "end1")
      yield* left("alice", "end2")
      // Only the second was dropped, whose repeated question is a new run, in place of the first.
      assert.deepStrictEqual(runs, ["a", "end1", "end2", "b", "end2"])
      yield* ask("alice", "c")
      // What runs stayed as long as there was one that had ended. Now it is the next.
      assert.deepStrictEqual(ends, ["end1", "end2", "end2"])
      yield* ask("alice", "d")
      yield* eventually(() => ends.includes("a"))
      assert.strictEqual((yield* ask("alice", "e")).status, 429)
      assert.deepStrictEqual(runs.slice(5), ["c", "d"])
    })
  )

  it.effect("drops an ended stream of another caller at maxTotalStreams, but none that still runs", () =>
    Effect.gen(function* () {
      const { ask, ends, left, runs } = yield* limited()
      yield* left("alice", "a")
      yield* left("alice", "end")
      yield* left("bob", "b")
      yield* left("bob", "end")
      // Bob's own give way first: what has ended, then what runs.
      yield* left("bob", "c")
      yield* left("bob", "d")
      yield* eventually(() => ends.includes("b"))
      yield* left("alice", "end")
      assert.deepStrictEqual(runs, ["a", "end", "b", "end", "c", "d"])
      assert.strictEqual((yield* ask("carol", "e")).status, 200)
      const refused = yield* ask("dave", "f")
      assert.strictEqual(refused.status, 429)
      assert.include((yield* refused.end).received, "maxTotalStreams")
      // The others find what runs.
      yield* Effect.forEach(
        [
          ["alice", "a"],
          ["bob", "c"],
          ["bob", "d"]
        ] as const,
        ([user, id]) => ask(user, id)
      )
      assert.deepStrictEqual(runs.slice(6), ["e"])
    })
  )

  it.effect("lets one caller have a tenth of maxTotalStreams", () =>
    Effect.gen(function* () {
      const { handler } = answering()
      const { connect } = yield* serve(handler, { maxTotalStreams: 20 })
      const statusOf = (user: string, id: number) =>
        Effect.map(connect({ user, path: `/?id=${id}` }), ({ status }) => status)
      assert.deepStrictEqual(yield* Effect.forEach([1, 2, 3], (id) => statusOf("alice", id)), [200, 200, 429])
      assert.strictEqual(yield* statusOf("bob", 1), 200)
    })
  )

  it.effect("gives a client together the events that come together", () =>
    Effect.gen(function* () {
      const streams = yield* Streams.make({})
      const source = Stream.map(Stream.range(1, 200), (number) => ({ number, text: `${number} ` }))
      const body = yield* streams.open({ ...plain, run: () => source })
      const parts = yield* Stream.runCollect(Stream.decodeText(body))
      assert.strictEqual(parts.length, 1)
      assert.strictEqual(parts.join(""), Array.from({ length: 200 }, (_, index) => `${index + 1} `).join(""))
    }).pipe(Effect.provide(TestContext.layer()))
  )

  it.effect("counts 200 bytes more for each event, so that many tiny ones are bounded", () =>
    Effect.gen(function* () {
      let pulled = 0
      const streams = yield* Streams.make({ maxBufferSize: "20 KiB" })
      const body = yield* streams.open({
        ...plain,
        run: () => Stream.forever(Stream.sync(() => ({ number: ++pulled, text: "x" })))
      })
      // It takes one event, and then no more.
      yield* Effect.forkChild(Stream.runForEach(body, () => Effect.never))
      yield* eventually(() => pulled > 50)
      yield* settle
      assert.strictEqual(pulled, Math.floor((20 * 1024) / 201) + 1)
    }).pipe(Effect.provide(TestContext.layer()))
  )
})

/** What belongs to one request, such as the token of its sender. */
class Secret extends Context.Service<Secret, { readonly text: string }>()("test/Secret") {}

class Token {
  readonly text = "token"
}

const tokens = Effect.sync(() => queryObjects(Token, { format: "count" }))

/** Serves what is kept in a scope of its own, whose finalizers are its fibers and timers. */
const inScopes = Effect.fnUntraced(function* (sourceOf: (id: string) => Stream.Stream<unknown, unknown>) {
  const [kept, server] = [yield* Scope.make(), yield* Scope.make()]
  const streams = yield* Scope.provide(Streams.make({}), kept)
  const answers = answering(sourceOf)
  const handler = Effect.suspend(() =>
    Effect.provide(Effect.orDie(answers.handler), [
      Layer.succeed(ResumableStreams, streams),
      Layer.succeed(Secret, new Token())
    ])
  )
  const { logs, port } = yield* Scope.provide(serving(handler, { gracePeriod: "50 millis" }), server)
  const ask = (id: number | string, after?: string) =>
    open(port, { path: `/?id=${id}`, headers: after === undefined ? {} : { "last-event-id": after } })
  return { ...answers, ask, kept, logs, server }
})

describe("ResumableStreams", () => {
  it.effect("holds no fiber, no timer and nothing of a request when its streams are over", () =>
    Effect.gen(function* () {
      const { ask, ends, kept, logs, runs } = yield* inScopes(
        (id) => [Stream.empty, Stream.never, Stream.fail("no")][Number(id) % 3]!
      )
      for (let id = 0; id < 30; id++) {
        const client = yield* ask(id)
        yield* client.receives("data: ")
        // Half are cut, the others taken over; of both, some have ended or failed.
        if (id % 2 === 0) yield* client.leave
        yield* (yield* ask(id, idIn(client.received()))).leave
      }
      assert.lengthOf(runs, 30)
      assert.strictEqual(yield* tokens, 30)
      assert.strictEqual(kept.state._tag, "Open")
      yield* eventually(Effect.as(TestClock.adjust("31 seconds"), kept), ({ state }) => state._tag === "Empty")
      assert.deepStrictEqual([ends.length, logs.length], [30, 10])
      yield* eventually(tokens, (count) => count === 0)
    })
  )

  it.live("interrupts each source once when the server and the layer close", () =>
    Effect.gen(function* () {
      const { ask, ends, kept, logs, runs, server } = yield* inScopes(endless)
      const clients = yield* Effect.forEach(["a", "b", "c", "end"], (id) => ask(id))
      yield* Effect.forEach(clients, (client) => client.receives("data: "))
      yield* clients[0]!.leave
      yield* Scope.close(server, Exit.void)
      assert.deepStrictEqual(
        yield* Effect.forEach(clients.slice(1), (client) => Effect.map(client.end, ({ end }) => end)),
        ["cut", "cut", "ended"]
      )
      // Its clients could return to it, if the server still listened.
      assert.deepStrictEqual(ends, ["end"])
      yield* Scope.close(kept, Exit.void)
      const failures = logs.filter((line) => !line.startsWith("Info The server closes"))
      assert.deepStrictEqual([ends.toSorted(), runs.length, failures], [["a", "b", "c", "end"], 4, []])
    })
  )
})
