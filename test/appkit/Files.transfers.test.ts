import { assert, layer } from "@effect/vitest"
import { Files } from "effect-databricks"
import { Effect } from "effect"
import * as Http from "node:http"
import { eventually } from "../fixtures/eventually.ts"
import { bytes, misbehave, notices, own, recording, shared, Workspace } from "../fixtures/files.ts"
import { alice, bob, requestOf } from "../fixtures/people.ts"
import { Served } from "../http/harness.ts"
import { App, call, get, hurried, limit, ranges, upload } from "./files.ts"

const html = "<script>alert(document.domain)</script>"

/** A volume of the user, and one of the app. */
const both = ["shared", "exchange"]

const roots: Record<string, string> = { shared, exchange: `${own}/exchange`, notices }

const stored = (volume: string, path: string, size: number) =>
  Effect.flatMap(Files.volume(roots[volume]!), (files) => files.write(path, bytes(size), { overwrite: true }))

/** An upload whose body is written by hand. */
const begun = Effect.fnUntraced(function* (volume: string, path: string, headers: Http.OutgoingHttpHeaders) {
  const { port } = yield* Served
  return Http.request({
    port,
    host: "127.0.0.1",
    method: "POST",
    path: `/api/files/${volume}/upload?path=${encodeURIComponent(path)}`,
    headers: { ...(yield* requestOf(alice)), ...headers }
  })
})

const answerOf = (request: Http.ClientRequest) =>
  Effect.callback<readonly [number | undefined, string]>((resume) => {
    request.on("error", (error) => resume(Effect.succeed([undefined, String(error)])))
    request.on("response", (response) => {
      let text = ""
      response.on("data", (chunk) => (text += String(chunk)))
      response.on("end", () => {
        resume(Effect.succeed([response.statusCode, text]))
        request.destroy()
      })
    })
  })

layer(Workspace, { timeout: "60 seconds", excludeTestServices: true })("appkit/Files transfers", (it) => {
  it.layer(App)("over HTTP", (it) => {
    it.effect("stores an upload byte for byte, whatever its content type, also over an older file", () =>
      Effect.gen(function* () {
        const body = '{"a": [1,\n2]}  '
        const types = [
          "application/json",
          "multipart/form-data; boundary=x",
          "application/x-www-form-urlencoded",
          "text/plain"
        ]
        for (const volume of both) {
          yield* upload(volume, "data.json", "an older and longer content of the file")
          for (const type of types) {
            const { json, status } = yield* upload(volume, "data.json", body, { headers: { "content-type": type } })
            assert.deepStrictEqual([status, json], [200, { success: true }], type)
            assert.strictEqual((yield* get(`${volume}/download`, "data.json")).text, body, type)
            assert.strictEqual((yield* get(`${volume}/metadata`, "data.json")).json.contentLength, 15)
          }
        }
      })
    )

    it.effect("downloads a name in any script, with its length and date", () =>
      Effect.gen(function* () {
        for (const volume of both) {
          yield* upload(volume, "月/レポート.csv", "a,b")
          const { headers, status, text } = yield* get(`${volume}/download`, "月/レポート.csv")
          assert.deepStrictEqual([status, text], [200, "a,b"])
          assert.deepInclude(headers, {
            "content-length": "3",
            "content-type": "text/csv; charset=utf-8",
            "x-content-type-options": "nosniff",
            "content-disposition": `attachment; filename="____.csv"; filename*=UTF-8''%E3%83%AC%E3%83%9D%E3%83%BC%E3%83%88.csv`
          })
          assert.isFalse(Number.isNaN(Date.parse(headers["last-modified"]!)))
        }
      })
    )

    it.effect("sends the range of a request, and says the size for one beyond the end", () =>
      Effect.gen(function* () {
        for (const volume of both) {
          yield* upload(volume, "ranged.txt", "abcdefghij")
          for (const route of [`${volume}/download`, `${volume}/raw`]) {
            const part = yield* get(route, "ranged.txt", { headers: { range: "bytes=2-4" } })
            assert.deepStrictEqual(
              [part.status, part.text, part.headers["content-range"]],
              [206, "cde", "bytes 2-4/10"],
              route
            )
            const { headers, json, status } = yield* get(route, "ranged.txt", { headers: { range: "bytes=10-" } })
            assert.deepStrictEqual([status, json.plugin, headers["content-range"]], [416, "files", "bytes */10"], route)
          }
        }
      })
    )

    it.effect("shows only types that run no script, by the extension, and in a sandbox", () =>
      Effect.gen(function* () {
        const inline = {
          "a.png": "image/png",
          "a.JPG": "image/jpeg",
          "a.jpeg": "image/jpeg",
          "a.gif": "image/gif",
          "a.webp": "image/webp",
          "a.bmp": "image/bmp",
          "a.ico": "image/vnd.microsoft.icon",
          "a.txt": "text/plain; charset=utf-8",
          "a.csv": "text/csv; charset=utf-8",
          "a.html.md": "text/markdown; charset=utf-8",
          "a.json": "application/json",
          "a.pdf": "application/pdf"
        }
        const octets = "application/octet-stream"
        const attached = {
          "a.html": octets,
          "a.png.HTML": octets,
          "a.xhtml": octets,
          "a.xml": octets,
          "a.js": octets,
          "a.css": octets,
          "a.svg": "image/svg+xml",
          "a.SVG": "image/svg+xml",
          "a.svgz": octets,
          "a.png ": octets,
          html: octets,
          "png/a": octets,
          "a.constructor": octets
        }
        for (const [disposition, types] of Object.entries({ inline, attachment: attached })) {
          for (const [name, type] of Object.entries(types)) {
            yield* upload("shared", name, html, { headers: { "content-type": "text/html" } })
            const { headers, text } = yield* get("shared/raw", name)
            assert.strictEqual(text, html)
            assert.deepInclude(
              headers,
              {
                "content-type": type,
                "x-content-type-options": "nosniff",
                "content-security-policy": "sandbox",
                "cache-control": "private, no-cache"
              },
              name
            )
            assert.isTrue(headers["content-disposition"]?.startsWith(`${disposition}; `), name)
            const saved = yield* get("shared/download", name)
            assert.strictEqual(saved.headers["x-content-type-options"], "nosniff")
            assert.isTrue(saved.headers["content-disposition"]?.startsWith("attachment; "), name)
          }
        }
      })
    )

    it.effect("reads a file of up to 10 MiB as plain text, and refuses a larger one before it reads it", () =>
      Effect.gen(function* () {
        const size = 10 * 1024 * 1024
        for (const volume of both) {
          yield* upload(volume, "page.html", html)
          const { headers, text } = yield* get(`${volume}/read`, "page.html")
          assert.strictEqual(text, html)
          assert.deepInclude(headers, {
            "content-type": "text/plain; charset=utf-8",
            "content-length": String(html.length),
            "x-content-type-options": "nosniff",
            "cache-control": "private, no-store"
          })
          yield* stored(volume, "limit", size)
          assert.strictEqual((yield* get(`${volume}/read`, "limit")).status, 200)
          yield* stored(volume, "large", size + 1)
          const seen = yield* recording
          const { json, status } = yield* get(`${volume}/read`, "large")
          assert.deepStrictEqual([status, json.error], [413, "The file is larger than 10 MiB: download it instead"])
          yield* eventually(seen, ([request]) => request!.aborted)
        }
      }).pipe(Effect.provide(Files.layer))
    )

    it.effect("previews a large file with the first bytes only", () =>
      Effect.gen(function* () {
        yield* stored("shared", "huge.csv", 40_000_000)
        ranges.length = 0
        const { json } = yield* get("shared/preview", "huge.csv")
        assert.deepStrictEqual([json.contentLength, json.textPreview.length], [40_000_000, 1024])
        assert.deepStrictEqual(ranges, [{ start: 0, end: 4095 }])
      }).pipe(Effect.provide(Files.layer))
    )

    it.effect("aborts the request to the workspace when the client of a download leaves", () =>
      Effect.gen(function* () {
        const { port } = yield* Served
        for (const volume of both) {
          yield* stored(volume, "left", 40_000_000)
          const headers = yield* requestOf(alice)
          const seen = yield* recording
          yield* Effect.callback<void>((resume) => {
            const request = Http.get({
              port,
              host: "127.0.0.1",
              path: `/api/files/${volume}/download?path=left`,
              headers
            })
            request.on("response", (response) => response.once("data", () => request.destroy()))
            request.on("close", () => resume(Effect.void))
            request.on("error", () => undefined)
          })
          yield* eventually(seen, ([request]) => request!.aborted)
        }
      }).pipe(Effect.provide(Files.layer))
    )

    it.effect("breaks off when the workspace cuts a file, rather than ending as if it were whole", () =>
      Effect.gen(function* () {
        for (const volume of both) {
          yield* stored(volume, "cut", 3_000_000)
          for (const route of ["download", "raw", "read"]) {
            yield* misbehave({ kind: "cut", path: "/api/2.0/fs/files/", times: 1 })
            assert.match(String(yield* Effect.flip(get(`${volume}/${route}`, "cut"))), /aborted|hang up|ECONNRESET/)
          }
        }
      }).pipe(Effect.provide(Files.layer), Effect.scoped)
    )

    it.effect("refuses an upload above the limit, said or chunked, and keeps the older file", () =>
      Effect.gen(function* () {
        for (const volume of both) {
          yield* upload(volume, "limited", "older")
          const seen = yield* recording
          const said = yield* begun(volume, "limited", { "content-length": limit + 1 })
          said.flushHeaders()
          const chunked = yield* begun(volume, "limited", { "transfer-encoding": "chunked" })
          chunked.write(Buffer.alloc(limit + 1))
          for (const request of [said, chunked]) {
            const [status, text] = yield* answerOf(request)
            assert.deepStrictEqual(
              [status, JSON.parse(text)],
              [
                413,
                {
                  error: `The request body is larger than ${limit} bytes, which is the limit`,
                  code: "INVALID_REQUEST",
                  plugin: "files"
                }
              ]
            )
          }
          assert.isAtMost((yield* seen).length, 1)
          assert.strictEqual((yield* get(`${volume}/read`, "limited")).text, "older")
          const whole = yield* begun(volume, "limited", { "transfer-encoding": "chunked" })
          whole.end(Buffer.alloc(limit))
          assert.deepStrictEqual(yield* answerOf(whole), [200, '{"success":true}'])
          assert.strictEqual((yield* get(`${volume}/metadata`, "limited")).json.contentLength, limit)
        }
      })
    )

    it.effect("stores nothing of an upload whose client leaves before the end", () =>
      Effect.gen(function* () {
        for (const volume of both) {
          for (const headers of [{ "content-length": 1_000_000 }, { "transfer-encoding": "chunked" }]) {
            const seen = yield* recording
            const request = yield* begun(volume, "half", headers)
            request.on("error", () => undefined)
            request.write(Buffer.alloc(500_000))
            yield* eventually(seen, ({ length }) => length === 1)
            request.destroy()
            yield* eventually(seen, ([put]) => put!.aborted)
            assert.deepStrictEqual((yield* get(`${volume}/exists`, "half")).json, { exists: false })
          }
        }
      })
    )

    it.effect("answers no success for an upload that the workspace does not store", () =>
      Effect.gen(function* () {
        yield* call("POST", "shared/mkdir", undefined, { body: { path: "directory" } })
        const seen = yield* recording
        const { json, status } = yield* upload("shared", "directory", "x")
        assert.isTrue(status >= 400 && status < 500)
        assert.deepStrictEqual([json.success, json.plugin], [undefined, "files"])
        assert.deepStrictEqual(
          (yield* seen).map(({ method }) => method),
          ["PUT"]
        )
        assert.strictEqual((yield* upload("own", "of bob", "x", { user: bob })).status, 403)
        assert.deepStrictEqual((yield* get("own/exists", "of bob")).json, { exists: false })
      })
    )
  })

  it.layer(hurried("300 millis"))("with a time limit", (it) => {
    it.effect("ends a request that the workspace does not answer with a 504, and aborts it", () =>
      Effect.gen(function* () {
        yield* misbehave({ kind: "hang", path: "/api/2.0/fs/" })
        for (const volume of both) {
          const calls = [
            ...["list", "read", "download", "raw", "exists", "metadata", "preview"].map((_) =>
              get(`${volume}/${_}`, "x")
            ),
            upload(volume, "x", "x"),
            call("POST", `${volume}/mkdir`, undefined, { body: { path: "x" } }),
            call("DELETE", volume, "x")
          ]
          const seen = yield* recording
          for (const { json, status } of yield* Effect.all(calls, { concurrency: "unbounded" })) {
            assert.deepStrictEqual(
              [status, json],
              [504, { error: "This took too long: try again", code: "TIMEOUT", plugin: "files" }]
            )
          }
          yield* eventually(seen, (all) => all.length > 0 && all.every(({ aborted }) => aborted))
        }
      }).pipe(Effect.scoped)
    )

    it.effect("ends an upload whose client stops sending, and stores nothing", () =>
      Effect.gen(function* () {
        const request = yield* begun("shared", "stopped", { "transfer-encoding": "chunked" })
        request.write("half")
        const [status] = yield* answerOf(request)
        assert.strictEqual(status, 504)
        const files = yield* Files.volume(shared)
        assert.isFalse(yield* files.exists("stopped"))
      }).pipe(Effect.provide(Files.layer))
    )
  })
})
