import { assert, layer } from "@effect/vitest"
import type { DatabricksError } from "effect-databricks"
import { Context, Effect, Exit, Layer, Schema } from "effect"
import { HttpClient, HttpClientRequest, type HttpClientResponse } from "effect/http"
import * as NodeHttpClient from "@effect/platform-node/NodeHttpClient"
import type { Socket } from "node:net"
import * as RawServer from "../../fixtures/rawServer.ts"
import { turn } from "../../fixtures/wire.ts"
import { exchange, json, maxAnswer, maxShortAnswer, text } from "../../../src/internal/workspace/transport.ts"

/** A server that writes the bytes of its responses itself. */
class Server extends Context.Service<
  Server,
  {
    /** The response to a request that `answer` writes. */
    readonly answers: (
      answer: (socket: Socket) => void
    ) => Effect.Effect<HttpClientResponse.HttpClientResponse, DatabricksError.DatabricksError>
  }
>()("test/Server") {
  static readonly layer = Layer.effect(
    this,
    Effect.gen(function* () {
      const http = yield* HttpClient.HttpClient
      let answer: (socket: Socket) => void
      const { origin } = yield* RawServer.http(({ socket }) => answer(socket))
      const request = HttpClientRequest.get(`${origin}/x`)
      return {
        answers: (next) =>
          Effect.suspend(() => {
            answer = next
            return exchange(http, request)
          })
      }
    })
  ).pipe(Layer.provide(NodeHttpClient.layerUndici))
}

const head = (...headers: ReadonlyArray<string>) => ["HTTP/1.1 200 OK", ...headers, "", ""].join("\r\n")

const chunked = (bytes: Uint8Array) =>
  Buffer.concat([Buffer.from(`${bytes.length.toString(16)}\r\n`), bytes, Buffer.from("\r\n")])

const framings = {
  declared: (body: Buffer) => [head(`content-length: ${body.length}`), body],
  chunked: (body: Buffer) => [head("transfer-encoding: chunked"), body.length > 0 ? chunked(body) : "", "0\r\n\r\n"],
  bytewise: (body: Buffer) => [
    head("transfer-encoding: chunked"),
    ...Array.from(body, (byte) => chunked(Buffer.of(byte))),
    "0\r\n\r\n"
  ],
  untilClosed: (body: Buffer) => [head("connection: close"), body]
}

const reasonOf = <A, R>(effect: Effect.Effect<A, DatabricksError.DatabricksError, R>) =>
  Effect.map(Effect.flip(effect), (error) => error.reason)

/** Writes for as long as the other side reads. */
const endless = (socket: Socket, piece: Buffer) => {
  const more = () => {
    while (!socket.destroyed && socket.write(piece));
  }
  socket.on("drain", more)
  more()
}

layer(Server.layer)("transport", (it) => {
  it.effect.prop(
    "reads a body up to the limit in every framing, and fails above it",
    {
      characters: Schema.Array(Schema.Literals(["a", "é", "\ud83d\ude00", "\0"])).check(Schema.isMaxLength(60)),
      framing: Schema.Literals(["declared", "chunked", "bytewise", "untilClosed"]),
      room: Schema.Literals([-100, -2, -1, 0, 1, 100])
    },
    ({ characters, framing, room }) =>
      Effect.gen(function* () {
        const { answers } = yield* Server
        const body = Buffer.from(characters.join(""))
        const response = yield* answers((socket) => {
          for (const piece of framings[framing](body)) socket.write(piece)
          if (framing === "untilClosed") socket.end()
        })
        const limit = Math.max(0, body.length + room)
        const exit = yield* Effect.exit(text(response, limit))
        if (body.length <= limit) assert.deepStrictEqual(exit, Exit.succeed(characters.join("")))
        else {
          assert.deepInclude(yield* reasonOf(exit), {
            _tag: "InvalidResponseError",
            status: 200,
            message: `GET /x answered 200 with more than ${limit} bytes, which is the limit`
          })
        }
      })
  )

  for (const [what, start, said] of [
    ["endless chunks", head("transfer-encoding: chunked"), /more than 1000000 bytes/],
    ["an endless body without a length", head(), /more than 1000000 bytes/],
    [
      "a body longer than its declared length",
      head("content-length: 2", "transfer-encoding: chunked"),
      /LENGTH_MISMATCH/
    ]
  ] as const) {
    it.effect(`stops reading ${what}, and closes the connection`, () =>
      Effect.gen(function* () {
        const { answers } = yield* Server
        let sent = Number.NaN
        const filler = Buffer.alloc(100_000, "x")
        const response = answers((socket) => {
          socket.write(start)
          endless(socket, start.includes("chunked") ? chunked(filler) : filler)
          socket.once("close", () => (sent = socket.bytesWritten))
        })
        assert.match((yield* reasonOf(Effect.flatMap(response, json(Schema.Unknown, 1_000_000)))).message, said)
        yield* Effect.repeat(turn, { until: () => sent > 0 })
        // What the kernel and two HTTP libraries hold on the way.
        assert.isBelow(sent, 20_000_000)
      })
    )
  }

  it.effect("reads nothing of a body whose declared length is above the limit", () =>
    Effect.gen(function* () {
      const { answers } = yield* Server
      for (const [limit, read] of [
        [maxAnswer, json(Schema.Unknown)],
        [maxShortAnswer, json(Schema.Unknown, maxShortAnswer)]
      ] as const) {
        let closed = false
        const response = yield* answers((socket) => {
          socket.write(`${head(`content-length: ${limit + 1}`)}[`)
          socket.once("close", () => (closed = true))
        })
        assert.include((yield* reasonOf(read(response))).message, `more than ${limit} bytes`)
        yield* Effect.repeat(turn, { until: () => closed })
      }
    })
  )

  it.effect("reads the rows of a statement up to 25 MiB", () =>
    Effect.gen(function* () {
      const { answers } = yield* Server
      const cell = "x".repeat(25 * 1024 * 1024)
      const response = yield* answers((socket) => {
        for (const piece of framings.chunked(Buffer.from(`["${cell}"]`))) socket.write(piece)
      })
      assert.strictEqual((yield* json(Schema.Tuple([Schema.String]))(response))[0], cell)
    })
  )

  it.effect("refuses bytes that are not UTF-8, so that no two names become one", () =>
    Effect.gen(function* () {
      const { answers } = yield* Server
      for (const framing of ["declared", "chunked"] as const) {
        const response = yield* answers((socket) => {
          for (const piece of framings[framing](Buffer.from([0x22, 0xff, 0x22]))) socket.write(piece)
        })
        const message = "GET /x answered 200 with bytes that are not UTF-8"
        assert.deepInclude(yield* reasonOf(json(Schema.String)(response)), { _tag: "InvalidResponseError", message })
      }
    })
  )
})
