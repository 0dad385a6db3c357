import { assert, describe, it, layer } from "@effect/vitest"
import { Failures, HttpFailure, IdentityError } from "effect-databricks"
import { LocalWorkspace } from "effect-databricks/testing"
import { Effect } from "effect"
import { FetchHttpClient, HttpClient, HttpClientRequest } from "effect/http"
import { HttpApi, HttpApiClient, HttpApiEndpoint, HttpApiGroup, OpenApi } from "effect/http-api"
import { alice, bob } from "../fixtures/people.ts"
import { Api, failing, recordsNoToken, secret, served, serverError } from "./failing.ts"
import { Served } from "./harness.ts"

layer(LocalWorkspace.layer(), { timeout: "60 seconds", excludeTestServices: true })("Failures", (it) => {
  it.layer(served())("in production", (it) => {
    it.effect("a body that is not JSON, or not what the schema says", () =>
      Effect.gen(function* () {
        const bad = { status: 400, _tag: "BadRequest" }
        yield* failing("POST", "/sql", { ...bad, message: "body: Expected a valid JSON body" }, "{ text: ")
        yield* failing("POST", "/sql", { ...bad, message: "body: Expected object" }, "[]")
        yield* failing("POST", "/sql", { ...bad, message: "body.text: Missing key" }, {})
        yield* failing("POST", "/sql", { ...bad, message: "body.text: Expected string" }, { text: 5 })
        yield* failing("GET", "/page/first", { ...bad, message: /^path\.number: / })
      })
    )

    it.effect("a body over 1 MB", () =>
      Effect.gen(function* () {
        const text = "x".repeat(1_100_000)
        yield* failing("POST", "/sql", { status: 413, _tag: "PayloadTooLarge", message: /larger/ }, { text })
      })
    )

    it.effect(
      "a body that makes its own message long to shorten",
      () => {
        const bad = { status: 400, _tag: "BadRequest", message: /^body\.parameters\. {400,}…$/ }
        return failing("POST", "/sql", bad, { text: "", parameters: { [`${" ".repeat(150_000)}x`]: [] } })
      },
      // Trying every blank as the last one takes half a minute, in which nobody else is served.
      15_000
    )

    it.effect("a content type that is not read", () =>
      Effect.gen(function* () {
        const expected = { status: 415, _tag: "UnsupportedMediaType", message: /content type/ }
        yield* failing("POST", "/sql", expected, "text", { "content-type": "text/plain" })
      })
    )

    it.effect("an unknown route", () =>
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

    it.effect("a defect, a timeout, an answer that does not fit: masked, and logged once with the cause", () =>
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

    it.effect.each(["/rows", "/plain/rows"])("%s: a SchemaError of a handler is masked, and logged once", (path) =>
      Effect.gen(function* () {
        const { logs } = yield* Served
        const before = logs.length
        yield* failing("GET", path, { status: 500, _tag: "SchemaError", ...serverError })
        const errors = logs.slice(before).filter(({ level }) => level === "Error")
        assert.strictEqual(errors.length, 1)
        assert.include(errors[0]!.text, "Missing key")
      })
    )

    it.effect("a plain route says which field of its request is wrong", () =>
      Effect.gen(function* () {
        const bad = { status: 400, _tag: "BadRequest" }
        yield* failing("POST", "/plain/body", { ...bad, message: "value: Expected string" }, { value: 5 })
        yield* failing("POST", "/plain/body", { ...bad, message: "value: Missing key" }, {})
        yield* failing("POST", "/plain/body", { ...bad, message: "The request body cannot be read" }, "{ value: ")
      })
    )

    it.effect("a failure below 500 is no error in the log", () =>
      Effect.gen(function* () {
        const { logs } = yield* Served
        const before = logs.length
        yield* failing(
          "POST",
          "/sql",
          { status: 400, _tag: "StatementFailedError", message: /nope/ },
          { text: "SELECT * FROM nope" }
        )
        assert.notInclude(
          logs.slice(before).map((_) => _.level),
          "Error"
        )
      })
    )

    it.effect("leaves alone what an endpoint declares, and what renders itself", () =>
      Effect.gen(function* () {
        const { call } = yield* Served
        const { headers } = yield* LocalWorkspace.LocalWorkspace
        const out = yield* call("GET", "/declared", { headers: yield* headers(alice) })
        assert.strictEqual(out.status, 410)
        assert.deepStrictEqual(out.json, { _tag: "Out", left: 3 })
        yield* failing("GET", "/own", { status: 418, _tag: "Teapot", message: "Short and stout" })
        const teapot = yield* call("GET", "/teapot")
        assert.deepStrictEqual([teapot.status, teapot.text], [418, "itself"])
      })
    )

    it.effect("a plain route that uses asUser, and a token with control characters", () =>
      Effect.gen(function* () {
        const { call } = yield* Served
        const plain = yield* call("GET", "/plain")
        assert.deepStrictEqual([plain.status, plain.json._tag], [401, "AuthenticationError"])
        yield* failing("GET", "/control", { status: 401, _tag: "AuthenticationError", message: /a control character/ })
      })
    )

    it.effect("tells a generated client what it tells everybody", () =>
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
        const refused = yield* Effect.flip(bad.sql({ payload: { text: "SELECT * FROM nope" } }))
        assert.instanceOf(refused, HttpFailure.HttpFailure)
        assert.deepInclude(refused, { status: 400 })
        assert.strictEqual(refused.body._tag, "StatementFailedError")
        assert.strictEqual((yield* Effect.flip(bad.declared()))._tag, "Out")
      }).pipe(Effect.scoped)
    )

    it.effect("tells who is refused even to a client that does not know of AsUser", () =>
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

    it.effect("lives, and has put no token into a log or a span", () => recordsNoToken)
  })

  it.layer(served({ development: true }))("in development", (it) => {
    it.effect("the sentence of a 5xx is shown", () =>
      Effect.gen(function* () {
        yield* failing("GET", "/bug", { status: 500, _tag: "InternalServerError", message: secret })
        yield* failing("GET", "/slow", { status: 504, _tag: "OperationTimeoutError", message: /took longer than/ })
        const text = "SELECT 1 AS other"
        yield* failing("POST", "/sql", { status: 500, _tag: "RowDecodeError", message: /value/ }, { text })
      })
    )
  })
})

describe("the OpenAPI document", () => {
  it("shows every status with one body", () => {
    const { responses } = OpenApi.fromApi(Api).paths["/workspace"]!.get!
    const statuses = ["200", "400", "401", "403", "404", "409", "413", "415", "429", "500", "502", "503", "504"]
    assert.deepStrictEqual(Object.keys(responses).toSorted(), statuses)
  })
})
