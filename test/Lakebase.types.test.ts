import { assert, layer } from "@effect/vitest"
import { LocalWorkspace } from "effect-databricks/testing"
import { Effect, Layer, Schema, Stream } from "effect"
import { SqlClient, SqlSchema } from "effect/sql"
import { Database } from "./fixtures/lakebaseClient.ts"
import { pidOf, sqlErrorOf } from "./fixtures/lakebaseFaults.ts"

const seed = LocalWorkspace.LocalWorkspace.use(({ administer }) =>
  administer(`
    CREATE TYPE mood AS ENUM ('glad', 'sad');
    CREATE TYPE pair AS (name text, amount int8);
    CREATE TYPE span AS RANGE (subtype = float8);
    CREATE DOMAIN cents AS int8 CHECK (VALUE >= 0);
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
  ["timestamptz 'infinity'", null],
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
  ["pg_notify('c', '')", ""]
]

const undecodable = [
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
  "span(0.1, 0.2)",
  "span(NULL, NULL)"
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
  Schema.Struct({ type: Schema.Literal("pair"), value: Schema.Tuple([Text, Int8]) })
])
type Column = typeof Column.Type

const wanted: { readonly [T in Column["type"]]: (value: Extract<Column, { type: T }>["value"]) => unknown } = {
  int8: String,
  numeric: (n) => decimal(n),
  text: (text) => text,
  "int4[]": (rows) => rows,
  varbit: (bits) => bits.map(Number).join(""),
  pair: ([text, n]) => [text, String(n)]
}

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
              assert.match((yield* sqlErrorOf(run)).message, /cannot be decoded: cast it to text/, expression)
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
})
