import { assert, describe, it, layer } from "@effect/vitest"
import { asUser, SqlParameter, SqlWarehouse } from "effect-databricks"
import { LocalWorkspace } from "effect-databricks/testing"
import { Effect, Layer, Schema } from "effect"
import {
  Caller,
  chunk,
  Live,
  misbehave,
  One,
  reasonOf,
  recording,
  start,
  statements,
  whoAmI
} from "./fixtures/sqlWarehouse.ts"
import { spansOf } from "./fixtures/spans.ts"
import { alice, as, bob } from "./fixtures/people.ts"
import { serviceContext } from "./fixtures/workspace.ts"

/** The RowDecodeError that a query fails with. */
const mismatchOf = <A, E, R>(query: Effect.Effect<A, E, R>) =>
  Effect.map(Effect.flip(query), (error) => {
    assert.instanceOf(error, SqlWarehouse.RowDecodeError)
    return error as SqlWarehouse.RowDecodeError // narrowed by the assertion
  })

layer(LocalWorkspace.layer({ rowsPerChunk: 3 }), { timeout: "60 seconds", excludeTestServices: true })(
  "SqlWarehouse.query",
  (it) => {
    it.layer(Live)("for several callers", (it) => {
      it.effect("runs as the caller of each call, through one SqlWarehouse built at start-up", () =>
        Effect.gen(function* () {
          const { servicePrincipal } = yield* LocalWorkspace.LocalWorkspace
          assert.strictEqual(yield* whoAmI, servicePrincipal.clientId)
          assert.strictEqual(yield* whoAmI.pipe(as(alice)), alice)
          assert.strictEqual(yield* whoAmI.pipe(as(bob)), bob)
          assert.strictEqual(yield* whoAmI, servicePrincipal.clientId)
        })
      )

      it.effect("runs 18 concurrent queries of three callers as the caller of each", () =>
        Effect.gen(function* () {
          const { servicePrincipal } = yield* LocalWorkspace.LocalWorkspace
          yield* misbehave({ kind: "pending", polls: 1, method: "POST", path: statements })
          const callers = Array.from({ length: 18 }, (_, index) => [alice, bob, servicePrincipal.clientId][index % 3]!)
          const answers = yield* Effect.forEach(
            callers,
            (caller) => (caller.includes("@") ? whoAmI.pipe(as(caller)) : whoAmI),
            { concurrency: "unbounded" }
          )
          assert.deepStrictEqual(answers, callers)
        }).pipe(Effect.scoped)
      )

      it.effect("opens one span with the statement's text and without the parameters' values", () =>
        Effect.gen(function* () {
          const { warehouseId } = yield* LocalWorkspace.LocalWorkspace
          const query = SqlWarehouse.query(One)`SELECT ${"a secret"} AS x`
          const { spans } = yield* spansOf(query.pipe(as(alice)))
          const operations = spans.filter((_) => _.attributes["operation.name"] === "sql.query")
          assert.lengthOf(operations, 1)
          const { name, attributes } = operations[0]!
          assert.strictEqual(name, "plugin.execute")
          assert.include(attributes, {
            "execution.context": "user",
            "warehouse.id": warehouseId,
            "db.query.text": "SELECT :p_1 AS x",
            "db.response.returned_rows": 1
          })
          assert.match(String(attributes["statement.id"]), /./)
          assert.notInclude(JSON.stringify(spans.map((_) => _.attributes)), "a secret")
        })
      )
    })

    it.layer(Live)("with parameters", (it) => {
      it.effect("sends each parameter with its SQL type", () =>
        Effect.gen(function* () {
          const Row = Schema.Struct({ type: Schema.String, text: Schema.NullOr(Schema.String) })
          const typed = (value: SqlParameter.Input) =>
            Effect.map(
              SqlWarehouse.query(Row)`SELECT pg_typeof(${value})::text AS type, ${value}::text AS text`,
              (rows) => [rows[0]?.type, rows[0]?.text]
            )
          const numbered = (value: SqlParameter.Input) =>
            Effect.map(
              SqlWarehouse.queryText(Row)("SELECT pg_typeof(:v)::text AS type, :v::text AS text", { v: value }),
              (rows) => [rows[0]?.type, rows[0]?.text]
            )
          assert.deepStrictEqual(yield* typed("it's"), ["text", "it's"])
          assert.deepStrictEqual(yield* typed(10), ["integer", "10"])
          assert.deepStrictEqual(yield* typed(2 ** 40), ["bigint", "1099511627776"])
          assert.deepStrictEqual(yield* typed(0.1), ["double precision", "0.1"])
          assert.deepStrictEqual(yield* typed(2n ** 62n), ["bigint", "4611686018427387904"])
          assert.deepStrictEqual(yield* typed(true), ["boolean", "true"])
          assert.deepStrictEqual(yield* typed(null), ["text", null])
          assert.deepStrictEqual(yield* typed(SqlParameter.date(null)), ["date", null])
          assert.deepStrictEqual(yield* typed(SqlParameter.date("2024-02-29")), ["date", "2024-02-29"])
          assert.deepStrictEqual(yield* numbered(SqlParameter.decimal("12.50")), ["numeric", "12.50"])
          assert.deepStrictEqual(yield* numbered(new Date(0)), ["timestamp with time zone", "1970-01-01 00:00:00+00"])
          const limited = yield* SqlWarehouse.query(One)`SELECT * FROM generate_series(1, 9) AS x LIMIT ${2}`
          assert.lengthOf(limited, 2)
        })
      )

      it.effect("sends hostile text as a value, and never as SQL", () =>
        Effect.gen(function* () {
          const attack = `'; DROP TABLE users; -- :p_2 \${x} \\' "`
          const Row = Schema.Struct({ a: Schema.String, b: Schema.String })
          const rows = yield* SqlWarehouse.query(Row)`SELECT ${attack} AS a, ${":p_1"} AS b`
          assert.deepStrictEqual(rows, [{ a: attack, b: ":p_1" }])
        })
      )

      it.effect("never binds a parameter to a marker that the template's text contains", () =>
        Effect.gen(function* () {
          const reason = yield* reasonOf(SqlWarehouse.query(One)`SELECT :p_1 AS x, ${"mine"} AS y`)
          assert.include(reason, { _tag: "StatementFailedError", sqlState: "42P02" })
          const rows = yield* SqlWarehouse.query(One)`SELECT ${1}AS x`
          assert.deepStrictEqual(rows, [{ x: "1" }])
        })
      )

      it.effect(
        "fails before anything is sent for an invalid value or name, and for an interpolation inside quotes",
        () =>
          Effect.gen(function* () {
            const seen = yield* recording
            const refused = [
              SqlWarehouse.query(One)`SELECT ${SqlParameter.date("2026-02-30")} AS x`,
              SqlWarehouse.query(One)`SELECT 'it is ${"x"}' AS x`,
              SqlWarehouse.queryText(One)("SELECT 1 AS x", { "": 1 }),
              SqlWarehouse.queryText(One)("SELECT :a AS x", { "a b": 1 })
            ]
            for (const query of refused) {
              assert.strictEqual((yield* Effect.flip(query))._tag, "SqlParameterError")
            }
            assert.lengthOf(yield* seen("POST", start), 0)
          })
      )
    })

    it.layer(Live)("with a row Schema", (it) => {
      it.effect("decodes values of every type into the types of the Schema", () =>
        Effect.gen(function* () {
          const Row = Schema.Struct({
            region: Schema.String,
            amount: Schema.Number,
            count: Schema.Int,
            big: Schema.BigInt,
            huge: Schema.BigInt,
            price: Schema.BigDecimal,
            rough: Schema.Number,
            flag: Schema.Boolean,
            nothing: Schema.NullOr(Schema.Number),
            word: Schema.NullOr(Schema.String),
            digits: Schema.String,
            maybe: Schema.optional(Schema.String),
            at: Schema.Date,
            tags: Schema.fromJsonString(Schema.Array(Schema.String)),
            parsed: Schema.NumberFromString
          })
          const rows = yield* SqlWarehouse.query(Row)`SELECT
            'EMEA' AS region, 1.5::float8 AS amount, count(*) AS count, 7::int8 AS big, 9007199254740993 AS huge,
            12.50::numeric(10,2) AS price, 0.25::numeric(10,2) AS rough, true AS flag, NULL::int AS nothing,
            'null' AS word, '007' AS digits, 'x' AS maybe, '2026-01-31T12:00:00Z'::timestamptz AS at,
            ARRAY['a', 'b'] AS tags, 12 AS parsed`
          const { price, ...row } = rows[0]!
          assert.strictEqual(String(price), "BigDecimal(12.5)")
          assert.deepStrictEqual(row, {
            region: "EMEA",
            amount: 1.5,
            count: 1,
            big: 7n,
            huge: 9007199254740993n,
            rough: 0.25,
            flag: true,
            nothing: null,
            word: "null",
            digits: "007",
            maybe: "x",
            at: new Date("2026-01-31T12:00:00Z"),
            tags: ["a", "b"],
            parsed: 12
          })
        })
      )

      it.effect("returns the rows of every chunk, in order", () =>
        Effect.gen(function* () {
          const seen = yield* recording
          yield* misbehave({ kind: "delay", duration: "50 millis", path: (path) => path.endsWith("/chunks/1") })
          yield* misbehave({ kind: "answer", status: 503, path: (path) => path.endsWith("/chunks/2"), times: 1 })
          const Row = Schema.Struct({ x: Schema.Int })
          const rows = yield* SqlWarehouse.query(Row)`SELECT x FROM generate_series(1, 20) AS x ORDER BY x`
          assert.deepStrictEqual(
            rows.map((_) => _.x),
            Array.from({ length: 20 }, (_, index) => index + 1)
          )
          assert.lengthOf(yield* seen("GET", chunk), 7)
        }).pipe(Effect.scoped)
      )

      it.effect("returns an empty array for a statement without rows", () =>
        Effect.gen(function* () {
          assert.deepStrictEqual(yield* SqlWarehouse.query(One)`SELECT 1 AS x WHERE false`, [])
          assert.deepStrictEqual(yield* SqlWarehouse.query(One)`CREATE TEMP TABLE none (x int)`, [])
        })
      )

      it.effect("fails with the number and the column of a row that does not match", () =>
        Effect.gen(function* () {
          const Row = Schema.Struct({ x: Schema.Number })
          const isNull = yield* mismatchOf(SqlWarehouse.query(Row)`SELECT x FROM (VALUES (1), (NULL)) AS t (x)`)
          assert.include(isNull, { row: 2, column: "x" })
          assert.match(isNull.message, /^Row 2, column "x" \(INT\) does not match the Schema: /)
          const rounded = yield* mismatchOf(SqlWarehouse.query(Row)`SELECT 9007199254740993 AS x`)
          assert.include(rounded, { row: 1, column: "x" })
          const text = yield* mismatchOf(SqlWarehouse.query(Row)`SELECT 'a secret' AS x`)
          assert.notInclude(text.message, "secret")
          const missing = yield* mismatchOf(SqlWarehouse.query(Row)`SELECT 1 AS y`)
          assert.include(missing, { row: 1, column: "x" })
          const twice = yield* mismatchOf(SqlWarehouse.query(Row)`SELECT 1 AS x, 2 AS x`)
          assert.deepStrictEqual([twice.row, twice.column], [undefined, "x"])
        })
      )

      it.effect("returns at most rowLimit rows, and execute reports whether it truncated them", () =>
        Effect.gen(function* () {
          const { execute } = yield* SqlWarehouse.SqlWarehouse
          const text = "SELECT * FROM generate_series(1, 9) AS x"
          const some = yield* execute({ text }, { rowLimit: 4 })
          assert.deepStrictEqual([some.rows.length, some.truncated], [4, true])
          const all = yield* execute({ text }, { rowLimit: 9 })
          assert.deepStrictEqual([all.rows.length, all.truncated], [9, false])
        })
      )
    })

    it.layer(Live)("on a bad response", (it) => {
      it.effect("fails with UnknownWarehouseError for a warehouse that does not exist", () =>
        Effect.gen(function* () {
          const reason = yield* reasonOf(SqlWarehouse.query(One, { warehouseId: "nope" })`SELECT 1 AS x`)
          assert.include(reason, { _tag: "UnknownWarehouseError", warehouseId: "nope" })
        })
      )

      it.effect("fails with MissingScopeError for a token without the scope sql", () =>
        Effect.gen(function* () {
          const headers = yield* LocalWorkspace.LocalWorkspace.use((_) =>
            _.headers(alice, { scopes: ["iam.current-user:read"] })
          )
          const reason = yield* reasonOf(whoAmI.pipe(Effect.provide(asUser(headers))))
          assert.include(reason, { _tag: "MissingScopeError", scope: "sql" })
        })
      )

      it.effect("fails with InvalidResponseError for a body that is cut off", () =>
        Effect.gen(function* () {
          yield* misbehave({ kind: "truncate", method: "POST", path: statements, times: 1 })
          assert.include(yield* reasonOf(whoAmI), { _tag: "InvalidResponseError" })
        }).pipe(Effect.scoped)
      )
    })

    it.layer(SqlWarehouse.layer.pipe(Layer.provideMerge(serviceContext({ DATABRICKS_WAREHOUSE_ID: "" }))))(
      "without a warehouse id",
      (it) => {
        it.effect("fails and names DATABRICKS_WAREHOUSE_ID, unless its options have a warehouseId", () =>
          Effect.gen(function* () {
            const { warehouseId } = yield* LocalWorkspace.LocalWorkspace
            const error = yield* Effect.flip(whoAmI)
            assert.strictEqual(error._tag, "ServiceContextError")
            assert.include(error.message, "DATABRICKS_WAREHOUSE_ID")
            assert.lengthOf(yield* SqlWarehouse.query(One, { warehouseId })`SELECT 1 AS x`, 1)
          })
        )
      }
    )
  }
)

describe("SqlWarehouse without a workspace", () => {
  it.effect("runs queries over a Layer.mock that has execute only", () =>
    Effect.gen(function* () {
      const seen: Array<SqlWarehouse.Statement> = []
      const Swapped = Layer.mock(SqlWarehouse.SqlWarehouse, {
        execute: (statement) =>
          Effect.sync(() => {
            seen.push(statement)
            const columns = [{ name: "caller", type_text: "STRING", type_name: "STRING" }]
            return { statementId: "1", columns, rows: [["nobody"]], truncated: false }
          })
      })
      const query = SqlWarehouse.query(Caller)`SELECT ${1} AS caller`
      assert.deepStrictEqual(yield* query.pipe(Effect.provide(Swapped)), [{ caller: "nobody" }])
      assert.deepStrictEqual(seen, [{ text: "SELECT :p_1 AS caller", parameters: { p_1: 1 } }])
    })
  )

  it.effect("fails in valuesOf with the row and the column of a value that does not match its type", () =>
    Effect.gen(function* () {
      const columns = [{ name: "a", type_text: "INT", type_name: "INT" }]
      const error = yield* mismatchOf(SqlWarehouse.valuesOf({ columns, rows: [["1"], ["x"]] }))
      assert.include(error, { _tag: "RowDecodeError", row: 2, column: "a" })
      assert.strictEqual(error.message, 'Row 2, column "a": the value does not match INT')
    })
  )
})
