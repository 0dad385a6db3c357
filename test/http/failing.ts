/** An API whose endpoints fail in every way, and the call that looks at how they are answered. */
import { assert } from "@effect/vitest"
import {
  AsUser,
  ExecutionContext,
  FilesError,
  Failures,
  getWorkspaceClient,
  HttpFailure,
  Lakebase,
  Middleware,
  Operation,
  SqlParameter,
  SqlWarehouse,
  UserContext
} from "effect-databricks"
import { LocalWorkspace } from "effect-databricks/testing"
import { Effect, Layer, Schema } from "effect"
import { HttpClientRequest, HttpRouter, HttpServerError, HttpServerRequest, HttpServerResponse } from "effect/http"
import { HttpApi, HttpApiBuilder, HttpApiEndpoint, HttpApiGroup } from "effect/http-api"
import { SqlClient, SqlSchema } from "effect/sql"
import { alice } from "../fixtures/people.ts"
import { serve, Served, tokensSeen } from "./harness.ts"

const Row = Schema.Struct({ value: Schema.String })

const Sql = Schema.Struct({
  text: Schema.String,
  parameters: Schema.optionalKey(Schema.Record(Schema.String, Schema.Union([Schema.String, Schema.Number]))),
  int: Schema.optionalKey(Schema.Number)
})

const Lakebased = Schema.Struct({
  text: Schema.String,
  values: Schema.optionalKey(Schema.Array(Schema.Union([Schema.String, Schema.Number])))
})

class Out extends Schema.TaggedError<Out>()("Out", { left: Schema.Int }, { httpApiStatus: 410 }) {}

class Bad extends HttpApiGroup.make("bad")
  .add(
    HttpApiEndpoint.post("sql", "/sql", { payload: Sql, success: Schema.Array(Row) }),
    HttpApiEndpoint.get("workspace", "/workspace", { success: Schema.String }),
    HttpApiEndpoint.get("declared", "/declared", { error: Out }),
    HttpApiEndpoint.get("exists", "/exists", { error: FilesError.FileExistsError }),
    HttpApiEndpoint.get("range", "/range"),
    HttpApiEndpoint.get("torn", "/torn"),
    HttpApiEndpoint.get("bug", "/bug"),
    HttpApiEndpoint.post("lakebase", "/lakebase", { payload: Lakebased }),
    HttpApiEndpoint.get("slow", "/slow"),
    HttpApiEndpoint.get("own", "/own"),
    HttpApiEndpoint.get("page", "/page/:number", { params: { number: Schema.FiniteFromString } }),
    HttpApiEndpoint.get("wrong", "/wrong", { success: Schema.Literal("right") }),
    HttpApiEndpoint.get("rows", "/rows", { success: Schema.Array(Row) })
  )
  .middleware(AsUser) {}

export class Api extends HttpApi.make("test").add(Bad).middleware(Failures) {}

export const secret = "internal detail"

/** Fails with a SchemaError: what the database answers is not what the application expects of it. */
const findRows = SqlSchema.findAll({
  Request: Schema.Void,
  Result: Row,
  execute: () => SqlClient.SqlClient.use((sql) => sql`SELECT ${secret}::text AS other`)
})

const BadLive = HttpApiBuilder.group(Api, "bad", (handlers) =>
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
    .handle("exists", () => Effect.fail(new FilesError.FileExistsError({ message: "a.csv exists", path: "a.csv" })))
    .handle("range", () => Effect.fail(new FilesError.InvalidRangeError({ message: "a.csv is short", path: "a.csv" })))
    .handle("torn", ({ request }) =>
      Effect.fail(
        new HttpServerError.HttpServerError({
          reason: new HttpServerError.RequestParseError({ request, reason: "Parse" })
        })
      )
    )
    .handle("lakebase", ({ payload }) =>
      SqlClient.SqlClient.use((sql) => Effect.asVoid(sql.unsafe(payload.text, payload.values)))
    )
    .handle("bug", () => Effect.die(new Error(secret)))
    .handle("slow", () => Effect.never.pipe(Operation.execute({ name: "slow", timeout: "5 millis" })))
    .handle("own", () =>
      Effect.fail(new HttpFailure.HttpFailure({ status: 418, body: { _tag: "Teapot", message: "Short and stout" } }))
    )
    .handle("page", () => Effect.void)
    .handle("wrong", () => Effect.succeed("wrong" as "right")) // what no type would let through
    .handle("rows", () => findRows(undefined))
)

const Routes = Layer.mergeAll(
  HttpApiBuilder.layer(Api).pipe(Layer.provide(BadLive), Layer.provide(Middleware.layerAsUser)),
  // asUser by hand, on a route that is no HttpApi: the failures of both are answered alike.
  HttpRouter.add(
    "GET",
    "/plain",
    Effect.gen(function* () {
      const request = yield* HttpServerRequest.HttpServerRequest
      const user = yield* Effect.provide(UserContext, ExecutionContext.asUser(request))
      return HttpServerResponse.text(user.userName)
    })
  ),
  HttpRouter.add(
    "GET",
    "/control",
    Effect.provide(
      Effect.as(UserContext, HttpServerResponse.text("never")),
      ExecutionContext.asUser({ "x-forwarded-user": "u", "x-forwarded-access-token": "sec\r\nret-token" })
    )
  ),
  HttpRouter.add(
    "GET",
    "/plain/rows",
    Effect.flatMap(findRows(undefined), (rows) => HttpServerResponse.json(rows))
  ),
  HttpRouter.add(
    "POST",
    "/plain/body",
    HttpServerRequest.schemaBodyJson(Row).pipe(
      HttpFailure.orBadRequest,
      Effect.flatMap((row) => HttpServerResponse.json(row))
    )
  ),
  HttpRouter.add("GET", "/teapot", Effect.die(HttpServerResponse.text("itself", { status: 418 })))
).pipe(Layer.provide(Middleware.layerFailures))

// SqlWarehouse is outside of serve: that is where handlers look for it.
export const served = (options?: { readonly development?: boolean }) =>
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

/** Calls as alice and looks at all that every failure must have. */
export const failing = Effect.fnUntraced(function* (
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

export const serverError = { message: "Server error" }

/** It lives, and has put no token into a log or a span: the last test of those that fail. */
export const recordsNoToken = Effect.gen(function* () {
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
