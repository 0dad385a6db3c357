import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Schema, Stream } from "effect"
import { HttpBody, HttpClientRequest } from "effect/http"
import { getWorkspaceClient } from "effect-databricks"
import { both, onWire, turn, wire } from "./fixtures/wire.ts"

const textOf = async (contents: AsyncIterable<Uint8Array> | undefined) => {
  let text = ""
  for await (const chunk of contents ?? []) text += Buffer.from(chunk).toString()
  return text
}

describe("WorkspaceClient interruption", () => {
  for (const [way, call] of both) {
    it.effect(`closes a request that has no response yet (${way})`, () =>
      onWire(
        () => {}, // never answers
        (seen) =>
          Effect.gen(function* () {
            const calling = yield* Effect.forkChild(call)
            yield* Effect.repeat(turn, { until: () => seen.length === 1 })
            assert.isFalse(seen[0]!.closed)
            yield* Fiber.interrupt(calling)
            yield* Effect.repeat(turn, { until: () => seen[0]!.closed })
          })
      )
    )

    it.effect(`closes a response that has begun (${way})`, () =>
      onWire(
        (response) => response.writeHead(200, { "content-type": "application/json" }).write("{"),
        (seen) =>
          Effect.gen(function* () {
            const calling = yield* Effect.forkChild(call)
            yield* Effect.repeat(turn, { until: () => seen.length === 1 })
            for (let i = 0; i < 20; i++) yield* turn
            yield* Fiber.interrupt(calling)
            yield* Effect.repeat(turn, { until: () => seen[0]!.closed })
          })
      )
    )
  }

  it.effect("ends an SDK call of several requests, which sends no further one", () =>
    onWire(
      (response, { url }) => {
        if (url?.includes("page_token") !== true) response.end(`{"jobs":[{"job_id":1}],"next_page_token":"2"}`)
      },
      (seen) =>
        Effect.gen(function* () {
          const client = yield* getWorkspaceClient
          const all = client.use(async (sdk) => {
            const jobs = []
            for await (const job of sdk.jobs.list({})) jobs.push(job)
            return jobs
          })
          const calling = yield* Effect.forkChild(all)
          yield* Effect.repeat(turn, { until: () => seen.length === 2 })
          yield* Fiber.interrupt(calling)
          yield* Effect.repeat(turn, { until: () => seen[1]!.closed })
          assert.strictEqual(seen.length, 2)
        })
    )
  )
})

describe("WorkspaceClient", () => {
  it.effect("never sends its credential to another host, by a URL or a redirect", () =>
    Effect.gen(function* () {
      const elsewhere = yield* wire((response) => response.end("{}"))
      const name = elsewhere.host.slice("http://".length)
      yield* onWire(
        (response, { url }) =>
          url === "/moved" ? response.writeHead(302, { location: `${elsewhere.host}/x` }).end() : response.end("{}"),
        () =>
          Effect.gen(function* () {
            const client = yield* getWorkspaceClient
            for (const url of [
              `${elsewhere.host}/x`,
              `//${name}/x`,
              `/\\${name}/x`,
              `\\\\${name}/x`,
              `@${name}/x`,
              `:80@${name}/x`,
              `.${name}/x`,
              "",
              "api/2.0/x"
            ]) {
              const error = yield* Effect.flip(client.request(HttpClientRequest.get(url)))
              assert.strictEqual(error.reason._tag, "InvalidRequestError", url)
              assert.strictEqual(
                error.message,
                `The URL of a request to the workspace must be a path that begins with one "/"`
              )
            }
            for (const url of [`/@${name}/x`, `/x?u=${elsewhere.host}`, `/../..//${name}/x`, "/moved"]) {
              yield* Effect.exit(client.request(HttpClientRequest.get(url)))
            }
            for (const path of [`//${name}/x`, `${elsewhere.host}/x`, `@${name}/x`, "/moved"]) {
              const call = client.use((sdk) =>
                sdk.apiClient.request({ path, method: "GET", headers: new Headers(), raw: false })
              )
              yield* Effect.exit(call)
            }
          })
      )
      assert.deepStrictEqual(elsewhere.seen, [])
    })
  )

  it.effect("sends the caller's credential in place of the request's authorization header", () =>
    onWire(
      (response) => response.end("{}"),
      (seen) =>
        Effect.gen(function* () {
          const client = yield* getWorkspaceClient
          const headers = { authorization: "Bearer mine", "Proxy-Authorization": "x" }
          yield* client.request(HttpClientRequest.get("/x", { headers }))
          assert.strictEqual(seen[0]!.headers.authorization, "Bearer wire-token")
        })
    )
  )
})

describe("WorkspaceClient", () => {
  it.effect("sends a form with its files, its length and its boundary", () =>
    onWire(
      (response) => response.end("{}"),
      (seen) =>
        Effect.gen(function* () {
          const client = yield* getWorkspaceClient
          const form = new FormData()
          form.append("path", "/Users/alice")
          form.append("content", new Blob(["print(1)"], { type: "text/x-python" }), "a.py")
          yield* client.request(HttpClientRequest.post("/import", { body: HttpBody.formData(form) }))
          const [{ body, headers }] = seen as readonly [(typeof seen)[number]] // the response came
          const received = yield* Effect.promise(() =>
            new Response(body, { headers: { "content-type": headers["content-type"]! } }).formData()
          )
          assert.strictEqual(received.get("path"), "/Users/alice")
          const file = received.get("content") as File // the form has it
          assert.deepStrictEqual([file.name, file.type], ["a.py", "text/x-python"])
          assert.strictEqual(yield* Effect.promise(() => file.text()), "print(1)")
          assert.strictEqual(headers["content-length"], String(Buffer.byteLength(body)))
        })
    )
  )

  it.effect("streams a response body before it has ended", () =>
    onWire(
      (response) => {
        response.writeHead(200, { "content-type": "application/octet-stream" }).write("first")
      },
      (seen) =>
        Effect.gen(function* () {
          const client = yield* getWorkspaceClient
          const response = yield* client.request(HttpClientRequest.get("/file"))
          const first = yield* response.stream.pipe(Stream.decodeText, Stream.take(1), Stream.mkString)
          assert.strictEqual(first, "first", "before the body has ended")
          yield* Effect.repeat(turn, { until: () => seen[0]!.closed })
        })
    )
  )

  it.effect("sends and receives the bodies of SDK calls as the SDK does", () =>
    onWire(
      (response, { headers, url }) => {
        if (url?.startsWith("/api/2.0/fs/files") === true) {
          response.writeHead(200, { "content-type": headers["content-type"] ?? "text/plain", "content-length": 5 })
          response.end("hello")
        } else response.end(`{"job_id":8}`)
      },
      (seen) =>
        Effect.gen(function* () {
          const client = yield* getWorkspaceClient
          const created = yield* client.use((sdk) => sdk.jobs.create({ name: "né" }))
          assert.strictEqual(created.job_id, 8)
          assert.deepInclude(seen[0], { method: "POST", body: `{"name":"né"}` })
          assert.include(seen[0]!.headers["content-type"], "application/json")
          assert.include(seen[0]!.headers["user-agent"], "effect-databricks/")

          const file = yield* client.use((sdk) => sdk.files.download({ file_path: "/Volumes/a b/ü#1?.txt" }))
          assert.strictEqual(seen[1]!.url, "/api/2.0/fs/files/Volumes/a%20b/%C3%BC%231%3F.txt")
          assert.strictEqual(yield* Effect.promise(() => textOf(file.contents)), "hello")
          assert.strictEqual(String(file["content-length"]), "5")

          const contents = new ReadableStream({
            start(controller) {
              controller.enqueue(new TextEncoder().encode("up"))
              controller.close()
            }
          })
          yield* client
            .use((sdk) =>
              sdk.apiClient.request({
                path: "/api/2.0/fs/files/Volumes/x",
                method: "PUT",
                headers: new Headers({ "Content-Type": "application/octet-stream" }),
                query: { overwrite: true, nested: { a: [1, 2], none: undefined } },
                payload: contents,
                raw: false
              })
            )
            .pipe(Effect.flip) // "hello" is no JSON
          assert.deepInclude(seen[2], {
            method: "PUT",
            body: "up",
            url: "/api/2.0/fs/files/Volumes/x?overwrite=true&nested.a=1&nested.a=2"
          })
          assert.strictEqual(seen[2]!.headers["content-type"], "application/octet-stream")
        })
    )
  )

  it.effect("sends the JSON body of a request", () =>
    onWire(
      (response) => response.end("{}"),
      (seen) =>
        Effect.gen(function* () {
          const client = yield* getWorkspaceClient
          const request = HttpClientRequest.post("/x", { body: HttpBody.jsonUnsafe({ a: 1 }) })
          yield* client.requestJson(request, Schema.Struct({}))
          assert.deepInclude(seen[0], { method: "POST", body: `{"a":1}` })
        })
    )
  )
})
