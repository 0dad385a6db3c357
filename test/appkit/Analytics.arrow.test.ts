import { assert, layer } from "@effect/vitest"
import * as Arrow from "apache-arrow"
import { LocalWorkspace } from "effect-databricks/testing"
import { Effect } from "effect"
import { alice, bob, requestOf } from "../fixtures/people.ts"
import { chunk, misbehave, recording, start, statements } from "../fixtures/sqlWarehouse.ts"
import { Served } from "../http/harness.ts"
import { app, fetched, post } from "./analytics.ts"

const names = (count: number) => Array.from({ length: count }, (_, index) => `"column ${index} of many é"`)

const texts = {
  "numbers.sql": "-- @param count INT\nSELECT i AS x, current_user AS who FROM generate_series(1, :count) i",
  "mine.obo.sql": "-- @param count INT\nSELECT i AS x, current_user AS who FROM generate_series(1, :count) i",
  "wide.sql": `SELECT ${names(400)
    .map((name, index) => `${index} AS ${name}`)
    .join(", ")}`,
  "odd.sql": `SELECT 1 AS "größe, \u4e2d\u6587 %"`
}

const path = (key: string) => `/api/analytics/query/${key}`
const arrow = (count?: number) => ({
  parameters: count === undefined ? {} : { count: { __sql_type: "INT", value: String(count) } },
  format: "ARROW_STREAM"
})

const tableOf = (key: string, count?: number, sender?: string) =>
  Effect.map(fetched(path(key), arrow(count), sender), ({ bytes, response }) => {
    assert.strictEqual(response.status, 200)
    return { headers: response.headers, table: Arrow.tableFromIPC(bytes) }
  })

const columnsOf = (headers: Headers): unknown => JSON.parse(decodeURIComponent(headers.get("x-appkit-arrow-columns")!))

const columns = (statementId: string, sender?: string) =>
  Effect.gen(function* () {
    const { call } = yield* Served
    return yield* call("GET", `/api/analytics/columns/${statementId}`, {
      headers: sender === undefined ? {} : yield* requestOf(sender)
    })
  })

layer(LocalWorkspace.layer({ rowsPerChunk: 10 }), { timeout: "60 seconds", excludeTestServices: true })(
  "Analytics.layer as Arrow",
  (it) => {
    it.layer(app(texts))("over a workspace", (it) => {
      it.effect("answers with one Arrow stream of all rows, of 0, 1, 2 and 40 chunks (AppKit's defect 5)", () =>
        Effect.gen(function* () {
          for (const count of [0, 7, 20, 400]) {
            const { headers, table } = yield* tableOf("numbers", count)
            assert.deepStrictEqual(
              Array.from(table.getChild("x")!, Number),
              Array.from({ length: count }, (_, index) => index + 1)
            )
            assert.strictEqual(headers.get("content-type"), "application/vnd.apache.arrow.stream")
            assert.strictEqual(headers.get("cache-control"), "private, no-store")
            assert.deepStrictEqual(columnsOf(headers), ["x", "who"])
            assert.isNull(headers.get("x-appkit-arrow-columns-ref"))
          }
        })
      )

      it.effect("runs key.obo.sql as each sender to the last chunk, and key.sql as the app (AppKit's defect 15)", () =>
        Effect.gen(function* () {
          const { servicePrincipal } = yield* LocalWorkspace.LocalWorkspace
          for (const [key, sender, who] of [
            ["mine", alice, alice],
            ["mine", bob, bob],
            ["numbers", alice, servicePrincipal.clientId]
          ] as const) {
            const seen = yield* recording
            const { table } = yield* tableOf(key, 100, sender)
            assert.deepStrictEqual([...new Set(table.getChild("who")!)], [who])
            const asked = [...(yield* seen("POST", start)), ...(yield* seen("GET", chunk))]
            assert.isAbove(asked.length, 5)
            for (const request of asked) assert.strictEqual(request.user, who, request.path)
          }
        })
      )

      it.effect("writes names of any characters into the header", () =>
        Effect.gen(function* () {
          const { headers } = yield* tableOf("odd")
          assert.deepStrictEqual(columnsOf(headers), ["größe, \u4e2d\u6587 %"])
        })
      )

      it.effect("keeps names that exceed the header for their sender, and for nobody else (AppKit's defect 15)", () =>
        Effect.gen(function* () {
          for (const [sender, others] of [
            [alice, [bob, undefined]],
            [undefined, [alice]]
          ] as const) {
            const { headers } = yield* tableOf("wide", undefined, sender)
            assert.isNull(headers.get("x-appkit-arrow-columns"))
            const reference = headers.get("x-appkit-arrow-columns-ref")!
            const own = yield* columns(reference, sender)
            assert.strictEqual(own.status, 200)
            assert.deepStrictEqual(own.json, { columns: names(400).map((name) => JSON.parse(name)) })
            assert.match(own.headers["cache-control"] ?? "", /private/)
            for (const other of others) assert.strictEqual((yield* columns(reference, other)).status, 404)
          }
          assert.strictEqual((yield* columns("unknown", alice)).status, 404)
        })
      )

      it.effect("cuts the connection if the result breaks off, so that no page takes a part for the whole", () =>
        Effect.gen(function* () {
          yield* misbehave({ kind: "answer", status: 404, method: "GET", path: statements })
          const exit = yield* Effect.exit(fetched(path("numbers"), arrow(4_000)))
          assert.strictEqual(exit._tag, "Failure")
          const { logs } = yield* Served
          assert.isTrue(logs.some(({ text }) => text.includes("The response broke off")))
        }).pipe(Effect.scoped)
      )

      it.effect("answers a failed statement with a status and a sentence for the page", () =>
        Effect.gen(function* () {
          yield* misbehave({
            kind: "answer",
            status: 400,
            body: JSON.stringify({ error_code: "INVALID_PARAMETER_VALUE", message: "the secret table of main.hr" }),
            method: "POST",
            path: statements,
            times: 1
          })
          const { json, status, text } = yield* post(path("numbers"), arrow(1), alice)
          assert.strictEqual(status, 400)
          assert.deepInclude(json, { plugin: "analytics" })
          assert.notInclude(text, "secret")
        }).pipe(Effect.scoped)
      )

      it.effect("answers ARROW_DELIVERY_UNSUPPORTED for a warehouse that refuses the format", () =>
        Effect.gen(function* () {
          const message = "The format ARROW_STREAM is not supported by this warehouse"
          yield* misbehave({
            kind: "answer",
            status: 400,
            body: JSON.stringify({ error_code: "INVALID_PARAMETER_VALUE", message }),
            method: "POST",
            path: statements,
            times: 1
          })
          const { json, status } = yield* post(path("numbers"), arrow(1))
          assert.strictEqual(status, 501)
          assert.deepInclude(json, { errorCode: "ARROW_DELIVERY_UNSUPPORTED" })
          assert.match(json.error, /JSON/)
        }).pipe(Effect.scoped)
      )
    })
  }
)
