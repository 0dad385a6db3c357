import { assert, layer } from "@effect/vitest"
import { asUser, ServiceContext, UserContext } from "effect-databricks"
import { Clock, Context, Effect, Layer, Redacted, Schema } from "effect"
import { TestClock } from "effect/testing"
import * as Http from "node:http"
import type { AddressInfo } from "node:net"

/** How often a workspace that knows every token was asked for its holder. */
class Asked extends Context.Service<Asked, { count: number }>()("test/Asked") {
  static readonly layer = Layer.unwrap(
    Effect.gen(function* () {
      const asked = { count: 0 }
      const server = Http.createServer({ keepAliveTimeout: 60_000 }, (_, response) => {
        asked.count++
        response.writeHead(200, { "x-databricks-org-id": "1" }).end(`{"id":"7","userName":"alice@example.com"}`)
      })
      yield* Effect.acquireRelease(
        Effect.promise(() => new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve))),
        () => Effect.sync(() => server.close().closeAllConnections())
      )
      const { port } = server.address() as AddressInfo // it listens on TCP
      const host = `http://127.0.0.1:${port}`
      return Layer.merge(ServiceContext.layer({ host, token: Redacted.make("t") }), Layer.succeed(Asked, asked))
    })
  )
}

const Seconds = Schema.Literals([-1e308, -1, 0, 1, 299, 3_599, 3_600, 3_601, 1e9, 1e15, 1e306, Number.MAX_VALUE])

const Claims = Schema.Union([
  // From now on, which is when the token is first seen.
  Schema.Struct({ in: Seconds }),
  Schema.Struct({ in: Seconds }),
  Schema.Struct({ exp: Schema.Union([Schema.Json, Schema.Literals(["1e9", "NaN"])]) }),
  Schema.Struct({
    text: Schema.Literals([
      '{"exp":1e999}',
      '{"exp":-1e999}',
      '{"exp":NaN}',
      "",
      "null",
      "[",
      '{"__proto__":{"exp":1}}',
      "[".repeat(3_000)
    ])
  })
])

const base64url = (text: string) => Buffer.from(text).toString("base64url")

let tokens = 0

layer(Asked.layer)("a token", (it) => {
  it.effect.prop(
    "proves its holder until it says that it expires, for an hour at most, or for 5 minutes where it does not say",
    {
      claims: Claims,
      form: Schema.Literals(["a#.%.c", "#.%.", "~#.%.~.d.e"])
    },
    ({ claims, form }) =>
      Effect.gen(function* () {
        const asked = yield* Asked
        const now = yield* Clock.currentTimeMillis
        const payload =
          "text" in claims
            ? claims.text
            : JSON.stringify({
                jti: "in" in claims ? claims.in : 0,
                exp: "in" in claims ? now / 1000 + claims.in : claims.exp
              })
        // Each is seen for the first time.
        const token = form.replace("#", String(tokens++)).replace("%", base64url(payload))
        const headers = { "x-forwarded-user": "1@2", "x-forwarded-access-token": token }
        const questions = Effect.gen(function* () {
          const { count } = asked
          assert.strictEqual((yield* Effect.provide(UserContext, asUser(headers))).userName, "alice@example.com")
          return asked.count - count
        })
        const exp =
          "in" in claims
            ? claims.in * 1000
            : "exp" in claims && typeof claims.exp === "number"
              ? claims.exp * 1000 - now
              : 300_000
        const lives = Math.floor(Math.min(Math.max(exp, 0), 3_600_000))
        assert.strictEqual(yield* questions, 1)
        if (lives > 1) {
          yield* TestClock.adjust(lives - 1)
          assert.strictEqual(yield* questions, 0, payload)
        }
        yield* TestClock.adjust(2)
        assert.strictEqual(yield* questions, 1, payload)
      })
  )
})
