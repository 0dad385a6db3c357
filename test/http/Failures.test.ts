import { assert, describe, it, layer } from "@effect/vitest"
import { Failures, FilesError, HttpFailure, IdentityError } from "effect-databricks"
import { LocalWorkspace } from "effect-databricks/testing"
import { Effect } from "effect"
import { FetchHttpClient, HttpClient, HttpClientRequest } from "effect/http"
import { HttpApi, HttpApiClient, HttpApiEndpoint, HttpApiGroup, OpenApi } from "effect/http-api"
import { alice, bob } from "../fixtures/people.ts"
import { Api, failing, recordsNoToken, secret, served, serverError } from "./failing.ts"
import { Served } from "./harness.ts"

layer(LocalWorkspace.layer(), { timeout: "60 seconds", excludeTestServices: true })("Failures", (it) => {
  it.layer(served())("in production", (it) => {
    it.effect("answers 400 and names the field when a request does not match its schema", () =>
      Effect.gen(function* () {
        const bad = { status: 400, _tag: "BadRequest" }
        yield* failing("POST", "/sql", { ...bad, message: "body: Expected a valid JSON body" }, "{ text: ")
        yield* failing("POST", "/sql", { ...bad, message: "body: Expected object" }, "[]")
        yield* failing("POST", "/sql", { ...bad, message: "body.text: Missing key" }, {})
        yield* failing("POST", "/sql", { ...bad, message: "body.text: Expected string" }, { text: 5 })
        yield* failing("GET", "/page/first", { ...bad, message: /^path\.number: / })
      })
    )

    it.effect("answers 413 to a JSON body over 1 MB", () =>
      Effect.gen(function* () {
        const text = "x".repeat(1_100_000)
        yield* failing("POST", "/sql", { status: 413, _tag: "PayloadTooLarge", message: /larger/ }, { text })
      })
    )

    it.effect(
      "shortens the message about a field name of 150,000 blanks within 15 seconds",
      () => {
        const bad = { status: 400, _tag: "BadRequest", message: /^body\.parameters\. {400,}…$/ }
        return failing("POST", "/sql", bad, { text: "", parameters: { [`${" ".repeat(150_000)}x`]: [] } })
      },
      // Trying every blank as the last one takes half a minute, in which nobody else is served.
      15_000
    )

    it.effect("answers 415 to a content type that the endpoint does not read", () =>
      Effect.gen(function* () {
        const expected = { status: 415, _tag: "UnsupportedMediaType", message: /content type/ }
        yield* failing("POST", "/sql", expected, "text", { "content-type": "text/plain" })
      })
    )

    it.effect("answers 404 and names method and path when no route matches", () =>
      Effect.gen(function* () {
        yield* failing("GET", "/nowhere?a=b", {
          status: 404,
          _tag: "RouteNotFound",
          message: "There is no GET /nowhere"
        })
        yield* failing("DELETE", "/sql", { status: 404, _tag: "RouteNotFound", message: "There is no DELETE /sql" })
        yield* failing("GET", "/%ff/%", { status: 404, _tag: "RouteNotFound", message: /^There is no GET/ })
      })
    )

    it.effect("masks a defect, a timeout and an invalid result, and logs a defect once", () =>
      Effect.gen(function* () {
        const { logs } = yield* Served
        const before = logs.length
        yield* failing("GET", "/bug", { status: 500, _tag: "InternalServerError", ...serverError })
        const errors = logs.slice(before).filter(({ level }) => level === "Error")
        assert.strictEqual(errors.length, 1)
        assert.include(errors[0]!.text, secret)
        yield* failing("GET", "/slow", { status: 504, _tag: "OperationTimeoutError", ...serverError })
        yield* failing("GET", "/wrong", { status: 500, _tag: "InvalidAnswer", ...serverError })
      })
    )

    it.effect.each(["/rows", "/plain/rows"])("masks a handler's SchemaError at %s as a 500, and logs it once", (path) =>
      Effect.gen(function* () {
        const { logs } = yield* Served
        const before = logs.length
        yield* failing("GET", path, { status: 500, _tag: "SchemaError", ...serverError })
        const errors = logs.slice(before).filter(({ level }) => level === "Error")
        assert.strictEqual(errors.length, 1)
        assert.include(errors[0]!.text, "Missing key")
      })
    )

    it.effect("answers 400 and names the wrong field on a plain route that uses orBadRequest", () =>
      Effect.gen(function* () {
        const bad = { status: 400, _tag: "BadRequest" }
        yield* failing("POST", "/plain/body", { ...bad, message: "value: Expected string" }, { value: 5 })
        yield* failing("POST", "/plain/body", { ...bad, message: "value: Missing key" }, {})
        yield* failing("POST", "/plain/body", { ...bad, message: "The request body cannot be read" }, "{ value: ")
      })
    )

    it.effect("logs no error for a failure below 500", () =>
      Effect.gen(function* () {
        const { logs } = yield* Served
        const before = logs.length
        yield* failing(
          "POST",
          "/sql",
          { status: 400, _tag: "StatementFailedError", message: /CAST_INVALID_INPUT/ },
          { text: "SELECT CAST(:x AS int) AS value", parameters: { x: "y" } }
        )
        assert.notInclude(
          logs.slice(before).map((_) => _.level),
          "Error"
        )
      })
    )

    it.effect("leaves declared errors, an HttpFailure and a response raised as a defect unchanged", () =>
      Effect.gen(function* () {
        const { call } = yield* Served
        const { headers } = yield* LocalWorkspace.LocalWorkspace
        const out = yield* call("GET", "/declared", { headers: yield* headers(alice) })
        assert.strictEqual(out.status, 410)
        assert.deepStrictEqual(out.json, { _tag: "Out", left: 3 })
        const exists = yield* call("GET", "/exists", { headers: yield* headers(alice) })
        assert.strictEqual(exists.status, 409)
        assert.deepStrictEqual(exists.json, { _tag: "FileExistsError", message: "a.csv exists", path: "a.csv" })
        yield* failing("GET", "/own", { status: 418, _tag: "Teapot", message: "Short and stout" })
        const teapot = yield* call("GET", "/teapot")
        assert.deepStrictEqual([teapot.status, teapot.text], [418, "itself"])
      })
    )

    it.effect("answers 401 on a plain route when user headers are missing or hold control characters", () =>
      Effect.gen(function* () {
        const { call } = yield* Served
        const plain = yield* call("GET", "/plain")
        assert.deepStrictEqual([plain.status, plain.json._tag], [401, "AuthenticationError"])
        yield* failing("GET", "/control", { status: 401, _tag: "AuthenticationError", message: /a control character/ })
      })
    )

    it.effect("gives a generated client every failure as its typed error", () =>
      Effect.gen(function* () {
        const { port } = yield* Served
        const { headers, misbehave } = yield* LocalWorkspace.LocalWorkspace
        const sent = yield* headers(alice)
        const clientOf = (headers: Record<string, string>) =>
          HttpApiClient.make(Api, {
            baseUrl: `http://127.0.0.1:${port}`,
            transformClient: HttpClient.mapRequest(HttpClientRequest.setHeaders(headers))
          }).pipe(Effect.provide(FetchHttpClient.layer))
        const failure = (headers: Record<string, string>) =>
          Effect.flatMap(clientOf(headers), ({ bad }) => Effect.flip(bad.slow()))
        const nobody = yield* failure({})
        assert.instanceOf(nobody, IdentityError.AuthenticationError)
        assert.include(nobody.message, "did not come through the Databricks Apps proxy")
        const other = yield* failure({ ...sent, "x-forwarded-email": bob })
        assert.instanceOf(other, IdentityError.IdentityMismatchError)
        yield* misbehave({ kind: "answer", status: 503, path: "/api/2.0/preview/scim" })
        const unknown = yield* failure(yield* headers(alice))
        assert.instanceOf(unknown, IdentityError.IdentityUnavailableError)
        assert.strictEqual(unknown.message, "Server error")
        const error = yield* failure(sent)
        assert.instanceOf(error, HttpFailure.HttpFailure)
        assert.deepInclude(error, { status: 504, body: { _tag: "OperationTimeoutError", ...serverError } })
        const { bad } = yield* clientOf(sent)
        const refused = yield* Effect.flip(
          bad.sql({ payload: { text: "SELECT 1 / :x AS value", parameters: { x: 0 } } })
        )
        assert.instanceOf(refused, HttpFailure.HttpFailure)
        assert.deepInclude(refused, { status: 400 })
        assert.strictEqual(refused.body._tag, "StatementFailedError")
        assert.strictEqual((yield* Effect.flip(bad.declared()))._tag, "Out")
        assert.instanceOf(yield* Effect.flip(bad.exists()), FilesError.FileExistsError)
        for (const [undeclared, status, _tag] of [
          [bad.range(), 416, "InvalidRangeError"],
          [bad.torn(), 400, "BadRequest"]
        ] as const) {
          const { body, ...failure } = (yield* Effect.flip(undeclared)) as HttpFailure.HttpFailure
          assert.deepStrictEqual([failure.status, body._tag], [status, _tag])
        }
      }).pipe(Effect.scoped)
    )

    it.effect("gives a client without AsUser in its Api an AuthenticationError when it is refused", () =>
      Effect.gen(function* () {
        const { port } = yield* Served
        const { bad } = yield* HttpApiClient.make(
          HttpApi.make("test").add(
            HttpApiGroup.make("bad").add(HttpApiEndpoint.get("slow", "/slow")).middleware(Failures)
          ),
          { baseUrl: `http://127.0.0.1:${port}` }
        )
        assert.instanceOf(yield* Effect.flip(bad.slow()), IdentityError.AuthenticationError)
      }).pipe(Effect.provide(FetchHttpClient.layer))
    )

    it.effect("serves a request after all failures, and has written no token to a log or a span", () => recordsNoToken)
  })

  it.layer(served({ development: true }))("in development", (it) => {
    it.effect("shows the message of a 5xx", () =>
      Effect.gen(function* () {
        yield* failing("GET", "/bug", { status: 500, _tag: "InternalServerError", message: secret })
        yield* failing("GET", "/slow", { status: 504, _tag: "OperationTimeoutError", message: /took longer than/ })
        const text = "SELECT 1 AS other"
        yield* failing("POST", "/sql", { status: 500, _tag: "RowDecodeError", message: /value/ }, { text })
      })
    )
  })
})

describe("Failures", () => {
  it("declares every error status in the OpenAPI document", () => {
    const { responses } = OpenApi.fromApi(Api).paths["/workspace"]!.get!
    const statuses = ["200", "400", "401", "403", "404", "409", "413", "415", "416", "429", "500", "502", "503", "504"]
    assert.deepStrictEqual(Object.keys(responses).toSorted(), statuses)
  })
})
