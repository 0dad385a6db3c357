import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Logger } from "effect"
import { HttpRouter, HttpServer, HttpServerResponse } from "effect/http"
import * as App from "../src/App.ts"
import { connection, get, runApp } from "./fixtures/child.ts"
import { eventually } from "./fixtures/eventually.ts"

const Route = Layer.mergeAll(
  HttpRouter.add("GET", "/", (request) =>
    Effect.succeed(HttpServerResponse.text(`${request.headers["x-long"]?.length}`))
  ),
  HttpRouter.add("POST", "/refused", HttpServerResponse.empty({ status: 503 })),
  HttpRouter.add("POST", "/read", (request) => Effect.map(request.text, HttpServerResponse.text))
)

/** A server on loopback, and what it logs. */
const serving = Effect.gen(function* () {
  const logged: Array<string> = []
  const server = yield* Layer.build(
    HttpRouter.serve(Route, { disableLogger: true, disableListenLog: true }).pipe(
      Layer.provideMerge(App.layerHttpServer({ host: "127.0.0.1", port: 0 })),
      Layer.provide(Logger.layer([Logger.make(({ logLevel, message }) => void logged.push(`${logLevel} ${message}`))]))
    )
  )
  const { address } = yield* Effect.provide(HttpServer.HttpServer, server)
  return { logged, port: "port" in address ? address.port : 0 }
})

const withHeader = (length: number) => `GET / HTTP/1.1\r\nhost: x\r\nx-long: ${"a".repeat(length)}\r\n\r\n`

describe("App.layerHttpServer", () => {
  it.live("takes headers of 60 KiB", () =>
    Effect.gen(function* () {
      const { logged, port } = yield* serving
      const { send, state } = yield* connection(port)
      send(withHeader(60 * 1024))
      yield* eventually(() => state.received.endsWith(`${60 * 1024}`))
      assert.deepStrictEqual(logged, [])
    })
  )

  const chunked = (path: string) => `POST ${path} HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n`

  it.live("announces that the connection ends after the response to a chunked body that was not read", () =>
    Effect.gen(function* () {
      const { port } = yield* serving
      const refused = yield* connection(port)
      refused.send(chunked("/refused"))
      yield* eventually(() => refused.state.closed)
      assert.match(refused.state.received, /^HTTP\/1.1 503 [^]*\r\nconnection: close\r\n/i)
      const read = yield* connection(port)
      read.send(`${chunked("/read")}0\r\n\r\n`)
      yield* eventually(() => read.state.received.endsWith("abc"))
      assert.match(read.state.received, /^HTTP\/1.1 200 [^]*\r\nconnection: keep-alive\r\n/i)
    })
  )

  const unreadable = [
    [
      "431 with headers of 70 KiB",
      withHeader(70 * 1024),
      "431 Request Header Fields Too Large",
      "HeadersTooLarge",
      "The headers of the request are longer than 64 KiB"
    ],
    [
      "431 with headers of 4 MB",
      withHeader(4_000_000),
      "431 Request Header Fields Too Large",
      "HeadersTooLarge",
      "The headers of the request are longer than 64 KiB"
    ],
    [
      "400 with a request line that is not HTTP",
      "HELLO\r\n\r\n",
      "400 Bad Request",
      "MalformedRequest",
      "The request is not HTTP/1.1"
    ],
    [
      "400 with two lengths",
      "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab",
      "400 Bad Request",
      "MalformedRequest",
      "The request is not HTTP/1.1"
    ],
    [
      "400 with a TLS handshake",
      "\u0016\u0003\u0001\u0002\u0000\u0001\u0000\u0001\u00fc\u0003\u0003",
      "400 Bad Request",
      "MalformedRequest",
      "The request is not HTTP/1.1"
    ]
  ] as const
  for (const [what, request, status, _tag, message] of unreadable) {
    it.live(`answers ${what}, a JSON body and one line in the log, and serves on`, () =>
      Effect.gen(function* () {
        const { logged, port } = yield* serving
        const bad = yield* connection(port)
        bad.send(request)
        yield* eventually(() => bad.state.closed)
        assert.match(bad.state.received, new RegExp(`^HTTP/1.1 ${status}\r\ncontent-type: application/json\r\n`))
        assert.deepStrictEqual(JSON.parse(bad.state.received.split("\r\n\r\n")[1]!), { _tag, message })
        yield* eventually(() => logged.length > 0)
        assert.strictEqual(logged.length, 1)
        assert.match(logged[0]!, new RegExp(`^Warn ${status.slice(0, 3)} ${_tag}: ${message} \\(HPE_\\w+\\)$`))
        const good = yield* connection(port)
        good.send(get("/"))
        yield* eventually(() => good.state.received.endsWith("undefined"))
      })
    )
  }

  const wrong: ReadonlyArray<readonly [options: App.HttpServerOptions, says: RegExp]> = [
    [{ port: -3 }, /^The option port of App\.layerHttpServer is not a whole number from 0 to 65535: -3$/],
    [{ port: 65_536 }, /^The option port .*: 65536$/],
    [{ port: Number.NaN }, /^The option port .*: NaN$/],
    [{ port: 80.5 }, /^The option port .*: 80\.5$/],
    [{ maxBodySize: -1 }, /^The option maxBodySize .* is not a size, such as "1 MB": -1$/],
    [{ gracePeriod: "-1 seconds" }, /^The option gracePeriod .* is not a duration of 0 or more, .*: "-1 seconds"$/]
  ]
  for (const [options, says] of wrong) {
    it.effect(`fails with a ConfigError for the option ${Object.entries(options).join().replace(",", " ")}`, () =>
      Effect.gen(function* () {
        const error = yield* Effect.flip(Layer.build(App.layerHttpServer({ port: 0, ...options })))
        assert.strictEqual(error._tag, "ConfigError")
        assert.match(error._tag === "ConfigError" ? error.cause.message : "", says)
      })
    )
  }
})

describe("App.runMain", () => {
  it.live.each([
    ["an object", "plain", '{"_tag":"Broken","reason":"cold","secret":<redacted>}'],
    ["an object with a message", "spoken", "It is cold"],
    ["a number", "number", "7"]
  ] as const)("prints a failure that is %s", ([, main, says]) =>
    Effect.gen(function* () {
      const app = yield* runApp([main])
      assert.strictEqual(yield* app.exit, 1)
      assert.strictEqual(app.output.stderr, `${says}\n`)
    })
  )
})
