import { ApiError } from "@databricks/sdk-experimental"
import { assert, describe, it } from "@effect/vitest"
import { Duration, Effect } from "effect"
import { getWorkspaceClient } from "effect-databricks"
import { TestContext } from "effect-databricks/testing"
import { inspect } from "node:util"
import { hurried } from "./fixtures/start.ts"
import { both, onWire, turn } from "./fixtures/wire.ts"

describe("WorkspaceClient", () => {
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
    "MissingScopeError, for a body of plain text": [403, {}, "Invalid scope, required scopes: jobs"],
    PermissionDeniedError: json(403, { error_code: "PERMISSION_DENIED", message: "no" }),
    InvalidCredentialError: json(403, { error_code: 403, message: "Invalid access token." }),
    RateLimitedError: json(429, { error_code: "REQUEST_LIMIT_EXCEEDED", message: "slow down" }, { "retry-after": "7" }),
    UnavailableError: [503, { "retry-after": "7" }, ""],
    WorkspaceFailedError: [500, { "content-type": "text/html" }, "<html>Unexpected error</html>"],
    "InvalidResponseError, for a redirect": [302, { location: "/login.html" }, ""],
    "InvalidResponseError, for a body of HTML": [200, { "content-type": "text/html" }, "<html>"],
    "InvalidResponseError, for JSON that is cut off": [200, { "content-type": "application/json" }, `{"job_id":`]
  } as const
  for (const [name, [status, headers, body]] of Object.entries(answers)) {
    for (const [way, call] of both) {
      it.effect(`fails with ${name} (${way})`, () =>
        onWire(
          (response) => response.writeHead(status, headers).end(body),
          (seen) =>
            Effect.gen(function* () {
              const error = yield* hurried(Effect.flip(call))
              assert.strictEqual(error._tag, "DatabricksError")
              assert.strictEqual(error.reason._tag, name.split(",")[0])
              assert.include(error.message, "GET /api/2.0/jobs/get".replace("2.0", way === "use" ? "2.2" : "2.0"))
              if ("retry-after" in headers) assert.deepStrictEqual(error.retryAfter, Duration.seconds(7))
              if (name === "InvalidRequestError") assert.strictEqual(error.requestId, "r-1")
              assert.strictEqual(error.isRetryable, status === 429 || status === 503)
              assert.strictEqual(seen.length, error.isRetryable ? 3 : 1)
              if (status < 300) return
              assert.strictEqual(error.context, "service")
              const ofUser = yield* hurried(Effect.flip(Effect.provide(call, TestContext.user({ id: "u" }))))
              assert.strictEqual(ofUser.context, "user")
            })
        )
      )
    }
  }

  for (const [way, call] of both) {
    it.effect(`fails with ConnectionError when the connection closes without a response (${way})`, () =>
      onWire(
        (response) => response.destroy(),
        () =>
          Effect.gen(function* () {
            const error = yield* Effect.flip(call)
            assert.strictEqual(error.reason._tag, "ConnectionError")
            assert.isTrue(error.isRetryable)
            assert.match(error.message, /^No response to GET \/api\/2.\d\/jobs\/get \((UND_ERR_SOCKET|ECONNRESET)\): /)
            assert.notInclude(inspect(error, { depth: 9, showHidden: true }) + JSON.stringify(error), "wire-token")
          })
      )
    )
  }

  it.effect("stops reading an endless error body, and closes the connection", () =>
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

  it.effect("lets the function given to use catch the ApiError of the SDK", () =>
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

it.effect("WorkspaceClient.use fails with WorkspaceFailedError when a waiter of the SDK fails", () =>
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
