import { assert, layer } from "@effect/vitest"
import { LocalWorkspace } from "effect-databricks/testing"
import { Effect } from "effect"
import { connection, get } from "./fixtures/child.ts"
import { eventually } from "./fixtures/eventually.ts"
import { start } from "./fixtures/logged.ts"

/** Opens a stream that does not end, and waits until it has begun. */
const openStream = Effect.fnUntraced(function* (port: number) {
  const stream = yield* connection(port)
  stream.send(get("/ticks"))
  yield* eventually(() => stream.state.received.includes("text/event-stream"))
})

layer(LocalWorkspace.layer(), { timeout: "2 minutes", excludeTestServices: true })("Logs on SIGTERM", (it) => {
  it.effect("have the end of an open stream as INFO, and a 503 of the closing server as an error with its reason", () =>
    Effect.gen(function* () {
      const app = yield* start()
      yield* openStream(app.port)
      const slow = yield* connection(app.port)
      slow.send(get("/slow"))
      yield* app.printed("slow begun")
      yield* app.kill("SIGTERM")
      assert.strictEqual(yield* app.exit, 0)
      assert.include(slow.state.received, "HTTP/1.1 503")
      const lineOf = (route: string) => app.lines().find((line) => line["route"] === route)!
      const ended = lineOf("/ticks")
      assert.strictEqual(ended["message"], "GET /ticks 200: the server closed")
      assert.deepInclude(ended, { level: "INFO", status: 200 })
      for (const field of ["error", "reason", "cause"]) assert.notProperty(ended, field)
      assert.deepInclude(lineOf("/slow"), {
        level: "ERROR",
        error: "ServerClosed",
        reason: "The server closed before the response was complete"
      })
    })
  )

  it.effect("say how many requests the server waits for, and how long at most", () =>
    Effect.gen(function* () {
      const app = yield* start()
      const idle = yield* connection(app.port)
      idle.send(get("/health"))
      yield* eventually(() => idle.state.received.endsWith("here"))
      yield* openStream(app.port)
      yield* app.kill("SIGTERM")
      assert.strictEqual(yield* app.exit, 0)
      assert.deepInclude(
        app.lines().find(({ message }) => String(message).startsWith("The server closes")),
        { level: "INFO", message: "The server closes (requests in flight: 1, gracePeriod: 1s)" }
      )
    })
  )
})
