import { assert, layer } from "@effect/vitest"
import * as Arrow from "@uwdata/flechette"
import { Effect } from "effect"
import { TestClock } from "effect/testing"
import * as Local from "../../src/testing/LocalWorkspace.ts"
import { call, execute, poll, terminal, until } from "../fixtures/localWorkspace.ts"

const EXTERNAL = { disposition: "EXTERNAL_LINKS" }
const ARROW = { ...EXTERNAL, format: "ARROW_STREAM" }
const HEADERS = { "x-storage-key": "k" }

interface Link {
  readonly external_link: string
  readonly expiration: string
  readonly http_headers: Record<string, string>
  readonly byte_count: number
}

const download = (url: string, headers: Record<string, string> = HEADERS) =>
  Effect.promise(async () => {
    const response = await fetch(url, { headers })
    return { status: response.status, bytes: new Uint8Array(await response.arrayBuffer()) }
  })

const text = (url: string) =>
  Effect.map(download(url), ({ bytes }) => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString())

const chunk = (id: string, index: number) =>
  Effect.map(call(`/api/2.0/sql/statements/${id}/result/chunks/${index}`), ({ json }) => json)

const table = (bytes: Uint8Array) =>
  Arrow.tableFromIPC(bytes, { useBigInt: true, useBigIntTimestamp: true, useDecimalInt: true })

const on = Effect.fnUntraced(function* (kind: string, options: Record<string, unknown>) {
  const { warehouses } = yield* Local.LocalWorkspace
  const warehouse_id = warehouses.find(({ name }) => name === kind)?.id
  return yield* call("/api/2.0/sql/statements/", { body: { statement: "SELECT 1 i", warehouse_id, ...options } })
})

const workspace = Local.layer({
  rowsPerChunk: 100,
  inlineByteLimit: 10_000,
  externalLinkHeaders: HEADERS,
  warehouses: (["standard", "arrow", "classic"] as const).map((kind) => ({ name: kind, kind }))
})

layer(workspace)("LocalWorkspace", (it) => {
  it.effect("sends inline results only in the format of the warehouse's kind", () =>
    Effect.gen(function* () {
      const json = "The format field must be JSON_ARRAY when the disposition field is INLINE."
      const arrow = "Inline disposition only supports ARROW_STREAM format"
      for (const [kind, format, message] of [
        ["standard", "ARROW_STREAM", json],
        ["standard", "CSV", json],
        ["classic", "ARROW_STREAM", json],
        ["arrow", undefined, arrow],
        ["arrow", "JSON_ARRAY", arrow]
      ] as const) {
        const { status, json } = yield* on(kind, { format })
        assert.deepStrictEqual([status, json.error_code, json.message], [400, "INVALID_PARAMETER_VALUE", message])
      }
      assert.deepStrictEqual((yield* on("classic", {})).json.result.data_array, [["1"]])
      const inline = (yield* on("arrow", { format: "ARROW_STREAM" })).json
      assert.strictEqual(inline.manifest.format, "ARROW_STREAM")
      assert.notProperty(inline.result, "data_array")
      const decoded = table(new Uint8Array(Buffer.from(inline.result.attachment, "base64")))
      assert.deepStrictEqual(decoded.toArray(), [{ i: 1 }])
      for (const kind of ["standard", "arrow", "classic"]) {
        assert.strictEqual((yield* on(kind, ARROW)).json.status.state, "SUCCEEDED")
      }
    })
  )

  it.effect("sends external results as one link with each chunk", () =>
    Effect.gen(function* () {
      const answer = yield* execute("SELECT i FROM generate_series(1, 250) i", EXTERNAL)
      const { statement_id: id, manifest, result } = answer
      assert.deepInclude(manifest, { format: "JSON_ARRAY", total_chunk_count: 3, total_row_count: 250 })
      assert.notProperty(result, "data_array")
      const [first] = result.external_links
      assert.deepInclude(first, { chunk_index: 0, row_offset: 0, row_count: 100, next_chunk_index: 1 })
      assert.deepStrictEqual(first.http_headers, HEADERS)
      const links: ReadonlyArray<Link & { row_count: number }> = [
        first,
        (yield* chunk(id, 1)).external_links[0],
        (yield* chunk(id, 2)).external_links[0]
      ]
      assert.notProperty(links[2], "next_chunk_index")
      const values: Array<unknown> = []
      for (const link of links) {
        const { bytes, status } = yield* download(link.external_link)
        assert.deepStrictEqual([status, bytes.length], [200, link.byte_count])
        values.push(...JSON.parse(Buffer.from(bytes).toString()))
      }
      assert.deepStrictEqual(
        values,
        Array.from({ length: 250 }, (_, i) => [String(i + 1)])
      )
      assert.strictEqual(
        manifest.total_byte_count,
        links.reduce((sum, { byte_count }) => sum + byte_count, 0)
      )
    })
  )

  it.effect("serves an external link without a credential, unaltered and for 900 seconds", () =>
    Effect.gen(function* () {
      const { statement_id: id, result } = yield* execute("SELECT 1", EXTERNAL)
      const link: Link = result.external_links[0]
      const statusOf = (url: string, headers?: Record<string, string>) =>
        Effect.map(download(url, headers), ({ status }) => status)
      assert.strictEqual(yield* statusOf(link.external_link, { ...HEADERS, authorization: "Bearer x" }), 400)
      assert.strictEqual(yield* statusOf(link.external_link, {}), 403)
      assert.strictEqual(yield* statusOf(link.external_link.replace("expires=", "expires=9")), 403)
      assert.strictEqual(yield* statusOf(link.external_link.replace(id, "another")), 403)
      yield* TestClock.adjust("899 seconds")
      assert.strictEqual(yield* statusOf(link.external_link), 200)
      yield* TestClock.adjust("1 second")
      assert.strictEqual(yield* statusOf(link.external_link), 403)
      const [fresh] = (yield* chunk(id, 0)).external_links
      assert.isAbove(Date.parse(fresh.expiration), Date.parse(link.expiration))
      assert.strictEqual(yield* statusOf(fresh.external_link), 200)
      yield* call(`/api/2.0/sql/statements/${id}`, { method: "DELETE" })
      assert.strictEqual(yield* statusOf(fresh.external_link), 404)
      const { requests } = yield* Local.LocalWorkspace
      assert.isTrue((yield* requests).every(({ path }) => !path.includes("signature")))
    })
  )

  it.effect("encodes Arrow results with the types of Databricks, without loss", () =>
    Effect.gen(function* () {
      const { result } = yield* execute(
        `SELECT 9007199254740993::int8 a, -2::int4 b, 3::int2 c, (-12345678901234567890.12)::numeric(38,2) d,
           0.5::float8 e, 1.5::float4 f, true g, 'é'::text h, date '1969-12-31' i,
           timestamptz '2026-01-31 10:00:00.123456Z' j, timestamp '1969-12-31 23:59:59.999999' k,
           '\\x00ff'::bytea l, array[1,null] m, 1 / 3.0 n
         UNION ALL SELECT null, null, null, null::numeric(38,2), null, null, null, null, null, null, null, null, null, null`,
        ARROW
      )
      const { bytes } = yield* download(result.external_links[0].external_link)
      const decoded = table(bytes)
      const { timestamp, TimeUnit } = Arrow
      const types = [
        Arrow.int64(),
        Arrow.int32(),
        Arrow.int16(),
        Arrow.decimal128(38, 2),
        Arrow.float64(),
        Arrow.float32(),
        Arrow.bool(),
        Arrow.utf8(),
        Arrow.dateDay(),
        timestamp(TimeUnit.MICROSECOND, "UTC"),
        timestamp(TimeUnit.MICROSECOND),
        Arrow.binary(),
        Arrow.utf8(),
        Arrow.decimal128(38, 18)
      ]
      const shown = ({ typeId, ...rest }: Arrow.DataType) =>
        JSON.stringify({ typeId, ...rest }, (_key, value) => (typeof value === "function" ? undefined : value))
      assert.deepStrictEqual(
        decoded.schema.fields.map(({ type }) => shown(type)),
        types.map(shown)
      )
      const [values, nulls] = decoded.toArray()
      assert.deepStrictEqual(Object.values(nulls ?? {}), Array(14).fill(null))
      assert.deepStrictEqual(Object.values(values ?? {}), [
        9007199254740993n,
        -2,
        3,
        -1234567890123456789012n,
        0.5,
        1.5,
        true,
        "é",
        -86_400_000,
        1_769_853_600_123_456n,
        -1n,
        new Uint8Array([0, 255]),
        "[1,null]",
        333333333333333333n
      ])
      const unfit = yield* execute("SELECT date 'infinity'", ARROW)
      assert.match(unfit.status.error.message, /^\[RESULT_NOT_ENCODED\] /)
    })
  )

  it.effect("encodes each chunk as one Arrow stream", () =>
    Effect.gen(function* () {
      const { statement_id: id } = yield* execute("SELECT i::int8 i, i a, 'x' a FROM generate_series(1, 250) i", ARROW)
      const counts = []
      for (const index of [2, 0, 1]) {
        const [link] = (yield* chunk(id, index)).external_links
        const decoded = table((yield* download(link.external_link)).bytes)
        assert.deepStrictEqual(decoded.names as ReadonlyArray<string>, ["i", "a", "a"])
        counts.push([decoded.numRows, decoded.getChildAt(0).at(0), decoded.getChildAt(2).at(0)])
      }
      assert.deepStrictEqual(counts, [
        [50, 201n, "x"],
        [100, 1n, "x"],
        [100, 101n, "x"]
      ])
    })
  )

  it.effect("writes the column names of CSV in the first chunk only", () =>
    Effect.gen(function* () {
      const statement = `SELECT i AS "a,b", CASE WHEN i = 1 THEN 'say "x"' END c FROM generate_series(1, 101) i`
      const { statement_id: id, result } = yield* execute(statement, { ...EXTERNAL, format: "CSV" })
      const first = yield* text(result.external_links[0].external_link)
      assert.isTrue(first.startsWith('"a,b",c\r\n1,"say ""x"""\r\n2,null\r\n'))
      assert.strictEqual(yield* text((yield* chunk(id, 1)).external_links[0].external_link), "101,null\r\n")
    })
  )

  it.effect("truncates results at byte_limit, and fails an inline result over its own limit", () =>
    Effect.gen(function* () {
      const statement = "SELECT i FROM generate_series(1000, 2999) i"
      const large = yield* execute(statement)
      assert.deepInclude(large.status.error, { error_code: "BAD_REQUEST" })
      assert.match(large.status.error.message, /^Inline byte limit exceeded\. .* at most 10000 bytes\./)
      const limited = yield* execute(statement, { byte_limit: 95 })
      assert.deepInclude(limited.manifest, { truncated: true, total_row_count: 10 })
      assert.strictEqual(limited.result.data_array.length, 10)
      const external = yield* execute(statement, EXTERNAL)
      assert.deepInclude(external.manifest, { truncated: false, total_row_count: 2000 })
      const both = yield* execute(statement, { ...ARROW, byte_limit: 20_000, row_limit: 150 })
      assert.deepInclude(both.manifest, { truncated: true, total_row_count: 150, total_chunk_count: 2 })
      const exact = yield* execute("SELECT 1", { row_limit: 1 })
      assert.deepInclude(exact.manifest, { truncated: false, total_row_count: 1 })
    })
  )

  it.effect("sends results without rows, without columns and with columns of one name", () =>
    Effect.gen(function* () {
      for (const options of [{}, EXTERNAL, ARROW]) {
        const none = yield* execute("SELECT 1 i WHERE false", options)
        assert.deepInclude(none.manifest, { total_chunk_count: 0, total_row_count: 0, truncated: false })
        assert.deepStrictEqual([none.manifest.schema.column_count, none.result], [1, {}])
        const ddl = yield* execute("CREATE TEMP TABLE t (i int)", options)
        assert.deepStrictEqual([ddl.manifest.schema.column_count, ddl.result], [0, {}])
      }
      const twice = yield* execute("SELECT 1 a, 2 a")
      const names = twice.manifest.schema.columns.map(({ name }: { name: string }) => name)
      assert.deepStrictEqual([names, twice.result.data_array], [["a", "a"], [["1", "2"]]])
    })
  )

  it.effect("keeps a result after a late cancellation, and drops it on DELETE", () =>
    Effect.gen(function* () {
      const { statement_id: id } = yield* execute("SELECT i FROM generate_series(1, 250) i")
      const path = `/api/2.0/sql/statements/${id}`
      const late = yield* call(`${path}/cancel`, { method: "POST" })
      assert.deepStrictEqual([late.status, late.text], [200, ""])
      assert.strictEqual((yield* poll(id)).json.status.state, "SUCCEEDED")
      assert.strictEqual((yield* chunk(id, 2)).data_array.length, 50)
      yield* call(path, { method: "DELETE" })
      const closed = (yield* poll(id)).json
      assert.deepStrictEqual([closed.status.state, closed.result], ["CLOSED", undefined])
      assert.strictEqual((yield* call(`${path}/result/chunks/2`)).status, 400)
      const running = yield* execute("SELECT pg_sleep(1000)", { wait_timeout: "0s" })
      yield* call(`/api/2.0/sql/statements/${running.statement_id}`, { method: "DELETE" })
      assert.strictEqual((yield* until(running.statement_id, terminal)).status.state, "CLOSED")
    })
  )
})
