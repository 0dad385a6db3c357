import { assert, describe, it } from "@effect/vitest"
import { App, ServerSentEvents } from "effect-databricks"
import { TestContext } from "effect-databricks/testing"
import { type Cause, Deferred, Effect, Exit, Fiber, Layer, Queue, Schema, Scope, Stream } from "effect"
import { FetchHttpClient, HttpRouter } from "effect/http"
import { HttpApi, HttpApiBuilder, HttpApiClient, HttpApiEndpoint, HttpApiGroup } from "effect/http-api"
import { execFile } from "node:child_process"
import { open, portOf, serving } from "../fixtures/sse.ts"
import { turn } from "../fixtures/wire.ts"

const Tick = Schema.Struct({ at: Schema.Date })
const ticks = Stream.make({ at: new Date(0) }, { at: new Date(1000) })

const browser = (port: number) => `
  const source = new EventSource("http://127.0.0.1:${port}")
  const say = ({ type, lastEventId, data }) => console.log(JSON.stringify([type, lastEventId, data]))
  source.addEventListener("tick", say)
  source.addEventListener("error", (event) => {
    if (event.data !== undefined) say(event)
    source.close()
  })`

describe("ServerSentEvents.toResponse", () => {
  it.effect("interrupts a silent source when the client leaves, before the next heartbeat", () =>
    Effect.gen(function* () {
      const left = yield* Deferred.make<void>()
      const silent = Stream.ensuring(Stream.never, Deferred.succeed(left, undefined))
      const { port } = yield* serving(ServerSentEvents.toResponse(silent))
      const client = yield* open(port, {})
      yield* client.receives(": heartbeat")
      assert.isFalse(yield* Deferred.isDone(left))
      yield* client.leave
      yield* Deferred.await(left)
    })
  )

  it.effect("interrupts a blocked source when the client leaves without reading", () =>
    Effect.gen(function* () {
      const left = yield* Deferred.make<void>()
      const fast = Stream.ensuring(Stream.forever(Stream.make("x".repeat(1024))), Deferred.succeed(left, undefined))
      const { port } = yield* serving(ServerSentEvents.toResponse(fast))
      const client = yield* open(port, {})
      yield* Effect.repeat(turn, { times: 500 })
      yield* client.leave
      yield* Deferred.await(left)
    })
  )

  it.effect("stops pulling the source while the client does not read, and resumes when it reads", () =>
    Effect.gen(function* () {
      const size = 64 * 1024
      let pulled = 0
      const source = Stream.forever(Stream.make("x".repeat(size))).pipe(
        Stream.tap(() => Effect.sync(() => void pulled++))
      )
      const { port } = yield* serving(ServerSentEvents.toResponse(source))
      const client = yield* open(port, {})
      for (let still = 0, before = 0; still < 200; before = pulled) {
        yield* turn
        still = pulled === before ? still + 1 : 0
        // The kernel holds a few megabytes for a socket; nothing else may grow.
        assert.isBelow(pulled * size, 16 * 1024 * 1024)
      }
      const held = pulled
      assert.isAbove(held, 1)
      yield* client.until(() => client.received().length > 2 * held * size)
      assert.isAtLeast(pulled, 2 * held)
    })
  )

  it.live("cuts an endless stream when the 50 ms grace period of a closing server is over", () =>
    Effect.gen(function* () {
      const left = yield* Deferred.make<void>()
      const silent = Stream.ensuring(Stream.never, Deferred.succeed(left, undefined))
      const scope = yield* Scope.make()
      const { port } = yield* Scope.provide(
        serving(ServerSentEvents.toResponse(silent), { gracePeriod: "50 millis" }),
        scope
      )
      const client = yield* open(port, {})
      yield* client.receives(": heartbeat")
      yield* Scope.close(scope, Exit.void)
      assert.isTrue(yield* Deferred.isDone(left))
      // Not an end: its client comes back, to the server that takes over.
      assert.deepStrictEqual(yield* client.end, { end: "cut", received: ": heartbeat\n\n", events: [] })
    })
  )

  it.live("completes a stream that ends within the grace period of a closing server", () =>
    Effect.gen(function* () {
      const events = yield* Queue.unbounded<string, Cause.Done>()
      const scope = yield* Scope.make()
      const { port } = yield* Scope.provide(serving(ServerSentEvents.toResponse(Stream.fromQueue(events))), scope)
      const client = yield* open(port, {})
      yield* client.receives(": heartbeat")
      const closing = yield* Effect.forkChild(Scope.close(scope, Exit.void))
      yield* Queue.offer(events, "last")
      yield* Queue.end(events)
      yield* Fiber.join(closing)
      const { end, events: received } = yield* client.end
      assert.deepStrictEqual([end, received], ["ended", [{ id: "1", event: "message", data: "last" }]])
    })
  )

  it.effect("gives a generated client the events that its endpoint declares, decoded", () => {
    const Event = Schema.Struct({
      ...Tick.fields,
      note: Schema.optional(Schema.String),
      id: Schema.optional(Schema.BigInt)
    })
    const noted = Stream.map(ticks, (tick) => ({ ...tick, note: undefined, id: 2n ** 60n }))
    const Api = HttpApi.make("api").add(
      HttpApiGroup.make("ticks").add(HttpApiEndpoint.get("all", "/", { success: ServerSentEvents.events(Event) }))
    )
    const Live = HttpApiBuilder.layer(Api).pipe(
      Layer.provide(
        HttpApiBuilder.group(Api, "ticks", (handlers) =>
          handlers.handle("all", () =>
            ServerSentEvents.toResponse(Stream.concat(noted, Stream.fail("no")), { schema: Event })
          )
        )
      )
    )
    return Effect.gen(function* () {
      const client = yield* HttpApiClient.make(Api, { baseUrl: `http://127.0.0.1:${yield* portOf}` })
      const events = yield* Stream.runCollect(yield* client.ticks.all())
      assert.deepStrictEqual(events, [
        { at: new Date(0), note: undefined, id: 2n ** 60n },
        { at: new Date(1000), note: undefined, id: 2n ** 60n },
        { error: "Server error", code: "INTERNAL_ERROR" }
      ])
    }).pipe(
      Effect.provide(FetchHttpClient.layer),
      Effect.provide(
        HttpRouter.serve(Live, { disableListenLog: true, disableLogger: true }).pipe(
          Layer.provideMerge(App.layerHttpServer({ host: "127.0.0.1", port: 0 })),
          Layer.provide(TestContext.layer())
        )
      )
    )
  })

  it.effect("sends events and an error that an EventSource reads", () =>
    Effect.gen(function* () {
      const response = ServerSentEvents.toResponse(Stream.concat(ticks, Stream.fail("no")), {
        schema: Tick,
        event: "tick"
      })
      const { port } = yield* serving(response)
      const said = yield* Effect.callback<string, Error>((resume) => {
        const child = execFile(process.execPath, ["--experimental-eventsource", "-e", browser(port)], (error, stdout) =>
          resume(error === null ? Effect.succeed(stdout) : Effect.fail(error))
        )
        return Effect.sync(() => child.kill())
      })
      assert.deepStrictEqual(
        said
          .trim()
          .split("\n")
          .map((line) => JSON.parse(line)),
        [
          ["tick", "1", '{"at":"1970-01-01T00:00:00.000Z"}'],
          ["tick", "2", '{"at":"1970-01-01T00:00:01.000Z"}'],
          ["error", "3", '{"error":"Server error","code":"INTERNAL_ERROR"}']
        ]
      )
    })
  )
})
