import { assert, describe, it } from "@effect/vitest"
import { Duration, Schema } from "effect"
import { DatabricksError } from "effect-databricks"
import { fromAnswer } from "../src/internal/workspace/answer.ts"

const answer = (status: number, body: unknown, headers: Record<string, string> = {}) =>
  fromAnswer({
    endpoint: "GET /api/2.0/thing",
    status,
    headers,
    body: typeof body === "string" ? body : JSON.stringify(body)
  })

const seconds = (error: DatabricksError.DatabricksError) => error.retryAfter && Duration.toSeconds(error.retryAfter)

const scope = (message: string) => {
  const { reason } = answer(403, { message })
  return reason._tag === "MissingScopeError" ? reason.scope : reason._tag
}

type Tag = DatabricksError.Reason["_tag"]

const rows: ReadonlyArray<
  readonly [what: string, status: number, body: unknown, reason: Tag, message: string, errorCode?: string]
> = [
  [
    "a 401 with an integer error_code",
    401,
    { error_code: 401, message: "Credential was not sent or was of an unsupported type for this API." },
    "InvalidCredentialError",
    "GET /api/2.0/thing answered 401: Credential was not sent or was of an unsupported type for this API."
  ],
  [
    "an invalid access token",
    403,
    { error_code: 403, message: "Invalid access token." },
    "InvalidCredentialError",
    "GET /api/2.0/thing answered 403: Invalid access token."
  ],
  [
    "an invalid access token, with a request id",
    403,
    { error_code: "403", message: "Invalid access token. [ReqId: 1]" },
    "InvalidCredentialError",
    "GET /api/2.0/thing answered 403: Invalid access token. [ReqId: 1]"
  ],
  [
    "an unknown OAuth client",
    400,
    { error: "invalid_client", error_description: "Client authentication failed" },
    "InvalidCredentialError",
    "GET /api/2.0/thing answered 400: Client authentication failed",
    "invalid_client"
  ],
  [
    "a missing scope, as JSON",
    403,
    { error_code: 403, message: "Provided OAuth token does not have required scopes: genie" },
    "MissingScopeError",
    `GET /api/2.0/thing needs the scope "genie", which the token lacks: add it to the app's user_api_scopes, and sign in to the app again`
  ],
  [
    "a missing scope, as plain text",
    403,
    "Invalid scope, required scopes: sql",
    "MissingScopeError",
    `GET /api/2.0/thing needs the scope "sql", which the token lacks: add it to the app's user_api_scopes, and sign in to the app again`
  ],
  [
    "a denied permission",
    403,
    { error_code: "PERMISSION_DENIED", message: "User does not have CAN USE" },
    "PermissionDeniedError",
    "GET /api/2.0/thing answered 403: User does not have CAN USE",
    "PERMISSION_DENIED"
  ],
  [
    "a resource that does not exist",
    404,
    { error_code: "RESOURCE_DOES_NOT_EXIST", message: "No job 7" },
    "NotFoundError",
    "GET /api/2.0/thing answered 404: No job 7",
    "RESOURCE_DOES_NOT_EXIST"
  ],
  [
    "a SCIM error",
    404,
    { schemas: ["urn:…:Error"], detail: "User 7 not found", status: "404", scimType: "noTarget" },
    "NotFoundError",
    "GET /api/2.0/thing answered 404: User 7 not found",
    "noTarget"
  ],
  [
    "a SCIM error whose detail is null",
    500,
    { detail: "null", status: "500", scimType: null },
    "WorkspaceFailedError",
    "GET /api/2.0/thing answered 500"
  ],
  [
    "an unknown warehouse",
    400,
    { error_code: "INVALID_PARAMETER_VALUE", message: "abc123 is not a valid endpoint id." },
    "UnknownWarehouseError",
    "The workspace has no such SQL warehouse (abc123 is not a valid endpoint id.): check DATABRICKS_WAREHOUSE_ID",
    "INVALID_PARAMETER_VALUE"
  ],
  [
    "another invalid parameter value",
    400,
    { error_code: "INVALID_PARAMETER_VALUE", message: "Run 7 does not exist" },
    "InvalidRequestError",
    "GET /api/2.0/thing answered 400: Run 7 does not exist",
    "INVALID_PARAMETER_VALUE"
  ],
  [
    "a 409 conflict",
    409,
    { error_code: "ABORTED" },
    "InvalidRequestError",
    "GET /api/2.0/thing answered 409",
    "ABORTED"
  ],
  ["a 429 without a body", 429, "", "RateLimitedError", "GET /api/2.0/thing answered 429"],
  [
    "a 500 whose error is a code",
    500,
    { error: "boom" },
    "WorkspaceFailedError",
    "GET /api/2.0/thing answered 500: boom",
    "boom"
  ],
  [
    "a 500 whose error is a sentence",
    500,
    { error: "RuntimeException: it broke" },
    "WorkspaceFailedError",
    "GET /api/2.0/thing answered 500: RuntimeException: it broke"
  ],
  [
    "a 400 whose error is an object",
    400,
    { error: { message: "bad input" } },
    "InvalidRequestError",
    "GET /api/2.0/thing answered 400: bad input"
  ],
  [
    "a 404 with fields of unexpected types",
    404,
    { error_code: "NOT_FOUND", message: "gone", details: "none", error: [1], detail: { a: 1 } },
    "NotFoundError",
    "GET /api/2.0/thing answered 404: gone",
    "NOT_FOUND"
  ],
  ["a 503 without a body", 503, "", "UnavailableError", "GET /api/2.0/thing answered 503"],
  ["an HTML body", 502, "\n<html><body>Bad Gateway</body>", "WorkspaceFailedError", "GET /api/2.0/thing answered 502"],
  [
    "a JSON body that is cut off",
    500,
    `{"error_code":"INTE`,
    "WorkspaceFailedError",
    "GET /api/2.0/thing answered 500"
  ],
  [
    "a plain text body of several lines",
    400,
    " no\n  good ",
    "InvalidRequestError",
    "GET /api/2.0/thing answered 400: no good"
  ],
  ["a body that is a JSON array", 400, [1], "InvalidRequestError", "GET /api/2.0/thing answered 400"],
  ["a redirect", 302, "", "InvalidResponseError", "GET /api/2.0/thing answered with a redirect (302)"]
]

describe("DatabricksError", () => {
  for (const [what, status, body, reason, message, errorCode] of rows) {
    it(`has the reason ${reason} for ${what}`, () => {
      const error = answer(status, body)
      assert.strictEqual(error.reason._tag, reason)
      assert.strictEqual(error.message, message)
      assert.strictEqual(error.status, status)
      assert.strictEqual(error.reason.errorCode, errorCode)
      assert.strictEqual(error.isRetryable, status === 429 || status === 503)
    })
  }

  it("lists every missing scope, and nothing that follows them in the message", () => {
    assert.strictEqual(scope("required scopes: iam.current-user:read, sql"), "iam.current-user:read, sql")
    assert.strictEqual(scope("required scope: sql. Please sign in [ReqId: 1]"), "sql")
    assert.strictEqual(scope("required scopes: "), "PermissionDeniedError")
  })

  it("takes requestId from the error's details, else from the x-request-id header", () => {
    const details = [
      { "@type": "type.googleapis.com/google.rpc.ErrorInfo", reason: "X", domain: "d", metadata: {} },
      { "@type": "type.googleapis.com/google.rpc.RequestInfo", request_id: "r-1", serving_data: "" }
    ]
    assert.strictEqual(answer(400, { details }, { "x-request-id": "r-2" }).requestId, "r-1")
    assert.strictEqual(answer(400, {}, { "x-request-id": "r-2" }).requestId, "r-2")
    assert.isUndefined(answer(400, {}).requestId)
  })

  it("takes retryAfter from Retry-After in seconds or as a date, or from RetryInfo details", () => {
    const details = [{ "@type": "type.googleapis.com/google.rpc.RetryInfo", retry_delay: "1.5s" }]
    const date = "Wed, 21 Oct 2015 07:28:00 GMT"
    const later = "Wed, 21 Oct 2015 07:28:30 GMT"
    assert.strictEqual(seconds(answer(429, "", { "retry-after": "7" })), 7)
    assert.strictEqual(seconds(answer(429, "", { "retry-after": later, date })), 30)
    assert.strictEqual(seconds(answer(429, "", { "retry-after": date, date: later })), 0)
    assert.strictEqual(seconds(answer(503, { details })), 1.5)
    assert.strictEqual(seconds(answer(503, { details }, { "retry-after": "7" })), 7)
    for (const header of ["", "soon", "-1", "NaN", later]) {
      assert.isUndefined(answer(429, "", { "retry-after": header }).retryAfter)
    }
  })

  it("cuts a message of 100,000 characters to fewer than 1,100", () => {
    assert.isBelow(answer(400, "x".repeat(100_000)).message.length, 1_100)
    assert.isBelow(answer(400, { message: "x".repeat(100_000) }).message.length, 1_100)
  })

  it("keeps its reason when encoded to JSON and decoded", () => {
    const codec = Schema.toCodecJson(DatabricksError.DatabricksError)
    const error = answer(429, { error_code: "BUSY", message: "slow down" }, { "retry-after": "7" })
    const back = Schema.decodeUnknownSync(codec)(JSON.parse(JSON.stringify(Schema.encodeSync(codec)(error))))
    assert.deepStrictEqual(back.reason, error.reason)
    assert.isTrue(back.isRetryable)
  })
})
