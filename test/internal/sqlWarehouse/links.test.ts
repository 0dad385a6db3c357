import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { HttpClientResponse } from "effect/http"
import { download, type Fetch, isStale } from "../../../src/internal/sqlWarehouse/links.ts"

const answering =
  (response: () => Response): Fetch =>
  (request) =>
    Effect.sync(() => HttpClientResponse.fromWeb(request, response()))

const reasonOf = (external_link: string, host: string, fetch = answering(() => new Response("x"))) =>
  Effect.map(Effect.flip(download(fetch, host, { external_link })), (error) =>
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
        assert.deepStrictEqual(yield* download(bytes, host, { external_link: link }), new Uint8Array([120]))
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
