import { assert, layer } from "@effect/vitest"
import { Queries, ResumableStreams, SqlWarehouse } from "effect-databricks"
import { LocalWorkspace } from "effect-databricks/testing"
import * as Analytics from "effect-databricks/appkit/Analytics"
import * as Policy from "effect-databricks/appkit/Policy"
import { Deferred, Effect, Fiber, Layer } from "effect"
import { describe as describeQuery } from "../../src/cli/generate/describe.ts"
import { ofRegistry } from "../../src/cli/generate/registry.ts"
import { eventually } from "../fixtures/eventually.ts"
import { alice, bob, requestOf } from "../fixtures/people.ts"
import { cancel, Live, misbehave, pending, poll, recording, start, statements } from "../fixtures/sqlWarehouse.ts"
import { eventsOf } from "../fixtures/sse.ts"
import { serve, Served } from "../http/harness.ts"
import { app, fetched, post } from "./analytics.ts"

const everyType = `SELECT 1::smallint AS a, 2::int AS b, 9007199254740993::bigint AS c, 1.5::float4 AS d, 2.5::float8 AS e,
  12.50::numeric(10, 2) AS f, true AS g, 'x'::bytea AS h, date '2026-01-31' AS i, timestamptz '2026-01-31T12:00:00Z' AS j,
  timestamp '2026-01-31 12:00:00' AS k, 'text' AS l, ARRAY[1, NULL] AS m, '{"a": [1]}'::jsonb AS n, NULL::int AS o,
  float8 'NaN' AS p, interval '1 day' AS q`

const texts = {
  "who.sql": "SELECT current_user AS who",
  "mine.obo.sql": "SELECT current_user AS who",
  "numbers.sql": "-- @param count INT\nSELECT i AS x FROM generate_series(1, :count) i",
  "large.sql": "-- @param bytes INT\nSELECT repeat('x', 1000) AS x FROM generate_series(1, :bytes / 1000)",
  "none.sql": "SELECT 1 AS x WHERE false",
  "twice.sql": "SELECT 1 AS x, 2 AS x",
  "wrong.sql": "SELECT 'secret' || 1 / 0 AS x",
  "slow.obo.sql": "SELECT pg_sleep(60)",
  "every-type.sql": everyType,
  "typed.sql": [
    "-- @param day DATE",
    "-- @param at TIMESTAMP",
    "-- @param limit INT",
    "-- @param price DECIMAL(10,2)",
    "-- @param ok BOOLEAN",
    "-- @param bytes BINARY",
    "-- @param name STRING DEFAULT 'nobody'",
    "-- @param ids BIGINT[] DEFAULT (1, 2)",
    "SELECT :day AS day, :at AS at, :limit AS n, :price AS price, :ok AS ok, :bytes AS bytes, :name AS name,",
    "7 IN (:ids) AS listed"
  ].join("\n")
}

const typed = {
  day: { __sql_type: "DATE", value: "2026-01-31" },
  at: { __sql_type: "TIMESTAMP", value: "2026-01-31T12:00:00Z" },
  limit: { __sql_type: "INT", value: "5" },
  price: { __sql_type: "NUMERIC", value: "12.50" },
  ok: { __sql_type: "BOOLEAN", value: "true" },
  bytes: { __sql_type: "STRING", value: "FF00" }
}

const path = (key: string) => `/api/analytics/query/${key}`
const json = (parameters: unknown = {}) => ({ parameters, format: "JSON_ARRAY" })

/** The data of the events that a query answers with. */
const dataOf = (key: string, parameters?: unknown, userName?: string) =>
  Effect.map(post(path(key), json(parameters), userName), ({ status, text }) => {
    assert.strictEqual(status, 200, text)
    return eventsOf(text).map(({ data }) => data as Record<string, any>) // oxlint-disable-line typescript/no-explicit-any
  })

const lastOf = (key: string, parameters?: unknown, userName?: string) =>
  Effect.map(dataOf(key, parameters, userName), (events) => events.at(-1)!)

const rowsOf = (key: string, parameters?: unknown, userName?: string) =>
  Effect.map(lastOf(key, parameters, userName), ({ data }) => data)

/** Answers the next questions for the state of the warehouse with this. */
const warehouseIs = (state: string, times?: number) =>
  misbehave({
    kind: "answer",
    status: 200,
    body: JSON.stringify({ state }),
    method: "GET",
    path: "/api/2.0/sql/warehouses/",
    ...(times !== undefined && { times })
  })

layer(LocalWorkspace.layer({ rowsPerChunk: 100 }), { timeout: "60 seconds", excludeTestServices: true })(
  "Analytics.layer",
  (it) => {
    it.layer(app(texts))("as JSON", (it) => {
      it.effect("sends the state of the warehouse, then the result with its rows by column name, and ends", () =>
        Effect.gen(function* () {
          const { headers, status, text } = yield* post(`${path("who")}?dev=tunnel`, json(), alice)
          assert.strictEqual(status, 200)
          assert.include(headers["content-type"], "text/event-stream")
          assert.match(headers["cache-control"]!, /private, no-store/)
          const [state, result, ...others] = eventsOf(text)
          assert.deepStrictEqual(others, [])
          const told = state!.data as { type: string; status: { state: string; elapsedMs: number } }
          assert.deepStrictEqual(told, {
            type: "warehouse_status",
            status: { state: "RUNNING", elapsedMs: told.status.elapsedMs }
          })
          assert.isAtLeast(told.status.elapsedMs, 0)
          const { statement_id, ...rest } = result!.data as Record<string, unknown>
          const { servicePrincipal } = yield* LocalWorkspace.LocalWorkspace
          assert.isString(statement_id)
          assert.deepStrictEqual(rest, { type: "result", data: [{ who: servicePrincipal.clientId }] })
        })
      )

      it.effect("runs key.obo.sql as each sender and key.sql as the app, each with the state of its warehouse", () =>
        Effect.gen(function* () {
          const { servicePrincipal } = yield* LocalWorkspace.LocalWorkspace
          const app = servicePrincipal.clientId
          for (const [key, sender, who] of [
            ["mine", alice, alice],
            ["mine", bob, bob],
            ["who", alice, app],
            ["who", undefined, app]
          ] as const) {
            const seen = yield* recording
            assert.deepStrictEqual(yield* rowsOf(key, {}, sender), [{ who }])
            const asked = [...(yield* seen("GET", /^\/api\/2.0\/sql\/warehouses/)), ...(yield* seen("POST", start))]
            assert.deepStrictEqual(
              asked.map(({ user }) => user),
              [who, who]
            )
          }
          const [one, two] = yield* Effect.all([rowsOf("mine", {}, alice), rowsOf("mine", {}, bob)], { concurrency: 2 })
          assert.deepStrictEqual([one, two], [[{ who: alice }], [{ who: bob }]])
        })
      )

      it.effect(
        "answers key.obo.sql without a token with 401 as JSON, sends nothing, and goes on (AppKit's defect 1)",
        () =>
          Effect.gen(function* () {
            const seen = yield* recording
            for (const headers of [{}, { "x-forwarded-user": "1", "x-forwarded-email": alice }]) {
              for (const format of ["JSON_ARRAY", "ARROW_STREAM"]) {
                const answer = yield* post(path("mine"), { format }, undefined, headers)
                assert.strictEqual(answer.status, 401)
                assert.strictEqual(answer.json.plugin, "analytics")
                assert.isString(answer.json.error)
              }
            }
            assert.lengthOf(yield* seen("POST", start), 0)
            assert.lengthOf(yield* rowsOf("who"), 1)
          })
      )

      it.effect("refuses a header that names another person than the token", () =>
        Effect.gen(function* () {
          const own = yield* requestOf(bob)
          const answer = yield* post(path("mine"), json(), alice, { "x-forwarded-user": own["x-forwarded-user"]! })
          assert.strictEqual(answer.status, 403)
        })
      )

      const mistakes: ReadonlyArray<readonly [name: string, key: string, body: unknown, status: number, says: RegExp]> =
        [
          ["an unknown key", "constructor", json(), 404, /^Query not found$/],
          ["a key with a path", "..%2Fwho", json(), 404, /^Query not found$/],
          ["an unknown parameter", "who", json({ limit: 5 }), 400, /who has no parameter "limit"/],
          ["a missing parameter", "numbers", json(), 400, /requires the parameter :count \(INT\)/],
          ["a null", "numbers", json({ count: null }), 400, /requires the parameter :count/],
          [
            "a value of another type",
            "numbers",
            json({ count: { __sql_type: "STRING", value: "5; DROP" } }),
            400,
            /cannot use :count/
          ],
          ["a plain value of another type", "numbers", json({ count: "many" }), 400, /cannot use :count/],
          ["a fraction for an INT", "numbers", json({ count: 1.5 }), 400, /cannot use :count/],
          [
            "an unknown marker",
            "numbers",
            json({ count: { __sql_type: "RAW", value: "1" } }),
            400,
            /parameters\.count/
          ],
          ["a marker without a value", "numbers", json({ count: { __sql_type: "INT" } }), 400, /parameters\.count/],
          ["a format that is not known", "who", { format: "CSV" }, 400, /format/],
          ["parameters that are a list", "who", { parameters: [1] }, 400, /parameters/],
          ["a body that is not JSON", "who", "{", 400, /./],
          ["a body that is too large", "who", json({ x: "x".repeat(1_100_000) }), 413, /larger/]
        ]
      it.effect.each(mistakes)(
        "answers %s as JSON before a stream begins, and sends nothing (AppKit's defect 14)",
        ([, key, body, status, says]) =>
          Effect.gen(function* () {
            const seen = yield* recording
            const answer = yield* post(path(key), body, alice)
            assert.strictEqual(answer.status, status, answer.text)
            assert.match(answer.headers["content-type"]!, /^application\/json/)
            assert.match(answer.json.error, says)
            assert.lengthOf(yield* seen("POST", start), 0)
          })
      )

      it.effect("binds the markers of every type, plain values in their place, and leaves out hints and nulls", () =>
        Effect.gen(function* () {
          const expected = { day: "2026-01-31", n: "5", price: "12.50", ok: "true", name: "nobody", listed: "false" }
          const plain = Object.fromEntries(Object.entries(typed).map(([name, { value }]) => [name, value]))
          for (const parameters of [
            typed,
            { ...typed, name: null, _preferArrow: true },
            { ...plain, limit: 5, ok: true, price: 12.5, _preferJson: true }
          ]) {
            const [row] = yield* rowsOf("typed", parameters)
            for (const [name, value] of Object.entries(expected)) {
              assert.strictEqual(Number(row[name]) || row[name], Number(value) || value, name)
            }
          }
          for (const ids of [["7", "8"], [7], [{ __sql_type: "BIGINT", value: "7" }]]) {
            const [row] = yield* rowsOf("typed", { ...typed, ids, name: { __sql_type: "STRING", value: "Ann" } })
            assert.deepInclude(row, { listed: "true", name: "Ann" })
          }
        })
      )

      it.effect("binds the parameters of a request once, as JSON and as Arrow", () =>
        Effect.gen(function* () {
          const bound: Array<string> = []
          const counted = Layer.effect(
            Queries.Queries,
            Effect.map(Queries.Queries, ({ bind, definitions }) => ({
              definitions,
              bind: (key: string, parameters: Queries.Parameters) =>
                Effect.andThen(
                  Effect.sync(() => bound.push(key)),
                  bind(key, parameters)
                )
            }))
          )
          const services = Layer.mergeAll(
            ResumableStreams.layer,
            SqlWarehouse.layer,
            Layer.provide(counted, Queries.layerRecord(texts))
          )
          const answers = Effect.all([
            post(path("numbers"), json({ count: 2 })),
            post(path("numbers"), { parameters: { count: 2 }, format: "ARROW_STREAM" }),
            post(path("mine"), json(), alice)
          ])
          for (const { status } of yield* Effect.provide(answers, serve(Analytics.layer(), { services }))) {
            assert.strictEqual(status, 200)
          }
          assert.deepStrictEqual(bound, ["numbers", "numbers", "mine"])
        })
      )

      it.effect("returns all rows of a result of many chunks, and of one above 1 MiB (AppKit's defects 5 and 14)", () =>
        Effect.gen(function* () {
          const rows = yield* rowsOf("numbers", { count: 1_234 })
          assert.deepStrictEqual(
            rows,
            Array.from({ length: 1_234 }, (_, index) => ({ x: String(index + 1) }))
          )
          assert.lengthOf(yield* rowsOf("large", { bytes: 3_000_000 }), 3_000)
          assert.deepStrictEqual(yield* rowsOf("none"), [])
        })
      )

      it.effect("ends a result that is too large for the page with an error that names Arrow", () =>
        Effect.gen(function* () {
          const { error, errorCode, type } = yield* lastOf("large", { bytes: 6_000_000 })
          assert.deepStrictEqual([type, errorCode], ["error", "RESULT_TOO_LARGE_FOR_JSON_FALLBACK"])
          assert.match(error, /Arrow/)
        })
      )

      it.effect(
        "ends a result that the warehouse truncated with an error, as JSON and as Arrow (AppKit's defect 5)",
        () =>
          Effect.gen(function* () {
            const body = JSON.stringify({
              statement_id: "cut",
              status: { state: "SUCCEEDED" },
              manifest: {
                truncated: true,
                schema: { columns: [{ name: "x", type_text: "INT", type_name: "INT" }] },
                total_chunk_count: 1,
                total_row_count: 1
              },
              result: { chunk_index: 0, row_count: 1, row_offset: 0, data_array: [["1"]] }
            })
            yield* misbehave({ kind: "answer", status: 200, body, method: "POST", path: statements, times: 2 })
            assert.deepInclude(yield* lastOf("who"), { type: "error", errorCode: "RESULT_TRUNCATED" })
            const { json: answer, status } = yield* post(path("who"), { format: "ARROW_STREAM" })
            assert.strictEqual(status, 413)
            assert.strictEqual(answer.errorCode, "RESULT_TRUNCATED")
          }).pipe(Effect.scoped)
      )

      it.effect("ends a result with two columns of one name with an error that names it", () =>
        Effect.gen(function* () {
          const event = yield* lastOf("twice")
          assert.deepInclude(event, { type: "error", errorCode: "REPEATED_COLUMN" })
          assert.match(event["error"], /two columns "x"/)
        })
      )

      it.effect("tells the page that a query failed, and the log why (AppKit's defect 14)", () =>
        Effect.gen(function* () {
          const { logs } = yield* Served
          const event = yield* lastOf("wrong")
          assert.strictEqual(event["type"], "error")
          assert.strictEqual(event["plugin"], "analytics")
          assert.notMatch(JSON.stringify(event), /division|zero|22012|secret/i)
          yield* eventually(() => logs.some(({ text }) => /division by zero/.test(text)))
        })
      )

      it.effect("sends each state of a warehouse that starts, with the time since the request", () =>
        Effect.gen(function* () {
          yield* warehouseIs("STARTING", 1)
          const events = yield* dataOf("who")
          assert.deepStrictEqual(
            events.map(({ status, type }) => status?.state ?? type),
            ["STARTING", "RUNNING", "result"]
          )
          assert.isAbove(events[1]!["status"].elapsedMs, events[0]!["status"].elapsedMs)
        }).pipe(Effect.scoped)
      )

      it.effect("ends with WAREHOUSE_UNAVAILABLE for a warehouse that is deleted, and sends no statement", () =>
        Effect.gen(function* () {
          const seen = yield* recording
          yield* warehouseIs("DELETED", 2)
          assert.deepInclude(yield* lastOf("who"), {
            type: "error",
            errorCode: "WAREHOUSE_UNAVAILABLE",
            plugin: "analytics"
          })
          const { json: answer, status } = yield* post(path("who"), { format: "ARROW_STREAM" })
          assert.strictEqual(status, 503)
          assert.deepInclude(answer, { errorCode: "WAREHOUSE_UNAVAILABLE", plugin: "analytics" })
          assert.lengthOf(yield* seen("POST", start), 0)
        }).pipe(Effect.scoped)
      )

      it.effect("continues after the last event that a page has, with the same statement, for its sender only", () =>
        Effect.gen(function* () {
          const seen = yield* recording
          const first = eventsOf((yield* post(path("mine"), json(), alice)).text)
          const headers = { "last-event-id": first[0]!.id! }
          const again = eventsOf((yield* post(path("mine"), json(), alice, headers)).text)
          assert.deepStrictEqual(again, [first[1]])
          assert.lengthOf(yield* seen("POST", start), 1)
          const others = eventsOf((yield* post(path("mine"), json(), bob, headers)).text)
          assert.deepStrictEqual((others.at(-1)!.data as { data: unknown }).data, [{ who: bob }])
        })
      )

      it.effect("cancels the statement as its user when the page leaves, as JSON and as Arrow", () =>
        Effect.gen(function* () {
          for (const format of ["JSON_ARRAY", "ARROW_STREAM"]) {
            const seen = yield* recording
            yield* pending(1_000)
            const page = yield* Effect.forkChild(fetched(path("slow"), { format }, alice))
            yield* eventually(seen("POST", start), ({ length }) => length > 0)
            yield* eventually(seen("GET", poll), ({ length }) => length > 0)
            yield* Fiber.interrupt(page)
            const [cancelled] = yield* eventually(seen("POST", cancel), ({ length }) => length > 0)
            assert.strictEqual(cancelled?.user, alice)
          }
        }).pipe(Effect.scoped)
      )

      it.effect("delivers the types that the generated QueryRegistry declares, for every type of a column", () =>
        Effect.gen(function* () {
          const { definitions } = yield* Effect.provide(
            Queries.Queries,
            Layer.provide(Queries.layerRecord(texts), Live)
          )
          const definition = definitions.get("every-type")!
          const columns = yield* Effect.provide(describeQuery(definition, {}), Live)
          const [row] = yield* rowsOf("every-type")
          assert.deepStrictEqual(
            Object.keys(row),
            columns.map(({ name }) => name)
          )
          const entry = ofRegistry.entryOf(definition, columns)
          for (const [name, value] of Object.entries(row)) {
            const [, type] = new RegExp(`^ +${name}: (.*)$`, "m").exec(entry)!
            assert.include(type!.split(" | "), value === null ? "null" : typeof value, name)
          }
          assert.deepInclude(row, { b: "2", c: "9007199254740993", f: "12.50", g: "true", i: "2026-01-31", o: null })
        })
      )
    })

    it.layer(app(texts, { keys: ["who", "mine"], policy: Policy.denyAll, startTimeout: "1 millis" }))(
      "with options",
      (it) => {
        it.effect("serves the keys of the list only", () =>
          Effect.gen(function* () {
            const { json: answer, status } = yield* post(path("numbers"), json({ count: 1 }), alice)
            assert.strictEqual(status, 404)
            assert.strictEqual(answer.error, "Query not found")
          })
        )

        it.effect("asks the policy about key.sql and not about key.obo.sql", () =>
          Effect.gen(function* () {
            const seen = yield* recording
            for (const sender of [alice, undefined]) {
              assert.strictEqual((yield* post(path("who"), json(), sender)).status, 403)
            }
            assert.lengthOf(yield* seen("POST", start), 0)
            assert.strictEqual((yield* post(path("mine"), json(), alice)).status, 200)
          })
        )

        it.effect("ends with WAREHOUSE_UNAVAILABLE if the warehouse does not run within startTimeout", () =>
          Effect.gen(function* () {
            yield* warehouseIs("STARTING")
            assert.deepInclude(yield* lastOf("mine", {}, alice), { errorCode: "WAREHOUSE_UNAVAILABLE" })
          }).pipe(Effect.scoped)
        )
      }
    )

    it.layer(app(texts, { timeout: "50 millis" }))("with a time limit", (it) => {
      it.effect(
        "ends a statement that exceeds it with TIMEOUT and 504, and cancels it (AppKit's defects 8 and 9)",
        () =>
          Effect.gen(function* () {
            const seen = yield* recording
            assert.deepInclude(yield* lastOf("slow", {}, alice), {
              type: "error",
              code: "TIMEOUT",
              error: "This took too long: try again"
            })
            const { json: answer, status } = yield* post(path("slow"), { format: "ARROW_STREAM" }, alice)
            assert.deepStrictEqual([status, answer.code], [504, "TIMEOUT"])
            yield* eventually(seen("POST", cancel), ({ length }) => length === 2)
          })
      )
    })

    const asked = Deferred.makeUnsafe<readonly [action: string, key: string, userName: string | undefined]>()
    it.layer(
      app(texts, {
        policy: (action, { key }, caller) =>
          Effect.as(Deferred.succeed(asked, [action, key, caller?.userName] as const), true)
      })
    )("with a policy", (it) => {
      it.effect("names the action, the key and the verified sender to the policy", () =>
        Effect.gen(function* () {
          yield* rowsOf("who", {}, bob)
          assert.deepStrictEqual(yield* Deferred.await(asked), ["query", "who", bob])
        })
      )
    })
  }
)
