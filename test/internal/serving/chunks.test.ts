import { assert, describe, it } from "@effect/vitest"
import { ModelServing } from "effect-databricks"
import { Duration, Effect, Schema, Stream } from "effect"
import { HttpClientRequest, HttpClientResponse } from "effect/http"
import { gzipSync } from "node:zlib"
import * as Chunks from "../../../src/internal/serving/chunks.ts"

const broken: Chunks.Broken = (fields) => new ModelServing.ModelStreamError(fields)

const request = HttpClientRequest.post("/serving-endpoints/chat/invocations")

/** Reads a response that arrives in these parts, up to its end or its error. */
const read = <S extends Schema.Constraint>(
  schema: S,
  parts: ReadonlyArray<Uint8Array>,
  end: "end" | "cut" = "end",
  contentType = "text/event-stream"
) =>
  Effect.gen(function* () {
    let next = 0
    const body = new ReadableStream<Uint8Array>({
      pull: (controller) => {
        const part = parts[next++]
        if (part !== undefined) controller.enqueue(part)
        else if (end === "end") controller.close()
        else controller.error(new Error("reset"))
      }
    })
    const response = HttpClientResponse.fromWeb(
      request,
      new Response(body, { headers: { "content-type": contentType } })
    )
    const seen: Array<S["Type"]> = []
    const error = yield* Chunks.make(
      schema,
      "chat",
      broken
    )(response).pipe(
      Stream.runForEach((chunk) => Effect.sync(() => seen.push(chunk))),
      Effect.match({ onFailure: (error) => error, onSuccess: () => undefined })
    )
    return { seen, error, pulled: next }
  })

const bytesOf = (text: string) => new TextEncoder().encode(text)

/** Splits bytes at these places. */
const splitAt = (bytes: Uint8Array, places: ReadonlyArray<number>) => {
  const cuts = [0, ...places.map((place) => place % (bytes.length + 1)).toSorted((a, b) => a - b), bytes.length]
  return cuts.slice(1).map((end, index) => bytes.subarray(cuts[index], end))
}

const Texts = Schema.Array(Schema.String).check(Schema.isMaxLength(6))
const Places = Schema.Array(Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 10_000 }))).check(
  Schema.isMaxLength(12)
)
const LineEnd = Schema.Literals(["\n", "\r\n", "\r"])
const Chunk = Schema.Struct({ t: Schema.String })

describe("The chunks of a model's stream", () => {
  it.effect.prop(
    "are the same wherever the bytes are split, with any line end, comments and fields beside them",
    { texts: Texts, places: Places, lineEnd: LineEnd },
    ({ lineEnd, places, texts }) =>
      Effect.gen(function* () {
        const wellFormed = texts.map((text) => text.toWellFormed())
        const events = wellFormed.map((t) => [": ping", "id: 7", "retry: 10", `data: ${JSON.stringify({ t })}`, "", ""])
        const text = [...events, ["data: [DONE]", "", ""]].map((lines) => lines.join(lineEnd)).join("")
        const { error, seen } = yield* read(Chunk, splitAt(bytesOf(text), places))
        assert.isUndefined(error)
        assert.deepStrictEqual(
          seen.map(({ t }) => t),
          wellFormed
        )
      })
  )

  it.effect.prop(
    "are a beginning of the whole, and then a failure, wherever the response is cut before its end mark",
    { texts: Texts, places: Places, at: Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 100_000 })) },
    ({ at, places, texts }) =>
      Effect.gen(function* () {
        const wellFormed = texts.map((text) => text.toWellFormed())
        const whole = wellFormed.map((t) => `data: ${JSON.stringify({ t })}\n\n`).join("") + "data: [DONE"
        const bytes = bytesOf(whole)
        const part = bytes.subarray(0, at % (bytes.length + 1))
        for (const end of ["end", "cut"] as const) {
          const { error, seen } = yield* read(Chunk, splitAt(part, places), end)
          assert.include(error, { _tag: "ModelStreamError", kind: "cut", chunks: seen.length } as object)
          assert.deepStrictEqual(
            seen.map(({ t }) => t),
            wellFormed.slice(0, seen.length)
          )
        }
      })
  )

  it.effect("end at [DONE], also without a blank line after it, and ignore the rest", () =>
    Effect.gen(function* () {
      for (const rest of ["", "\n", "\n\n", '\n\ndata: {"t":"late"}\n\n']) {
        const { error, seen } = yield* read(Chunk, [bytesOf(`data: {"t":"a"}\n\ndata: [DONE]${rest}`)])
        assert.isUndefined(error, JSON.stringify(rest))
        assert.deepStrictEqual(seen, [{ t: "a" }])
      }
    })
  )

  it.effect("are read to the end of the response, after which its connection can be used again", () =>
    Effect.gen(function* () {
      const parts = ['data: {"t":"a"}\n\n', "data: [DONE]\n\n", ": ping\n\n", "data: late\n\n", ": end\n\n"]
      const { error, pulled } = yield* read(Chunk, parts.map(bytesOf))
      assert.isUndefined(error)
      assert.strictEqual(pulled, parts.length + 1)
    })
  )

  it.effect("fail with an error inside the stream, in each of its forms, after the chunks before it", () =>
    Effect.gen(function* () {
      const forms: ReadonlyArray<readonly [string, status: number, code: string | undefined, said: string]> = [
        ['data: {"error":{"message":"slow down","code":429}}', 429, undefined, "slow down"],
        [
          'data: {"error":{"message":"too long","code":"context_length","status":400}}',
          400,
          "context_length",
          "too long"
        ],
        ['data: {"error":"out of memory, sorry"}', 500, undefined, "out of memory, sorry"],
        ['data: {"error_code":"REQUEST_LIMIT_EXCEEDED","message":"limit"}', 500, "REQUEST_LIMIT_EXCEEDED", "limit"],
        ['data: {"type":"error","message":"failed"}', 500, undefined, "failed"],
        ['event: error\ndata: {"message":"failed"}', 500, undefined, "failed"],
        ["event: error\ndata: no JSON", 500, undefined, "no JSON"]
      ]
      for (const [form, status, errorCode, said] of forms) {
        const { error, seen } = yield* read(Chunk, [
          bytesOf(`data: {"t":"a","error":null}\n\n${form}\n\ndata: [DONE]\n\n`)
        ])
        assert.deepStrictEqual(seen, [{ t: "a" }], form)
        assert.include(error, { kind: "failed", chunks: 1, status, errorCode } as object, form)
        assert.include(error!.message, said)
      }
    })
  )

  it.effect("keep status, delay and request id of an error inside the stream, and not the credential", () =>
    Effect.gen(function* () {
      const details = [{ "@type": "RetryInfo", retry_delay: "7s" }, { request_id: "r-1" }]
      for (const form of [
        { error: { message: "slow down", status: 429, details } },
        { error_code: "REQUEST_LIMIT_EXCEEDED", message: "slow down", status: 429, details },
        { error: { message: "slow down", status_code: "429" }, details }
      ]) {
        const { error } = yield* read(Chunk, [bytesOf(`data: ${JSON.stringify(form)}\n\n`)])
        assert.include(error, { kind: "failed", status: 429, requestId: "r-1" } as object)
        assert.deepStrictEqual((error as ModelServing.ModelStreamError).retryAfter, Duration.seconds(7))
      }
    })
  )

  it.effect("are read after a byte order mark, from several data lines, and without regard to the type's case", () =>
    Effect.gen(function* () {
      const text = '\uFEFFevent: message\ndata: {"t":\ndata: "a"}\n\nevent: ping\n\ndata:[DONE]\n\n'
      for (const type of ["text/event-stream; charset=utf-8", "Text/Event-Stream"]) {
        const { error, seen } = yield* read(Chunk, [bytesOf(text)], "end", type)
        assert.isUndefined(error)
        assert.deepStrictEqual(seen, [{ t: "a" }])
      }
    })
  )

  it.effect("fail if the response is another document, and if its bytes are compressed", () =>
    Effect.gen(function* () {
      const page = yield* read(Chunk, [bytesOf("<html>data: [DONE]</html>")], "end", "text/html")
      assert.include(page.error!.message, "text/html in place of an event stream")
      const { error } = yield* read(Chunk, [gzipSync('data: {"t":"a"}\n\ndata: [DONE]\n\n')])
      assert.include(error, { kind: "invalid" } as object)
    })
  )

  it.effect("have up to 10 MiB, in parts of any size", () =>
    Effect.gen(function* () {
      const t = "x".repeat(10 * 1024 * 1024 - 100)
      const bytes = bytesOf(`data: ${JSON.stringify({ t })}\n\ndata: [DONE]\n\n`)
      const parts = Array.from({ length: Math.ceil(bytes.length / 65_536) }, (_, i) =>
        bytes.subarray(i * 65_536, (i + 1) * 65_536)
      )
      const { error, seen } = yield* read(Chunk, parts)
      assert.isUndefined(error)
      assert.strictEqual(seen[0]!.t.length, t.length)
    })
  )

  it.effect("are read no further than their reader is", () =>
    Effect.gen(function* () {
      let pulled = 0
      const body = new ReadableStream<Uint8Array>(
        {
          pull: (controller) => controller.enqueue(bytesOf(`data: {"t":"${pulled++}"}\n\n`))
        },
        { highWaterMark: 0 }
      )
      const headers = { "content-type": "text/event-stream" }
      const response = HttpClientResponse.fromWeb(request, new Response(body, { headers }))
      const chunks = Chunks.make(Chunk, "chat", broken)(response)
      yield* Stream.runForEach(Stream.take(chunks, 20), ({ t }) =>
        Effect.sync(() => assert.isAtMost(pulled, Number(t) + 2))
      )
    })
  )

  it.effect("fail if they are not JSON, not UTF-8, or too large", () =>
    Effect.gen(function* () {
      const wrong = [
        [bytesOf("data: {\n\n"), "a chunk is not JSON"],
        [Uint8Array.of(...bytesOf('data: {"t":"'), 0xff, ...bytesOf('"}\n\n')), "bytes that are not UTF-8"],
        [bytesOf(`data: {"t":"${"x".repeat(10 * 1024 * 1024)}`), "a chunk exceeds 10 MiB"]
      ] as const
      for (const [bytes, said] of wrong) {
        const { error, seen } = yield* read(Chunk, [bytes])
        assert.include(error, { kind: "invalid", chunks: 0 } as object)
        assert.include(error!.message, said)
        assert.isEmpty(seen)
      }
    })
  )

  it.effect("keep integers exact", () =>
    Effect.gen(function* () {
      const { seen } = yield* read(Schema.Struct({ id: Schema.BigInt, score: Schema.Number }), [
        bytesOf('data: {"id":9007199254740993,"score":0.12345678901234567890}\n\ndata: [DONE]\n\n')
      ])
      assert.deepStrictEqual(seen, [{ id: 9007199254740993n, score: 0.12345678901234568 }])
    })
  )
})
