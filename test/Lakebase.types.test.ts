import { assert, layer } from "@effect/vitest"
import { LocalWorkspace } from "effect-databricks/testing"
import { Effect, Layer, Schema, Stream } from "effect"
import { SqlClient, type SqlError, SqlSchema, type Statement } from "effect/sql"
import { codeOf } from "../src/internal/lakebase/failure.ts"
import { Database, lakebase } from "./fixtures/lakebaseClient.ts"
import { pidOf, sqlErrorOf } from "./fixtures/lakebaseFaults.ts"

const seed = LocalWorkspace.LocalWorkspace.use(({ administer }) =>
  administer(`
    CREATE TYPE mood AS ENUM ('glad', 'sad');
    CREATE TYPE pair AS (name text, amount int8);
    CREATE TYPE span AS RANGE (subtype = float8);
    CREATE TYPE words AS RANGE (subtype = text);
    CREATE DOMAIN cents AS int8 CHECK (VALUE >= 0);
    CREATE DOMAIN number AS int4;
    CREATE DOMAIN digit AS number CHECK (VALUE < 10);
    CREATE DOMAIN moods AS mood[];
    CREATE DOMAIN during AS daterange;
    CREATE TYPE nested AS (n number, at timestamptz, moods mood[], pairs pair[], r real, j jsonb, s span);
    CREATE TABLE orders (id int8, state mood, total numeric);
    CREATE EXTENSION citext;
    CREATE EXTENSION hstore;
    CREATE EXTENSION ltree;
  `)
)

const App = Layer.effectDiscard(seed).pipe(Layer.provideMerge(Database))

/** The value of an expression, as it came and as JSON. */
const valueOf = (expression: string) =>
  SqlClient.SqlClient.use((sql) =>
    Effect.map(sql.unsafe<{ value: unknown }>(`SELECT ${expression} AS value`), ([row]) => row!.value)
  )

// Ends as `undefined` where a caller would get nothing.
const jsonOf = (expression: string) =>
  Effect.map(valueOf(expression), (value): unknown => JSON.parse(JSON.stringify({ value })).value)

const values: ReadonlyArray<readonly [string, unknown]> = [
  ["9223372036854775807::int8", "9223372036854775807"],
  ["(-9223372036854775808)::int8", "-9223372036854775808"],
  ["(SELECT count(*) FROM generate_series(1, 3))", "3"],
  ["(SELECT sum(n) FROM generate_series(1, 3) n)", "6"],
  ["7::cents", "7"],
  ["12345678901234567890.000000001::numeric", "12345678901234567890.000000001"],
  ["'NaN'::numeric", "NaN"],
  ["'Infinity'::numeric", "Infinity"],
  ["ARRAY[1, 2]::int8[]", ["1", "2"]],
  [
    "ARRAY[[1, 2], [3, NULL]]",
    [
      [1, 2],
      [3, null]
    ]
  ],
  ["ARRAY[[[1]]]::numeric[]", [[["1"]]]],
  ["'[2:3]={a,b}'::text[]", ["a", "b"]],
  ["'{}'::text[]", []],
  ["'1 2'::int2vector", [1, 2]],
  ["time '04:05:06.78'", "04:05:06.78"],
  ["time '24:00'", "24:00:00"],
  ["interval '1 year 2 days -3.5 seconds'", "P12M2DT-3.5S"],
  ["interval 'infinity'", "infinity"],
  ["date '2026-01-31'", "2026-01-31"],
  ["date 'infinity'", "infinity"],
  ["timestamptz '2026-01-31 12:00Z'", "2026-01-31T12:00:00.000Z"],
  ["timestamptz 'infinity'", "infinity"],
  ["timestamp '-infinity'", "-infinity"],
  ["ARRAY[timestamptz 'infinity', '2026-01-01Z']", ["infinity", "2026-01-01T00:00:00.000Z"]],
  ["timestamptz '1999-12-31 23:59:59.999999Z'", "1999-12-31T23:59:59.999Z"],
  ["timestamp '2026-01-31 12:00:00.123999'", "2026-01-31T12:00:00.123Z"],
  ["timestamp '9999-12-31 23:59:59.9999'", "9999-12-31T23:59:59.999Z"],
  ["timestamp '0044-03-15 12:00:00.9999 BC'", "-000043-03-15T12:00:00.999Z"],
  ["B'0101100111'", "0101100111"],
  ["B'1'::varbit(9)", "1"],
  ["int4range(1, 5)", "[1,5)"],
  ["int8range(NULL, 5, '(]')", "(,6)"],
  ["'empty'::numrange", "empty"],
  ["tstzrange('2026-01-31Z', NULL)", "[2026-01-31T00:00:00.000Z,)"],
  ["ARRAY[daterange('2026-01-01', '2026-02-01')]", ["[2026-01-01,2026-02-01)"]],
  ["'sad'::mood", "sad"],
  ["ARRAY['glad', 'sad']::mood[]", ["glad", "sad"]],
  ["ROW('a', 1)::pair", ["a", "1"]],
  ["ARRAY[ROW('a', 1)::pair, NULL]", [["a", "1"], null]],
  ["ROW(1, NULL, ARRAY[2])", [1, null, [2]]],
  ["'<a/>'::xml", "<a/>"],
  [`'"c"'::"char"`, '"'],
  ["'int4'::regtype", 23],
  ["pg_notify('c', '')", ""],
  ["span(0.1, 0.2)", "[0.1,0.2)"],
  ["span(NULL, NULL)", "(,)"],
  ["words('a b', 'c\"d')", '["a b","c""d")'],
  ["ARRAY[1094861636]::number[]", [1094861636]],
  ["ARRAY[7]::number[]", [7]],
  [
    "ARRAY[[1, NULL], [2, 3]]::digit[]",
    [
      [1, null],
      [2, 3]
    ]
  ],
  ["ARRAY[9007199254740993]::cents[]", ["9007199254740993"]],
  ["ARRAY['glad']::moods", ["glad"]],
  ["ARRAY[ARRAY['sad']::moods]::moods[]", [["sad"]]],
  ["'[2026-01-01,2026-01-02]'::during", "[2026-01-01,2026-01-03)"],
  ["ARRAY['[2026-01-01,2026-01-02]'::during]", ["[2026-01-01,2026-01-03)"]],
  ["ROW(7::number, ARRAY[1094861636]::number[], 'sad'::mood)", [7, [1094861636], "sad"]],
  [
    `ROW(65, '2026-01-31Z', '{glad}', ARRAY[ROW('a', 1)::pair], 0.1, '{"a": 1}', '[1,2)')::nested`,
    [65, "2026-01-31T00:00:00.000Z", ["glad"], [["a", "1"]], 0.1, { a: 1 }, "[1,2)"]
  ],
  ["ROW(1, 'sad', 1.50)::orders", ["1", "sad", "1.50"]],
  ["ARRAY[ROW(1, NULL, NULL)::orders]", [["1", null, null]]],
  ["'Ab'::citext", "Ab"],
  ["ARRAY['Ab', NULL]::citext[]", ["Ab", null]],
  ["'{}'::point[]", []],
  ["0.1::real", 0.1],
  ["ARRAY[0.1, 16777216, 3.4028235e38, 1e-45]::real[]", [0.1, 16777216, 3.4028235e38, 1e-45]],
  ["date '0001-12-31 BC'", "0001-12-31 BC"],
  ["date '0044-03-15 BC' + 1", "0044-03-16 BC"],
  ["date '10000-01-01'", "10000-01-01"],
  ["timetz '04:05:06.5-07:30'", "04:05:06.5-07:30"],
  ["timetz '24:00:00+00:00:30'", "24:00:00+00:00:30"],
  [
    `'{"id": 12345678901234567890, "n": [1.50, 1e2, 0.1, 9007199254740991, 9007199254740992]}'::json`,
    {
      id: "12345678901234567890",
      n: [1.5, 100, 0.1, 9007199254740991, "9007199254740992"]
    }
  ],
  [
    `'{"pi": 3.14159265358979323846, "huge": 1e400, "text": "12345678901234567890"}'::json`,
    {
      pi: "3.14159265358979323846",
      huge: `1${"0".repeat(400)}`,
      text: "12345678901234567890"
    }
  ],
  ["'[9007199254740993, -0.30000000000000004]'::jsonb", ["9007199254740993", -0.30000000000000004]],
  ["'0e-400'::json", 0],
  ["'1e-999999999'::json", "1e-999999999"],
  ["ARRAY['null']::jsonb[]", [null]]
]

const undecodable = [
  "timestamp '294276-12-31'",
  "ARRAY[timestamptz '294276-12-31Z']",
  "money '1.50'",
  "point '(1.5, 2)'",
  "point '(0.1, 0.1)'",
  "box '((0.1,0.1),(0.2,0.2))'",
  "macaddr '41:42:43:44:45:46'",
  "to_tsvector('simple', 'a b')",
  "to_tsquery('simple', 'a & b')",
  "'{[1,2]}'::int4multirange",
  "'$.a'::jsonpath",
  "pg_lsn '0/1'",
  "ARRAY[point '(0.1, 0.1)']",
  "ROW(point '(0.1, 0.1)')",
  "'a=>1'::hstore",
  "ARRAY['a.b'::ltree]",
  "ARRAY['a=>1'::hstore, NULL]"
]

const Int8 = Schema.Union([
  Schema.BigInt.check(Schema.isBetweenBigInt({ minimum: -(2n ** 63n), maximum: 2n ** 63n - 1n })),
  Schema.Literals([0n, -1n, 2n ** 53n + 1n, 2n ** 63n - 1n, -(2n ** 63n)])
])
const Int4 = Schema.Int.check(Schema.isBetween({ minimum: -(2 ** 31), maximum: 2 ** 31 - 1 }))
const Text = Schema.String.check(Schema.makeFilter((text) => !text.includes("\0") && !/\p{Surrogate}/u.test(text)))

const Column = Schema.Union([
  Schema.Struct({ type: Schema.Literal("int8"), value: Int8 }),
  Schema.Struct({ type: Schema.Literal("numeric"), value: Schema.BigInt }),
  Schema.Struct({ type: Schema.Literal("text"), value: Text }),
  Schema.Struct({ type: Schema.Literal("int4[]"), value: Schema.NonEmptyArray(Schema.Tuple([Int4, Int4])) }),
  Schema.Struct({
    type: Schema.Literal("varbit"),
    value: Schema.Array(Schema.Boolean).check(Schema.isMaxLength(70))
  }),
  Schema.Struct({ type: Schema.Literal("pair"), value: Schema.Tuple([Text, Int8]) }),
  Schema.Struct({ type: Schema.Literal("number[]"), value: Schema.Array(Schema.NullOr(Int4)) }),
  Schema.Struct({ type: Schema.Literal("mood[]"), value: Schema.Array(Schema.Literals(["glad", "sad"])) }),
  Schema.Struct({ type: Schema.Literal("float8"), value: Schema.Finite }),
  Schema.Struct({ type: Schema.Literal("json"), value: Schema.Array(Schema.Union([Int8, Schema.Finite, Text])) })
])
type Column = typeof Column.Type

const wanted: { readonly [T in Column["type"]]: (value: Extract<Column, { type: T }>["value"]) => unknown } = {
  int8: String,
  numeric: (n) => decimal(n),
  text: (text) => text,
  "int4[]": (rows) => rows,
  varbit: (bits) => bits.map(Number).join(""),
  pair: ([text, n]) => [text, String(n)],
  "number[]": (ns) => ns,
  "mood[]": (moods) => moods,
  float8: (n) => n,
  json: (list) =>
    list.map((_) => (/^-?\d+$/.test(String(_)) && !Number.isSafeInteger(Number(_)) ? String(_) : plain(_)))
}

// JSON has no negative zero that JavaScript would write.
const plain = (value: bigint | number | string) => (typeof value === "string" ? value : Number(value) + 0)

/** With nine digits behind the point. */
const decimal = (n: bigint) => {
  const digits = String(n < 0n ? -n : n).padStart(10, "0")
  return `${n < 0n ? "-" : ""}${digits.slice(0, -9)}.${digits.slice(-9)}`
}

const quoted = (text: string) => `'${text.replaceAll("'", "''")}'`

const literal = ({ type, value }: Column) => {
  switch (type) {
    case "int8":
      return `${quoted(String(value))}::int8`
    case "numeric":
      return `${quoted(decimal(value))}::numeric`
    case "text":
      return `${quoted(value)}::text`
    case "int4[]":
      return `'{${value.map((row) => `{${row.join(",")}}`).join(",")}}'::int4[]`
    case "varbit":
      return `B'${value.map(Number).join("")}'::varbit`
    case "pair":
      return `ROW(${quoted(value[0])}, ${quoted(String(value[1]))}::int8)::pair`
    case "number[]":
      return `'{${value.map(String).join(",")}}'::number[]`
    case "mood[]":
      return `'{${value.join(",")}}'::mood[]`
    case "float8":
      return `'${Object.is(value, -0) ? "-0" : value}'::float8`
    case "json":
      return `${quoted(`[${value.map((_) => (typeof _ === "bigint" ? String(_) : JSON.stringify(_))).join(",")}]`)}::json`
  }
}

layer(App, { timeout: "60 seconds", excludeTestServices: true })("Lakebase", (it) => {
  it.effect("decodes Postgres values to values that survive JSON", () =>
    Effect.gen(function* () {
      for (const [expression, expected] of values) {
        assert.deepStrictEqual(yield* jsonOf(expression), expected, expression)
      }
    })
  )

  it.effect("fails only the statement when a value cannot be decoded, not its transaction", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      yield* sql.withTransaction(
        Effect.gen(function* () {
          const pid = yield* pidOf(sql)
          for (const expression of undecodable) {
            const statement = `SELECT 'before' AS a, ${expression} AS b, ROW('after', 1)::pair AS c`
            for (const run of [
              sql.unsafe(statement),
              sql.unsafe(statement).values,
              sql.unsafe(statement).unprepared,
              Stream.runDrain(sql.unsafe(statement).stream)
            ]) {
              assert.match(
                (yield* sqlErrorOf(run)).message,
                /^Column .* cannot be decoded: cast it to text/,
                expression
              )
              assert.strictEqual(yield* pidOf(sql), pid, expression)
            }
            // The cast that the message names works.
            const [row] = yield* sql.unsafe<{ text: string }>(`SELECT (${expression})::text AS text`)
            assert.typeOf(row?.text, "string", expression)
          }
        })
      )
    })
  )

  it.effect("names the column and the type that cannot be decoded", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      const statement = sql.unsafe(`SELECT 1 AS a, ROW(ARRAY['a=>1'::hstore]) AS "the b"`)
      for (const run of [statement, statement, statement.raw, Stream.runDrain(statement.stream)]) {
        assert.match((yield* sqlErrorOf(run)).message, /^Column "the b" has a value of type hstore, which cannot/)
      }
      assert.match((yield* sqlErrorOf(statement.values)).message, /^Column 2 has a value of type hstore/)
    })
  )

  it.effect("returns the last of two columns of one name, and all of them as values", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      const statement = sql`SELECT 1 AS a, 2 AS b, ${undefined}::text AS a`
      assert.deepStrictEqual(yield* statement, [{ a: null, b: 2 }])
      assert.deepStrictEqual(yield* statement.values, [[1, 2, null]])
    })
  )

  it.effect("decodes a type on a new connection, in a stream, and in the transaction that created it", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      const text = "SELECT ARRAY[1094861636]::number[] AS a, ROW(7, NULL, '{sad}', NULL, 1, NULL, NULL)::nested AS b"
      const runs: ReadonlyArray<
        (_: Statement.Statement<object>) => Effect.Effect<ReadonlyArray<object>, SqlError.SqlError>
      > = [(_) => Stream.runCollect(_.stream), (_) => _, (_) => _.unprepared, (_) => _.values]
      for (const run of runs) {
        // A client of its own, whose connection knows no types yet.
        const [row] = yield* SqlClient.SqlClient.use((sql) => run(sql.unsafe(text))).pipe(
          Effect.provide(Layer.fresh(lakebase()))
        )
        assert.deepStrictEqual(Object.values(row!), [[1094861636], [7, null, ["sad"], null, 1, null, null]])
      }
      yield* sql
        .withTransaction(
          Effect.gen(function* () {
            yield* sql`CREATE TYPE colour AS ENUM ('red')`
            yield* sql`CREATE DOMAIN small AS int2`
            const mine = sql`SELECT 'red'::colour AS c, ARRAY[7]::small[] AS s, generate_series(1, 2)::small AS n`
            const expected = [1, 2].map((n) => ({ c: "red", s: [7], n }))
            assert.deepStrictEqual(Array.from(yield* Stream.runCollect(mine.stream)), expected)
            assert.deepStrictEqual(yield* mine, expected)
            return yield* Effect.fail("back")
          })
        )
        .pipe(Effect.ignore)
    })
  )

  it.effect("fails a stream that cannot be parsed like a query, and keeps its connection", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      yield* sql.withTransaction(
        Effect.gen(function* () {
          const pid = yield* pidOf(sql)
          for (const text of ["SELEC 1", "SELECT * FROM nowhere", "SELECT $1 + 'a'::mood"]) {
            const errors = yield* Effect.forEach(
              [sql.unsafe(text, ["x"]), Stream.runDrain(sql.unsafe(text, ["x"]).stream)],
              (run) => sqlErrorOf(sql.withTransaction(run))
            )
            assert.strictEqual(errors[0]!.reason._tag, errors[1]!.reason._tag, text)
            assert.deepStrictEqual(codeOf(errors[0]!), codeOf(errors[1]!))
          }
          assert.strictEqual(yield* pidOf(sql), pid)
        })
      )
    })
  )

  it.effect("reads int8, int8[] and interval back through a Schema as they were written", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      const Row = Schema.Struct({ n: Schema.BigIntFromString, ns: Schema.Array(Schema.String), at: Schema.String })
      const find = SqlSchema.findOne({
        Request: Schema.Struct({ n: Schema.BigInt, at: Schema.String }),
        Result: Row,
        execute: ({ n, at }) =>
          sql`SELECT ${n}::int8 AS n, ${[n, n]}::int8[] AS ns, ${at}::interval + '0'::interval AS at`
      })
      const n = 2n ** 62n
      assert.deepStrictEqual(yield* find({ n, at: "P12M2DT-3.5S" }), {
        n,
        ns: [String(n), String(n)],
        at: "P12M2DT-3.5S"
      })
    })
  )

  it.effect.prop(
    "decodes any value of a supported type exactly, in rows and in streams",
    { columns: Schema.NonEmptyArray(Column).check(Schema.isMaxLength(8)) },
    Effect.fnUntraced(function* ({ columns }) {
      const sql = yield* SqlClient.SqlClient
      const expected = columns.map(({ type, value }) => /* Of its own type. */ wanted[type](value as never))
      const statement = `SELECT ${columns.map((column, i) => `${literal(column)} AS c${i}`).join(", ")}`
      const rows = yield* sql.unsafe<object>(statement).unprepared
      assert.deepStrictEqual(Object.values(rows[0]!), expected)
      const streamed = yield* Stream.runCollect(sql.unsafe<object>(statement).stream)
      assert.deepStrictEqual(Object.values(streamed[0]!), expected)
    })
  )

  it.effect.prop(
    "reads any real and any date as Postgres writes it",
    { bits: Int4, days: Schema.Int.check(Schema.isBetween({ minimum: -2_400_000, maximum: 100_000_000 })) },
    Effect.fnUntraced(function* ({ bits, days }) {
      const sql = yield* SqlClient.SqlClient
      const float = new DataView(new ArrayBuffer(4))
      float.setInt32(0, bits)
      const [row] = yield* sql<{ r: number; rt: string; d: string; dt: string }>`
        WITH v AS (SELECT ${float.getFloat32(0)}::float8::real AS r, date '2000-01-01' + ${days} AS d)
        SELECT r, r::text AS rt, d, d::text AS dt FROM v`
      assert.strictEqual(row!.d, row!.dt)
      assert.deepStrictEqual(Math.fround(row!.r), Math.fround(Number(row!.rt)))
      // Of two shortest ones each is right.
      assert.isAtMost(String(row!.r).length, String(Number(row!.rt)).length)
    })
  )
})
