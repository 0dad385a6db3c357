import { assert, layer } from "@effect/vitest"
import { OperationCache, SqlWarehouse } from "effect-databricks"
import { LocalWorkspace } from "effect-databricks/testing"
import { BigDecimal, DateTime, Effect, Exit, Layer, Logger, Schema, Stream } from "effect"
import { chunk, Live, misbehave, One, reasonOf, recording, start } from "./fixtures/sqlWarehouse.ts"
import { spansOf } from "./fixtures/spans.ts"
import { alice, as } from "./fixtures/people.ts"

const kinds = ["standard", "arrow", "classic"] as const

const link = /^\/external-links\//

const warehouseOf = (kind: (typeof kinds)[number]) =>
  LocalWorkspace.LocalWorkspace.useSync(({ warehouses }) => ({
    warehouseId: warehouses.find(({ name }) => name === kind)!.id
  }))

const everyType = `SELECT
    9007199254740993::int8 AS big, -2::int4 AS whole, 3::int2 AS small, (-12345678901234567890.10)::numeric(38,2) AS price,
    0.5::float8 AS rough, 0.1::float4 AS rougher, 2::float8 AS round, true AS flag, 'é "\\' AS word, date '1969-12-31' AS day,
    timestamptz '1969-12-31 23:59:59.999999Z' AS moment, timestamp '1969-12-31 23:59:59.5' AS local, '\\x00ff'::bytea AS bytes,
    array[1,null] AS list, interval '3 days' AS span
  UNION ALL SELECT null, null, null, null::numeric(38,2), null, null, null, null, null, null, null, null, null, null, null`

const numbers = (count: number) => `SELECT i::text AS x FROM generate_series(1, ${count}) i`

const texts = (count: number) => Array.from({ length: count }, (_, index) => ({ x: String(index + 1) }))

const workspace = LocalWorkspace.layer({
  rowsPerChunk: 100,
  inlineByteLimit: 10_000,
  externalLinkHeaders: { "x-storage-key": "k" },
  warehouses: kinds.map((kind) => ({ name: kind, kind }))
})

layer(workspace, { timeout: "60 seconds", excludeTestServices: true })("SqlWarehouse", (it) => {
  it.layer(Live)("result", (it) => {
    it.effect("has the same values from every kind of warehouse, inline and by external links", () =>
      Effect.gen(function* () {
        for (const kind of kinds) {
          const on = yield* warehouseOf(kind)
          const rows = yield* SqlWarehouse.queryText(on)(everyType)
          assert.deepStrictEqual(rows, yield* Stream.runCollect(SqlWarehouse.streamText(on)(everyType)))
          assert.deepStrictEqual(rows, [
            {
              big: 9007199254740993n,
              whole: -2,
              small: 3,
              price: BigDecimal.make(-1234567890123456789010n, 2),
              rough: 0.5,
              rougher: 0.1,
              round: 2,
              flag: true,
              word: 'é "\\',
              day: "1969-12-31",
              moment: DateTime.makeUnsafe("1969-12-31T23:59:59.999Z"),
              local: "1969-12-31T23:59:59.500",
              bytes: new Uint8Array([0, 255]),
              list: [1, null],
              span: "3 days"
            },
            Object.fromEntries(Object.keys(rows[0]!).map((name) => [name, null]))
          ])
        }
      })
    )

    it.effect("has the same text from every kind of warehouse, by execute and executeStream", () =>
      Effect.gen(function* () {
        const { execute, executeStream } = yield* SqlWarehouse.SqlWarehouse
        const [standard, ...others] = yield* Effect.forEach(kinds, (kind) =>
          Effect.flatMap(warehouseOf(kind), (on) => execute({ text: everyType }, on))
        )
        for (const other of others) assert.deepStrictEqual(other.rows, standard!.rows)
        const [part] = yield* Stream.runCollect(executeStream({ text: everyType }))
        assert.deepStrictEqual(part?.rows, standard!.rows)
      })
    )

    it.effect("arrives in the format that the warehouse accepts, which later queries ask for first", () =>
      Effect.gen(function* () {
        const seen = yield* recording
        const query = Effect.flatMap(warehouseOf("arrow"), (on) => SqlWarehouse.query(One, on)`SELECT 1 AS x`)
        const fresh = Effect.all([query, query]).pipe(Effect.provide(Layer.fresh(SqlWarehouse.layer)))
        assert.deepStrictEqual(yield* fresh, [[{ x: "1" }], [{ x: "1" }]])
        assert.lengthOf(yield* seen("POST", start), 3)
        const refusal = { error_code: "INVALID_PARAMETER_VALUE", message: "The format must be JSON_ARRAY." }
        const body = JSON.stringify(refusal)
        yield* misbehave({ kind: "answer", status: 400, body, method: "POST", path: (path) => start.test(path) })
        assert.include(yield* reasonOf(SqlWarehouse.query()`SELECT 1`), { _tag: "InvalidRequestError" })
        assert.lengthOf(yield* seen("POST", start), 4)
      }).pipe(Effect.scoped)
    )

    it.effect("arrives by external links when too large inline, at once when the text is known", () =>
      Effect.gen(function* () {
        const seen = yield* recording
        for (const kind of kinds) {
          const large = SqlWarehouse.queryText(One, yield* warehouseOf(kind))(numbers(2000))
          assert.deepStrictEqual(yield* large, texts(2000))
          assert.lengthOf(yield* seen("GET", link), kind === "standard" ? 20 : kind === "arrow" ? 40 : 60)
        }
        assert.lengthOf(yield* seen("POST", start), 4)
      }).pipe(Effect.provide(Layer.fresh(SqlWarehouse.layer)))
    )

    it.effect("fails when too large inline for a statement that may have written, which is not rerun", () =>
      Effect.gen(function* () {
        const { administer } = yield* LocalWorkspace.LocalWorkspace
        yield* administer("CREATE TABLE tally (x text); GRANT SELECT, INSERT ON tally TO public")
        const seen = yield* recording
        const insert = `INSERT INTO tally ${numbers(2000)} RETURNING x`
        const reason = yield* reasonOf(SqlWarehouse.queryText(One)(insert))
        assert.strictEqual(reason._tag, "StatementFailedError")
        assert.match(reason.message, /may have written, .* use SqlWarehouse\.stream for a result of this size$/)
        assert.lengthOf(yield* seen("POST", start), 1)
        const rows = yield* Stream.runCollect(SqlWarehouse.streamText(One)(insert))
        assert.lengthOf(rows, 2000)
        assert.lengthOf(yield* seen("POST", start), 2)
      })
    )

    it.effect("runs once, whatever its size, for a query with a function that writes, which is never cached", () =>
      Effect.gen(function* () {
        const { administer } = yield* LocalWorkspace.LocalWorkspace
        yield* administer(`
          CREATE TABLE booked (x int);
          CREATE FUNCTION book(x int) RETURNS text LANGUAGE sql SECURITY DEFINER
            AS 'INSERT INTO booked VALUES (x); SELECT repeat(''a'', 1000)';
          GRANT SELECT ON booked TO public`)
        const count = SqlWarehouse.query(Schema.Struct({ n: Schema.Number }))`SELECT count(*) AS n FROM booked`
        for (const [n, rows] of [
          [1, 1],
          [2, 200]
        ] as const) {
          const before = (yield* count)[0]!.n
          const book = SqlWarehouse.queryText(One, { cache: {} })(
            `SELECT book(i) AS x FROM generate_series(1, ${rows}) i WHERE ${n} = ${n}`
          )
          assert.lengthOf(yield* book, rows)
          assert.strictEqual((yield* count)[0]!.n - before, rows)
          assert.lengthOf(yield* book, rows)
          assert.strictEqual((yield* count)[0]!.n - before, 2 * rows)
        }
      }).pipe(Effect.provide(OperationCache.layer()), Effect.provide(Logger.layer([])))
    )

    it.effect("may have no rows, no columns or several columns of one name", () =>
      Effect.gen(function* () {
        for (const text of ["SELECT 1 AS x WHERE false", "CREATE TEMP TABLE t (x int)"]) {
          assert.deepStrictEqual(yield* SqlWarehouse.queryText()(text), [])
          assert.deepStrictEqual(yield* Stream.runCollect(SqlWarehouse.streamText()(text)), [])
        }
        const { execute } = yield* SqlWarehouse.SqlWarehouse
        for (const kind of kinds) {
          const on = yield* warehouseOf(kind)
          const twice = yield* execute({ text: "SELECT 1 AS a, 2::int8 AS a, NULL AS a" }, on)
          assert.deepStrictEqual(
            twice.columns.map(({ name }) => name),
            ["a", "a", "a"]
          )
          assert.deepStrictEqual(yield* SqlWarehouse.valuesOf(twice), [[1, 2n, null]])
        }
        const failed = yield* Effect.flip(Stream.runCollect(SqlWarehouse.stream()`SELECT 1 AS a, 2 AS a`))
        assert.include(failed, { _tag: "RowDecodeError", column: "a" })
      })
    )

    it.effect("says in each part of a stream whether it is truncated", () =>
      Effect.gen(function* () {
        const { executeStream } = yield* SqlWarehouse.SqlWarehouse
        const parts = yield* Stream.runCollect(executeStream({ text: numbers(500) }, { rowLimit: 250 }))
        assert.deepStrictEqual(
          parts.map(({ rows, truncated }) => [rows.length, truncated]),
          [
            [100, true],
            [100, true],
            [50, true]
          ]
        )
      })
    )

    it.effect("converts to exact JSON by toJson, also with a column named __proto__", () =>
      Effect.gen(function* () {
        const [row] =
          yield* SqlWarehouse.query()`SELECT 9007199254740993 AS big, 12.50::numeric(10,2) AS price, 'x' AS "__proto__"`
        assert.strictEqual(
          JSON.stringify(SqlWarehouse.toJson(row!)),
          `{"big":"9007199254740993","price":"12.50","__proto__":"x"}`
        )
      })
    )

    it.effect("fails with row, column and type for a value outside the Schema, in a later chunk too", () =>
      Effect.gen(function* () {
        const Row = Schema.Struct({ x: Schema.Int })
        const text = `SELECT CASE WHEN i < 250 THEN i END AS x FROM generate_series(1, 300) i`
        for (const query of [SqlWarehouse.queryText(Row)(text), Stream.runDrain(SqlWarehouse.streamText(Row)(text))]) {
          const error = yield* Effect.flip(query)
          assert.include(error, { _tag: "RowDecodeError", row: 250, column: "x" })
          assert.match(error.message, /^Row 250, column "x" \(INT\) /)
        }
      })
    )
  })

  it.layer(Live)("external link", (it) => {
    const all = Stream.runCollect(SqlWarehouse.streamText(One)(numbers(250)))

    it.effect("is fetched with its own headers and no credential, and appears in no span", () =>
      Effect.gen(function* () {
        const workspace = yield* LocalWorkspace.LocalWorkspace
        const seen = yield* recording
        const { exit, spans } = yield* spansOf(all.pipe(as(alice)))
        assert.deepStrictEqual(exit, Exit.succeed(texts(250)))
        const fetched = yield* seen("GET", link)
        assert.lengthOf(fetched, 3)
        for (const request of fetched) assert.isUndefined(request.token)
        const shown = JSON.stringify(spans, (_key, value) => (typeof value === "bigint" ? String(value) : value))
        assert.notInclude(shown, "external-links")
        assert.notInclude(shown, "signature")
        assert.include(shown, workspace.warehouseId)
      })
    )

    it.effect("is requested again when the storage answers 403, and fails if new links do too", () =>
      Effect.gen(function* () {
        const seen = yield* recording
        const isSecond = (path: string) => path.endsWith("/1") && link.test(path)
        yield* misbehave({ kind: "answer", status: 403, body: "<Error/>", path: isSecond, times: 1 })
        assert.deepStrictEqual(yield* all, texts(250))
        assert.lengthOf(yield* seen("GET", chunk), 3)
        yield* misbehave({ kind: "answer", status: 403, body: "<Error/>", path: isSecond })
        const reason = yield* reasonOf(all)
        assert.include(reason, { _tag: "InvalidResponseError", status: 403 })
        assert.match(reason.message, /The storage refused three links to chunk 1/)
      }).pipe(Effect.scoped)
    )

    it.effect("is fetched again when the storage answers 503 or drops the connection", () =>
      Effect.gen(function* () {
        const isLink = (path: string) => link.test(path)
        yield* misbehave({ kind: "answer", status: 503, path: isLink, times: 2 })
        yield* misbehave({ kind: "drop", path: isLink, times: 1 })
        assert.deepStrictEqual(yield* all, texts(250))
      }).pipe(Effect.scoped)
    )

    it.effect("fails with a DatabricksError when the storage cuts the body off or redirects", () =>
      Effect.gen(function* () {
        const path = (path: string) => link.test(path)
        yield* misbehave({ kind: "truncate", path, times: 1 })
        assert.match((yield* reasonOf(all)).message, /chunk 0 is truncated/)
        const headers = { location: "http://169.254.169.254/" }
        yield* misbehave({ kind: "answer", status: 302, headers, path, times: 1 })
        assert.match((yield* reasonOf(all)).message, /responded with 302/)
      }).pipe(Effect.scoped)
    )
  })
})

layer(LocalWorkspace.layer({ rowsPerChunk: 100, externalLinkTtl: "9 seconds" }), {
  timeout: "60 seconds",
  excludeTestServices: true
})("SqlWarehouse", (it) => {
  it.layer(Live)("external link about to expire", (it) => {
    it.effect("is requested again before it is used", () =>
      Effect.gen(function* () {
        const seen = yield* recording
        const rows = yield* Stream.runCollect(SqlWarehouse.streamText(One)(numbers(250)))
        assert.deepStrictEqual(rows, texts(250))
        assert.lengthOf(yield* seen("GET", link), 3)
        assert.lengthOf(yield* seen("GET", chunk), 5)
      })
    )
  })
})
