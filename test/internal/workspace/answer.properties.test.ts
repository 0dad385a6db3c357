import { assert, describe, it } from "@effect/vitest"
import { HttpFailure } from "effect-databricks"
import { Duration, Schema } from "effect"
import { fromAnswer } from "../../../src/internal/workspace/answer.ts"

const Digits = Schema.Literals([
  "0",
  "1",
  "1.5",
  "-1",
  "1e9",
  "9".repeat(12),
  "9".repeat(308),
  "9".repeat(400),
  "NaN",
  ""
])

const RetryAfter = Schema.Union([
  Digits,
  Schema.Literals(["Sun, 06 Nov 9999 08:49:37 GMT", "Thu, 01 Jan 1970 00:00:00 GMT", "no GMT", "Infinity", "0x7"]),
  Schema.String
])

const Word = Schema.Union([
  Schema.String,
  Schema.Literals([
    "null",
    "INVALID_PARAMETER_VALUE",
    "invalid_client",
    "Invalid access token",
    "x is not a valid endpoint id"
  ]),
  Schema.Literals([
    " ".repeat(60_000),
    "a".repeat(60_000),
    "required scopes: " + "a,".repeat(30_000),
    "A".repeat(60_000)
  ])
])

const Value = Schema.Union([Word, Schema.Null, Schema.Number, Schema.Array(Word), Schema.Record(Schema.String, Word)])

const Body = Schema.Union([
  Schema.String,
  Schema.Literals(["", "null", "[]", "<html>", '{"message":"half', "[".repeat(60_000), '{"__proto__":{"message":5}}']),
  Schema.Struct({
    message: Value,
    error: Schema.Union([Value, Schema.Struct({ message: Value })]),
    error_code: Value,
    error_description: Value,
    detail: Value,
    details: Schema.Array(
      Schema.Struct({
        request_id: Value,
        retry_delay: Schema.Union([Value, Schema.Literals(["7s", `${"9".repeat(400)}s`])])
      })
    )
  })
])

describe("answer.fromAnswer", () => {
  it.prop(
    "returns a typed error of bounded size, for any status, headers and body",
    {
      status: Schema.Literals([300, 302, 399, 400, 401, 403, 404, 409, 418, 429, 499, 500, 503, 599, 999]),
      retryAfter: RetryAfter,
      date: RetryAfter,
      requestId: Word,
      body: Body
    },
    ({ body, date, requestId, retryAfter, status }) => {
      const error = fromAnswer({
        endpoint: "GET /x",
        status,
        headers: { "retry-after": retryAfter, date, "x-request-id": requestId },
        body: typeof body === "string" ? body : JSON.stringify(body)
      })
      assert.include(error.message, "GET /x")
      assert.isBelow(JSON.stringify(error).length, 10_000)
      const seconds = Duration.toSeconds(error.retryAfter ?? Duration.zero)
      assert.isTrue(seconds >= 0 && seconds <= 86_400)
      const failure = HttpFailure.fromError(error, { development: true })
      const { headers, status: answered } = HttpFailure.toResponse(failure)
      assert.isTrue(answered >= 400 && answered < 600)
      assert.isBelow(failure.body.message.length, 502)
      assert.match(headers["retry-after"] ?? "1", /^([1-9]\d{0,4})$/)
    }
  )
})
