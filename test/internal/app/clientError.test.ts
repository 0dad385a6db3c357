import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import * as Http from "node:http"
import { answer } from "../../../src/internal/app/clientError.ts"
import { connection } from "../../fixtures/child.ts"
import { eventually } from "../../fixtures/eventually.ts"
import * as RawServer from "../../fixtures/rawServer.ts"

/** Node looks for late requests each 10 ms; they are late after this time. */
const serving = Effect.fnUntraced(function* (headersTimeout: number) {
  const told: Array<string> = []
  const server = Http.createServer({ headersTimeout, requestTimeout: headersTimeout, connectionsCheckingInterval: 10 })
  answer(server, (line) => told.push(line))
  const { port } = yield* RawServer.listening(server)
  const connections = Effect.callback<number, Error>((resume) => {
    server.getConnections((error, count) => resume(error === null ? Effect.succeed(count) : Effect.fail(error)))
  })
  return { connections, port, told }
})

describe("The answer to an unreadable request", () => {
  it.live("is a 408 with a JSON body and one line for one that does not arrive in time", () =>
    Effect.gen(function* () {
      const { port, told } = yield* serving(20)
      const { send, state } = yield* connection(port)
      send("GET / HTTP/1.1\r\nhost: x\r\n")
      yield* eventually(() => state.closed)
      assert.match(state.received, /^HTTP\/1\.1 408 Request Timeout\r\ncontent-type: application\/json\r\n/)
      assert.isTrue(
        state.received.endsWith('\r\n\r\n{"_tag":"RequestTimeout","message":"The request did not arrive in time"}')
      )
      assert.deepStrictEqual(told, [
        "408 RequestTimeout: The request did not arrive in time (ERR_HTTP_REQUEST_TIMEOUT)"
      ])
    })
  )

  it.live("logs nothing for a connection that sends nothing", () =>
    Effect.gen(function* () {
      const { port, told } = yield* serving(20)
      const { state } = yield* connection(port)
      yield* eventually(() => state.closed)
      assert.deepStrictEqual(told, [])
    })
  )

  it.live("logs nothing for a client that disconnects in a head or in a body of chunks", () =>
    Effect.gen(function* () {
      const head = "POST / HTTP/1.1\r\nhost: x\r\n"
      for (const sent of [head, `${head}transfer-encoding: chunked\r\n\r\n9\r\nabc`]) {
        const { connections, port, told } = yield* serving(60_000)
        const { destroy, send } = yield* connection(port)
        send(sent)
        yield* eventually(connections, (count) => count === 1)
        destroy()
        yield* eventually(connections, (count) => count === 0)
        assert.deepStrictEqual(told, [])
      }
    })
  )
})
