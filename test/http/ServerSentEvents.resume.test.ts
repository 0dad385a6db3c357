import { assert, describe, it } from "@effect/vitest"
import { ServerSentEvents } from "effect-databricks"
import { Deferred, Effect, Queue, Stream } from "effect"
import { HttpServerRequest } from "effect/http"
import { TestClock } from "effect/testing"
import { eventually } from "../fixtures/eventually.ts"
import { dataIn, idIn, makeSource, serve, stalling } from "../fixtures/resumed.ts"
import { open, serving, withoutHeartbeats } from "../fixtures/sse.ts"
import { turn } from "../fixtures/wire.ts"

const byQuery = Effect.map(HttpServerRequest.HttpServerRequest, ({ url }) => url.split("=")[1])

describe("ServerSentEvents.toResponse with resume", () => {
  it.effect("continues a stream that was cut after its last event, and runs the source once", () =>
    Effect.gen(function* () {
      const { queue, state, stream } = yield* makeSource
      const { connect } = yield* serve(ServerSentEvents.toResponse(stream, { resume: {} }))
      const first = yield* connect()
      yield* Queue.offerAll(queue, ["a", "b"])
      yield* first.receives('"b"')
      yield* first.leave
      yield* Queue.offerAll(queue, ["c", "d"])
      const second = yield* connect({ after: idIn(first.received()) })
      yield* second.receives('"d"')
      yield* Queue.offer(queue, "e")
      yield* Queue.end(queue)
      const { end, received } = yield* second.end
      const streamId = idIn(received)!.split(".")[0]
      assert.strictEqual(
        withoutHeartbeats(first.received()),
        `id: ${streamId}.0\n\n` +
          ["a", "b"].map((_, n) => `id: ${streamId}.${n + 1}\nevent: message\ndata: "${_}"\n\n`).join("")
      )
      assert.strictEqual(
        withoutHeartbeats(received),
        ["c", "d", "e"].map((_, n) => `id: ${streamId}.${n + 3}\nevent: message\ndata: "${_}"\n\n`).join("")
      )
      assert.deepStrictEqual([end, state.runs], ["ended", 1])
    })
  )

  it.effect("gives the last events of a finished stream again, for 30 seconds after its client has left", () =>
    Effect.gen(function* () {
      const state = { runs: 0 }
      const source = Stream.suspend(() => {
        state.runs++
        return Stream.make(1, 2, 3)
      })
      const { connect } = yield* serve(ServerSentEvents.toResponse(source, { resume: {} }))
      const { received } = yield* (yield* connect()).end
      const after = idIn(received)!.replace(/\d+$/, "1")
      const again = yield* (yield* connect({ after })).end
      assert.deepStrictEqual([again.end, dataIn(again.received)], ["ended", ["2", "3"]])
      yield* eventually(
        Effect.gen(function* () {
          yield* TestClock.adjust("30 seconds")
          return (yield* connect({ after })).status
        }),
        (status) => status === 409
      )
      assert.strictEqual(state.runs, 1)
    })
  )

  it.effect("joins the running stream of a repeated request id, from its first event", () =>
    Effect.gen(function* () {
      const { queue, state, stream } = yield* makeSource
      const { connect } = yield* serve(ServerSentEvents.toResponse(stream, { resume: { requestId: "7" } }))
      const first = yield* connect()
      yield* Queue.offer(queue, "a")
      yield* first.receives('"a"')
      yield* first.leave
      const second = yield* connect()
      yield* Queue.offer(queue, "b")
      yield* second.receives('"b"')
      assert.deepStrictEqual([dataIn(second.received()), state.runs], [['"a"', '"b"'], 1])
      // Another question of the same caller, and the same question at another URL.
      assert.strictEqual((yield* connect({ path: "/?other" })).status, 200)
      yield* eventually(() => state.runs === 2)
    })
  )

  it.effect.each(["", " "])("gives two tabs a stream each if their request id is blank: %j", (requestId) =>
    Effect.gen(function* () {
      let runs = 0
      const run = Stream.concat(
        Stream.sync(() => ++runs),
        Stream.never
      )
      const { connect } = yield* serve(ServerSentEvents.toResponse(run, { resume: { requestId } }))
      const tabs = yield* Effect.replicateEffect(
        Effect.tap(connect(), (tab) => tab.receives("data: ")),
        2
      )
      assert.deepStrictEqual(
        tabs.map((tab) => dataIn(tab.received())),
        [["1"], ["2"]]
      )
      // The client knows no id of its question, so the stream begins with one.
      for (const tab of tabs) assert.match(withoutHeartbeats(tab.received()), /^id: [\w-]+\.0\n\n/)
    })
  )

  it.effect.each([
    ["of another user", { user: "alice" }, { user: "bob" }],
    ["of another person, where both run as the app", { sender: "alice" }, { sender: "bob" }]
  ] as const)("does not find a stream %s by a stolen event id or request id", ([, owner, thief]) =>
    Effect.gen(function* () {
      let runs = 0
      const { connect } = yield* serve(
        ServerSentEvents.toResponse(
          Stream.concat(
            Stream.sync(() => ++runs),
            Stream.never
          ),
          { resume: { requestId: "7" } }
        )
      )
      const mine = yield* connect(owner)
      yield* mine.receives("data: 1")
      const stolen = yield* connect({ ...thief, after: idIn(mine.received()) })
      assert.strictEqual(stolen.status, 409)
      const theirs = yield* connect(thief)
      yield* theirs.receives("data: 2")
      assert.deepStrictEqual(dataIn(theirs.received()), ["2"])
      // The thief has not cut the owner.
      yield* mine.leave
      const joined = yield* connect(owner)
      yield* joined.receives("data: 1")
    })
  )

  it.effect("takes a stream over from a connection that does not read, and closes its socket", () =>
    Effect.gen(function* () {
      const source = { runs: 0, pulled: 0 }
      const endless = Stream.suspend(() => {
        source.runs++
        return Stream.forever(Stream.sync(() => `${++source.pulled} ${"x".repeat(64 * 1024)}`))
      })
      const { connect, logs, port } = yield* serve(
        ServerSentEvents.toResponse(endless, { resume: { requestId: "7", opening: "id" } })
      )
      const stalled = yield* stalling(port)
      const streamId = (yield* eventually(() => idIn(stalled.received()), Boolean))!.split(".")[0]
      // The buffers of both sockets, and that of the stream, are full.
      for (let still = 0, before = 0; still < 200; before = source.pulled) {
        yield* turn
        still = source.pulled === before ? still + 1 : 0
      }
      assert.isFalse(stalled.isClosed())
      const last = source.pulled - 8
      const second = yield* connect({ after: `${streamId}.${last}` })
      assert.strictEqual(second.status, 200)
      // It still reads nothing: only its writes tell it that the server has closed the socket.
      yield* eventually(Effect.andThen(stalled.write, Effect.sync(stalled.isClosed)))
      yield* second.receives("data: ", 40)
      const numbers = dataIn(second.received()).map((data) => Number.parseInt(data!.slice(1)))
      assert.deepStrictEqual(
        numbers,
        numbers.map((_, n) => last + 1 + n)
      )
      assert.deepStrictEqual([source.runs, logs], [1, []])
    })
  )

  it.effect("cuts the connection of a stream that another takes over, before that is noticed to be dead", () =>
    Effect.gen(function* () {
      const { queue, state, stream } = yield* makeSource
      const { connect, logs } = yield* serve(ServerSentEvents.toResponse(stream, { resume: {} }))
      const first = yield* connect()
      yield* Queue.offer(queue, "a")
      yield* first.receives('"a"')
      const second = yield* connect({ after: idIn(first.received()) })
      assert.strictEqual((yield* first.end).end, "cut")
      yield* Queue.offer(queue, "b")
      yield* second.receives('"b"')
      assert.deepStrictEqual([dataIn(second.received()), state.runs], [['"b"'], 1])
      assert.deepStrictEqual(logs, [])
    })
  )

  it.effect("interrupts the source 30 seconds after its client has left, and then answers 409", () =>
    Effect.gen(function* () {
      const { interrupted, queue, state, stream } = yield* makeSource
      const { connect } = yield* serve(ServerSentEvents.toResponse(stream, { resume: {} }))
      const client = yield* connect()
      yield* Queue.offer(queue, "a")
      yield* client.receives('"a"')
      yield* client.leave
      yield* eventually(
        Effect.gen(function* () {
          yield* TestClock.adjust("5 seconds")
          return yield* Deferred.isDone(interrupted)
        })
      )
      const late = yield* connect({ after: idIn(client.received()) })
      assert.strictEqual(late.status, 409)
      const { received } = yield* late.end
      assert.strictEqual(JSON.parse(received)._tag, "StreamGoneError")
      assert.strictEqual(state.runs, 1)
    })
  )

  it.effect("continues a stream that is not kept with `after`, given the id that the application made", () =>
    Effect.gen(function* () {
      const asked: Array<string> = []
      const { connect } = yield* serve(
        ServerSentEvents.toResponse(Stream.fromIterable<string>(["run"]), {
          id: (element) => element,
          resume: {
            after: (id) => {
              asked.push(id)
              return Stream.fromIterable<string>(["x/y ü", "end"])
            }
          }
        })
      )
      const other = `${"A".repeat(16)}.7.a%2Fb%20%C3%BC`
      const { end, received } = yield* (yield* connect({ after: other })).end
      assert.deepStrictEqual([end, asked, dataIn(received)], ["ended", ["a/b ü"], ['"x/y ü"', '"end"']])
      assert.match(withoutHeartbeats(received), /^id: (\S{16})\.0\.a%2Fb%20%C3%BC\n\nid: \1\.1\.x%2Fy%20%C3%BC\n/)
    })
  )

  it.effect("answers a Last-Event-ID that it has not sent with 409", () =>
    Effect.gen(function* () {
      let runs = 0
      const { connect } = yield* serve(
        ServerSentEvents.toResponse(
          Stream.sync(() => ++runs),
          { resume: { after: () => Stream.die("asked") } }
        )
      )
      const id = "A".repeat(16)
      const forged = ["1", "x", `${id}.1`, `${id}.1.%zz`, `${id}.1.${"x".repeat(5000)}`, `${id}.1e3.x`, `${id}.-1.x`]
      for (const after of forged) {
        assert.strictEqual((yield* connect({ after })).status, 409)
      }
      const { received } = yield* (yield* connect()).end
      // More than were sent.
      assert.strictEqual((yield* connect({ after: idIn(received)!.replace(/\d+$/, "2") })).status, 409)
      assert.strictEqual(runs, 1)
    })
  )

  it.effect("sends a failure as the last event, after which nothing follows", () =>
    Effect.gen(function* () {
      const { connect } = yield* serve(
        ServerSentEvents.toResponse(Stream.concat(Stream.make(1), Stream.fail("no")), { resume: {} })
      )
      const { end, received } = yield* (yield* connect()).end
      assert.deepStrictEqual(
        [end, dataIn(received)],
        ["ended", ["1", '{"error":"Server error","code":"INTERNAL_ERROR"}']]
      )
      const again = yield* (yield* connect({ after: idIn(received) })).end
      assert.deepStrictEqual([again.end, dataIn(again.received)], ["ended", []])
    })
  )

  it.effect("cuts the connection at a failure with `cut`, also when its client returns", () =>
    Effect.gen(function* () {
      let runs = 0
      const failing = Stream.suspend(() => {
        runs++
        return Stream.concat(Stream.make(1, 2), Stream.fail("no"))
      })
      const { connect } = yield* serve(ServerSentEvents.toResponse(failing, { failure: "cut", resume: {} }))
      const { end, received } = yield* (yield* connect()).end
      assert.deepStrictEqual([end, dataIn(received)], ["cut", ["1", "2"]])
      const again = yield* (yield* connect({ after: idIn(received)!.replace(/\d$/, "1") })).end
      assert.deepStrictEqual([again.end, dataIn(again.received), runs], ["cut", ["2"], 1])
    })
  )

  it.effect("cuts the connection at a failure with `cut`, without resume", () =>
    Effect.gen(function* () {
      const failing = Stream.concat(Stream.make(1, 2), Stream.fail("no"))
      const { port } = yield* serving(ServerSentEvents.toResponse(failing, { failure: "cut" }))
      const { end, received } = yield* (yield* open(port, {})).end
      assert.deepStrictEqual([end, dataIn(received)], ["cut", ["1", "2"]])
    })
  )

  it.effect("answers 429 with the limit's name above maxStreams, and drops finished streams first", () =>
    Effect.gen(function* () {
      const { connect } = yield* serve(
        Effect.flatMap(byQuery, (requestId) =>
          ServerSentEvents.toResponse(requestId === "end" ? Stream.make(1) : Stream.never, { resume: { requestId } })
        ),
        { maxStreams: 2, maxTotalStreams: 3 }
      )
      const statusOf = (user: string, id: string) =>
        Effect.map(connect({ user, path: `/?id=${id}` }), ({ status }) => status)
      yield* (yield* connect({ user: "alice", path: "/?id=end" })).end
      assert.deepStrictEqual(yield* Effect.forEach(["a", "b"], (id) => statusOf("alice", id)), [200, 200])
      const refused = yield* connect({ user: "alice", path: "/?id=c" })
      assert.strictEqual(refused.status, 429)
      assert.strictEqual(refused.headers["retry-after"], "5")
      assert.include((yield* refused.end).received, "maxStreams")
      assert.strictEqual(yield* statusOf("bob", "a"), 200)
      const total = yield* connect({ user: "bob", path: "/?id=b" })
      assert.strictEqual(total.status, 429)
      assert.include((yield* total.end).received, "maxTotalStreams")
      // A stream that is kept is found, not counted again.
      assert.strictEqual(yield* statusOf("alice", "a"), 200)
    })
  )
})
