import * as NodeHttpClient from "@effect/platform-node/NodeHttpClient"
import Undici from "@effect/platform-node/Undici"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Schema, Stream } from "effect"
import { HttpBody, HttpClient, HttpClientRequest } from "effect/http"
import type { ServerResponse } from "node:http"
import { limited } from "../../../src/internal/workspace/dispatcher.ts"
import { exchange, json } from "../../../src/internal/workspace/transport.ts"
import * as RawServer from "../../fixtures/rawServer.ts"
import { eventually } from "../../fixtures/eventually.ts"

/** A client whose limits are so short that undici applies them at its next look, within a second. */
const Http = Layer.effect(HttpClient.HttpClient, NodeHttpClient.makeUndici).pipe(
  Layer.provide(
    Layer.effect(
      NodeHttpClient.Dispatcher,
      Effect.map(
        Effect.acquireRelease(
          Effect.sync(() => new Undici.Agent()),
          (agent) => Effect.promise(() => agent.destroy())
        ),
        (agent) => limited(agent, 1)
      )
    )
  )
)

/** Sends a request to a server that answers in this way. */
const sent = Effect.fnUntraced(function* (
  answer: (response: ServerResponse) => void,
  body: HttpBody.HttpBody = HttpBody.empty
) {
  const http = yield* HttpClient.HttpClient
  const { origin } = yield* RawServer.http((request, response) => {
    request.resume().on("end", () => answer(response))
  })
  return yield* exchange(http, HttpClientRequest.put(`${origin}/x`, { body }))
})

describe("The time limits of responses", () => {
  for (const [what, answer] of [
    ["a head", () => {}],
    ["a body of a known length", (response) => response.writeHead(200, { "content-length": 5 }).write("[")],
    ["a body in chunks", (response) => response.writeHead(200).write("[")]
  ] satisfies ReadonlyArray<readonly [string, (response: ServerResponse) => void]>) {
    it.live(`fail a request that waits for the rest of ${what}, and close the connection`, () =>
      Effect.gen(function* () {
        let closed = false
        const response = sent((response) => {
          response.once("close", () => (closed = true))
          answer(response)
        })
        const { reason } = yield* Effect.flip(Effect.flatMap(response, json(Schema.Unknown)))
        assert.strictEqual(reason._tag, "ConnectionError")
        assert.include(reason.message, "PUT /x (UND_ERR_")
        assert.include(reason.message, "the connection has stalled, or the workspace takes longer than 6 minutes")
        yield* eventually(() => closed)
      }).pipe(Effect.scoped, Effect.provide(Http))
    )
  }

  for (const [what, body] of [
    ["a stream", HttpBody.stream(Stream.make(new Uint8Array(1)))],
    ["more than 16 MiB", HttpBody.uint8Array(new Uint8Array(16 * 1024 * 1024 + 1))]
  ] as const) {
    it.live(`do not apply to the head of the response to ${what}`, () =>
      Effect.gen(function* () {
        // A response to a request without a body would have failed by then.
        const other = Effect.exit(sent(() => {}))
        let answer = () => {}
        const [{ status }] = yield* Effect.all(
          [
            sent((response) => (answer = () => void response.end("{}")), body),
            Effect.andThen(
              Effect.andThen(other, other),
              Effect.sync(() => answer())
            )
          ],
          { concurrency: "unbounded" }
        )
        assert.strictEqual(status, 200)
      }).pipe(Effect.scoped, Effect.provide(Http))
    )
  }

  it.live("do not apply to a body whose reader is slow", () =>
    Effect.gen(function* () {
      const size = 8 * 1024 * 1024
      const response = yield* sent((response) => void response.end(Buffer.alloc(size)))
      // A request that stalls would have failed by then.
      const other = Effect.exit(sent(() => {}))
      let read = 0
      yield* Stream.runForEach(response.stream, (chunk) =>
        Effect.andThen(
          read === 0 ? Effect.andThen(other, other) : Effect.void,
          Effect.sync(() => (read += chunk.length))
        )
      )
      assert.strictEqual(read, size)
    }).pipe(Effect.scoped, Effect.provide(Http))
  )
})
