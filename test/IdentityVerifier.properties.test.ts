import { assert, layer } from "@effect/vitest"
import { asUser, ServiceContext, UserContext } from "effect-databricks"
import { Clock, Context, Effect, Layer, Redacted, Schema } from "effect"
import { TestClock } from "effect/testing"
import { alice } from "./fixtures/people.ts"
import * as RawServer from "./fixtures/rawServer.ts"

/** How often a workspace that knows every token was asked for its holder. */
class Asked extends Context.Service<Asked, { count: number }>()("test/Asked") {
  static readonly layer = Layer.unwrap(
    Effect.gen(function* () {
      const asked = { count: 0 }
      const { origin } = yield* RawServer.http((_, response) => {
        asked.count++
        response.writeHead(200, { "x-databricks-org-id": "1" }).end(JSON.stringify({ id: "7", userName: alice }))
      })
      return Layer.merge(ServiceContext.layer({ host: origin, token: Redacted.make("t") }), Layer.succeed(Asked, asked))
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

layer(Asked.layer)("IdentityVerifier", (it) => {
  it.effect.prop(
    "caches a verified token until its exp, for 1 hour at most, or 5 minutes without exp",
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
        const headers = { "x-forwarded-user": "7@1", "x-forwarded-access-token": token }
        const questions = Effect.gen(function* () {
          const { count } = asked
          assert.strictEqual((yield* Effect.provide(UserContext, asUser(headers))).userName, alice)
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
