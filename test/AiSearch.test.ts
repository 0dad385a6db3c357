import { assert, layer } from "@effect/vitest"
import { AiSearch, getWorkspaceClient, HttpFailure, SqlWarehouse } from "effect-databricks"
import { LocalWorkspace } from "effect-databricks/testing"
import { Duration, Effect, Exit, Fiber, Schema } from "effect"
import { withSleep } from "./fixtures/clock.ts"
import { eventually } from "./fixtures/eventually.ts"
import { alice, as, bob } from "./fixtures/people.ts"
import { articles, fast, hers, Id, idsOf, late, Live, Local, paged, queries, scored } from "./fixtures/search.ts"
import { spansOf } from "./fixtures/spans.ts"
import { misbehave, reasonOf, recording } from "./fixtures/sqlWarehouse.ts"

const Article = Schema.Struct({ title: Schema.String, id: Schema.String, year: Schema.Int })

const both: AiSearch.Search = { text: "money", vector: [1, 0] }

/** Answers the next query with this, in place of the index. */
const answering = (answer: unknown) =>
  misbehave({
    kind: "answer",
    status: 200,
    headers: { "content-type": "application/json" },
    body: typeof answer === "string" ? answer : JSON.stringify(answer),
    path: (path) => queries.test(path),
    times: 1
  })

const columnsOf = (...names: ReadonlyArray<string>) => ({ columns: names.map((name) => ({ name })) })

const decodeErrorOf = <A, E, R>(query: Effect.Effect<A, E, R>) =>
  Effect.map(Effect.flip(query), (error) =>
    error instanceof SqlWarehouse.RowDecodeError ? error : assert.fail(String(error))
  )

const notReadyOf = <A, E, R>(query: Effect.Effect<A, E, R>) =>
  Effect.map(Effect.flip(query), (error) =>
    error instanceof AiSearch.IndexNotReadyError ? error : assert.fail(String(error))
  )

layer(Local, { timeout: "60 seconds", excludeTestServices: true })("AiSearch", (it) => {
  it.layer(Live)("index(…).query", (it) => {
    it.effect("runs as the caller of the fiber, in one span that names index and caller and not the text", () =>
      Effect.gen(function* () {
        const seen = yield* recording
        const { servicePrincipal } = yield* LocalWorkspace.LocalWorkspace
        const query = idsOf({ text: "secret words", filters: { lang: "secret language" } })
        const { exit, spans } = yield* spansOf(Effect.all([query, as(alice)(query), as(bob)(query)]))
        assert.deepStrictEqual(exit, Exit.succeed([[], [], []]))
        assert.deepStrictEqual(
          (yield* seen("POST", queries)).map(({ user }) => user),
          [servicePrincipal.clientId, alice, bob]
        )
        const operations = spans.filter(({ name }) => name === "plugin.execute")
        assert.lengthOf(operations, 3)
        for (const { attributes } of operations) {
          assert.include(attributes, {
            "operation.name": "search.query",
            "search.index": articles,
            "search.query_type": "ann",
            "search.hits": 0
          })
        }
        assert.notInclude(JSON.stringify(spans.map(({ attributes }) => attributes)), "secret")
      })
    )

    it.effect("asks for the columns of the Schema, and returns rows with the score apart", () =>
      Effect.gen(function* () {
        const seen = yield* recording
        const { hits, nextPageToken, responseTime, rowCount } = yield* AiSearch.index(articles).query(Article)(both)
        assert.deepStrictEqual(hits, [
          { row: { title: "Refunds", id: "1", year: 2023 }, score: 1 },
          { row: { title: "Rückgabe", id: "3", year: 2024 }, score: 0.8 },
          { row: { title: "Prices", id: "4", year: 2025 }, score: 0.6 },
          { row: { title: "Shipping", id: "2", year: 2024 }, score: 0 }
        ])
        assert.deepStrictEqual([nextPageToken, rowCount], [undefined, 4])
        assert.isTrue(Duration.isDuration(responseTime))
        const [request] = yield* seen("POST", queries)
        assert.deepStrictEqual(JSON.parse(request!.body!), {
          columns: ["title", "id", "year"],
          query_type: "ANN",
          query_text: "money",
          query_vector: [1, 0],
          debug_level: 1
        })
      })
    )

    it.effect("finds by vector, by text through the embedding model, by words, and by both", () =>
      Effect.gen(function* () {
        assert.deepStrictEqual(yield* idsOf({ vector: [0, 1] }), ["2", "4", "3", "1"])
        assert.deepStrictEqual(yield* idsOf({ text: "some money" }), ["1", "3", "4", "2"])
        assert.sameMembers(yield* idsOf({ text: "money", queryType: "full_text" }), ["1", "3"])
        assert.deepStrictEqual(yield* idsOf({ text: "lorries", vector: [1, 0], queryType: "hybrid" }), [
          "2",
          "1",
          "3",
          "4"
        ])
        assert.deepStrictEqual(yield* idsOf({ vector: [1, 0], numResults: 1 }), ["1"])
        assert.deepStrictEqual(yield* idsOf({ vector: [1, 0], scoreThreshold: 0.7 }), ["1", "3"])
      })
    )

    it.effect("filters by values, comparisons, words, items of arrays, and alternatives", () =>
      Effect.gen(function* () {
        const found = (criteria: AiSearch.Criteria) => idsOf({ vector: [1, 0], ...criteria })
        assert.deepStrictEqual(yield* found({ filters: { lang: "en" } }), ["1", "2"])
        assert.deepStrictEqual(yield* found({ filters: { lang: ["de", "fr"], paid: true } }), ["3"])
        assert.deepStrictEqual(yield* found({ filters: { year: { ">=": 2024, "<": 2025 } } }), ["3", "2"])
        assert.deepStrictEqual(yield* found({ filters: { lang: { NOT: "en" }, year: { NOT: 2025 } } }), ["3"])
        assert.deepStrictEqual(yield* found({ filters: { body: { LIKE: "money" } } }), ["1", "3"])
        assert.deepStrictEqual(yield* found({ filters: { body: { LIKE: "mone" } } }), [])
        assert.deepStrictEqual(yield* found({ filters: { tags: "a" } }), ["1", "4"])
        assert.deepStrictEqual(yield* found({ filters: { big: 9007199254740994n } }), ["2"])
        assert.deepStrictEqual(yield* found({ anyOf: { lang: "fr", year: { "<=": 2023 } } }), ["1", "4"])
        const narrow = { filters: { paid: false }, anyOf: { lang: "fr", year: { "<=": 2023 } } }
        assert.deepStrictEqual(yield* found(narrow), ["4"])
        assert.lengthOf(yield* found({ filters: {} }), 4)
      })
    )

    it.effect("refuses, before anything is sent, a search of which a part would be lost", () =>
      Effect.gen(function* () {
        const seen = yield* recording
        const refused = (search: object, says: string) =>
          Effect.map(reasonOf(idsOf(search as AiSearch.Search)), ({ _tag, message }) => {
            assert.strictEqual(_tag, "InvalidRequestError")
            assert.include(message, `The query of the index ${articles} was not sent: `)
            assert.include(message, says)
          })
        yield* refused({}, "neither a text nor a vector")
        yield* refused({ text: "", vector: [] }, "neither a text nor a vector")
        yield* refused({ vector: [1, Number.NaN] }, "is NaN")
        yield* refused({ ...both, filters: { lang: [] } }, '"lang" is an empty list')
        yield* refused({ ...both, filters: { lang: undefined } }, '"lang" has a value of type undefined')
        yield* refused({ ...both, filters: { lang: null } }, '"lang" has null')
        yield* refused({ ...both, filters: { lang: ["en", undefined] } }, '"lang" has a value of type undefined')
        yield* refused({ ...both, filters: { year: {} } }, '"year" has no comparison')
        yield* refused({ ...both, filters: { year: { ">=": undefined } } }, '"year" has a value of type undefined')
        yield* refused({ ...both, filters: { year: { ">=": Number.POSITIVE_INFINITY } } }, '"year" is not exact')
        yield* refused({ ...both, filters: { big: 2 ** 53 } }, '"big" is not exact: give an integer as bigint')
        yield* refused({ ...both, filters: { year: { "=": 1 } } }, 'the unknown operator "="')
        yield* refused({ ...both, filters: { "lang NOT": "en" } }, '"lang NOT" is not the name of a column')
        yield* refused({ ...both, filters: { "a OR lang": ["x", "en"] } }, "is not the name of a column")
        yield* refused({ ...both, filters: { lang: "en" }, anyOf: { lang: "de" } }, "anyOf has fewer than two")
        for (const filters of [[], new Map([["lang", "en"]]), 5, null]) {
          yield* refused({ ...both, filters }, "filters and anyOf are objects whose names are columns")
        }
        yield* refused({ ...both, anyOf: null }, "filters and anyOf are objects whose names are columns")
        yield* refused({ ...both, numResults: Number.NaN }, '"num_results" is NaN')
        const { message } = yield* reasonOf(AiSearch.index(articles).query(Schema.Unknown)(both))
        assert.include(message, "give the option columns")
        assert.lengthOf(yield* seen("POST", queries), 0)
      })
    )

    it.effect("takes columns and reranker from the code", () =>
      Effect.gen(function* () {
        const seen = yield* recording
        const query = AiSearch.index(articles).query(Schema.Record(Schema.String, Schema.Unknown), {
          columns: ["id", "lang"],
          rerank: ["title", "body"]
        })
        const hostile = { ...both, numResults: 1, columns: ["embedding"], rerank: ["embedding"], debug_level: 9 }
        const { hits } = yield* query(hostile)
        assert.deepStrictEqual(hits, [{ row: { id: "1", lang: "en" }, score: 1 }])
        const [request] = yield* seen("POST", queries)
        assert.include(request!.body, '"columns":["id","lang"]')
        assert.include(
          request!.body,
          '"reranker":{"model":"databricks_reranker","parameters":{"columns_to_rerank":["title","body"]}}'
        )
        assert.notInclude(request!.body, "embedding")
      })
    )

    it.effect("matches columns by name, and leaves out those that were not asked for", () =>
      Effect.gen(function* () {
        const answer = {
          manifest: columnsOf("year", "salary", "id", "title", "score"),
          result: { row_count: 1, data_array: [[2020, 90_000, "7", "Seven", 0.25]] }
        }
        yield* answering(answer)
        const { hits } = yield* AiSearch.index(articles).query(Article)(both)
        assert.deepStrictEqual(hits, [{ row: { title: "Seven", id: "7", year: 2020 }, score: 0.25 }])
        const any = Schema.Record(Schema.String, Schema.Unknown)
        yield* answering(answer)
        const asked = yield* AiSearch.index(articles).query(any, { columns: ["id"] })(both)
        assert.deepStrictEqual(asked.hits, [{ row: { id: "7" }, score: 0.25 }])
        // The last column of the name is the score.
        const Own = Schema.Struct({ id: Schema.Int, score: Schema.Int })
        const own = yield* AiSearch.index(scored).query(Own)({ text: "number" })
        assert.deepStrictEqual(
          own.hits.map(({ row }) => row),
          [{ id: 1, score: 42 }]
        )
        assert.isBelow(own.hits[0]!.score, 1)
      })
    )

    it.effect("fails with an error that names a column which is missing, which is there twice, or which differs", () =>
      Effect.gen(function* () {
        const { query } = AiSearch.index(articles)
        yield* answering({ manifest: columnsOf("id", "score"), result: { data_array: [["1", 1]] } })
        const missing = yield* decodeErrorOf(query(Article)(both))
        assert.include(missing, { column: "title" })
        assert.include(missing.message, `The index ${articles} does not return the column "title"`)
        yield* answering({ manifest: columnsOf("id", "id", "score"), result: { data_array: [["1", "2", 1]] } })
        assert.include(yield* decodeErrorOf(query(Id)(both)), { column: "id" })
        const twice = yield* decodeErrorOf(query(Id, { columns: ["id", "id"] })(both))
        assert.include(twice.message, 'returns two columns "id"')
        const differs = yield* decodeErrorOf(query(Schema.Struct({ title: Schema.Int }))(both))
        assert.include(differs, { column: "title", row: 1 })
        assert.notInclude(differs.message, "Refunds")
        assert.strictEqual(HttpFailure.fromError(differs, { development: false }).status, 500)
        // The Schema has a field that the option leaves out.
        assert.include(yield* decodeErrorOf(query(Article, { columns: ["id", "title"] })(both)), { column: "year" })
      })
    )

    it.effect("refuses rows without a score or of another width, and no JSON", () =>
      Effect.gen(function* () {
        for (const answer of [
          { manifest: columnsOf("id"), result: { data_array: [["1"]] } },
          { manifest: columnsOf("id", "score"), result: { data_array: [["1"]] } },
          { manifest: columnsOf("id", "score"), result: { data_array: [["1", 1, "more"]] } },
          { manifest: columnsOf("id", "score"), result: { data_array: [["1", null]] } },
          { manifest: columnsOf("id", "score"), result: { data_array: [["1", "high"]] } },
          { result: { data_array: [["1", 1]] } },
          "<html>"
        ]) {
          yield* answering(answer)
          assert.strictEqual((yield* reasonOf(idsOf(both)))._tag, "InvalidResponseError")
        }
        yield* answering({ manifest: null, result: { row_count: 0 } })
        assert.deepStrictEqual(yield* idsOf(both), [])
      })
    )

    it.effect("keeps integers exact, rounds fractions, and refuses an integer that a number would round", () =>
      Effect.gen(function* () {
        const { query } = AiSearch.index(articles)
        const { hits } = yield* query(Schema.Struct({ big: Schema.BigInt }))({ ...both, filters: { lang: "de" } })
        assert.strictEqual(hits[0]!.row.big, 9007199254740995n)
        const text = yield* query(Schema.Struct({ big: Schema.String }))({ ...both, filters: { lang: "en" } })
        assert.strictEqual(text.hits[0]!.row.big, "9007199254740993")
        const rounded = yield* decodeErrorOf(query(Schema.Struct({ big: Schema.Int }))(both))
        assert.include(rounded.message, "use Schema.BigInt")
        yield* answering(
          '{"manifest":{"columns":[{"name":"price"},{"name":"score"}]},"result":{"data_array":[[0.10000000000000000555,0.12345678901234567890]]}}'
        )
        const fraction = yield* query(Schema.Struct({ price: Schema.Number }))(both)
        assert.deepStrictEqual(fraction.hits, [{ row: { price: 0.1 }, score: 0.12345678901234568 }])
      })
    )

    it.effect("says which grant, scope or name is missing", () =>
      Effect.gen(function* () {
        assert.lengthOf(yield* as(alice)(idsOf(both, hers)), 4)
        const denied = yield* Effect.flip(as(bob)(idsOf(both, hers)))
        assert.include(denied, { _tag: "DatabricksError", context: "user", status: 403 } as object)
        assert.include(denied.message, `needs SELECT on the index ${hers}`)
        const unknown = yield* reasonOf(idsOf(both, "main.support.none"))
        assert.strictEqual(unknown._tag, "NotFoundError")
        assert.include(unknown.message, "Check the name of the index main.support.none")
        assert.strictEqual((yield* reasonOf(idsOf(both, "a/b?c")))._tag, "NotFoundError")
        const scopes = ["iam.current-user:read", "sql"]
        const scope = yield* reasonOf(as(alice, { scopes })(idsOf(both)))
        assert.include(scope, { _tag: "MissingScopeError", scope: "vector-search" })
        const column = yield* reasonOf(
          AiSearch.index(articles).query(Schema.Struct({ none: Schema.String }))({ ...both })
        )
        assert.strictEqual(column._tag, "InvalidRequestError")
        assert.include(column.message, "none")
      })
    )

    it.effect("fails with IndexNotReadyError while the index is provisioned", () =>
      Effect.gen(function* () {
        const error = yield* notReadyOf(idsOf(both, late))
        assert.include(error, { index: late, isRetryable: true })
        assert.strictEqual(HttpFailure.fromError(error, { development: false }).status, 503)
      })
    )

    it.effect(
      "retries a 429 after its Retry-After by default, not with retry: false, and a lost query on request",
      () =>
        Effect.gen(function* () {
          const seen = yield* recording
          const path = (path: string) => queries.test(path)
          const refusing = misbehave({ kind: "answer", status: 429, headers: { "retry-after": "5" }, path, times: 1 })
          yield* refusing
          assert.lengthOf(yield* fast(idsOf(both)), 4)
          assert.lengthOf(yield* seen("POST", queries), 2)
          yield* refusing
          const error = yield* Effect.flip(AiSearch.index(articles).query(Id, { retry: false })(both))
          assert.include(error, { status: 429, isRetryable: true } as object)
          assert.deepStrictEqual("retryAfter" in error && error.retryAfter, Duration.seconds(5))
          yield* misbehave({ kind: "drop", when: "after", path, times: 1 })
          const again = AiSearch.index(articles).query(Id, { retry: { attempts: 2, delay: 1 } })(both)
          assert.lengthOf((yield* again).hits, 4)
        })
    )

    it.effect("aborts the request when it is interrupted, when it times out and when the response stalls", () =>
      Effect.gen(function* () {
        const seen = yield* recording
        yield* misbehave({ kind: "stall", path: (path) => queries.test(path), times: 2 })
        const fiber = yield* Effect.forkChild(idsOf(both))
        yield* eventually(seen("POST", queries), (all) => all.length === 1)
        yield* Fiber.interrupt(fiber)
        yield* eventually(seen("POST", queries), (all) => all[0]!.aborted)
        // The time limit passes when the request has arrived.
        const workspace = yield* LocalWorkspace.LocalWorkspace
        const arrived = eventually(
          Effect.provideService(seen("POST", queries), LocalWorkspace.LocalWorkspace, workspace),
          (all) => all.length === 2
        )
        const passing = withSleep(
          () => (duration) => (Duration.toMillis(duration) === 60_000 ? Effect.asVoid(arrived) : Effect.never) // the time limit of every response
        )
        const timed = passing(AiSearch.index(articles).query(Id, { timeout: "1 minute" })(both))
        assert.include((yield* Effect.flip(timed)).message, "search.query took longer than 1m")
        yield* eventually(seen("POST", queries), (all) => all[1]!.aborted)
      })
    )

    it.effect("refuses a response above 64 MiB", () =>
      Effect.gen(function* () {
        yield* answering(" ".repeat(64 * 1024 * 1024 + 1))
        assert.include((yield* reasonOf(idsOf(both))).message, "more than 67108864 bytes")
      })
    )
  })

  it.layer(Live)("The official SDK", (it) => {
    it.effect("queries the local index, reads its pages and state, and starts a sync", () =>
      Effect.gen(function* () {
        const client = yield* getWorkspaceClient
        const query = { columns: ["id"], query_text: "number", num_results: 5 }
        const first = yield* client.use((sdk) =>
          sdk.vectorSearchIndexes.queryIndex({ index_name: paged, query_type: "FULL_TEXT", ...query })
        )
        assert.deepStrictEqual(
          first.manifest?.columns?.map(({ name }) => name),
          ["id", "score"]
        )
        assert.deepStrictEqual(first.result?.data_array, [])
        const next = yield* client.use((sdk) =>
          sdk.vectorSearchIndexes.queryNextPage({
            index_name: paged,
            endpoint_name: "pages",
            page_token: first.next_page_token!
          })
        )
        assert.isDefined(next.next_page_token)
        const filtered = yield* client.use((sdk) =>
          sdk.vectorSearchIndexes.queryIndex({
            index_name: articles,
            columns: ["id"],
            query_vector: [1, 0],
            filters_json: '{"year >=": 2024, "lang OR year": ["en", 2025]}'
          })
        )
        assert.deepStrictEqual(
          filtered.result?.data_array?.map(([id]) => id),
          ["4", "2"]
        )
        const found = yield* client.use((sdk) => sdk.vectorSearchIndexes.getIndex({ index_name: articles }))
        assert.deepStrictEqual([found.status?.ready, found.status?.indexed_row_count], [true, 4])
        const names = yield* client.use(async (sdk) => {
          const all = []
          for await (const { name } of sdk.vectorSearchIndexes.listIndexes({ endpoint_name: "local" })) all.push(name)
          return all
        })
        assert.include(names, articles)
        yield* client.use((sdk) => sdk.vectorSearchIndexes.syncIndex({ index_name: paged }))
      })
    )
  })
})
