import { assert, describe, it } from "@effect/vitest"
import { fromAnswer } from "../../../src/internal/workspace/answer.ts"

const reasonOf = (status: number, body: string | object) =>
  fromAnswer({
    endpoint: "GET /x",
    status,
    headers: {},
    body: typeof body === "string" ? body : JSON.stringify(body)
  }).reason._tag

const said = [
  "Invalid Token",
  "Invalid access token.",
  "Invalid access token. [ReqId: 1-2-3]",
  "Invalid OAuth token",
  "Invalid or expired token.",
  "Invalid JWT: bad signature",
  "Expired token",
  "Expired access token (revoked)",
  "Token is expiring within 30 seconds. (token expired)",
  "Token is expired",
  "Token expired",
  "token has expired",
  "The access token expired",
  "The access token has been revoked.",
  "Your token is revoked, sign in again",
  "The access token expiry UTC time '5/13/2024 6:05:58 PM' is earlier than current UTC time.",
  "Access token is invalid",
  "Provided OAuth token is not valid",
  "JWT expired at 2026-01-31T12:00:00Z",
  "PERMISSION_DENIED: Invalid access token.",
  "io.jsonwebtoken.ExpiredJwtException: JWT expired",
  "ExpiredJwt",
  "invalid access token [ReqId: 1-2-3]",
  "This token is no longer valid",
  "Your session token has expired",
  "Failed to authenticate: invalid token",
  "Unauthorized: token expired",
  "token_expired"
]

const denied = [
  "User does not have permission to use token",
  "User alice does not have permission CAN_USE on token usage",
  "User does not have SELECT on Table 'main.s.invalid_token'",
  "invalid_token is a table that you may not read",
  "Invalid token permissions: CAN_USE is missing",
  "Token creation is disabled for this workspace",
  "Tokens are disabled",
  "The user may not read the table: its token column is masked",
  "Only admins may see an expired token",
  "Invalid tokenizer",
  "The author: expired token is not yours",
  "PERMISSION_DENIED: User lacks USE CATALOG on expired_token",
  "Source IP address: 1.2.3.4 is blocked by Databricks IP ACL"
]

describe("answer.fromAnswer", () => {
  it("is an InvalidCredentialError for every sentence that says that the token is dead", () => {
    for (const message of said) {
      for (const error_code of [undefined, 403, "403", "PERMISSION_DENIED"]) {
        assert.strictEqual(reasonOf(403, { error_code, message }), "InvalidCredentialError", message)
      }
      assert.strictEqual(reasonOf(403, message), "InvalidCredentialError", message)
      assert.strictEqual(reasonOf(403, { error: { message } }), "InvalidCredentialError", message)
    }
    const jetty =
      "<html><h2>HTTP ERROR 403</h2><p>Problem accessing /api/2.0/x. Reason:\n<pre>    Invalid access token.</pre></p>"
    assert.strictEqual(reasonOf(403, jetty), "InvalidCredentialError")
  })

  it("is an InvalidCredentialError for every code that says so, whatever the sentence", () => {
    for (const code of [
      "invalid_token",
      "INVALID_TOKEN",
      "EXPIRED_TOKEN",
      "TOKEN_EXPIRED",
      "UNAUTHENTICATED",
      "ExpiredJwt"
    ]) {
      assert.strictEqual(reasonOf(403, { error_code: code, message: "no" }), "InvalidCredentialError", code)
      assert.strictEqual(reasonOf(403, { error: code }), "InvalidCredentialError", code)
    }
    for (const code of ["ExpiredAuthenticationToken", "InvalidAuthenticationToken"]) {
      assert.strictEqual(reasonOf(403, { error: { code, message: "no" } }), "InvalidCredentialError", code)
    }
    assert.strictEqual(
      reasonOf(400, { error_code: "400", message: "io.jsonwebtoken.ExpiredJwtException: JWT expired" }),
      "InvalidCredentialError"
    )
  })

  it("stays a PermissionDeniedError for a refusal that only mentions a token", () => {
    assert.strictEqual(reasonOf(403, { error_code: "INVALID_TOKEN_LIFETIME", message: "no" }), "PermissionDeniedError")
    for (const message of denied) {
      for (const error_code of [undefined, 403, "PERMISSION_DENIED"]) {
        assert.strictEqual(reasonOf(403, { error_code, message }), "PermissionDeniedError", message)
      }
    }
  })

  it("stays an InvalidRequestError for a page token that is wrong", () => {
    for (const message of ["Invalid token", "Invalid page token", "Page token is expired", "page_token is invalid"]) {
      assert.strictEqual(
        reasonOf(400, { error_code: "INVALID_PARAMETER_VALUE", message }),
        "InvalidRequestError",
        message
      )
    }
  })
})
