import { assert, layer } from "@effect/vitest"
import { LocalWorkspace } from "effect-databricks/testing"
import { Effect } from "effect"
import { call } from "../fixtures/localWorkspace.ts"
import { alice, bob } from "../fixtures/people.ts"

const source = "SELECT 1 AS id, 'one word' AS title"

const search = {
  "main.a.words": { source, primaryKey: "id", text: ["title"] },
  "main.a.hers": { source, primaryKey: "id", users: [alice], endpoint: "other" },
  "main.a.broken": { source: "TABLE nowhere", primaryKey: "id" }
}

const root = "/api/2.0/vector-search"

const query = (body: object, index = "main.a.words") => call(`${root}/indexes/${index}/query`, { body })

layer(LocalWorkspace.layer({ search }), { timeout: "60 seconds", excludeTestServices: true })("LocalSearch", (it) => {
  it.effect("answers with the columns, the score last, and the time on request", () =>
    Effect.gen(function* () {
      const asked = { columns: ["title", "id"], query_text: "WORD" }
      const { json } = yield* query({ ...asked, debug_level: 1 })
      assert.deepStrictEqual(json.manifest, {
        column_count: 3,
        columns: [{ name: "title" }, { name: "id" }, { name: "score" }]
      })
      assert.strictEqual(json.result.row_count, 1)
      assert.deepStrictEqual(json.result.data_array[0].slice(0, 2), ["one word", 1])
      assert.isAbove(json.result.data_array[0][2], 0)
      assert.isNumber(json.debug_info.response_time)
      assert.isUndefined((yield* query(asked)).json.debug_info)
    })
  )

  it.effect("refuses a malformed query with 400", () =>
    Effect.gen(function* () {
      const asked = { columns: ["id"], query_text: "word" }
      for (const body of [
        { columns: ["id"] },
        { query_text: "word" },
        { ...asked, query_type: "ann" },
        { ...asked, columns: ["none"] },
        { ...asked, query_vector: [1] },
        { ...asked, filters_json: "{" },
        { ...asked, filters_json: "1" },
        { ...asked, filters_json: '{"id =": 1}' },
        { ...asked, filters_json: '{"id OR title": [1]}' },
        { ...asked, filters_json: '{"id NOT LIKE": 1}' },
        { columns: ["id"], query_vector: [1], query_type: "HYBRID" }
      ]) {
        const { json, status } = yield* query(body)
        assert.strictEqual(status, 400, JSON.stringify(body))
        assert.isString(json.error_code)
      }
      assert.strictEqual((yield* query(asked, "main.a.broken")).status, 400)
      assert.strictEqual((yield* query(asked, "main.a.none")).status, 404)
      // A quote in a name or a value ends neither.
      assert.strictEqual((yield* query({ ...asked, filters_json: `{"a\\"' >": "'"}` })).status, 400)
      assert.deepStrictEqual(
        (yield* query({ ...asked, filters_json: `{"title": "'; DROP TABLE x"}` })).json.result.data_array,
        []
      )
    })
  )

  it.effect("hides an index from users without SELECT, and needs the scope vector-search", () =>
    Effect.gen(function* () {
      const names = (user: string) =>
        Effect.map(call(`${root}/indexes?endpoint_name=local`, { user }), ({ json }) =>
          json.vector_indexes.map(({ name }: { name: string }) => name)
        )
      assert.include(yield* names(alice), "main.a.hers")
      assert.notInclude(yield* names(bob), "main.a.hers")
      for (const path of ["", "/query", "/query-next-page", "/sync"]) {
        const { status } = yield* call(`${root}/indexes/main.a.hers${path}`, {
          user: bob,
          ...(path !== "" && { body: {} })
        })
        assert.strictEqual(status, 403, path)
      }
      const { json } = yield* call(`${root}/endpoints`)
      assert.deepStrictEqual(
        json.endpoints.map(({ name }: { name: string }) => name),
        ["local", "other"]
      )
      const token = yield* LocalWorkspace.LocalWorkspace.use((_) => _.token(alice, { scopes: ["sql"] }))
      assert.include((yield* call(`${root}/endpoints`, { token })).text, "required scopes: vector-search")
    })
  )
})
