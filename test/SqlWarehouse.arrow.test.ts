import { assert, layer } from "@effect/vitest"
import * as Arrow from "apache-arrow"
import { asService, asUser, Middleware, SqlWarehouse } from "effect-databricks"
import { LocalWorkspace } from "effect-databricks/testing"
import { Effect, Exit, Fiber, Latch, Layer, Stream } from "effect"
import { HttpRouter, HttpServerResponse } from "effect/http"
import { eventually } from "./fixtures/eventually.ts"
import { alice, as, bob, requestOf } from "./fixtures/people.ts"
import {
  cancel,
  chunk,
  held,
  Live,
  misbehave,
  pending,
  poll,
  reasonOf,
  recording,
  start,
  statements
} from "./fixtures/sqlWarehouse.ts"
import { spansOf } from "./fixtures/spans.ts"
import { serve, Served } from "./http/harness.ts"

const link = /^\/external-links\//

const kinds = ["standard", "arrow", "classic"] as const

const numbers = (count: number, options?: SqlWarehouse.StreamOptions) =>
  SqlWarehouse.arrowText(options)(`SELECT i AS x, 'word ' || i AS word FROM generate_series(1, ${count}) i`)

const bytesOf = ({ body }: SqlWarehouse.Arrow) => Effect.map(Stream.runCollect(body), (parts) => Buffer.concat(parts))

const tableOf = (result: SqlWarehouse.Arrow) => Effect.map(bytesOf(result), (bytes) => Arrow.tableFromIPC(bytes))

const xs = (table: Arrow.Table) => Array.from(table.getChild("x")!, Number)

const upTo = (count: number) => Array.from({ length: count }, (_, index) => index + 1)

layer(LocalWorkspace.layer({ rowsPerChunk: 10, warehouses: kinds.map((kind) => ({ name: kind, kind })) }), {
  timeout: "60 seconds",
  excludeTestServices: true
})("SqlWarehouse.arrow", (it) => {
  it.layer(Live)("over links", (it) => {
    for (const [index, kind] of kinds.entries()) {
      it.effect(`returns one Arrow stream of 0, 1, 2 and 40 chunks from a ${kind} warehouse`, () =>
        Effect.gen(function* () {
          const { warehouses } = yield* LocalWorkspace.LocalWorkspace
          const warehouseId = warehouses[index]!.id
          for (const rows of [0, 7, 20, 400]) {
            const result = yield* numbers(rows, { warehouseId })
            assert.deepStrictEqual(
              result.columns.map(({ name, type_text }) => [name, type_text]),
              [
                ["x", "INT"],
                ["word", "STRING"]
              ]
            )
            assert.isFalse(result.truncated)
            const table = yield* tableOf(result)
            assert.deepStrictEqual(table.schema.fields.map(String), ["x: Int32", "word: Utf8"])
            assert.deepStrictEqual(xs(table), upTo(rows))
            assert.strictEqual(table.getChild("word")!.get(rows - 1), rows === 0 ? null : `word ${rows}`)
          }
        })
      )
    }

    it.effect("returns a schema of the columns' types for a result without rows, and an empty one for DDL", () =>
      Effect.gen(function* () {
        const none = yield* SqlWarehouse.arrow()`SELECT 1::smallint AS a, 1::bigint AS b, 1.5::decimal(10,2) AS c,
          true AS d, 'x'::bytea AS e, date '2026-01-31' AS f, now() AS g, now()::timestamp AS h, 1.5::float8 AS i
          WHERE false`
        const some = yield* SqlWarehouse.arrow()`SELECT 1::smallint AS a, 1::bigint AS b, 1.5::decimal(10,2) AS c,
          true AS d, 'x'::bytea AS e, date '2026-01-31' AS f, now() AS g, now()::timestamp AS h, 1.5::float8 AS i`
        const fields = (table: Arrow.Table) => table.schema.fields.map(String)
        assert.deepStrictEqual(fields(yield* tableOf(none)), fields(yield* tableOf(some)))
        const ddl = yield* tableOf(yield* SqlWarehouse.arrow()`CREATE TEMPORARY TABLE t (x int)`)
        assert.deepStrictEqual([ddl.numCols, ddl.numRows], [0, 0])
      })
    )

    it.effect("says when rows are missing because of rowLimit", () =>
      Effect.gen(function* () {
        const result = yield* numbers(100, { rowLimit: 15 })
        assert.isTrue(result.truncated)
        assert.deepStrictEqual(xs(yield* tableOf(result)), upTo(15))
      })
    )

    it.effect("reads the result again on each run of its body", () =>
      Effect.gen(function* () {
        const seen = yield* recording
        const result = yield* numbers(20)
        const first = yield* bytesOf(result)
        assert.strictEqual(first.subarray(-8).toString("hex"), "ffffffff00000000")
        assert.deepStrictEqual(yield* bytesOf(result), first)
        assert.lengthOf(yield* seen("POST", start), 1)
      })
    )

    it.effect("downloads one chunk at a time, as its reader takes them, and stops when the reader leaves", () =>
      Effect.gen(function* () {
        const seen = yield* recording
        const read = Latch.makeUnsafe()
        const { body } = yield* numbers(400)
        let parts = 0
        const reading = yield* Effect.forkChild(
          Stream.runForEach(body, () => Effect.suspend(() => (++parts === 1 ? read.await : Effect.void)))
        )
        yield* eventually(seen("GET", link), ({ length }) => length > 0)
        // Round trips during which a second could arrive.
        for (let trip = 0; trip < 5; trip++) yield* SqlWarehouse.query()`SELECT 1`
        assert.lengthOf(yield* seen("GET", link), 1)
        assert.isAtMost((yield* seen("GET", chunk)).length, 5)
        yield* Fiber.interrupt(reading)
        for (let trip = 0; trip < 5; trip++) yield* SqlWarehouse.query()`SELECT 1`
        assert.lengthOf(yield* seen("GET", link), 1)
        assert.lengthOf(yield* seen("POST", cancel), 0)
      })
    )

    it.effect("continues a download that breaks off, without a repeated or missing byte", () =>
      Effect.gen(function* () {
        const path = (path: string) => link.test(path)
        const result = yield* numbers(400)
        const whole = yield* bytesOf(result)
        yield* misbehave({ kind: "cut", path, times: 3 })
        yield* misbehave({ kind: "answer", status: 503, path, times: 2 })
        yield* misbehave({ kind: "answer", status: 200, body: "<html>a gateway</html>", path, times: 1 })
        yield* misbehave({ kind: "answer", status: 403, path, times: 2 })
        assert.deepStrictEqual(yield* bytesOf(result), whole)
      }).pipe(Effect.scoped)
    )

    it.effect("fails with InvalidResponseError for a chunk that is truncated, and for links that stay refused", () =>
      Effect.gen(function* () {
        for (const fault of [
          { kind: "truncate" },
          { kind: "answer", status: 403 },
          { kind: "answer", status: 200, body: "" }
        ] as const) {
          const result = yield* numbers(30)
          yield* misbehave({ ...fault, path: (path) => link.test(path) && path.endsWith("/1") })
          assert.strictEqual((yield* reasonOf(bytesOf(result)))._tag, "InvalidResponseError", JSON.stringify(fault))
        }
      }).pipe(Effect.scoped)
    )

    it.effect("fails with StatementGoneError when the result expires while it is read", () =>
      Effect.gen(function* () {
        const result = yield* numbers(400)
        yield* misbehave({ kind: "answer", status: 404, path: statements, method: "GET" })
        assert.include(yield* reasonOf(bytesOf(result)), { _tag: "StatementGoneError", state: "EXPIRED" })
      }).pipe(Effect.scoped)
    )

    it.effect("cancels its statement as its caller when interrupted before it has ended", () =>
      Effect.gen(function* () {
        const seen = yield* recording
        yield* pending(1000)
        const fiber = yield* Effect.forkChild(SqlWarehouse.arrow()`SELECT pg_sleep(60)`.pipe(as(bob), held))
        yield* eventually(seen("GET", poll), (polls) => polls.some(({ user }) => user === bob))
        yield* Fiber.interrupt(fiber)
        const [cancelled, ...others] = yield* seen("POST", cancel)
        assert.strictEqual(cancelled?.user, bob)
        assert.lengthOf(others, 0)
      }).pipe(Effect.scoped)
    )

    it.effect("has a span for the statement and one for its body, both of the caller that opened it", () =>
      Effect.gen(function* () {
        const read = Effect.flatMap(numbers(20).pipe(as(alice)), (result) => bytesOf(result).pipe(as(bob)))
        const { exit, spans } = yield* spansOf(read)
        assert.isTrue(Exit.isSuccess(exit))
        const operations = spans.filter(({ name }) => name === "plugin.execute")
        assert.deepStrictEqual(
          operations.map(({ attributes }) => attributes["operation.name"]),
          ["sql.arrow", "sql.arrow.body"]
        )
        assert.strictEqual(operations[0]!.attributes["caller.id"], operations[1]!.attributes["caller.id"])
        assert.strictEqual(operations[1]!.attributes["execution.context"], "user")
      })
    )
  })

  it.layer(Live)("over attachments", (it) => {
    /** Answers a statement with these streams inline, each as a chunk. */
    const attached = (streams: ReadonlyArray<Uint8Array>, counts: ReadonlyArray<number>) =>
      Effect.gen(function* () {
        const chunkOf = (index: number) => ({
          chunk_index: index,
          row_count: counts[index],
          attachment: Buffer.from(streams[index]!).toString("base64"),
          ...(index + 1 < streams.length && { next_chunk_index: index + 1 })
        })
        const answered = (value: unknown) => ({ kind: "answer", status: 200, body: JSON.stringify(value) }) as const
        yield* misbehave({
          ...answered({
            statement_id: "attached",
            status: { state: "SUCCEEDED" },
            manifest: {
              format: "ARROW_STREAM",
              schema: { columns: [{ name: "word", type_text: "STRING", type_name: "STRING" }] },
              total_chunk_count: streams.length,
              total_row_count: counts.reduce((sum, count) => sum + count, 0)
            },
            result: chunkOf(0)
          }),
          method: "POST",
          path: (path) => start.test(path),
          times: 1
        })
        for (let index = 1; index < streams.length; index++) {
          const path = `${statements}/attached/result/chunks/${index}`
          yield* misbehave({ ...answered(chunkOf(index)), path: (_) => _ === path, times: 1 })
        }
        return yield* SqlWarehouse.arrow()`SELECT word FROM words`
      })

    // apache-arrow encodes text with a dictionary.
    const wordsOf = (words: ReadonlyArray<string>) => Arrow.tableToIPC(Arrow.tableFromArrays({ word: words }), "stream")

    it.effect("returns one Arrow stream of 1, 2 and 40 chunks, each with a dictionary of its own", () =>
      Effect.gen(function* () {
        for (const count of [1, 2, 40]) {
          const parts = Array.from({ length: count }, (_, index) => ["same", `of ${index}`, "same"])
          const result = yield* attached(
            parts.map(wordsOf),
            parts.map(({ length }) => length)
          )
          const table = yield* tableOf(result)
          assert.deepStrictEqual(table.schema.fields.map(String), ["word: Dictionary<Int32, Utf8>"])
          assert.deepStrictEqual(Array.from(table.getChild("word")!), parts.flat())
        }
      }).pipe(Effect.scoped)
    )

    /** Answers a statement with this result of a column of words. */
    const manifested = (manifest: object, result?: object) =>
      Effect.gen(function* () {
        const schema = { columns: [{ name: "word", type_text: "STRING", type_name: "STRING" }] }
        const answer = {
          statement_id: "odd",
          status: { state: "SUCCEEDED" },
          manifest: { schema, ...manifest },
          result
        }
        yield* misbehave({
          kind: "answer",
          status: 200,
          body: JSON.stringify(answer),
          method: "POST",
          path: (path) => start.test(path),
          times: 1
        })
        return yield* SqlWarehouse.arrow()`SELECT word FROM words`
      })

    it.effect("returns the schema of a result without rows, whose chunk is missing or empty", () =>
      Effect.gen(function* () {
        for (const [manifest, result] of [
          [{ total_chunk_count: 0, total_row_count: 0 }, {}],
          [{ total_chunk_count: 1, total_row_count: 0 }, { external_links: [] }],
          [{ total_chunk_count: 1, total_row_count: 0 }, undefined],
          [{ total_row_count: 0 }, {}]
        ] as const) {
          const table = yield* tableOf(yield* manifested(manifest, result))
          assert.deepStrictEqual(table.schema.fields.map(String), ["word: Utf8"])
          assert.strictEqual(table.numRows, 0)
        }
      }).pipe(Effect.scoped)
    )

    it.effect("fails with InvalidResponseError for a result with rows and without chunks", () =>
      Effect.gen(function* () {
        for (const [manifest, result] of [
          [{ total_chunk_count: 0, total_row_count: 5 }, {}],
          [{ total_row_count: 5 }, undefined],
          [{ total_chunk_count: 1, total_row_count: 5 }, { external_links: [] }]
        ] as const) {
          const reason = yield* reasonOf(Effect.flatMap(manifested(manifest, result), bytesOf))
          assert.strictEqual(reason._tag, "InvalidResponseError", JSON.stringify(manifest))
        }
      }).pipe(Effect.scoped)
    )

    it.effect("fails with InvalidResponseError for chunks of another schema, too few rows, or none of them", () =>
      Effect.gen(function* () {
        const numbers = Arrow.tableToIPC(Arrow.tableFromArrays({ word: Int32Array.of(1) }), "stream")
        const cases = {
          "different schemas": attached([wordsOf(["a"]), numbers], [1, 1]),
          "1 rows in place of 2": attached([wordsOf(["a"]), wordsOf(["b"])], [1, 2]),
          "is truncated": attached([wordsOf(["a"]), new Uint8Array()], [1, 1])
        }
        for (const [why, result] of Object.entries(cases)) {
          const reason = yield* reasonOf(Effect.flatMap(result, bytesOf))
          assert.strictEqual(reason._tag, "InvalidResponseError")
          assert.include(reason.message, why)
        }
      }).pipe(Effect.scoped)
    )
  })

  it.layer(Live)("of a user", (it) => {
    const whoIn = (result: SqlWarehouse.Arrow) => Effect.map(tableOf(result), (table) => table.getChild("who")!.get(0))
    const mine = Effect.flatMap(SqlWarehouse.user, ({ arrow }) => arrow()`SELECT current_user AS who`)

    it.effect("runs as the user, also inside asService, and sends every request as the opener", () =>
      Effect.gen(function* () {
        const seen = yield* recording
        const { servicePrincipal } = yield* LocalWorkspace.LocalWorkspace
        assert.strictEqual(yield* mine.pipe(Effect.flatMap(whoIn), as(alice)), alice)
        assert.strictEqual(yield* asService(mine).pipe(Effect.flatMap(whoIn), as(bob)), bob)
        const app = yield* SqlWarehouse.arrow()`SELECT current_user AS who`.pipe(asService, as(bob))
        assert.strictEqual(yield* whoIn(app), servicePrincipal.clientId)
        const opened = yield* Effect.flatMap(SqlWarehouse.user, ({ arrowText }) =>
          arrowText()("SELECT current_user AS who FROM generate_series(1, 30)")
        ).pipe(as(alice))
        // Bob reads what alice opened: the bytes are hers, and so is each request.
        const { length } = yield* seen("GET", chunk)
        assert.strictEqual(yield* whoIn(opened).pipe(as(bob)), alice)
        const asked = (yield* seen("GET", chunk)).slice(length)
        assert.deepStrictEqual(
          asked.map(({ user }) => user),
          [alice, alice]
        )
      })
    )

    it.effect("dies in another user's call with a client of alice, and sends nothing", () =>
      Effect.gen(function* () {
        const client = yield* SqlWarehouse.user.pipe(as(alice))
        const seen = yield* recording
        const exit = yield* Effect.exit(client.arrow()`SELECT 1`.pipe(Effect.provide(asUser(yield* requestOf(bob)))))
        assert.isTrue(Exit.hasDies(exit))
        assert.lengthOf(yield* seen("POST", start), 0)
      })
    )
  })

  const Raw = HttpRouter.add(
    "GET",
    "/raw",
    Effect.map(SqlWarehouse.arrow()`SELECT current_user AS who FROM generate_series(1, 400)`, ({ body, columns }) =>
      HttpServerResponse.stream(body, {
        contentType: "application/vnd.apache.arrow.stream",
        headers: { "x-columns": JSON.stringify(columns.map(({ name }) => name)) }
      })
    )
  ).pipe(Layer.provide(Middleware.asUser.layer))

  it.layer(serve(Raw, { services: SqlWarehouse.layer }))("as a response", (it) => {
    it.effect(
      "sends each user their own rows after the names of the columns, and breaks off when a chunk is lost",
      () =>
        Effect.gen(function* () {
          const { port } = yield* Served
          const get = (user: string) =>
            Effect.flatMap(requestOf(user), (headers) =>
              Effect.promise((signal) => fetch(`http://127.0.0.1:${port}/raw`, { headers, signal }))
            )
          const read = (response: Response) => Effect.tryPromise(() => response.arrayBuffer())
          const responses = yield* Effect.forEach([alice, bob], get, { concurrency: "unbounded" })
          for (const [index, user] of [alice, bob].entries()) {
            const response = responses[index]!
            assert.strictEqual(response.headers.get("x-columns"), '["who"]')
            const table = Arrow.tableFromIPC(new Uint8Array(yield* read(response)))
            assert.strictEqual(table.numRows, 400)
            assert.deepStrictEqual(new Set(table.getChild("who")!), new Set([user]))
          }
          yield* misbehave({ kind: "truncate", path: (path) => link.test(path) && path.endsWith("/7") })
          assert.isTrue(Exit.isFailure(yield* Effect.exit(Effect.flatMap(get(alice), read))))
        }).pipe(Effect.scoped)
    )
  })
})
