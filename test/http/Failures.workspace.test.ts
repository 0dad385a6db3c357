import { assert, layer } from "@effect/vitest"
import { LocalWorkspace } from "effect-databricks/testing"
import { Effect } from "effect"
import { alice, bob } from "../fixtures/people.ts"
import { failing, recordsNoToken, served, serverError } from "./failing.ts"
import { Served } from "./harness.ts"

layer(LocalWorkspace.layer(), { timeout: "60 seconds", excludeTestServices: true })("Failures", (it) => {
  it.layer(served())("in production", (it) => {
    it.effect("answers 400 when a statement does not parse, bind or cast, or names an unknown table", () =>
      Effect.gen(function* () {
        const failed = { status: 400, _tag: "StatementFailedError" }
        yield* failing("POST", "/sql", { ...failed, message: /SELEC|syntax/i }, { text: "SELEC 1" })
        yield* failing("POST", "/sql", { ...failed, message: /nope/ }, { text: "SELECT * FROM nope" })
        yield* failing("POST", "/sql", { ...failed, message: /missing/ }, { text: "SELECT :missing AS value" })
        yield* failing("POST", "/sql", { ...failed, message: /./ }, { text: "SELECT CAST('x' AS int) AS value" })
      })
    )

    it.effect("maps an undeclared SqlError of Lakebase to 400, 403 or 500 by its cause", () =>
      Effect.gen(function* () {
        const { headers } = yield* LocalWorkspace.LocalWorkspace
        const path = "/lakebase"
        const forbidden = { status: 403, _tag: "AuthorizationError", message: /permission denied/ }
        yield* failing("POST", path, forbidden, { text: "SELECT * FROM pg_authid" })
        const value = { status: 400, _tag: "UnknownError", message: "invalid input syntax for type integer" }
        yield* failing("POST", path, value, { text: "SELECT 'hush'::text::int" })
        yield* failing("POST", path, { status: 500, _tag: "SqlSyntaxError", ...serverError }, { text: "SELEC 1" })
        const sent = yield* headers(bob, { scopes: ["iam.current-user:read"] })
        const scope = { status: 403, _tag: "MissingScopeError", message: /needs the scope "postgres"/ }
        yield* failing("POST", path, scope, { text: "SELECT 1" }, sent)
      })
    )

    it.effect("answers 400 to a misnamed or mistyped SQL parameter, and ignores an unused one", () =>
      Effect.gen(function* () {
        const { call } = yield* Served
        const workspace = yield* LocalWorkspace.LocalWorkspace
        const refused = { status: 400, _tag: "SqlParameterError" }
        const text = "SELECT upper(:a) AS value"
        yield* failing("POST", "/sql", { ...refused, message: /not a name/ }, { text, parameters: { "a b": "x" } })
        yield* failing("POST", "/sql", { ...refused, message: /:int cannot be sent/ }, { text, int: 1.5 })
        const extra = yield* call("POST", "/sql", {
          headers: yield* workspace.headers(alice),
          body: { text, parameters: { a: "x", unknown: "y" } }
        })
        // A value that the statement has no use for.
        assert.deepStrictEqual([extra.status, extra.json], [200, [{ value: "X" }]])
      })
    )

    it.effect("masks rows that do not match their schema as a 500", () =>
      failing("POST", "/sql", { status: 500, _tag: "RowDecodeError", ...serverError }, { text: "SELECT 1 AS other" })
    )

    it.effect("answers 502, 503 or 429 when the workspace's answer is invalid, missing or an error", () =>
      Effect.gen(function* () {
        const workspace = yield* LocalWorkspace.LocalWorkspace
        const path = "/api/2.0/sql/warehouses"
        const once = { path, times: 1 }
        const invalid = { status: 502, _tag: "InvalidResponseError", ...serverError }
        const unavailable = { status: 503, _tag: "UnavailableError", ...serverError }
        yield* workspace.misbehave({ ...once, kind: "answer", status: 200, body: "<html>sign in</html>" })
        yield* failing("GET", "/workspace", invalid)
        yield* workspace.misbehave({ ...once, kind: "answer", status: 200 })
        yield* failing("GET", "/workspace", invalid)
        yield* workspace.misbehave({ ...once, kind: "truncate" })
        yield* failing("GET", "/workspace", invalid)
        yield* workspace.misbehave({ ...once, kind: "drop" })
        yield* failing("GET", "/workspace", { ...unavailable, _tag: "ConnectionError" })
        yield* workspace.misbehave({ ...once, kind: "answer", status: 500, body: "<html>oops</html>" })
        yield* failing("GET", "/workspace", { ...invalid, _tag: "WorkspaceFailedError" })
        yield* workspace.misbehave({ ...once, kind: "answer", status: 503, headers: { "retry-after": "7" } })
        assert.strictEqual((yield* failing("GET", "/workspace", unavailable)).headers["retry-after"], "7")
        yield* workspace.misbehave({ ...once, kind: "answer", status: 429, headers: { "retry-after": "3" } })
        const limited = yield* failing("GET", "/workspace", { status: 429, _tag: "RateLimitedError", message: /429/ })
        assert.strictEqual(limited.headers["retry-after"], "3")
      }).pipe(Effect.scoped)
    )

    it.effect("answers 403 and names the scope that the token lacks", () =>
      Effect.gen(function* () {
        const workspace = yield* LocalWorkspace.LocalWorkspace
        const headers = yield* workspace.headers(alice, { scopes: ["iam.current-user:read"] })
        const expected = { status: 403, _tag: "MissingScopeError", message: /needs the scope "sql"/ }
        yield* failing("GET", "/workspace", expected, undefined, headers)
      })
    )

    it.effect(
      "serves a request after workspace failures, and has written no token to a log or a span",
      () => recordsNoToken
    )
  })
})
