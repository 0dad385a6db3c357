import { assert, describe, it, layer } from "@effect/vitest"
import {
  AsUser,
  ExecutionContext,
  Failures,
  getWorkspaceClient,
  HttpFailure,
  Lakebase,
  Operation,
  SqlParameter,
  SqlWarehouse
} from "effect-databricks"
import { LocalWorkspace } from "effect-databricks/testing"
import { Effect, Layer, Schema } from "effect"
import {
  FetchHttpClient,
  HttpClient,
  HttpClientRequest,
  HttpRouter,
  HttpServerRequest,
  HttpServerResponse
} from "effect/http"
import { HttpApi, HttpApiBuilder, HttpApiClient, HttpApiEndpoint, HttpApiGroup, OpenApi } from "effect/http-api"
import { SqlClient } from "effect/sql"
import { serve, Served, tokensSeen } from "./harness.ts"

const Row = Schema.Struct({ value: Schema.String })

const Sql = Schema.Struct({
  text: Schema.String,
  parameters: Schema.optionalKey(Schema.Record(Schema.String, Schema.Union([Schema.String, Schema.Number]))),
  int: Schema.optionalKey(Schema.Number)
})

class Out extends Schema.TaggedError<Out>()("Out", { left: Schema.Int }, { httpApiStatus: 410 }) {}

class Bad extends HttpApiGroup.make("bad")
  .add(
    HttpApiEndpoint.post("sql", "/sql", { payload: Sql, success: Schema.Array(Row) }),
    HttpApiEndpoint.get("workspace", "/workspace", { success: Schema.String }),
    HttpApiEndpoint.get("declared", "/declared", { error: Out }),
    HttpApiEndpoint.get("bug", "/bug"),
    HttpApiEndpoint.post("lakebase", "/lakebase", { payload: Schema.Struct({ text: Schema.String }) }),
    HttpApiEndpoint.get("slow", "/slow"),
    HttpApiEndpoint.get("own", "/own"),
    HttpApiEndpoint.get("page", "/page/:number", { params: { number: Schema.FiniteFromString } }),
    HttpApiEndpoint.get("wrong", "/wrong", { success: Schema.Literal("right") })
  )
  .middleware(AsUser) {}

class Api extends HttpApi.make("test").add(Bad).middleware(Failures) {}

const secret = "internal detail"

const BadLive = HttpApiBuilder.group(
  Api,
  "bad",
  (handlers) =>
    handlers
      .handle("sql", ({ payload }) =>
        SqlWarehouse.queryText(Row)(payload.text, {
          ...payload.parameters,
          ...(payload.int !== undefined && { int: SqlParameter.int(payload.int) })
        })
      )
      .handle("workspace", () =>
        Effect.gen(function* () {
          const client = yield* getWorkspaceClient
          const request = HttpClientRequest.get("/api/2.0/sql/warehouses")
          return JSON.stringify(
            yield* client.requestJson(request, Schema.Struct({ warehouses: Schema.Array(Schema.Any) }))
          )
        })
      )
      .handle("declared", () => Effect.fail(new Out({ left: 3 })))
      .handle("lakebase", ({ payload }) => SqlClient.SqlClient.use((sql) => Effect.asVoid(sql.unsafe(payload.text))))
      .handle("bug", () => Effect.die(new Error(secret)))
      .handle("slow", () => Effect.never.pipe(Operation.execute({ name: "slow", timeout: "5 millis" })))
      .handle("own", () =>
        Effect.fail(new HttpFailure.HttpFailure({ status: 418, body: { _tag: "Teapot", message: "Short and stout" } }))
      )
      .handle("page", () => Effect.void)
      .handle("wrong", () => Effect.succeed("wrong" as "right")) // what no type would let through
)

const Routes = Layer.mergeAll(
  HttpApiBuilder.layer(Api).pipe(Layer.provide(BadLive), Layer.provide(AsUser.layer)),
  // asUser by hand, on a route that is no HttpApi: the failures of both are answered alike.
  HttpRouter.add(
    "GET",
    "/plain",
    Effect.gen(function* () {
      const request = yield* HttpServerRequest.HttpServerRequest
      const user = yield* Effect.provide(ExecutionContext.UserContext, ExecutionContext.asUser(request))
      return HttpServerResponse.text(user.userName)
    })
  ),
  HttpRouter.add(
    "GET",
    "/control",
    Effect.provide(
      Effect.as(ExecutionContext.UserContext, HttpServerResponse.text("never")),
      ExecutionContext.asUser({ "x-forwarded-user": "u", "x-forwarded-access-token": "sec\r\nret-token" })
    )
  ),
  HttpRouter.add("GET", "/teapot", Effect.die(HttpServerResponse.text("itself", { status: 418 })))
).pipe(Layer.provide(Failures.layer))

// SqlWarehouse is outside of serve: that is where handlers look for it.
const served = (options?: { readonly development?: boolean }) =>
  serve(Routes, {
    ...options,
    services: Layer.merge(
      SqlWarehouse.layer,
      Layer.unwrap(
        LocalWorkspace.LocalWorkspace.useSync(({ endpoint, postgres }) =>
          Lakebase.layer({ ...postgres, endpoint, ssl: false })
        )
      )
    )
  })

const alice = "alice@example.com"
const bob = "bob@example.com"

/** Calls as alice and looks at all that every failure must have. */
const failing = Effect.fnUntraced(function* (
  method: string,
  path: string,
  expected: { readonly status: number; readonly _tag: string; readonly message: string | RegExp },
  body?: unknown,
  headers?: Record<string, string>
) {
  const { call } = yield* Served
  const workspace = yield* LocalWorkspace.LocalWorkspace
  const answer = yield* call(method, path, { body, headers: { ...(yield* workspace.headers(alice)), ...headers } })
  assert.strictEqual(answer.status, expected.status, answer.text)
  assert.strictEqual(answer.headers["content-type"], "application/json")
  assert.deepStrictEqual(Object.keys(answer.json), ["_tag", "message"])
  assert.strictEqual(answer.json._tag, expected._tag)
  if (typeof expected.message === "string") assert.strictEqual(answer.json.message, expected.message)
  else assert.match(answer.json.message, expected.message)
  assert.notMatch(answer.text, /\bat .*\.ts|node_modules|eyJ|\n/)
  return answer
})

const serverError = { message: "Server error" }

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
      5_000
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

    it.effect("SQL that does not parse, or asks for what is not there", () =>
      Effect.gen(function* () {
        const failed = { status: 400, _tag: "StatementFailedError" }
        yield* failing("POST", "/sql", { ...failed, message: /SELEC|syntax/i }, { text: "SELEC 1" })
        yield* failing("POST", "/sql", { ...failed, message: /nope/ }, { text: "SELECT * FROM nope" })
        yield* failing("POST", "/sql", { ...failed, message: /missing/ }, { text: "SELECT :missing AS value" })
        yield* failing("POST", "/sql", { ...failed, message: /./ }, { text: "SELECT CAST('x' AS int) AS value" })
      })
    )

    it.effect("Lakebase: a SqlError that no endpoint declares", () =>
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

    it.effect("parameters that are unknown, misnamed or of the wrong type", () =>
      Effect.gen(function* () {
        const { call } = yield* Served
        const workspace = yield* LocalWorkspace.LocalWorkspace
        const refused = { status: 400, _tag: "SqlParameterError" }
        const text = "SELECT upper(:a) AS value"
        yield* failing("POST", "/sql", { ...refused, message: /no name/ }, { text, parameters: { "a b": "x" } })
        yield* failing("POST", "/sql", { ...refused, message: /:int cannot be sent/ }, { text, int: 1.5 })
        const extra = yield* call("POST", "/sql", {
          headers: yield* workspace.headers(alice),
          body: { text, parameters: { a: "x", unknown: "y" } }
        })
        // A value that the statement has no use for.
        assert.deepStrictEqual([extra.status, extra.json], [200, [{ value: "X" }]])
      })
    )

    it.effect("rows that are not what the schema says", () =>
      failing("POST", "/sql", { status: 500, _tag: "RowDecodeError", ...serverError }, { text: "SELECT 1 AS other" })
    )

    it.effect("a workspace that answers HTML, nothing, half of a JSON, or not at all", () =>
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

    it.effect("a missing scope, which it names", () =>
      Effect.gen(function* () {
        const workspace = yield* LocalWorkspace.LocalWorkspace
        const headers = yield* workspace.headers(alice, { scopes: ["iam.current-user:read"] })
        const expected = { status: 403, _tag: "MissingScopeError", message: /needs the scope "sql"/ }
        yield* failing("GET", "/workspace", expected, undefined, headers)
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
        const { headers } = yield* LocalWorkspace.LocalWorkspace
        const sent = yield* headers(alice)
        const clientOf = (headers: Record<string, string>) =>
          HttpApiClient.make(Api, {
            baseUrl: `http://127.0.0.1:${port}`,
            transformClient: HttpClient.mapRequest(HttpClientRequest.setHeaders(headers))
          }).pipe(Effect.provide(FetchHttpClient.layer))
        const nobody = yield* Effect.flip((yield* clientOf({})).bad.workspace())
        assert.strictEqual(nobody._tag, "AuthenticationError")
        const error = yield* Effect.flip((yield* clientOf(sent)).bad.slow())
        assert.instanceOf(error, HttpFailure.HttpFailure)
        assert.deepInclude(error, { status: 504, body: { _tag: "OperationTimeoutError", ...serverError } })
      })
    )

    it.effect("lives, and has put no token into a log or a span", () =>
      Effect.gen(function* () {
        const { call, everythingRecorded } = yield* Served
        const { headers } = yield* LocalWorkspace.LocalWorkspace
        const body = { text: "SELECT current_user AS value" }
        const fine = yield* call("POST", "/sql", { headers: yield* headers(alice), body })
        assert.deepStrictEqual(fine.json, [{ value: alice }])
        const recorded = everythingRecorded()
        assert.isAbove(recorded.length, 1000)
        assert.notInclude(recorded, "ret-token")
        for (const token of yield* tokensSeen) assert.notInclude(recorded, token)
      })
    )
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
