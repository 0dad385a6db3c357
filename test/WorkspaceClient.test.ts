import { ApiError } from "@databricks/sdk-experimental"
import { assert, describe, layer, vi } from "@effect/vitest"
import { ConfigProvider, Duration, Effect, Exit, Fiber, Layer, Redacted, Schema, Stream } from "effect"
import { TestClock } from "effect/testing"
import { HttpBody, HttpClientRequest } from "effect/http"
import { asUser, getWorkspaceClient, ServiceContext } from "effect-databricks"
import { LocalWorkspace } from "effect-databricks/testing"
import * as Http from "node:http"
import type { AddressInfo } from "node:net"
import { inspect } from "node:util"

const Workspace = LocalWorkspace.LocalWorkspace

const Service = Layer.unwrap(
  Effect.map(Workspace, ({ env }) =>
    Layer.provide(ServiceContext.layerConfig, ConfigProvider.layer(ConfigProvider.fromUnknown(env)))
  )
)

const me = "/api/2.0/preview/scim/v2/Me"
const getMe = HttpClientRequest.get(me)
const Person = Schema.Struct({ userName: Schema.String })

const byRequest = Effect.flatMap(getWorkspaceClient, (_) => _.requestJson(getMe, Person))
const bySdk = Effect.flatMap(getWorkspaceClient, (_) => _.use((sdk) => sdk.currentUser.me()))

const turn = Effect.promise(() => new Promise<void>((resolve) => setImmediate(resolve)))

interface Seen {
  readonly method: string
  readonly url: string
  readonly headers: Http.IncomingHttpHeaders
  body: string
  closed: boolean
}

type Route = (response: Http.ServerResponse, request: Http.IncomingMessage) => void

/** A workspace of raw Node, for what happens on the wire: it knows SCIM Me, and beyond that `route`. */
const wire = (route: Route) =>
  Effect.gen(function* () {
    const seen: Array<Seen> = []
    const server = Http.createServer((request, response) => {
      if (request.url === me) {
        response.writeHead(200, { "x-databricks-org-id": "1" }).end(`{"id":"1","userName":"sp"}`)
        return
      }
      const { headers, method = "", url = "" } = request
      const entry: Seen = { method, url, headers, body: "", closed: false }
      seen.push(entry)
      request.on("data", (chunk) => (entry.body += String(chunk)))
      response.on("close", () => (entry.closed = true))
      route(response, request)
    })
    yield* Effect.acquireRelease(
      Effect.promise(() => new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve))),
      () => Effect.sync(() => server.close().closeAllConnections())
    )
    const { port } = server.address() as AddressInfo // it listens on TCP
    const host = `http://127.0.0.1:${port}`
    return { host, seen, layer: ServiceContext.layer({ host, token: Redacted.make("wire-token") }) }
  })

const onWire = <A, E, R>(route: Route, effect: (seen: ReadonlyArray<Seen>) => Effect.Effect<A, E, R>) =>
  Effect.flatMap(wire(route), ({ layer: service, seen }) => Effect.provide(effect(seen), service, { local: true }))

const thing = HttpClientRequest.get("/api/2.0/jobs/get").pipe(HttpClientRequest.setUrlParam("job_id", "7"))

const textOf = async (contents: AsyncIterable<Uint8Array> | undefined) => {
  let text = ""
  for await (const chunk of contents ?? []) text += Buffer.from(chunk).toString()
  return text
}

/** The same call, by both ways. */
const both = [
  ["request", Effect.flatMap(getWorkspaceClient, (_) => _.requestJson(thing, Schema.Unknown))],
  ["use", Effect.flatMap(getWorkspaceClient, (_) => _.use((sdk) => sdk.jobs.get({ job_id: 7 })))]
] as const

layer(Layer.provideMerge(Service, LocalWorkspace.layer()))("WorkspaceClient", (it) => {
  describe("the caller", () => {
    it.effect("is the one of the call, also for a client that was kept from the start", () =>
      Effect.gen(function* () {
        const { headers, servicePrincipal } = yield* Workspace
        const alice = yield* headers("alice@example.com")
        const bob = yield* headers("bob@example.com")
        const client = yield* getWorkspaceClient
        const calls = [
          Effect.map(client.requestJson(getMe, Person), (_) => _.userName),
          Effect.map(client.request(getMe), () => "asked"),
          Effect.map(
            client.use((sdk) => sdk.currentUser.me()),
            (_) => _.userName
          )
        ]
        for (const call of calls) {
          const answers = yield* Effect.all(
            [call, Effect.provide(call, asUser(alice)), call, Effect.provide(call, asUser(bob))],
            { concurrency: "unbounded" }
          )
          if (answers[0] !== "asked") {
            const { clientId } = servicePrincipal
            assert.deepStrictEqual(answers, [clientId, "alice@example.com", clientId, "bob@example.com"])
          }
        }
      })
    )

    it.effect("has nothing of the environment's credentials", () =>
      Effect.gen(function* () {
        const { headers, host, servicePrincipal } = yield* Workspace
        const variables = {
          DATABRICKS_HOST: "https://elsewhere.example.com",
          DATABRICKS_TOKEN: "dapi-of-the-environment",
          DATABRICKS_CLIENT_ID: servicePrincipal.clientId,
          DATABRICKS_CLIENT_SECRET: Redacted.value(servicePrincipal.clientSecret)
        }
        // The SDK reads the real environment of the process, so that is what has to be set.
        yield* Effect.acquireRelease(
          Effect.sync(() => Object.entries(variables).map(([name, value]) => vi.stubEnv(name, value))),
          () => Effect.sync(() => vi.unstubAllEnvs())
        )
        const alice = yield* headers("alice@example.com")
        assert.strictEqual((yield* Effect.provide(bySdk, asUser(alice))).userName, "alice@example.com")
        assert.strictEqual((yield* bySdk).userName, servicePrincipal.clientId)
        const client = yield* getWorkspaceClient
        const config = yield* client.use(async ({ config }) => config.ensureResolved().then(() => config))
        assert.strictEqual([config.host, config.token, config.clientId, config.clientSecret].join(), `${host},,,`)
      })
    )
  })

  describe("connections", () => {
    const ways = { request: byRequest, use: bySdk }
    for (const [way, call] of Object.entries(ways)) {
      it.effect(`are shared by all users: none is new once warm, by ${way}`, () =>
        Effect.gen(function* () {
          const { connections, headers, misbehave, requests } = yield* Workspace
          const people = yield* Effect.forEach(["alice@example.com", "bob@example.com"], (_) => headers(_))
          const calls = Array.from({ length: 40 }, (_, i) =>
            Effect.provide(
              Effect.map(call, (me): unknown => me.userName),
              asUser(people[i % 2]!)
            )
          )
          const run = (concurrency: number) => Effect.all([...calls, call], { concurrency, discard: true })
          yield* run(1)
          // Warm means twice as many as will be under way at once: an answer is read a moment before its connection is free.
          yield* misbehave({ kind: "delay", path: me, duration: "1 second", times: 16 })
          const warm = (yield* requests).length + 16
          const warming = yield* Effect.forkChild(run(16))
          yield* Effect.repeat(turn, { until: () => Effect.map(requests, (_) => _.length >= warm) })
          yield* TestClock.adjust("1 second")
          yield* Fiber.join(warming)
          const before = yield* connections
          const answered = (yield* requests).length
          yield* run(1)
          yield* run(8)
          yield* run(3)
          assert.isAtLeast((yield* requests).length - answered, 3 * 41)
          assert.strictEqual((yield* connections) - before, 0)
        })
      )
    }

    it.effect("outlive an answer that is an error", () =>
      Effect.gen(function* () {
        const { connections, headers } = yield* Workspace
        const alice = asUser(yield* headers("alice@example.com"))
        const failing = Effect.flatMap(getWorkspaceClient, (_) => _.request(HttpClientRequest.get("/api/2.0/nothing")))
        yield* Effect.provide(Effect.flip(failing), alice)
        const before = yield* connections
        yield* Effect.forEach(Array.from({ length: 10 }), () => Effect.provide(Effect.flip(failing), alice))
        assert.strictEqual((yield* connections) - before, 0)
      })
    )
  })

  describe("interruption", () => {
    for (const [way, call] of both) {
      it.effect(`ends the request at the workspace, by ${way}`, () =>
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

      it.effect(`ends an answer that has begun, by ${way}`, () =>
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

    it.effect("lets an SDK call that makes several requests make no more", () =>
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

  describe("an answer that is an error", () => {
    const json = (status: number, body: object, headers: Record<string, string> = {}) =>
      [status, { "content-type": "application/json", ...headers }, JSON.stringify(body)] as const
    const answers = {
      NotFoundError: json(404, { error_code: "RESOURCE_DOES_NOT_EXIST", message: "No job 7" }),
      InvalidRequestError: json(400, {
        error_code: "INVALID_PARAMETER_VALUE",
        message: "Job 7 does not exist.",
        details: [{ "@type": "type.googleapis.com/google.rpc.RequestInfo", request_id: "r-1" }]
      }),
      MissingScopeError: json(403, { error_code: 403, message: "OAuth token does not have required scopes: jobs" }),
      "MissingScopeError, in plain text": [403, {}, "Invalid scope, required scopes: jobs"],
      PermissionDeniedError: json(403, { error_code: "PERMISSION_DENIED", message: "no" }),
      InvalidCredentialError: json(403, { error_code: 403, message: "Invalid access token." }),
      RateLimitedError: json(
        429,
        { error_code: "REQUEST_LIMIT_EXCEEDED", message: "slow down" },
        { "retry-after": "7" }
      ),
      UnavailableError: [503, { "retry-after": "7" }, ""],
      WorkspaceFailedError: [500, { "content-type": "text/html" }, "<html>Unexpected error</html>"],
      "InvalidResponseError, a redirect": [302, { location: "/login.html" }, ""],
      "InvalidResponseError, HTML": [200, { "content-type": "text/html" }, "<html>"],
      "InvalidResponseError, half a JSON": [200, { "content-type": "application/json" }, `{"job_id":`]
    } as const
    for (const [name, [status, headers, body]] of Object.entries(answers)) {
      for (const [way, call] of both) {
        it.effect(`is a ${name}, by ${way}`, () =>
          onWire(
            (response) => response.writeHead(status, headers).end(body),
            (seen) =>
              Effect.gen(function* () {
                const error = yield* Effect.flip(call)
                assert.strictEqual(error._tag, "DatabricksError")
                assert.strictEqual(error.reason._tag, name.split(",")[0])
                assert.include(error.message, "GET /api/2.0/jobs/get".replace("2.0", way === "use" ? "2.2" : "2.0"))
                if ("retry-after" in headers) assert.deepStrictEqual(error.retryAfter, Duration.seconds(7))
                if (name === "InvalidRequestError") assert.strictEqual(error.requestId, "r-1")
                assert.strictEqual(error.isRetryable, status === 429 || status === 503)
                assert.strictEqual(seen.length, 1, "nothing is tried again here")
              })
          )
        )
      }
    }

    for (const [way, call] of both) {
      it.effect(`is a ConnectionError where none came, by ${way}`, () =>
        onWire(
          (response) => response.destroy(),
          () =>
            Effect.gen(function* () {
              const error = yield* Effect.flip(call)
              assert.strictEqual(error.reason._tag, "ConnectionError")
              assert.isTrue(error.isRetryable)
              assert.match(error.message, /^No answer to GET \/api\/2.\d\/jobs\/get \((UND_ERR_SOCKET|ECONNRESET)\): /)
              assert.notInclude(inspect(error, { depth: 9, showHidden: true }) + JSON.stringify(error), "wire-token")
            })
        )
      )
    }

    it.effect("is read no further than it has something to say", () =>
      onWire(
        (response) => {
          response.writeHead(500, { "content-type": "text/plain" })
          const more = () => {
            while (!response.destroyed && response.write("x".repeat(10_000)));
          }
          response.on("drain", more)
          more()
        },
        (seen) =>
          Effect.gen(function* () {
            const error = yield* Effect.flip(both[0][1])
            assert.strictEqual(error.reason._tag, "WorkspaceFailedError")
            yield* Effect.repeat(turn, { until: () => seen[0]!.closed })
          })
      )
    )

    it.effect("is an ApiError to code around the SDK", () =>
      onWire(
        (response) => response.writeHead(404).end(`{"error_code":"RESOURCE_DOES_NOT_EXIST","message":"No job 7"}`),
        () =>
          Effect.gen(function* () {
            const client = yield* getWorkspaceClient
            const caught = yield* client.use((sdk) =>
              sdk.jobs.get({ job_id: 7 }).catch((error: unknown) => error as ApiError)
            )
            assert.instanceOf(caught, ApiError)
            assert.deepInclude(caught, { statusCode: 404, errorCode: "RESOURCE_DOES_NOT_EXIST" })
          })
      )
    )
  })

  it.effect("leaves a defect a defect", () =>
    Effect.gen(function* () {
      const client = yield* getWorkspaceClient
      const bug = new TypeError("a bug")
      for (const call of [
        () => Promise.reject(bug),
        () => {
          throw bug
        }
      ]) {
        assert.deepStrictEqual(yield* Effect.exit(client.use(call)), Exit.die(bug))
      }
    })
  )

  it.effect("types what the SDK's waiters say", () =>
    onWire(
      (response, { method }) =>
        response.end(method === "POST" ? "" : `{"id":"w","state":"DELETED","health":{"summary":"gone"}}`),
      () =>
        Effect.gen(function* () {
          const client = yield* getWorkspaceClient
          const error = yield* Effect.flip(client.use(async (sdk) => (await sdk.warehouses.start({ id: "w" })).wait()))
          assert.strictEqual(error.reason._tag, "WorkspaceFailedError")
          assert.include(error.message, "failed to reach RUNNING")
        })
    )
  )

  describe("addresses", () => {
    it.effect("never lead the credential out of the workspace", () =>
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
                assert.strictEqual(error.message, `A request to the workspace is a path that begins with one "/"`)
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

    it.effect("carry the caller's credential and no other", () =>
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

  describe("bodies", () => {
    it.effect("of an answer may be streamed", () =>
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

    it.effect("of an SDK call are sent and received as the SDK would", () =>
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

    it.effect("of a request may be anything", () =>
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
})
