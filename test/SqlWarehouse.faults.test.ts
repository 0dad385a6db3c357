import { assert, layer } from "@effect/vitest"
import { DatabricksError, HttpFailure, SqlWarehouse } from "effect-databricks"
import { LocalWorkspace } from "effect-databricks/testing"
import { Effect, Schema, Stream } from "effect"
import {
  cancel,
  chunk,
  Live,
  misbehave,
  One,
  pending,
  poll,
  reasonOf,
  recording,
  start,
  statements,
  whoAmI
} from "./fixtures/sqlWarehouse.ts"
import { hurried } from "./fixtures/start.ts"
import { alice, as } from "./fixtures/people.ts"

const html = { headers: { "content-type": "text/html" }, body: "\n<!DOCTYPE html><title>Sign in</title>" }

/** What a gateway in front of the workspace, or of the storage, answers for a moment. */
const passing: Record<string, LocalWorkspace.Misbehaviour> = {
  "429": { kind: "answer", status: 429, headers: { "retry-after": "1" } },
  "408": { kind: "answer", status: 408 },
  "500": { kind: "answer", status: 500, body: `{"error_code":"INTERNAL_ERROR","message":"oops"}` },
  "502 of HTML": { kind: "answer", status: 502, ...html },
  "503": { kind: "answer", status: 503 },
  "504": { kind: "answer", status: 504 },
  "520": { kind: "answer", status: 520 },
  "200 of HTML": { kind: "answer", status: 200, ...html },
  "200 of HTML said to be JSON": {
    ...html,
    kind: "answer",
    status: 200,
    headers: { "content-type": "application/json" }
  },
  "a reset": { kind: "drop" }
}

/** These too, where the answer is JSON, which half a document is not. */
const passingForJson: typeof passing = {
  ...passing,
  "200 of nothing": { kind: "answer", status: 200 },
  "200 of plain text": { kind: "answer", status: 200, body: "upstream connect error" },
  "half an answer": { kind: "truncate" }
}

const link = /^\/external-links\//

const numbers = Array.from({ length: 7 }, (_, i) => ({ x: i + 1 }))
const Numbers = Schema.Struct({ x: Schema.Int })
const chunks = Effect.suspend(() => SqlWarehouse.query(Numbers)`SELECT * FROM generate_series(1, 7) AS x`)
const links = Stream.runCollect(SqlWarehouse.stream(Numbers)`SELECT * FROM generate_series(1, 7) AS x`)

const answered = (answer: object, path: (path: string) => boolean, method = "GET") =>
  misbehave({ kind: "answer", status: 200, body: JSON.stringify(answer), method, path, times: 1 })

const isStart = (path: string) => start.test(path)
const isPoll = (path: string) => poll.test(path)

layer(LocalWorkspace.layer({ rowsPerChunk: 3 }), { timeout: "60 seconds", excludeTestServices: true })(
  "SqlWarehouse",
  (it) => {
    it.layer(Live)("under way", (it) => {
      for (const [what, fault] of Object.entries(passingForJson)) {
        it.effect(`is polled again after ${what}, and not cancelled`, () =>
          Effect.gen(function* () {
            const seen = yield* recording
            yield* pending(1)
            yield* misbehave({ ...fault, method: "GET", path: isPoll, times: 3 })
            assert.strictEqual(yield* hurried(whoAmI.pipe(as(alice))), alice)
            assert.isAtLeast((yield* seen("GET", poll)).length, 4)
            assert.lengthOf(yield* seen("POST", start), 1)
            assert.lengthOf(yield* seen("POST", cancel), 0)
          }).pipe(Effect.scoped)
        )

        it.effect(`has its chunks, and the links to them, asked for again after ${what}`, () =>
          Effect.gen(function* () {
            for (const rows of [chunks, links]) {
              yield* misbehave({ ...fault, method: "GET", path: (path) => chunk.test(path), times: 3 })
              assert.deepStrictEqual(yield* hurried(rows), numbers)
            }
          }).pipe(Effect.scoped)
        )
      }

      for (const [what, fault] of Object.entries(passing)) {
        it.effect(`has its links downloaded again after ${what}`, () =>
          Effect.gen(function* () {
            const seen = yield* recording
            yield* misbehave({ ...fault, method: "GET", path: (path) => link.test(path), times: 3 })
            assert.deepStrictEqual(yield* hurried(links), numbers)
            assert.lengthOf(yield* seen("GET", link), 6)
          }).pipe(Effect.scoped)
        )
      }

      it.effect("fails after 5 minutes of the same, with the last answer", () =>
        Effect.gen(function* () {
          for (const [status, body, reason] of [
            [500, "", "WorkspaceFailedError"],
            [503, "", "UnavailableError"],
            [200, "<html>", "UnavailableError"]
          ] as const) {
            const seen = yield* recording
            yield* Effect.gen(function* () {
              yield* pending(1)
              yield* misbehave({ kind: "answer", status, body, method: "GET", path: isPoll, times: 1_000 })
              // What cancels it polls it too, and as long.
              assert.include(yield* hurried(reasonOf(whoAmI)), { _tag: reason, status })
              assert.isAtLeast((yield* seen("GET", poll)).length, 60)
            }).pipe(Effect.scoped)
          }
        })
      )
    })

    it.layer(Live)("null in place of a field", (it) => {
      it.effect("is as good as none: in the answer of a start, of a poll, and of a chunk", () =>
        Effect.gen(function* () {
          const { execute } = yield* SqlWarehouse.SqlWarehouse
          const none = { manifest: null, result: null }
          const status = { error: null, sql_state: null }
          const answer = (method: string, body: unknown) =>
            misbehave({ kind: "answer", method, path: statements, times: 1, status: 200, body: JSON.stringify(body) })
          const columns = [{ name: "x", type_text: "INT", type_name: "INT" }]
          const place = { chunk_index: null, row_offset: null, row_count: null, next_chunk_index: null }
          const manifest = {
            schema: { columns },
            total_chunk_count: 2,
            total_row_count: null,
            truncated: null,
            chunks: null
          }
          yield* answer("POST", { statement_id: "1", status: { state: "RUNNING", ...status }, ...none })
          yield* answer("GET", {
            statement_id: "1",
            status: { state: "SUCCEEDED", ...status },
            manifest,
            result: { ...place, data_array: [["1"]], external_links: null, attachment: null }
          })
          yield* answer("GET", { ...place, data_array: [["2"]] })
          assert.deepStrictEqual((yield* execute({ text: "SELECT x FROM t" })).rows, [["1"], ["2"]])
          yield* answer("POST", { statement_id: "1", status: { state: "SUCCEEDED", ...status }, ...none })
          assert.deepStrictEqual((yield* execute({ text: "INSERT INTO t VALUES (1)" })).rows, [])
        }).pipe(Effect.scoped)
      )
    })

    it.layer(Live)("CLOSED", (it) => {
      const closed = { statement_id: "1", status: { state: "CLOSED" } }
      const manifestOf = (name: string, type_name: string, total_row_count: number, total_chunk_count = 1) => ({
        format: "JSON_ARRAY",
        schema: { column_count: 1, columns: [{ name, type_text: type_name, type_name, position: 0 }] },
        total_chunk_count,
        total_row_count,
        truncated: false
      })
      const noColumns = { format: "JSON_ARRAY", schema: { column_count: 0 }, total_chunk_count: 0, total_row_count: 0 }

      it.effect(
        "is the success of a statement that writes, told by the start or by a poll, with or without its count",
        () =>
          Effect.gen(function* () {
            const { execute } = yield* SqlWarehouse.SqlWarehouse
            for (const text of [
              "INSERT INTO t VALUES (1)",
              "-- daily\n/* job */ insert into t SELECT * FROM u",
              "UPDATE t SET x = 1",
              "DELETE FROM t",
              "MERGE INTO t USING u ON true WHEN MATCHED THEN DELETE",
              "CREATE TABLE t (x INT)",
              "TRUNCATE TABLE t"
            ]) {
              for (const answer of [
                closed,
                { ...closed, result: {} },
                { ...closed, manifest: noColumns, result: {} },
                { ...closed, manifest: manifestOf("num_affected_rows", "LONG", 1) }
              ]) {
                const seen = yield* recording
                yield* answered(answer, isStart, "POST")
                const { columns, rows } = yield* execute({ text })
                assert.deepStrictEqual([columns, rows], [[], []], text)
                yield* answered({ ...closed, status: { state: "RUNNING" } }, isStart, "POST")
                yield* answered(answer, isPoll)
                assert.deepStrictEqual((yield* hurried(execute({ text }))).rows, [], text)
                assert.lengthOf(yield* seen("POST", start), 2)
                assert.lengthOf(yield* seen("POST", cancel), 0)
              }
            }
          }).pipe(Effect.scoped)
      )

      it.effect("has the rows that are in its answer, and the rows that there are none", () =>
        Effect.gen(function* () {
          const manifest = manifestOf("x", "INT", 1)
          const result = { chunk_index: 0, row_offset: 0, row_count: 1, data_array: [["7"]] }
          yield* answered({ ...closed, manifest, result }, isStart, "POST")
          assert.deepStrictEqual(yield* SqlWarehouse.query(Numbers)`SELECT 7 AS x`, [{ x: 7 }])
          yield* answered({ ...closed, manifest, result }, isStart, "POST")
          const count = { ...closed, manifest: manifestOf("num_affected_rows", "LONG", 1), result }
          yield* answered(count, isStart, "POST")
          assert.deepStrictEqual(yield* SqlWarehouse.query(Numbers)`SELECT 7 AS x`, [{ x: 7 }])
          assert.deepStrictEqual(yield* SqlWarehouse.query()`INSERT INTO t VALUES (1)`, [{ num_affected_rows: 7n }])
          for (const empty of [manifestOf("x", "INT", 0, 0), manifestOf("x", "INT", 0), noColumns]) {
            yield* answered({ ...closed, manifest: empty }, isStart, "POST")
            assert.deepStrictEqual(yield* SqlWarehouse.query(Numbers)`SELECT 1 AS x WHERE false`, [])
          }
        }).pipe(Effect.scoped)
      )

      it.effect("fails where rows are still to be fetched, with an error that says that it ran", () =>
        Effect.gen(function* () {
          const manifest = manifestOf("x", "INT", 2, 2)
          const result = { chunk_index: 0, row_offset: 0, row_count: 1, next_chunk_index: 1, data_array: [["7"]] }
          const isChunk = (path: string) => chunk.test(path)
          for (const [text, answer] of [
            ["SELECT 7 AS x", closed],
            ["WITH a AS (SELECT 1) INSERT INTO t SELECT * FROM a", closed],
            ["OPTIMIZE t", closed],
            ["SELECT 7 AS x", { ...closed, manifest }],
            ["SELECT 7 AS x", { ...closed, manifest, result: {} }],
            ["SELECT 7 AS x", { ...closed, manifest, result }]
          ] as const) {
            yield* answered(answer, isStart, "POST")
            const error = yield* Effect.gen(function* () {
              yield* misbehave({ kind: "answer", status: 404, method: "GET", path: isChunk })
              yield* misbehave({ kind: "answer", status: 200, body: JSON.stringify(closed), path: isPoll })
              return yield* Effect.flip(SqlWarehouse.queryText(One)(text))
            }).pipe(Effect.scoped)
            if (error._tag !== "DatabricksError") return assert.fail(error.message)
            assert.include(error.reason, { _tag: "StatementGoneError", state: "CLOSED", statementId: "1" })
            assert.include(error.message, "ran, and its result was closed before it was read")
            assert.isFalse(error.isRetryable)
          }
        }).pipe(Effect.scoped)
      )
    })

    it.layer(Live)("FAILED", (it) => {
      for (const [code, passes] of [
        ["TEMPORARILY_UNAVAILABLE", true],
        ["WORKSPACE_TEMPORARILY_UNAVAILABLE", true],
        ["SERVICE_UNDER_MAINTENANCE", true],
        ["RESOURCE_EXHAUSTED", true],
        ["BAD_REQUEST", false],
        ["INTERNAL_ERROR", false],
        ["CANCELLED", false],
        ["UNKNOWN", false]
      ] as const) {
        it.effect(
          `with ${code} is ${passes ? "" : "not "}retryable for a statement that reads, and not for another`,
          () =>
            Effect.gen(function* () {
              for (const [text, reads] of [
                ["SELECT 1 AS x", true],
                ["(WITH a AS (SELECT 1) SELECT * FROM a)", true],
                ["INSERT INTO t VALUES (1)", false],
                ["WITH a AS (SELECT 1) INSERT INTO t SELECT * FROM a", false],
                ["CALL p()", false]
              ] as const) {
                const seen = yield* recording
                const status = { state: "FAILED", error: { error_code: code, message: "The warehouse says so" } }
                yield* misbehave({
                  kind: "answer",
                  status: 200,
                  body: JSON.stringify({ statement_id: "1", status }),
                  method: "POST",
                  path: statements,
                  times: 1
                })
                const reason = yield* reasonOf(SqlWarehouse.queryText(One)(text))
                assert.include(reason, { _tag: "StatementFailedError", errorCode: code })
                assert.strictEqual(reason.isRetryable, passes && reads, text)
                const { status: http } = HttpFailure.fromError(DatabricksError.make(reason), { development: false })
                assert.strictEqual(http, passes && reads ? 503 : 500)
                assert.lengthOf(yield* seen("POST", start), 1)
              }
            }).pipe(Effect.scoped)
        )
      }
    })
  }
)
