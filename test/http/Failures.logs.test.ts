import { assert, layer } from "@effect/vitest"
import { Lakebase, Middleware, ServerSentEvents, SqlWarehouse } from "effect-databricks"
import { LocalWorkspace } from "effect-databricks/testing"
import { type Context, Effect, Layer, Schema, Stream, type Tracer } from "effect"
import { HttpRouter, HttpServerRequest, HttpServerResponse } from "effect/http"
import { inspect } from "node:util"
import { lakebase } from "../fixtures/lakebaseClient.ts"
import { alice } from "../fixtures/people.ts"
import { serve, Served } from "./harness.ts"

const text = new TextEncoder()
const streamed = <A, E, R>(rows: Stream.Stream<A, E, R>) =>
  Effect.contextWith((context: Context.Context<R>) =>
    Effect.succeed(
      HttpServerResponse.stream(
        Stream.provideContext(
          Stream.map(rows, (row) => text.encode(JSON.stringify(row))),
          context
        ),
        { contentType: "application/json" }
      )
    )
  )

/** Fails at the second row. */
const broken = Stream.unwrap(
  Effect.map(Lakebase.user, (sql) => sql`SELECT 1 / (2 - n) AS v FROM generate_series(1, ${3}::int) AS n`.stream)
)

const json = HttpServerResponse.jsonUnsafe("fine")

/** Runs the statement of the request, in the way that the path names. */
const run = Effect.gen(function* () {
  const request = yield* HttpServerRequest.HttpServerRequest
  const { sql: query, values = [] } = yield* HttpServerRequest.schemaBodyJson(
    Schema.Struct({
      sql: Schema.String,
      values: Schema.optionalKey(Schema.Array(Schema.Union([Schema.String, Schema.Number])))
    })
  )
  const sql = yield* Lakebase.user
  const warehouse = yield* SqlWarehouse.user
  const parameters = Object.fromEntries(values.map((value, index) => [`v${index + 1}`, value]))
  switch (request.url) {
    case "/warehouse":
      return yield* Effect.as(warehouse.queryText()(query, parameters), json)
    case "/warehouse/events":
      return yield* ServerSentEvents.toResponse(warehouse.streamText()(query, parameters))
    case "/lakebase":
      return yield* Effect.as(sql.unsafe(query, values), json)
    case "/lakebase/defect":
      return yield* Effect.as(Effect.orDie(sql.unsafe(query, values)), json) // as an application may write it
    case "/lakebase/transaction":
      return yield* Effect.as(sql.withTransaction(sql.withTransaction(sql.unsafe(query, values))), json)
    default:
      return yield* ServerSentEvents.toResponse(sql.unsafe(query, values).stream)
  }
})

const paths = [
  ["/warehouse", "sql.query"],
  ["/warehouse/events", "sql.stream"],
  ["/lakebase", "lakebase.query"],
  ["/lakebase/defect", "lakebase.query"],
  ["/lakebase/transaction", "lakebase.transaction"],
  ["/lakebase/events", "lakebase.stream"]
] as const

const asUser = Layer.mergeAll(
  HttpRouter.addAll(paths.map(([path]) => HttpRouter.route("POST", path, run))),
  HttpRouter.add(
    "POST",
    "/misplaced",
    SqlWarehouse.query()`SELECT '${"hush"}' AS v`.pipe(Effect.andThen(HttpServerResponse.json))
  ),
  HttpRouter.add("GET", "/broken", streamed(broken)),
  HttpRouter.add("GET", "/bug", streamed(Stream.concat(Stream.make(1), Stream.die(new Error("a bug"))))),
  HttpRouter.add("GET", "/interrupted", streamed(Stream.concat(Stream.make(1), Stream.fromEffect(Effect.interrupt))))
).pipe(Layer.provide(Middleware.asUser.layer))

const services = Layer.merge(SqlWarehouse.layer, lakebase())

const call = (method: string, path: string, body?: unknown) =>
  Effect.gen(function* () {
    const { call, logs } = yield* Served
    const { headers } = yield* LocalWorkspace.LocalWorkspace
    const before = logs.length
    const answer = yield* Effect.exit(call(method, path, { headers: yield* headers(alice), body }))
    return { answer, errors: logs.slice(before).filter((_) => _.level === "Error") }
  })

const failed = (status: Tracer.SpanStatus) => status._tag === "Ended" && status.exit._tag === "Failure"

const rows = LocalWorkspace.LocalWorkspace.use(({ administer }) =>
  administer(`
    CREATE TABLE people (email text PRIMARY KEY CHECK (email <> 'forbidden@x'), friend text REFERENCES people, age int NOT NULL);
    INSERT INTO people VALUES ('hidden-row@x', NULL, 2077123987);
    GRANT SELECT, INSERT, UPDATE, DELETE ON people TO PUBLIC;
    CREATE FUNCTION speaks(v text) RETURNS int LANGUAGE plpgsql AS $$
      BEGIN
        EXECUTE format('SELECT nothing(%L)', v);
        RETURN 1;
      END $$;
    CREATE FUNCTION raises(v text) RETURNS int LANGUAGE plpgsql AS $$
      BEGIN
        RAISE EXCEPTION 'no such order: %', v USING DETAIL = 'detail ' || v, HINT = 'hint ' || v;
      END $$;
  `)
)

layer(Layer.effectDiscard(rows).pipe(Layer.provideMerge(LocalWorkspace.layer())), {
  timeout: "60 seconds",
  excludeTestServices: true
})("A failed statement", (it) => {
  it.layer(serve(asUser.pipe(Layer.provide(Middleware.layerFailures)), { services }))("under Failures", (it) => {
    it.effect("is logged with its operation, caller and text, and masked, when it is the application's mistake", () =>
      Effect.gen(function* () {
        const { logs } = yield* Served
        for (const [path, operation] of paths) {
          for (const sql of ["SELEC 1", "SELECT * FROM nowhere", "SELECT nope FROM people", "SELECT 1 / 0 AS v"]) {
            const before = logs.length
            const { answer, errors } = yield* call("POST", path, { sql })
            assert(answer._tag === "Success")
            assert.include(answer.value.text, "Server error", path)
            assert.isTrue(answer.value.status === 500 || path.endsWith("/events"), `${path} ${answer.value.status}`)
            assert.lengthOf(errors, 1, inspect(logs.slice(before)))
            const [{ text }] = errors as [(typeof errors)[0]]
            assert.include(text, `"operation.name":"${operation}"`)
            assert.include(text, `"caller.id":"`)
            assert.include(text, `"execution.context":"user"`)
            assert.include(text, `"db.query.text":${JSON.stringify(sql)}`)
          }
        }
      })
    )

    it.effect("is logged, and masked as a 500, when an interpolation stands where SQL takes no value", () =>
      Effect.gen(function* () {
        const { answer, errors } = yield* call("POST", "/misplaced")
        assert(answer._tag === "Success")
        assert.strictEqual(answer.value.status, 500)
        assert.deepStrictEqual(answer.value.json, { _tag: "SqlParameterError", message: "Server error" })
        assert.lengthOf(errors, 1)
        assert.include(errors[0]!.text, `"db.query.text":"SELECT ':p_1' AS v"`)
        assert.include(errors[0]!.text, "is inside quotes")
        assert.notInclude(errors[0]!.text, "hush")
      })
    )

    it.effect("is logged with at most 2,000 characters of its text", () =>
      Effect.gen(function* () {
        const { errors } = yield* call("POST", "/lakebase", { sql: `SELEC ${"x".repeat(9_999)}` })
        assert.match(errors[0]!.text, /"db.query.text":"SELEC x{1994}…"/)
      })
    )

    it.effect("is answered with 400 and not logged as an error when a bound value does not fit", () =>
      Effect.gen(function* () {
        for (const [path, sql, values] of [
          ["/warehouse", "SELECT 1 / :v1 AS v", [0]],
          ["/warehouse", "SELECT CAST(:v1 AS INT) AS v", ["a word"]],
          ["/lakebase", "SELECT 1 / $1::int", [0]],
          ["/lakebase", "SELECT $1::int", ["a word"]],
          ["/lakebase/defect", "SELECT $1::int", ["a word"]],
          ["/lakebase/transaction", "SELECT $1::smallint", [99_999]]
        ] as const) {
          const { answer, errors } = yield* call("POST", path, { sql, values })
          assert(answer._tag === "Success")
          const status = path === "/lakebase/defect" ? 500 : 400
          assert.strictEqual(answer.value.status, status, answer.value.text)
          assert.lengthOf(errors, status === 500 ? 1 : 0)
        }
      })
    )

    it.effect("puts no value of a parameter or a row into a response, a log or a span", () =>
      Effect.gen(function* () {
        const { everythingRecorded, spans } = yield* Served
        const secret = "secret-value@x"
        const received: Array<string> = []
        for (const [sql, values] of [
          ["INSERT INTO people VALUES ($1, NULL, 1), ($1, NULL, 2)", [secret]],
          ["INSERT INTO people SELECT email, NULL, 1 FROM people WHERE $1 <> ''", [secret]],
          ["INSERT INTO people VALUES ($1, $2, 1)", [secret, "secret-friend@x"]],
          ["INSERT INTO people VALUES ($1, NULL, NULL)", [secret]],
          ["INSERT INTO people VALUES ('forbidden@x', $1, 1)", [secret]],
          ["UPDATE people SET age = NULL WHERE $1 <> ''", [secret]],
          ["SELECT $1::int", [secret]],
          ["SELECT email::int, $1::text FROM people", [secret]],
          ["SELECT age::int2, $1::text FROM people", [secret]],
          ["SELECT $1::timestamptz", [secret]],
          ["SELECT $1::json", [secret]],
          ["SELECT $1::int[]", [`{"${secret}"}`]],
          ["SELECT $1::text::regclass", ["secret_value_x"]],
          ["SELECT set_config('TimeZone', $1, true)", [secret]],
          ["SELECT set_config($1, 'x', true)", [secret]],
          ["SELECT has_table_privilege($1, 'people', 'SELECT')", [secret]],
          ["SELECT speaks($1)", [secret]],
          ["SELECT raises($1)", [secret]],
          ["SELECT regexp_match('a', '(' || $1)", [secret]]
        ] as const) {
          for (const [path] of paths.filter(([path]) => path.startsWith("/lakebase"))) {
            const { answer } = yield* call("POST", path, { sql, values })
            assert(answer._tag === "Success")
            assert.match(answer.value.text, /"_tag"|event: error/, sql)
            received.push(answer.value.text)
          }
        }
        for (const sql of ["SELECT CAST(:v1 AS INT) AS v", "SELECT CAST(email AS INT), :v1 FROM people"]) {
          for (const path of ["/warehouse", "/warehouse/events"]) {
            const { answer } = yield* call("POST", path, { sql, values: [secret] })
            assert(answer._tag === "Success")
            received.push(answer.value.text)
          }
        }
        const recorded = [
          ...received,
          everythingRecorded(),
          ...spans.map(({ status }) => (failed(status) ? inspect(status, { depth: 20 }) : ""))
        ].join("\n")
        assert.include(recorded, "people")
        for (const value of ["secret-value", "secret-friend", "secret_value", "hidden-row", "2077123987"]) {
          const at = recorded.indexOf(value)
          assert.strictEqual(at, -1, recorded.slice(Math.max(0, at - 300), at + 100))
        }
      })
    )
  })

  const breaksOff = Effect.gen(function* () {
    for (const [path, said] of [
      ["/broken", "division by zero"],
      ["/bug", "a bug"],
      ["/interrupted", "The request was interrupted"]
    ] as const) {
      const { answer, errors } = yield* call("GET", path)
      assert.strictEqual(answer._tag, "Failure", "the connection is cut")
      assert.lengthOf(errors, 1)
      assert.match(errors[0]!.text, /The response broke off/)
      assert.include(errors[0]!.text, said)
      assert.match(errors[0]!.text, /"execution.context":"user"/)
      assert.match(errors[0]!.text, /"caller.id":"/)
      if (path === "/broken")
        assert.match(errors[0]!.text, /"operation.name":"lakebase.stream".*generate_series\(1, \$1/)
    }
  })

  it.layer(serve(asUser.pipe(Layer.provide(Middleware.layerFailures)), { services }))("under Failures", (it) => {
    it.effect("is logged once when it breaks off a streamed response of a user", () => breaksOff)
  })

  it.layer(serve(asUser, { services }))("without Failures", (it) => {
    it.effect("is logged when it breaks off a streamed response of a user", () => breaksOff)
  })

  const Plain = HttpRouter.add(
    "GET",
    "/plain",
    streamed(Stream.concat(Stream.make(1), Stream.fail(new Error("half way"))))
  ).pipe(Layer.provide(Middleware.layerFailures))

  it.layer(serve(Plain))("without a caller", (it) => {
    it.effect("is logged when it breaks off a streamed response under Failures", () =>
      Effect.gen(function* () {
        const { answer, errors } = yield* call("GET", "/plain")
        assert.strictEqual(answer._tag, "Failure")
        assert.lengthOf(errors, 1)
        assert.match(errors[0]!.text, /The response broke off: 500 InternalServerError: half way/)
      })
    )
  })
})
