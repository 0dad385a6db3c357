import { assert, describe, it } from "@effect/vitest"
import { Effect, Schema, Stream } from "effect"
import { HttpClientResponse } from "effect/http"
import { skipping } from "../../fixtures/clock.ts"
import { download, type Fetch, isStale, type Source, stream } from "../../../src/internal/sqlWarehouse/links.ts"

const answering =
  (response: () => Response): Fetch =>
  (request) =>
    Effect.sync(() => HttpClientResponse.fromWeb(request, response()))

const from = (host: string, fetch: Fetch): Source => ({ host, fetch, ask: () => Effect.die("has its link") })

const reasonOf = (external_link: string, host: string, fetch = answering(() => new Response("x"))) =>
  Effect.map(Effect.flip(download(from(host, fetch), { external_link })), (error) =>
    error._tag === "DatabricksError" ? error.reason._tag : error._tag
  )

describe("links.download", () => {
  it.effect("accepts https only, and http only when the workspace is on this machine", () =>
    Effect.gen(function* () {
      for (const link of ["http://storage.invalid/x", "file:///etc/passwd", "data:,x", "/x", ""]) {
        assert.strictEqual(yield* reasonOf(link, "https://workspace.invalid"), "InvalidResponseError", link)
      }
      assert.strictEqual(yield* reasonOf("file:///etc/passwd", "http://127.0.0.1:1"), "InvalidResponseError")
      const bytes = answering(() => new Response("x"))
      for (const [link, host] of [
        ["http://127.0.0.1:1/x", "http://127.0.0.1:1"],
        ["https://storage.invalid/x", "https://workspace.invalid"]
      ] as const) {
        assert.deepStrictEqual(yield* download(from(host, bytes), { external_link: link }), new Uint8Array([120]))
      }
    })
  )

  it.effect("stops at the size limit of a body, with and without a declared length", () =>
    Effect.gen(function* () {
      const headers = { "content-length": String(300 * 1024 * 1024) }
      const declared = answering(() => new Response("x", { headers }))
      assert.strictEqual(yield* reasonOf("https://s/x", "https://w", declared), "InvalidResponseError")
      let sent = 0
      const endless = answering(
        () =>
          new Response(
            new ReadableStream({
              pull: (controller) => {
                sent++
                controller.enqueue(new Uint8Array(16 * 1024 * 1024))
              }
            })
          )
      )
      assert.strictEqual(yield* reasonOf("https://s/x", "https://w", endless), "InvalidResponseError")
      assert.isBelow(sent, 25)
    })
  )

  it.effect("fails with LinkRefused for 400, 403 and 404, and UnavailableError for 429 and 5xx", () =>
    Effect.gen(function* () {
      for (const [status, reason] of [
        [400, "LinkRefused"],
        [403, "LinkRefused"],
        [404, "LinkRefused"],
        [429, "UnavailableError"],
        [500, "UnavailableError"],
        [503, "UnavailableError"],
        [302, "InvalidResponseError"]
      ] as const) {
        const fetch = answering(() => new Response(null, { status }))
        assert.strictEqual(yield* reasonOf("https://s/x", "https://w", fetch), reason)
      }
    })
  )
})

describe("links.isStale", () => {
  it("reports a link as stale 10 s before it expires", () => {
    const expiration = "2026-01-31T12:00:00Z"
    const at = Date.parse(expiration)
    const stale = (now: number) => isStale({ external_link: "https://s/x", expiration }, now)
    assert.deepStrictEqual([stale(at - 11_000), stale(at - 10_000), stale(at)], [false, true, true])
    assert.isFalse(isStale({ external_link: "https://s/x" }, at))
    assert.isFalse(isStale({ external_link: "https://s/x", expiration: "soon" }, at))
  })
})

describe("links.stream", () => {
  const content = Uint8Array.from({ length: 100 }, (_, index) => index)

  /** Breaks off each attempt after as many bytes as the list says, in parts of 7, and completes the last. */
  const breaking = (ends: ReadonlyArray<number>) => {
    let attempts = 0
    return answering(() => {
      const end = ends[attempts++]
      let at = 0
      return new Response(
        new ReadableStream({
          pull: (controller) => {
            if (at === end) return controller.error(new Error("reset"))
            if (at === content.length) return controller.close()
            const next = Math.min(at + 7, end ?? content.length)
            controller.enqueue(content.slice(at, next))
            at = next
          }
        })
      )
    })
  }
  const read = (fetch: Fetch) =>
    Stream.runCollect(stream(from("https://w", fetch), 0, { external_link: "https://s/x" })).pipe(
      Effect.map((parts) => Buffer.concat(parts)),
      skipping("1 minute")
    )

  it.effect.prop(
    "has each byte once, wherever the connection breaks off",
    { ends: Schema.Array(Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 99 }))) },
    ({ ends }) => Effect.map(read(breaking(ends)), (bytes) => assert.deepStrictEqual(bytes, Buffer.from(content)))
  )

  it.effect("requests a new link each time that the storage refuses the last one, as long as bytes arrive", () =>
    Effect.gen(function* () {
      const broken = breaking([10, 20, 30, 40, 50])
      const refused = answering(() => new Response(null, { status: 403 }))
      let requests = 0
      const fetch: Fetch = (request) => (requests++ % 2 === 0 ? refused : broken)(request)
      const link = { external_link: "https://s/x" }
      const source: Source = { host: "https://w", fetch, ask: () => Effect.succeed({ external_links: [link] }) }
      const parts = yield* Stream.runCollect(stream(source, 0, link)).pipe(skipping("1 minute"))
      assert.deepStrictEqual(Buffer.concat(parts), Buffer.from(content))
    })
  )

  it.effect("fails with ConnectionError after 5 minutes without a further byte", () =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(read(breaking(Array.from({ length: 1000 }, () => 50))))
      assert.strictEqual(error.reason._tag, "ConnectionError")
    })
  )
})
