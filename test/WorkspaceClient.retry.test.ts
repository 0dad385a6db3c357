import { assert, describe, it } from "@effect/vitest"
import {
  type DatabricksError,
  getWorkspaceClient,
  Operation,
  ServiceContext,
  type WorkspaceClient
} from "effect-databricks"
import { Effect, Fiber, Redacted, Schema, Stream } from "effect"
import { HttpClient, HttpClientRequest } from "effect/http"
import { TestClock } from "effect/testing"
import * as NodeHttpClient from "@effect/platform-node/NodeHttpClient"
import * as Http from "node:http"
import type { AddressInfo } from "node:net"
import { eventually } from "./fixtures/eventually.ts"
import { spansOf } from "./fixtures/spans.ts"
import { hurried } from "./fixtures/start.ts"
import { me, onWire, type Route } from "./fixtures/wire.ts"

type Client = WorkspaceClient.WorkspaceClient["Service"]

const path = "/api/2.1/jobs/run-now"
const post = HttpClientRequest.post(path).pipe(HttpClientRequest.bodyJsonUnsafe({ job_id: 7 }))

/** The same request, which starts a job, by each way. */
const ways = {
  request: (client: Client, options?: Operation.Policy) => client.request(post, options),
  requestJson: (client: Client, options?: Operation.Policy) => client.requestJson(post, Schema.Unknown, options),
  use: (client: Client, options?: Operation.Policy) =>
    client.use(
      (sdk) =>
        sdk.apiClient.request({ path, method: "POST", headers: new Headers(), raw: false, payload: { job_id: 7 } }),
      options
    ),
  send: (client: Client) => client.send(post)
}

const called = (way: keyof typeof ways, options?: Operation.Policy) =>
  Effect.flatMap(
    getWorkspaceClient,
    (client) => ways[way](client, options) as Effect.Effect<unknown, DatabricksError.DatabricksError>
  )

type Answer = { readonly status: number; readonly headers?: Record<string, string> } | "reset"

/** Answers in turn, and then always as the last time. */
const inTurn = (...answers: ReadonlyArray<Answer>): Route => {
  let next = 0
  return (response, request) => {
    request.resume().on("end", () => {
      const answer = answers[Math.min(next++, answers.length - 1)]!
      if (answer === "reset") response.destroy()
      else response.writeHead(answer.status, answer.headers).end("{}")
    })
  }
}

const ok = { status: 200 }
const refusals = {
  429: { status: 429, headers: { "retry-after": "1" } },
  "429 without Retry-After": { status: 429 },
  503: { status: 503, headers: { "retry-after": "2" } },
  "503 without Retry-After": { status: 503 }
}

describe("WorkspaceClient", () => {
  for (const way of Object.keys(ways) as Array<keyof typeof ways>) {
    for (const [what, refusal] of Object.entries(refusals)) {
      it.effect(`sends a POST once more after a ${what}, and succeeds (${way})`, () =>
        onWire(inTurn(refusal, ok), (seen) =>
          Effect.gen(function* () {
            yield* hurried(called(way))
            assert.deepStrictEqual(
              seen.map(({ body }) => body),
              ['{"job_id":7}', '{"job_id":7}']
            )
          })
        )
      )
    }

    it.effect(`does not send a POST again that may have run: after a reset, 408, 500, 502 or 504 (${way})`, () =>
      Effect.forEach(["reset", { status: 408 }, { status: 500 }, { status: 502 }, { status: 504 }] as const, (answer) =>
        onWire(inTurn(answer, ok), (seen) =>
          Effect.gen(function* () {
            yield* hurried(Effect.flip(called(way)))
            assert.lengthOf(seen, 1)
          })
        )
      )
    )

    it.effect(`gives up after 3 attempts, and fails with the workspace's last answer (${way})`, () =>
      onWire(inTurn({ status: 429 }, { status: 429 }, { status: 503 }, ok), (seen) =>
        Effect.gen(function* () {
          assert.strictEqual((yield* hurried(Effect.flip(called(way)))).reason._tag, "UnavailableError")
          assert.lengthOf(seen, 3)
        })
      )
    )
  }

  it.effect("does not retry before Retry-After has passed, nor at all if that takes 30 s", () =>
    Effect.gen(function* () {
      yield* onWire(inTurn({ status: 503, headers: { "retry-after": "20" } }, ok), (seen) =>
        Effect.gen(function* () {
          const fiber = yield* Effect.forkChild(called("request"))
          yield* eventually(() => seen[0]?.closed === true)
          yield* TestClock.adjust("19999 millis")
          assert.lengthOf(seen, 1)
          yield* TestClock.adjust("1001 millis")
          yield* Fiber.join(fiber)
          assert.lengthOf(seen, 2)
        })
      )
      yield* onWire(inTurn({ status: 503, headers: { "retry-after": "30" } }, ok), (seen) =>
        Effect.gen(function* () {
          assert.strictEqual((yield* Effect.flip(called("request"))).status, 503)
          assert.lengthOf(seen, 1)
        })
      )
    })
  )

  it.effect("sends a request once whose body is a stream", () =>
    onWire(inTurn(refusals[503], ok), (seen) =>
      Effect.gen(function* () {
        const body = Stream.make(new TextEncoder().encode("rows"))
        const client = yield* getWorkspaceClient
        const put = HttpClientRequest.put("/api/2.0/fs/files/x").pipe(HttpClientRequest.bodyStream(body))
        assert.strictEqual((yield* Effect.flip(client.request(put))).status, 503)
        assert.lengthOf(seen, 1)
      })
    )
  )

  it.effect("makes as many attempts as `retry` says, around one call or several: they never multiply", () => {
    const twice = { attempts: 2, delay: 1 }
    const around = (retry: Operation.Policy["retry"]) => Operation.execute({ name: "outer", retry })
    const calls = [
      [2, called("request", { retry: twice })],
      [2, called("use", { retry: twice })],
      [5, called("requestJson", { retry: { attempts: 5, delay: 1 } })],
      [1, called("request", { retry: false })],
      [1, called("use", { retry: false })],
      [3, called("request", { retry: undefined })],
      [2, around(twice)(called("request"))],
      [2, around(twice)(called("send"))],
      [2, around(twice)(called("use"))],
      [1, around(false)(called("request"))],
      [3, around(undefined)(called("request"))],
      [2, around(false)(called("request", { retry: twice }))]
    ] as const
    return Effect.forEach(calls, ([attempts, call]) =>
      onWire(inTurn(refusals[503]), (seen) =>
        Effect.gen(function* () {
          assert.strictEqual((yield* hurried(Effect.flip(call)))._tag, "DatabricksError")
          assert.lengthOf(seen, attempts)
        })
      )
    )
  })

  it.effect("sends nothing after an interruption or a timeout during the wait", () =>
    onWire(inTurn({ status: 503, headers: { "retry-after": "5" } }), (seen) =>
      Effect.gen(function* () {
        const interrupted = yield* Effect.forkChild(called("request"))
        yield* eventually(() => seen[0]?.closed === true)
        yield* Fiber.interrupt(interrupted)
        const timed = yield* Effect.forkChild(Effect.flip(called("request", { totalTimeout: "2 seconds" })))
        yield* eventually(() => seen[1]?.closed === true)
        yield* TestClock.adjust("2 seconds")
        assert.strictEqual((yield* Fiber.join(timed))._tag as string, "OperationTimeoutError")
        yield* TestClock.adjust("1 minute")
        assert.lengthOf(seen, 2)
      })
    )
  )

  it.effect("shows the attempts in the span of a call that was retried, and of no other", () =>
    onWire(inTurn(refusals[429], ok), () =>
      Effect.gen(function* () {
        const attempts = Effect.map(
          spansOf(hurried(called("request"))),
          ({ spans }) => spans.find(({ name }) => name === "plugin.execute")?.attributes["retry.attempts"]
        )
        assert.strictEqual(yield* attempts, 2)
        assert.isUndefined(yield* attempts)
      })
    )
  )

  const Attempt = Schema.Literals([200, 429, 503, 500, 400, "reset"])

  it.effect.prop(
    "never sends a POST again but after a 429 or 503, for any answers",
    { answers: Schema.Array(Attempt).check(Schema.isMaxLength(5)), way: Schema.Literals(["request", "use", "send"]) },
    ({ answers, way }) =>
      onWire(inTurn(...answers.map((status) => (status === "reset" ? status : { status })), ok), (seen) =>
        Effect.gen(function* () {
          yield* Effect.exit(hurried(called(way)))
          const refused = answers.findIndex((answer) => answer !== 429 && answer !== 503)
          assert.strictEqual(seen.length, Math.min(3, (refused < 0 ? answers.length : refused) + 1))
        })
      )
  )

  it.effect("sends a request again that found no connection, once the workspace takes some", () =>
    Effect.gen(function* () {
      const requests: Array<string | undefined> = []
      const server = Http.createServer(({ url }, response) => {
        requests.push(url)
        response.writeHead(200, { connection: "close", "x-databricks-org-id": "1" }).end(`{"id":"1","userName":"sp"}`)
      })
      const listen = (port: number) =>
        Effect.callback<void>((resume) => void server.listen(port, "127.0.0.1", () => resume(Effect.void)))
      const close = Effect.callback<void>((resume) => void server.close(() => resume(Effect.void)))
      yield* Effect.addFinalizer(() => Effect.sync(() => server.close()))
      yield* listen(0)
      const { port } = server.address() as AddressInfo // it listens on TCP
      // The real client; the workspace comes back after its first failure.
      const reopening = HttpClient.tapError(yield* NodeHttpClient.makeUndici, () =>
        server.listening ? Effect.void : listen(port)
      )
      const context = yield* ServiceContext.make({ host: `http://127.0.0.1:${port}`, token: Redacted.make("t") }).pipe(
        Effect.provideService(HttpClient.HttpClient, reopening)
      )
      yield* close
      yield* hurried(Effect.provideContext(called("request"), context))
      assert.deepStrictEqual(requests, [me, path])
    }).pipe(Effect.provide(NodeHttpClient.layerDispatcherOptions({})))
  )
})
