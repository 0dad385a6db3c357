import { assert, layer } from "@effect/vitest"
import { Files, FileTransfer, Middleware, ServiceContext } from "effect-databricks"
import { LocalWorkspace } from "effect-databricks/testing"
import { Effect, Layer, type Stream } from "effect"
import { HttpRouter, HttpServerRequest, HttpServerResponse } from "effect/http"
import * as Http from "node:http"
import { eventually } from "../fixtures/eventually.ts"
import { bytes, misbehave, recording, shared, Workspace } from "../fixtures/files.ts"
import { alice, bob, requestOf } from "../fixtures/people.ts"
import { Served, serve } from "./harness.ts"

const volume = Files.userVolume(shared)

const nameOf = Effect.map(HttpServerRequest.HttpServerRequest, ({ url }) =>
  decodeURIComponent(url.replace(/^\/\w+\//, ""))
)

const download = (options?: FileTransfer.DownloadOptions) =>
  Effect.gen(function* () {
    return yield* FileTransfer.download(yield* volume, yield* nameOf, options)
  })

const upload = Effect.gen(function* () {
  yield* FileTransfer.upload(yield* volume, yield* nameOf, { maxSize: 2_000_000, overwrite: false })
  return HttpServerResponse.empty({ status: 201 })
})

const lengths: Array<number | undefined> = []

/** Stores the body in a file, and remembers the length with which it was written. */
const measured = Effect.gen(function* () {
  const files = yield* volume
  const write: typeof files.write = (path, content, options) => {
    lengths.push(options?.contentLength)
    return files.write(path, content, options)
  }
  yield* FileTransfer.upload({ write }, "measured", { overwrite: true })
  return HttpServerResponse.empty({ status: 201 })
})

const routes = Layer.mergeAll(
  HttpRouter.add("GET", "/files/*", download()),
  HttpRouter.add("GET", "/inline/*", download({ inline: true, name: "page.html", contentType: "text/html" })),
  HttpRouter.add("PUT", "/files/*", upload),
  HttpRouter.add("PUT", "/lengths/*", measured)
).pipe(Layer.provide(Middleware.asUser.layer), Layer.provideMerge(Middleware.layerFailures))

const context = Layer.provide(ServiceContext.layerConfig(), LocalWorkspace.layerEnv())

const stored = (path: string, content: Stream.Stream<Uint8Array>) =>
  Effect.flatMap(Files.volume(shared), (files) => files.write(path, content, { overwrite: true }))

/** A request whose body is written by hand. */
const put = Effect.fnUntraced(function* (path: string, headers: Http.OutgoingHttpHeaders) {
  const { port } = yield* Served
  return Http.request({
    port,
    host: "127.0.0.1",
    method: "PUT",
    path,
    headers: { ...(yield* requestOf(alice)), ...headers }
  })
})

const statusOf = (request: Http.ClientRequest) =>
  Effect.callback<number | undefined>((resume) => {
    request.on("error", () => resume(Effect.succeed(undefined)))
    request.on("response", (response) => {
      resume(Effect.succeed(response.statusCode))
      request.destroy()
    })
  })

layer(Workspace, { timeout: "60 seconds", excludeTestServices: true })("FileTransfer", (it) => {
  it.layer(Layer.provideMerge(serve(routes, { services: Files.layer }), Files.layer.pipe(Layer.provide(context))))(
    "over HTTP",
    (it) => {
      const call = Effect.fnUntraced(function* (
        method: string,
        path: string,
        { body, headers, user = alice }: { body?: unknown; headers?: Http.OutgoingHttpHeaders; user?: string } = {}
      ) {
        const { call } = yield* Served
        return yield* call(method, path, { body, headers: { ...(yield* requestOf(user)), ...headers } })
      })

      it.effect("sends a file with its length, date and name in any script, as the user", () =>
        Effect.gen(function* () {
          const name = `レポート "1" %'(2)*.csv`
          yield* call("PUT", `/files/${encodeURIComponent(name)}`, { body: "a,b" })
          const seen = yield* recording
          const { headers, status, text } = yield* call("GET", `/files/${encodeURIComponent(name)}`, { user: bob })
          assert.deepStrictEqual([status, text], [200, "a,b"])
          assert.deepInclude(headers, {
            "content-length": "3",
            "content-type": "application/octet-stream",
            "x-content-type-options": "nosniff",
            "accept-ranges": "bytes",
            "cache-control": "private, no-cache",
            "content-disposition": `attachment; filename="____ _1_ _'(2)*.csv"; filename*=UTF-8''%E3%83%AC%E3%83%9D%E3%83%BC%E3%83%88%20%221%22%20%25%27%282%29%2A.csv`
          })
          assert.isFalse(Number.isNaN(Date.parse(headers["last-modified"]!)))
          assert.deepStrictEqual(
            (yield* seen).map(({ method, user }) => [method, user]),
            [["GET", bob]]
          )
        })
      )

      it.effect("sends the range of a request, and the whole file for one that it does not know", () =>
        Effect.gen(function* () {
          yield* call("PUT", "/files/ranged", { body: "abcdefghij" })
          const ranged = (range: string, more?: object) =>
            Effect.map(call("GET", "/files/ranged", { headers: { range, ...more } }), ({ headers, status, text }) => [
              status,
              text,
              headers["content-range"],
              headers["content-length"]
            ])
          assert.deepStrictEqual(yield* ranged("bytes=2-4"), [206, "cde", "bytes 2-4/10", "3"])
          assert.deepStrictEqual(yield* ranged("bytes=7-"), [206, "hij", "bytes 7-9/10", "3"])
          assert.deepStrictEqual(yield* ranged("bytes=-3"), [206, "hij", "bytes 7-9/10", "3"])
          for (const range of ["bytes=0-1,3-4", "lines=0-1", "bytes=4-2", "bytes=-", "bytes=-0"]) {
            assert.deepStrictEqual(yield* ranged(range), [200, "abcdefghij", undefined, "10"], range)
          }
          assert.deepStrictEqual(yield* ranged("bytes=2-4", { "if-range": '"x"' }), [
            200,
            "abcdefghij",
            undefined,
            "10"
          ])
          const seen = yield* recording
          const { headers, json, status } = yield* call("GET", "/files/ranged", { headers: { range: "bytes=10-" } })
          assert.deepStrictEqual(
            [status, json._tag, headers["content-range"]],
            [416, "InvalidRangeError", "bytes */10"]
          )
          assert.deepStrictEqual(new Set((yield* seen).map(({ user }) => user)), new Set([alice]))
        })
      )

      it.effect("shows a file only in a sandbox", () =>
        Effect.gen(function* () {
          yield* call("PUT", "/files/in.html", { body: "<script>" })
          const { headers } = yield* call("GET", "/inline/in.html")
          assert.deepInclude(headers, { "content-security-policy": "sandbox", "content-type": "text/html" })
          assert.match(headers["content-disposition"]!, /^inline; filename="page.html"/)
        })
      )

      it.effect("answers a HEAD without leaving the request to the workspace open", () =>
        Effect.gen(function* () {
          yield* stored("head", bytes(10_000_000))
          const seen = yield* recording
          const { headers, status, text } = yield* call("HEAD", "/files/head", { headers: { range: "bytes=0-1" } })
          assert.deepStrictEqual([status, text, headers["content-length"]], [200, "", "10000000"])
          yield* eventually(seen, ([request]) => request!.aborted)
        })
      )

      it.effect("aborts the request to the workspace when its client leaves", () =>
        Effect.gen(function* () {
          yield* stored("left", bytes(40_000_000))
          const { port } = yield* Served
          const headers = yield* requestOf(alice)
          const seen = yield* recording
          yield* Effect.callback<void>((resume) => {
            const request = Http.get({ port, host: "127.0.0.1", path: "/files/left", headers })
            request.on("response", (response) => response.once("data", () => request.destroy()))
            request.on("close", () => resume(Effect.void))
            request.on("error", () => undefined)
          })
          yield* eventually(seen, ([request]) => request!.aborted)
        })
      )

      it.effect("breaks off when the content is cut, rather than ending as if it were whole", () =>
        Effect.gen(function* () {
          yield* stored("cut", bytes(3_000_000))
          yield* misbehave({ kind: "cut", path: "/api/2.0/fs/files/", times: 1 })
          assert.match(String(yield* Effect.flip(call("GET", "/files/cut"))), /aborted|hang up|ECONNRESET/)
        }).pipe(Effect.scoped)
      )

      it.effect("stores the body of a request whole, whatever its content type", () =>
        Effect.gen(function* () {
          const body = '{"a": [1,\n2]}  '
          for (const type of [
            "application/json",
            "multipart/form-data",
            "application/x-www-form-urlencoded",
            "text/plain"
          ]) {
            const path = `/files/${encodeURIComponent(type.replaceAll("/", "-"))}.json`
            assert.strictEqual((yield* call("PUT", path, { body, headers: { "content-type": type } })).status, 201)
            assert.strictEqual((yield* call("GET", path)).text, body)
            const again = yield* call("PUT", path, { body })
            assert.deepStrictEqual([again.status, again.json._tag], [409, "FileExistsError"])
          }
        })
      )

      it.effect("stores and sends a file of no bytes, of which every range is a 416", () =>
        Effect.gen(function* () {
          const chunked = { headers: { "transfer-encoding": "chunked" } }
          for (const [name, options] of [
            ["said", { body: "" }],
            ["unsaid", chunked]
          ] as const) {
            assert.strictEqual((yield* call("PUT", `/files/empty/${name}`, options)).status, 201)
            const { headers, status, text } = yield* call("GET", `/files/empty/${name}`)
            assert.deepStrictEqual([status, text, headers["content-length"]], [200, "", "0"])
            for (const range of ["bytes=0-", "bytes=-1"]) {
              assert.strictEqual((yield* call("GET", `/files/empty/${name}`, { headers: { range } })).status, 416)
            }
          }
        })
      )

      it.effect("gives the length of the body to the workspace, and none of a chunked one", () =>
        Effect.gen(function* () {
          for (const [headers, length] of [
            [{ "content-length": 3 }, 3],
            [{ "transfer-encoding": "chunked" }, undefined]
          ] as const) {
            const request = yield* put("/lengths/x", headers)
            request.end("abc")
            assert.strictEqual(yield* statusOf(request), 201)
            assert.strictEqual(lengths.pop(), length)
          }
        })
      )

      it.effect("refuses a body above the limit, said or not, and stores nothing", () =>
        Effect.gen(function* () {
          const seen = yield* recording
          const said = yield* put("/files/large", { "content-length": 2_000_001 })
          said.flushHeaders()
          assert.strictEqual(yield* statusOf(said), 413)
          assert.deepStrictEqual(yield* seen, [])
          const unsaid = yield* put("/files/large", { "transfer-encoding": "chunked" })
          unsaid.write(Buffer.alloc(2_000_001))
          assert.strictEqual(yield* statusOf(unsaid), 413)
          assert.strictEqual((yield* call("GET", "/files/large")).status, 404)
        })
      )

      it.effect("stores nothing when its client leaves before the end", () =>
        Effect.gen(function* () {
          const seen = yield* recording
          const lengths = [{ "content-length": 1_000_000 }, { "transfer-encoding": "chunked" }]
          for (const [index, headers] of lengths.entries()) {
            const request = yield* put("/files/half", headers)
            request.write(Buffer.alloc(500_000))
            request.on("error", () => undefined)
            yield* eventually(seen, ({ length }) => length === 2 * index + 1)
            request.destroy()
            yield* eventually(seen, (all) => all[2 * index]!.aborted)
            assert.strictEqual((yield* call("GET", "/files/half")).status, 404)
          }
        })
      )

      it.effect("refuses a path out of the volume with a 400 of one sentence", () =>
        Effect.gen(function* () {
          const seen = yield* recording
          for (const path of ["..%2f..%2fx", "%252e%252e/x", "%2fVolumes%2fmain%2fapp%2fnotices%2fnews.txt"]) {
            const { json, status } = yield* call("GET", `/files/${path}`)
            assert.deepStrictEqual([status, json._tag], [400, "InvalidPathError"], path)
          }
          assert.deepStrictEqual(yield* seen, [])
        })
      )
    }
  )
})
