import { assert, layer } from "@effect/vitest"
import { PgClient } from "@effect/sql-pg"
import { LocalWorkspace } from "effect-databricks/testing"
import { Effect, Layer, Schema, Stream } from "effect"
import { SqlClient } from "effect/sql"
import { Pool } from "pg"
import { HttpFailure, Lakebase } from "effect-databricks"
import { asAlice, asBob, Database } from "./fixtures/lakebaseClient.ts"
import { sqlErrorOf } from "./fixtures/lakebaseFaults.ts"
import { alice } from "./fixtures/people.ts"

const seed = LocalWorkspace.LocalWorkspace.use(({ administer, servicePrincipal }) =>
  administer(`
    CREATE TYPE mood AS ENUM ('glad', 'sad');
    CREATE DOMAIN cents AS int8 CHECK (VALUE >= 0);
    CREATE TABLE numbers (
      i2 int2, i4 int4, i8 int8, n numeric, f4 real, f8 float8, t text, d cents,
      ns numeric[], fs float8[], i8s int8[], ts text[], us uuid[], ms mood[], ds date[], bs bytea[]
    );
    CREATE TABLE keyed (i8 int8 PRIMARY KEY, n numeric UNIQUE, f8 float8);
    CREATE INDEX ON keyed (f8);
    INSERT INTO keyed SELECT i, i, i FROM generate_series(9007199254740980, 9007199254741000) i;
    INSERT INTO keyed (i8, n) VALUES (1, 19.99), (2, 19.990000000000001);
    CREATE TABLE moments (t timestamp, d date, tz timestamptz);
    GRANT ALL ON numbers, keyed, moments TO PUBLIC;
    ALTER ROLE "${alice}" SET timezone = 'America/New_York';
    ALTER ROLE "${alice}" SET datestyle = 'German, DMY';
    ALTER ROLE "${alice}" SET intervalstyle = 'sql_standard';
    ALTER ROLE "${alice}" SET extra_float_digits = -15;
    ALTER ROLE "${alice}" SET bytea_output = 'escape';
    ALTER ROLE "${alice}" SET array_nulls = off;
    ALTER ROLE "${alice}" SET standard_conforming_strings = off;
    ALTER ROLE "${alice}" SET client_encoding = 'LATIN1';
    ALTER ROLE "${servicePrincipal.clientId}" SET timezone = 'Asia/Kolkata';
  `)
)

const App = Layer.effectDiscard(seed).pipe(Layer.provideMerge(Database))

/** The text of a value in a column of the table, after it was bound and written. */
const written = (column: string, value: unknown) =>
  SqlClient.SqlClient.use((sql) =>
    Effect.gen(function* () {
      yield* sql`DELETE FROM numbers`
      yield* sql`INSERT INTO numbers (${sql(column)}) VALUES (${value})`
      const [row] = yield* sql<{ text: string | null }>`SELECT ${sql(column)}::text AS text FROM numbers`
      return row!.text
    })
  )

const numbers: ReadonlyArray<readonly [column: string, value: unknown, text: string]> = [
  ["n", 123456789012.3456, "123456789012.3456"],
  ["n", 0.1 + 0.2, "0.30000000000000004"],
  ["n", 9007199254740992, "9007199254740992"],
  ["n", 2 ** 60, "1152921504606847000"],
  ["n", 1e21, "1000000000000000000000"],
  ["n", 1.5e-9, "0.0000000015"],
  ["n", -0.000123, "-0.000123"],
  ["n", 12345678901234567890123n, "12345678901234567890123"],
  ["n", NaN, "NaN"],
  ["n", -Infinity, "-Infinity"],
  ["f8", 0.1 + 0.2, "0.30000000000000004"],
  ["f8", -0, "-0"],
  ["f8", 5e-324, "5e-324"],
  ["f8", Number.MAX_VALUE, "1.7976931348623157e+308"],
  ["f8", Infinity, "Infinity"],
  ["f4", 0.1, "0.1"],
  ["f4", 16777216, "1.6777216e+07"],
  ["i8", 4294967296, "4294967296"],
  ["i8", Number.MIN_SAFE_INTEGER, "-9007199254740991"],
  ["i4", -2147483648, "-2147483648"],
  ["i2", 7, "7"],
  ["d", 9007199254740991, "9007199254740991"],
  ["t", 1.5, "1.5"]
]

const lists: ReadonlyArray<readonly [column: string, value: unknown, text: string]> = [
  ["ns", [1, 2.5], "{1,2.5}"],
  ["ns", [123456789012.3456, 9007199254740992, 5], "{123456789012.3456,9007199254740992,5}"],
  ["ns", [1n, 0.1, "2.50"], "{1,0.1,2.50}"],
  ["ns", [null], "{NULL}"],
  ["ns", [], "{}"],
  [
    "ns",
    [
      [1, 2.5],
      [null, 9007199254740992]
    ],
    "{{1,2.5},{NULL,9007199254740992}}"
  ],
  ["ns", [NaN, 1], "{NaN,1}"],
  ["fs", [0.1, 2, -0], "{0.1,2,-0}"],
  ["fs", [-Infinity, 1.5], "{-Infinity,1.5}"],
  ["i8s", [1, 4294967296, 2n ** 62n], "{1,4294967296,4611686018427387904}"],
  ["i8s", [[1], [2]], "{{1},{2}}"],
  ["i8s", [undefined, 3], "{NULL,3}"],
  [
    "ts",
    ['a "quoted", {braced} \\ one', "", "NULL", null, " x "],
    `{"a \\"quoted\\", {braced} \\\\ one","","NULL",NULL," x "}`
  ],
  ["ts", [["a,b"], ["ü€😀"]], `{{"a,b"},{ü€😀}}`],
  ["ts", [1, "a", true, null], "{1,a,true,NULL}"],
  ["us", ["6f9619ff-8b86-d011-b42d-00c04fc964ff"], "{6f9619ff-8b86-d011-b42d-00c04fc964ff}"],
  ["ms", ["glad", null, "sad"], "{glad,NULL,sad}"],
  ["ms", [["glad"], ["sad"]], "{{glad},{sad}}"],
  ["ds", [new Date("2026-01-31T23:30:00Z"), "2026-02-01"], "{2026-01-31,2026-02-01}"],
  ["ds", [[new Date("-000043-03-15T00:00:00Z")]], `{{"0044-03-15 BC"}}`],
  ["bs", [[new Uint8Array([0, 255])], [null]], `{{"\\\\x00ff"},{NULL}}`]
]

layer(App, { timeout: "60 seconds", excludeTestServices: true })("Lakebase", (it) => {
  it.effect("binds a JavaScript number exactly in numeric, integer and float columns", () =>
    Effect.gen(function* () {
      for (const [column, value, text] of numbers) {
        assert.strictEqual(yield* written(column, value), text, `${column} ${String(value)}`)
      }
    })
  )

  it.effect("finds exactly the row of a number, by an index of numeric, int8 and float8", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      yield* sql.withTransaction(
        Effect.gen(function* () {
          yield* sql`SET LOCAL enable_seqscan = off`
          for (const [column, value, found] of [
            ["n", 9007199254740992, "9007199254740992"],
            ["i8", 9007199254740992, "9007199254740992"],
            ["n", 19.99, "1"],
            ["n", 1, ""],
            ["f8", 9007199254740984, "9007199254740984"],
            ["i8", 1, "1"]
          ] as const) {
            const where = sql`FROM keyed WHERE ${sql(column)} = ${value}`
            const rows = yield* sql<{ i8: string }>`SELECT i8 ${where}`
            assert.strictEqual(rows.map((_) => _.i8).join(), found, `${column} = ${value}`)
            const plan = JSON.stringify(yield* sql`EXPLAIN SELECT i8 ${where}`)
            assert.match(plan, /Index Cond/, `${column} = ${value}`)
          }
          const rows = yield* sql<{ i8: string }>`
            SELECT i8 FROM keyed WHERE n = ANY(${[19.99, 9007199254740992]}) ORDER BY i8`
          assert.deepStrictEqual(
            rows.map((_) => _.i8),
            ["1", "9007199254740992"]
          )
        })
      )
    })
  )

  it.effect("binds a number as the same number written in the statement", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      const [row] = yield* sql`
        SELECT ${7} AS a, ${1.5} * 2 AS b, 3 * ${0.5} AS c, jsonb_build_object('x', ${0.1}, 'y', ${2}) AS d,
               pg_typeof(${5000000000})::text AS e, date '2026-01-31' + ${1} AS f, ${1.5}::float8 AS g`
      assert.deepStrictEqual(row, {
        a: 7,
        b: "3.0",
        c: "1.5",
        d: { x: 0.1, y: 2 },
        e: "bigint",
        f: "2026-02-01",
        g: 1.5
      })
    })
  )

  it.effect("binds lists of mixed, nested, null and no elements to an array of the column's type", () =>
    Effect.gen(function* () {
      for (const [column, value, text] of lists) {
        assert.strictEqual(yield* written(column, value), text, `${column} ${text}`)
      }
      const sql = yield* SqlClient.SqlClient
      const id = "6f9619ff-8b86-d011-b42d-00c04fc964ff"
      yield* sql`INSERT INTO numbers (us, ms) VALUES (${[id]}, ${["sad"]})`
      const rows = yield* sql`
        SELECT ms FROM numbers WHERE us[1] = ANY(${[id]}) AND 'sad'::mood = ANY(${["glad", "sad"]})
        AND 3 = ANY(${[1, 2, 3]}) AND cardinality(${[1, null]}) = 2`
      assert.deepStrictEqual(rows, [{ ms: ["sad"] }])
    })
  )

  it.effect("refuses a value that Postgres has no type for, with the parameter's number", () =>
    Effect.gen(function* () {
      const sql = yield* PgClient.PgClient
      for (const [value, message] of [
        [sql.json(undefined), /^Parameter \$2 is sql\.json\(undefined\)/],
        [{ a: "secret" }, /^Parameter \$2 is an object.*sql\.json/],
        [[{ a: "secret" }], /^Parameter \$2 is an object/],
        [Symbol("secret"), /^Parameter \$2 is a symbol/],
        [new Date(NaN), /^Parameter \$2 is an invalid Date/],
        [[[new Date(NaN)]], /^Parameter \$2 is an invalid Date/],
        ["secret \ud800", /^Parameter \$2 contains half of a surrogate pair, which is not valid text/]
      ] as const) {
        const error = yield* sqlErrorOf(sql`SELECT ${1}, ${value}`)
        assert.match(error.message, message)
        assert.match((error.reason.cause as Error).message, message) // the response has this one
        assert.notInclude(String(error) + String(error.reason.cause), "secret")
      }
      const many = Array.from({ length: 33_000 }, (_, i) => ({ i4: i }))
      const error = yield* sqlErrorOf(sql`INSERT INTO numbers ${sql.insert(many as never)}`)
      assert.match(error.message, /at most 32767 parameters, and this one has 33000/)
    })
  )

  it.effect("answers 400 to text that Postgres cannot store, and 500 to a value without a type", () =>
    Effect.gen(function* () {
      const sql = yield* PgClient.PgClient
      const of = (value: unknown) => {
        const statement = sql`SELECT ${1}, ${value}::text`
        return Effect.forEach([statement, statement.values, Stream.runDrain(statement.stream)], (run) =>
          Effect.map(sqlErrorOf(run), (error) => HttpFailure.fromError(error, { development: true }))
        )
      }
      for (const value of ["\0", "\ud800", ["\ud800"], [["\udc00"]]]) {
        for (const { body, status } of yield* of(value))
          assert.deepInclude({ ...body, status }, { status: 400, _tag: "UnknownError" })
      }
      for (const { body, status } of yield* of(Symbol("a"))) {
        assert.strictEqual(status, 500)
        assert.match(body.message, /^Parameter \$2 is a symbol/)
      }
    })
  )

  it.effect("reads and writes a Date, an interval and floats alike for every role, whatever its settings are", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      const date = new Date("2026-01-31T23:30:00Z")
      const seen = Effect.gen(function* () {
        yield* sql`DELETE FROM moments`
        yield* sql`INSERT INTO moments VALUES (${date}, ${date}, ${date})`
        const rows = yield* sql`
          SELECT t::text AS t, d::text AS d, tz::text AS tz, t AS td, ${"1 2:03"}::interval::text AS i, ${0.1}::float8::text AS f,
                 ${"2026-02-03"}::date::text AS ymd, ${"01/02/2026"}::date::text AS mdy, ${new Uint8Array([1, 200])}::text AS b,
                 ${[[null, "ü"]]}::text[] AS a, '\\x01'::text AS s FROM moments`
        return rows[0]
      })
      const expected = {
        t: "2026-01-31 23:30:00",
        d: "2026-01-31",
        tz: "2026-01-31 23:30:00+00",
        td: date,
        i: "1 day 02:03:00",
        f: "0.1",
        ymd: "2026-02-03",
        mdy: "2026-01-02",
        b: "\\x01c8",
        a: [[null, "ü"]],
        s: "\\x01"
      }
      for (const row of yield* Effect.all([asAlice(seen), asBob(seen), seen])) assert.deepStrictEqual(row, expected)
      const pool = yield* Effect.acquireRelease(
        Effect.map(Lakebase.pgConfig, (config) => new Pool({ ...config, max: 1 })),
        (pool) => Effect.promise(() => pool.end())
      )
      const { rows } = yield* Effect.promise(() =>
        pool.query("SELECT current_setting('timezone') AS tz, '2026-01-31 23:30+00'::timestamptz::timestamp::text AS t")
      )
      assert.deepStrictEqual(rows, [{ tz: "UTC", t: "2026-01-31 23:30:00" }])
    }).pipe(Effect.scoped)
  )

  const Text = Schema.String.check(Schema.makeFilter((text) => !text.includes("\0") && text.isWellFormed()))

  it.effect.prop(
    "writes and reads any number, text, list, bytes, boolean and Date exactly",
    {
      f8: Schema.Finite,
      n: Schema.Finite,
      i8: Schema.BigInt.check(Schema.isBetweenBigInt({ minimum: -(2n ** 63n), maximum: 2n ** 63n - 1n })),
      b: Schema.Boolean,
      bytes: Schema.Array(Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 255 }))),
      ts: Schema.Array(Schema.NullOr(Text)),
      fs: Schema.Array(Schema.NullOr(Schema.Finite)),
      rows: Schema.NonEmptyArray(Schema.Tuple([Text, Schema.NullOr(Text)])),
      ms: Schema.Int.check(Schema.isBetween({ minimum: -2e14, maximum: 8e15 }))
    },
    Effect.fnUntraced(function* ({ b, bytes, f8, fs, i8, ms, n, rows, ts }) {
      const sql = yield* SqlClient.SqlClient
      const [row] = yield* sql<Record<string, unknown>>`
        SELECT ${f8}::float8 AS f8, ${n}::numeric AS n, ${i8}::int8 AS i8, ${b} AS b, ${Uint8Array.from(bytes)} AS bytes,
               ${ts}::text[] AS ts, ${fs}::float8[] AS fs, ${rows}::text[] AS rows, ${new Date(ms)} AS at, ${[new Date(ms)]} AS ats,
               ${[[new Date(ms)]]}::timestamp[] AS ts2`
      assert.deepStrictEqual(
        { ...row, n: Number(row!["n"]), bytes: Array.from(row!["bytes"] as Uint8Array) },
        // numeric has no negative zero.
        {
          f8,
          n: n + 0,
          i8: String(i8),
          b,
          bytes,
          ts,
          fs,
          rows,
          at: new Date(ms),
          ats: [new Date(ms)],
          ts2: [[new Date(ms)]]
        }
      )
    })
  )
})
