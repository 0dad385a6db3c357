import { assert, describe, it } from "@effect/vitest"
import { DatabricksError, HttpFailure, Operation, ServerSentEvents } from "effect-databricks"
import { Deferred, Effect, Queue, Schema, Stream } from "effect"
import { HttpMiddleware } from "effect/http"
import { TestClock } from "effect/testing"
import { open, serving, withoutHeartbeats } from "../fixtures/sse.ts"
import { turn } from "../fixtures/wire.ts"

class Sale extends Schema.Class<Sale>("Sale")({ region: Schema.String, at: Schema.Date }) {}

const sales = Stream.make(
  new Sale({ region: "north\nsouth", at: new Date(0) }),
  new Sale({ region: "Zürich\r\n\r\nid: 9", at: new Date(1) })
)

/** Everything that a client of this stream receives. */
const receivedOf = Effect.fnUntraced(
  function* <A, E>(
    stream: Stream.Stream<A, E>,
    options?: ServerSentEvents.Options<A>,
    server?: { readonly development: boolean }
  ) {
    const { logs, port } = yield* serving(ServerSentEvents.toResponse(stream, options), server)
    const client = yield* open(port, {})
    return { ...(yield* client.end), headers: client.headers, status: client.status, logs }
  },
  (effect) => Effect.scoped(effect)
)

describe("ServerSentEvents.toResponse", () => {
  it.effect("sends every element in order as one event with id, name and data", () =>
    Effect.gen(function* () {
      const { end, headers, received, status } = yield* receivedOf(sales, { schema: Sale, event: "sale" })
      assert.strictEqual(status, 200)
      assert.strictEqual(headers["content-type"], "text/event-stream")
      assert.strictEqual(headers["cache-control"], "private, no-store, no-transform")
      assert.strictEqual(headers["x-accel-buffering"], "no")
      assert.strictEqual(end, "ended")
      assert.strictEqual(
        withoutHeartbeats(received),
        'id: 1\nevent: sale\ndata: {"region":"north\\nsouth","at":"1970-01-01T00:00:00.000Z"}\n\n' +
          'id: 2\nevent: sale\ndata: {"region":"Zürich\\r\\n\\r\\nid: 9","at":"1970-01-01T00:00:00.001Z"}\n\n'
      )
    })
  )

  it.effect("sends elements without a schema as JSON, with ids and names from the options", () =>
    Effect.gen(function* () {
      const { received } = yield* receivedOf(Stream.make({ kind: "a", key: 7 }, { kind: "b", key: 8 }), {
        event: (_) => _.kind,
        id: (_, index) => `${_.key}-${index}`
      })
      assert.strictEqual(
        withoutHeartbeats(received),
        'id: 7-0\nevent: a\ndata: {"kind":"a","key":7}\n\nid: 8-1\nevent: b\ndata: {"kind":"b","key":8}\n\n'
      )
      const plain = yield* receivedOf(Stream.make("x"))
      assert.strictEqual(withoutHeartbeats(plain.received), 'id: 1\nevent: message\ndata: "x"\n\n')
    })
  )

  it.effect("strips line breaks from ids and names, so that they start no line or event", () =>
    Effect.gen(function* () {
      const evil = "1\r\n\r\ndata: forged\n\n\rid: 9\0"
      const { events, received } = yield* receivedOf(Stream.make("x"), { event: () => evil, id: () => evil })
      assert.deepStrictEqual(events, [{ id: "1data: forgedid: 9", event: "1data: forgedid: 9", data: "x" }])
      assert.lengthOf(received.match(/^data:/gm) ?? [], 1)
    })
  )

  it.effect("sends a heartbeat at once and after every 10 seconds of silence", () =>
    Effect.gen(function* () {
      const events = yield* Queue.unbounded<string>()
      const { port } = yield* serving(ServerSentEvents.toResponse(Stream.fromQueue(events)))
      const client = yield* open(port, {})
      yield* client.receives(": heartbeat\n\n")
      yield* TestClock.adjust("9 seconds")
      yield* Queue.offer(events, "x")
      yield* client.receives('data: "x"\n\n')
      assert.strictEqual(client.received(), ': heartbeat\n\nid: 1\nevent: message\ndata: "x"\n\n')
      yield* TestClock.adjust("9 seconds")
      yield* Effect.repeat(turn, { times: 50 })
      assert.lengthOf(client.received().match(/heartbeat/g) ?? [], 1)
      yield* TestClock.adjust("1 second")
      yield* client.receives(": heartbeat\n\n", 2)
      yield* TestClock.adjust("10 seconds")
      yield* client.receives(": heartbeat\n\n", 3)
    })
  )

  it.effect("sends a heartbeat every minute when heartbeat is 1 minute", () =>
    Effect.gen(function* () {
      const { port } = yield* serving(ServerSentEvents.toResponse(Stream.never, { heartbeat: "1 minute" }))
      const client = yield* open(port, {})
      yield* client.receives(": heartbeat\n\n")
      yield* TestClock.adjust("1 minute")
      yield* client.receives(": heartbeat\n\n", 2)
      assert.strictEqual(client.received(), ": heartbeat\n\n: heartbeat\n\n")
    })
  )

  it.effect("is not compressed by HttpMiddleware.compression", () =>
    Effect.gen(function* () {
      const response = ServerSentEvents.toResponse(Stream.make("x"))
      const { port } = yield* serving(HttpMiddleware.compression()(response))
      const client = yield* open(port, { headers: { "accept-encoding": "gzip, br" } })
      assert.isUndefined(client.headers["content-encoding"])
      assert.deepStrictEqual((yield* client.end).events, [{ id: "1", event: "message", data: "x" }])
    })
  )
})

describe("ServerSentEvents.toResponse", () => {
  const failing = (error: unknown) => Stream.concat(Stream.make("x"), Stream.fail(error))
  const databricks = (reason: DatabricksError.Reason) => failing(DatabricksError.make(reason))
  const status = (status: number) => failing(new HttpFailure.HttpFailure({ status, body: { _tag: "T", message: "m" } }))

  const cases: ReadonlyArray<[string, ServerSentEvents.ErrorCode, Stream.Stream<string, unknown>, masked: boolean]> = [
    ["a timeout", "TIMEOUT", failing(new Operation.OperationTimeoutError({ message: "m", operation: "o" })), true],
    ["408", "TIMEOUT", status(408), false],
    ["429", "TEMPORARY_UNAVAILABLE", databricks(new DatabricksError.RateLimitedError({ message: "m" })), false],
    ["503", "TEMPORARY_UNAVAILABLE", databricks(new DatabricksError.UnavailableError({ message: "m" })), true],
    ["502", "UPSTREAM_ERROR", databricks(new DatabricksError.WorkspaceFailedError({ message: "m" })), true],
    ["400", "INVALID_REQUEST", databricks(new DatabricksError.InvalidRequestError({ message: "m" })), false],
    ["404", "INVALID_REQUEST", databricks(new DatabricksError.NotFoundError({ message: "m" })), false],
    ["409", "INVALID_REQUEST", status(409), false],
    ["413", "INVALID_REQUEST", status(413), false],
    ["422", "INVALID_REQUEST", status(422), false],
    ["401", "STREAM_FORBIDDEN", databricks(new DatabricksError.InvalidCredentialError({ message: "m" })), false],
    ["403", "STREAM_FORBIDDEN", databricks(new DatabricksError.PermissionDeniedError({ message: "m" })), false],
    ["500", "INTERNAL_ERROR", status(500), true],
    ["an unknown error", "INTERNAL_ERROR", failing(new Error("m")), true],
    ["a defect", "INTERNAL_ERROR", Stream.concat(Stream.make("x"), Stream.die(new Error("m"))), true]
  ]

  it.effect.each(cases)("sends the error code $1 and ends when a stream fails with $0", ([, code, stream, masked]) =>
    Effect.gen(function* () {
      const production = yield* receivedOf(stream)
      assert.strictEqual(production.end, "ended")
      const error = masked ? "Server error" : "m"
      assert.strictEqual(
        withoutHeartbeats(production.received),
        `id: 1\nevent: message\ndata: "x"\n\nid: 2\nevent: error\ndata: {"error":"${error}","code":"${code}"}\n\n`
      )
      assert.strictEqual(production.logs.filter((_) => _.startsWith("Error") && _.includes("m")).length, masked ? 1 : 0)
      const development = yield* receivedOf(stream, {}, { development: true })
      assert.deepStrictEqual(development.events[1]?.data, { error: "m", code })
    })
  )

  it.effect("sends the error code STREAM_ABORTED when a stream is interrupted from inside", () =>
    Effect.gen(function* () {
      const { events } = yield* receivedOf(Stream.fromEffect(Effect.interrupt))
      assert.deepStrictEqual(events, [
        { id: "1", event: "error", data: { error: "Server error", code: "STREAM_ABORTED" } }
      ])
    })
  )

  it.effect("sends the error event with the last id that the application gave, or none", () =>
    Effect.gen(function* () {
      const { received } = yield* receivedOf(status(409), { id: () => "cursor" })
      assert.include(received, "id: cursor\nevent: error\n")
      const first = yield* receivedOf(Stream.fail("no"), { id: () => "cursor" })
      assert.strictEqual(
        withoutHeartbeats(first.received),
        'event: error\ndata: {"error":"Server error","code":"INTERNAL_ERROR"}\n\n'
      )
    })
  )

  it.effect("keeps other streams going when one fails", () =>
    Effect.gen(function* () {
      const events = yield* Queue.unbounded<string>()
      const boom = yield* Deferred.make<never>()
      let bad = false
      const { port } = yield* serving(
        Effect.suspend(() => {
          bad = !bad
          return ServerSentEvents.toResponse(bad ? Stream.fromEffect(Deferred.await(boom)) : Stream.fromQueue(events))
        })
      )
      const first = yield* open(port, {})
      yield* first.receives(": heartbeat")
      const second = yield* open(port, {})
      yield* Queue.offer(events, "before")
      yield* second.receives("before")
      yield* Deferred.die(boom, new Error("a bug"))
      assert.strictEqual((yield* first.end).events[0]?.event, "error")
      yield* Queue.offer(events, "after")
      yield* second.receives("after")
    })
  )

  it.effect("ends with INTERNAL_ERROR when an element is not JSON or an id function throws", () =>
    Effect.gen(function* () {
      const data = { error: "Server error", code: "INTERNAL_ERROR" }
      const wrong: Array<ServerSentEvents.Options<unknown>> = [
        {},
        { schema: Schema.Finite as never }, // an application that casts
        {
          id: () => {
            throw new Error("a bug")
          }
        }
      ]
      for (const options of wrong) {
        const { events, logs } = yield* receivedOf(Stream.make<[unknown]>(options.id ? 1 : 1n), options)
        assert.deepStrictEqual(events.at(-1)?.data, data)
        assert.isTrue(logs.some((_) => _.startsWith("Error 500")))
      }
    })
  )
})

describe("ServerSentEvents.toResponse", () => {
  const frame = (letters: number) => `id: 2\nevent: message\ndata: "${"ü".repeat(letters)}"\n\n`

  it.effect("ends with INVALID_REQUEST when an event has more bytes than maxEventSize", () =>
    Effect.gen(function* () {
      const stream = Stream.make("x", "ü".repeat(100), "y")
      const size = new TextEncoder().encode(frame(100)).length
      const fits = yield* receivedOf(stream, { maxEventSize: size })
      assert.strictEqual(fits.events.length, 3)
      const { end, events } = yield* receivedOf(stream, { maxEventSize: size - 1 })
      assert.deepStrictEqual(events, [
        { id: "1", event: "message", data: "x" },
        {
          id: "2",
          event: "error",
          data: {
            error: `An event of ${size} bytes exceeds maxEventSize, ${size - 1} bytes`,
            code: "INVALID_REQUEST"
          }
        }
      ])
      assert.strictEqual(end, "ended")
    })
  )

  it.effect("limits an event to 1 MiB by default", () =>
    Effect.gen(function* () {
      const rest = 'id: 1\nevent: message\ndata: ""\n\n'.length
      const most = yield* receivedOf(Stream.make("x".repeat(1024 * 1024 - rest)))
      assert.strictEqual(most.events[0]?.event, "message")
      const more = yield* receivedOf(Stream.make("x".repeat(1024 * 1024 - rest + 1)))
      assert.strictEqual(more.events[0]?.event, "error")
    })
  )
})
