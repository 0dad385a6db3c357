import { assert, layer } from "@effect/vitest"
import { LocalWorkspace } from "effect-databricks/testing"
import { Effect } from "effect"
import { alice, bob } from "../fixtures/people.ts"
import { failing, recordsNoToken, served, serverError } from "./failing.ts"
import { Served } from "./harness.ts"

layer(LocalWorkspace.layer(), { timeout: "60 seconds", excludeTestServices: true })("Failures", (it) => {
  it.layer(served())("in production", (it) => {
    it.effect("masks a mistake in a statement as a 500, and answers 400 to a bound value that does not fit", () =>
      Effect.gen(function* () {
        const mistake = { status: 500, _tag: "StatementFailedError", ...serverError }
        for (const text of [
          "SELEC 1",
          "SELECT * FROM nope",
          "SELECT nope FROM (SELECT 1 AS value) t",
          "SELECT :missing AS value",
          "SELECT nope(1) AS value",
          "SELECT CAST('x' AS int) AS value",
          "SELECT 1 / 0 AS value"
        ]) {
          yield* failing("POST", "/sql", mistake, { text })
        }
        const value = { status: 400, _tag: "StatementFailedError" }
        const cast = { text: "SELECT CAST(:x AS int) AS value", parameters: { x: "hush" } }
        yield* failing("POST", "/sql", { ...value, message: /^\[CAST_INVALID_INPUT\] ((?!hush).)+$/ }, cast)
        const divided = { text: "SELECT 1 / :x AS value", parameters: { x: 0 } }
        yield* failing("POST", "/sql", { ...value, message: /division by zero/i }, divided)
      })
    )

    it.effect("maps an undeclared SqlError of Lakebase to 400, 403 or 500 by its cause", () =>
      Effect.gen(function* () {
        const { headers } = yield* LocalWorkspace.LocalWorkspace
        const path = "/lakebase"
        const forbidden = { status: 403, _tag: "AuthorizationError", message: /permission denied/ }
        yield* failing("POST", path, forbidden, { text: "SELECT * FROM pg_authid" })
        const value = { status: 400, _tag: "UnknownError", message: "invalid input syntax for type integer" }
        const cast = "SELECT $1::text::int"
        yield* failing("POST", path, value, { text: cast, values: ["hush"] })
        const unbound = { status: 500, _tag: "UnknownError", ...serverError }
        yield* failing("POST", path, unbound, { text: "SELECT 'hush'::text::int" })
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
        yield* failing(
          "POST",
          "/sql",
          { ...refused, message: /not an identifier/ },
          { text, parameters: { "a b": "x" } }
        )
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
        yield* workspace.misbehave({ ...once, kind: "answer", status: 503, headers: { "retry-after": "70" } })
        assert.strictEqual((yield* failing("GET", "/workspace", unavailable)).headers["retry-after"], "70")
        yield* workspace.misbehave({ ...once, kind: "answer", status: 429, headers: { "retry-after": "30" } })
        const limited = yield* failing("GET", "/workspace", { status: 429, _tag: "RateLimitedError", message: /429/ })
        assert.strictEqual(limited.headers["retry-after"], "30")
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
