import { assert, layer } from "@effect/vitest"
import { getWorkspaceClient } from "effect-databricks"
import { Context, Effect, Exit, Layer, Schema } from "effect"
import { HttpBody, HttpClientRequest } from "effect/http"
import { reasonOf } from "./fixtures/sqlWarehouse.ts"
import { type Seen, wire } from "./fixtures/wire.ts"

class Wire extends Context.Service<Wire, ReadonlyArray<Seen>>()("test/Wire") {
  static readonly layer = Layer.unwrap(
    Effect.map(
      wire((response) => response.end("{}")),
      ({ layer, seen }) => Layer.merge(layer, Layer.succeed(Wire, seen))
    )
  )
}

const path = "/api/2.2/jobs/get"

const send = (headers: Record<string, string>, body?: HttpBody.HttpBody) =>
  Effect.flatMap(getWorkspaceClient, (client) =>
    client.request(
      HttpClientRequest.make(body === undefined ? "GET" : "POST")(path, { headers, ...(body && { body }) })
    )
  )

/** The reason for which a request is not sent; nothing has arrived. */
const refusalOf = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.gen(function* () {
    const seen = yield* Wire
    const before = seen.length
    const reason = yield* reasonOf(effect)
    assert.strictEqual(reason._tag, "InvalidRequestError")
    assert.isFalse(reason.isRetryable)
    assert.strictEqual(seen.length, before)
    return reason.message
  })

const Character = Schema.Literals([
  ..."a ~\t\xe9\xff",
  "\r\n",
  "\r",
  "\n",
  "\0",
  "\x1f",
  "\x7f",
  "\u0100",
  "\u2028",
  "\u010a",
  "\ud83d\ude00"
])

layer(Wire.layer)("WorkspaceClient", (it) => {
  it.effect.prop(
    "sends a header value unchanged, or refuses one that no header can carry, by the header's name",
    { value: Schema.Array(Character).check(Schema.isMaxLength(4)) },
    ({ value }) =>
      Effect.gen(function* () {
        const seen = yield* Wire
        const text = `a${value.join("")}z`
        const exit = yield* Effect.exit(send({ "x-note": text }))
        if (Exit.isSuccess(exit)) {
          assert.strictEqual(seen.at(-1)!.headers["x-note"], text)
          return
        }
        const message = yield* refusalOf(exit)
        assert.strictEqual(
          message,
          'The header "x-note" of a request to the workspace contains a character that is not allowed in a header'
        )
        // oxlint-disable-next-line no-control-regex -- they are what is refused
        assert.match(text, /[^\t -~\x80-\xff]/)
      })
  )

  it.effect("refuses a header whose name is not a token, in one line", () =>
    Effect.gen(function* () {
      for (const name of ["x note", "x\r\nnote", "x:note", "", "é"]) {
        const message = yield* refusalOf(send({ [name]: "1" }))
        assert.include(message, JSON.stringify(name.toLowerCase()))
        assert.notMatch(message, /[\r\n]/)
      }
    })
  )

  it.effect("refuses a header that the HTTP client does not send, and does not call it a lost connection", () =>
    Effect.gen(function* () {
      const body = HttpBody.text("four")
      for (const [header, value] of [
        ["transfer-encoding", "chunked"],
        ["keep-alive", "5"],
        ["expect", "100-continue"],
        ["connection", "a b"]
      ] as const) {
        const message = yield* refusalOf(send({ [header]: value }, body))
        assert.match(message, new RegExp(`^POST ${path} cannot be sent: .*${header}`))
        assert.notInclude(message, value)
      }
    })
  )
})
