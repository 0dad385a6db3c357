import { assert, layer } from "@effect/vitest"
import { AiSearch } from "effect-databricks"
import * as AppKitAiSearch from "effect-databricks/appkit/AiSearch"
import * as ClientConfig from "effect-databricks/appkit/ClientConfig"
import { LocalWorkspace } from "effect-databricks/testing"
import { Effect, Layer, Redacted } from "effect"
import { nextPages, queries } from "../fixtures/search.ts"
import { alice, bob, requestOf } from "../fixtures/people.ts"
import { recording } from "../fixtures/sqlWarehouse.ts"
import { type Answer, serve, Served } from "../http/harness.ts"

const docs = "main.support.docs_index"
const pages = "main.support.pages_index"
const other = "main.support.other_index"

const source = `SELECT * FROM (VALUES
  (1, 'money back', 'private note', 2023, 9007199254740993),
  (2, 'money order', 'private note', 2024, 9007199254740994),
  (3, 'boxes', 'private note', 2025, 9007199254740995)) AS docs (id, title, note, year, big)`

const numbers = "SELECT n AS id, 'number ' || n AS title, 'private' AS note FROM generate_series(1, 7) AS n"

const common = { primaryKey: "id", text: ["title"] }

const Local = LocalWorkspace.layer({
  search: {
    [docs]: { ...common, source, users: [alice] },
    [pages]: { ...common, source: numbers, pageSize: 3 },
    [other]: { ...common, source: numbers, pageSize: 3 }
  }
})

const numbered = { columns: ["id", "title"], pagination: true, numResults: 7 } as const

const Routes = AppKitAiSearch.layer({
  indexes: {
    docs: {
      index: docs,
      columns: ["id", "title", "big"],
      filters: ["year", "big"],
      queryType: "full_text",
      maxResults: 5
    },
    pages: { index: pages, ...numbered },
    other: { index: other, ...numbered },
    app: { index: pages, ...numbered, runsAs: "service" },
    mine: {
      index: pages,
      ...numbered,
      runsAs: "service",
      policy: (action, alias, caller) =>
        Effect.succeed(action === "search" && alias === "mine" && caller?.userName === alice)
    }
  }
})

const App = serve(Routes, { services: Layer.mergeAll(AiSearch.layer) }).pipe(Layer.provideMerge(ClientConfig.layer))

/** Posts as this person, or without a person. */
const post = Effect.fnUntraced(function* (user: string | undefined, path: string, body: unknown) {
  const headers = user === undefined ? {} : yield* requestOf(user)
  return yield* Served.use((_) => _.call("POST", `/api/ai-search/${path}`, { headers, body }))
})

const get = (path: string) => Served.use((_) => _.call("GET", `/api/ai-search/${path}`))

const isRefused = ({ json, status }: Answer, expected: number, error: string) => {
  assert.deepStrictEqual([status, json.error, json.plugin], [expected, error, "ai-search"])
}

layer(Local, { timeout: "60 seconds", excludeTestServices: true })("appkit/AiSearch.layer", (it) => {
  it.layer(App)("queries", (it) => {
    it.effect("answers with the score and the columns of the application, as the user", () =>
      Effect.gen(function* () {
        const seen = yield* recording
        const { headers, json, status } = yield* post(alice, "docs/query", { queryText: "money" })
        assert.strictEqual(status, 200)
        assert.strictEqual(headers["cache-control"], "private, no-store")
        assert.deepStrictEqual(
          json.results.map(({ data }: { data: unknown }) => data),
          [
            { id: 1, title: "money back", big: "9007199254740993" },
            { id: 2, title: "money order", big: "9007199254740994" }
          ]
        )
        for (const { score } of json.results) assert.isNumber(score)
        assert.isNumber(json.queryTimeMs)
        assert.deepStrictEqual([json.totalCount, json.queryType, json.nextPageToken], [2, "full_text", null])
        const [request] = yield* seen("POST", queries)
        assert.strictEqual(request!.user, alice)
      })
    )

    it.effect("tells a user without SELECT that, in our words, and finds nothing for them", () =>
      Effect.gen(function* () {
        isRefused(
          yield* post(bob, "docs/query", { queryText: "money" }),
          403,
          "You do not have the permission for this"
        )
      })
    )

    it.effect("answers 401 without a token, and goes on to serve", () =>
      Effect.gen(function* () {
        const seen = yield* recording
        assert.strictEqual((yield* post(undefined, "docs/query", { queryText: "money" })).status, 401)
        assert.strictEqual((yield* post(undefined, "pages/next-page", { pageToken: "x" })).status, 400)
        assert.lengthOf(yield* seen("POST", /./), 0)
        assert.strictEqual((yield* post(alice, "docs/query", { queryText: "money" })).status, 200)
      })
    )

    it.effect("refuses an unknown alias with 404, also names that every object has", () =>
      Effect.gen(function* () {
        for (const alias of ["nothing", "constructor", "__proto__"]) {
          for (const action of ["query", "next-page"]) {
            isRefused(yield* post(alice, `${alias}/${action}`, {}), 404, `No index configured with alias "${alias}"`)
          }
        }
        assert.strictEqual((yield* get("constructor/config")).status, 404)
      })
    )

    it.effect("shows a front end only the columns of the application", () =>
      Effect.gen(function* () {
        const seen = yield* recording
        const asked = (columns: ReadonlyArray<string>) => post(alice, "docs/query", { queryText: "money", columns })
        isRefused(yield* asked(["id", "note"]), 400, 'columns: this app does not show "note"')
        assert.lengthOf(yield* seen("POST", queries), 0)
        const { json } = yield* asked(["title", "title"])
        assert.deepStrictEqual(json.results[0].data, { title: "money back" })
      })
    )

    it.effect("filters by the columns of the application, with every digit", () =>
      Effect.gen(function* () {
        const filtered = (filters: string) => post(alice, "docs/query", `{"queryText":"money","filters":${filters}}`)
        const idsOf = ({ json }: Answer) => json.results.map(({ data }: { data: { id: number } }) => data.id)
        const sent = yield* recording
        assert.strictEqual((yield* filtered('{"big":9007199254740993}')).status, 200)
        const [request] = yield* sent("POST", queries)
        assert.strictEqual(JSON.parse(request!.body!).filters_json, '{"big":9007199254740993}')
        assert.deepStrictEqual(idsOf(yield* filtered('{"year":[2024,2025]}')), [2])
        assert.deepStrictEqual(idsOf(yield* filtered('{"year >=":2023,"year <":2024}')), [1])
        const seen = yield* recording
        for (const [filters, error] of [
          ['{"note":"private note"}', 'this app does not filter by "note"'],
          ['{"note OR year":[1,2]}', 'this app does not filter by "note"'],
          ['{"year OR note":[2023,"private note"]}', '"year OR note" has an unknown operator'],
          ['{"year":[]}', '"year" has no value'],
          ['{"year >":[2023]}', '"year >" takes one value'],
          ['{"year":2023,"year >":2022}', '"year" is both equal and compared']
        ] as const) {
          isRefused(yield* filtered(filters), 400, `filters: ${error}`)
        }
        assert.strictEqual((yield* filtered('{"year":null}')).status, 400)
        assert.lengthOf(yield* seen("POST", queries), 0)
      })
    )

    it.effect("refuses every other part of a query that the application does not allow, by name", () =>
      Effect.gen(function* () {
        const seen = yield* recording
        const required = "queryText or queryVector is required"
        isRefused(yield* post(alice, "docs/query", {}), 400, required)
        isRefused(yield* post(alice, "docs/query", { queryText: "", queryVector: [] }), 400, required)
        const asked = (more: object) => post(alice, "docs/query", { queryText: "money", ...more })
        isRefused(yield* asked({ numResults: 6 }), 400, "numResults: this app shows at most 5")
        isRefused(yield* asked({ reranker: true }), 400, "reranker: this app has none")
        isRefused(yield* post(alice, "docs/query", "money"), 400, "The body of the request is not JSON")
        for (const [name, value] of Object.entries({
          numResults: 0,
          queryType: "all",
          filter: { year: 1 },
          columns: 1
        })) {
          const { json, status } = yield* asked({ [name]: value })
          assert.strictEqual(status, 400)
          assert.include(json.error, name)
        }
        assert.lengthOf(yield* seen("POST", queries), 0)
      })
    )
  })

  it.layer(App)("pages", (it) => {
    const first = (alias: string, user = alice) =>
      Effect.map(post(user, `${alias}/query`, { queryText: "number", columns: ["id"] }), ({ json }) => json)

    it.effect("go on to the last one, with the columns of the query", () =>
      Effect.gen(function* () {
        const seen: Array<unknown> = []
        let page = yield* first("pages")
        for (;;) {
          seen.push(...page.results.map(({ data }: { data: unknown }) => data))
          if (page.nextPageToken === null) break
          page = (yield* post(alice, "pages/next-page", { pageToken: page.nextPageToken })).json
          assert.strictEqual(page.queryType, "ann")
        }
        assert.sameDeepMembers(
          seen,
          [1, 2, 3, 4, 5, 6, 7].map((id) => ({ id }))
        )
      })
    )

    it.effect("are those of one caller and one alias, and no request leaves for another", () =>
      Effect.gen(function* () {
        const { nextPageToken } = yield* first("app")
        const [payload, seal] = nextPageToken.split(".")
        const forged = Buffer.from(
          JSON.stringify({ ...JSON.parse(Buffer.from(payload, "base64url").toString()), columns: ["note"] })
        ).toString("base64url")
        const seen = yield* recording
        for (const [user, alias, pageToken] of [
          [bob, "app", nextPageToken],
          [undefined, "app", nextPageToken],
          [alice, "mine", nextPageToken],
          [alice, "pages", nextPageToken],
          [alice, "other", nextPageToken],
          [alice, "docs", nextPageToken],
          [alice, "app", `${forged}.${seal}`],
          [alice, "app", payload],
          [alice, "app", ""]
        ] as const) {
          const answer = yield* post(user, `${alias}/next-page`, { pageToken })
          isRefused(answer, 400, "This page is not available any more: search again")
        }
        assert.lengthOf(yield* seen("POST", nextPages), 0)
        assert.strictEqual((yield* post(alice, "app/next-page", { pageToken: nextPageToken })).status, 200)
      })
    )
  })

  it.effect("pages show no column that the application has withdrawn since, with a key that outlives it", () =>
    Effect.gen(function* () {
      const served = (columns: readonly [string, ...Array<string>]) =>
        serve(
          AppKitAiSearch.layer({
            indexes: { pages: { index: pages, ...numbered, columns } },
            pageTokenKey: Redacted.make("key of the application")
          }),
          { services: AiSearch.layer }
        ).pipe(Layer.provide(ClientConfig.layer))
      const { json } = yield* Effect.provide(
        post(alice, "pages/query", { queryText: "number" }),
        served(["id", "title"])
      )
      const next = post(alice, "pages/next-page", { pageToken: json.nextPageToken })
      assert.strictEqual((yield* Effect.provide(next, served(["title", "id"]))).status, 200)
      const seen = yield* recording
      isRefused(yield* Effect.provide(next, served(["id"])), 400, "This page is not available any more: search again")
      assert.lengthOf(yield* seen("POST", nextPages), 0)
    })
  )

  it.layer(App)("indexes of the app", (it) => {
    it.effect("are queried as the service principal, for whom the policy allows it", () =>
      Effect.gen(function* () {
        const { servicePrincipal } = yield* LocalWorkspace.LocalWorkspace
        const seen = yield* recording
        const asked = { queryText: "number" }
        assert.strictEqual((yield* post(undefined, "app/query", asked)).status, 200)
        assert.strictEqual((yield* post(bob, "app/query", asked)).status, 200)
        assert.strictEqual((yield* post(alice, "mine/query", asked)).status, 200)
        for (const user of [bob, undefined]) {
          isRefused(yield* post(user, "mine/query", asked), 403, "You may not do this in this app")
        }
        const { clientId } = servicePrincipal
        const users = (yield* seen("POST", queries)).map(({ user }) => user)
        assert.deepStrictEqual(users, [clientId, clientId, clientId])
      })
    )
  })

  it.layer(App)("config", (it) => {
    it.effect("lists aliases for the page, and what a front end may ask of each", () =>
      Effect.gen(function* () {
        const { plugins } = yield* ClientConfig.ClientConfig.use((_) => _.current)
        const docs = { alias: "docs", queryType: "full_text", pagination: false }
        const { indexes } = (yield* get("config")).json
        assert.deepStrictEqual(plugins["aiSearch"], { indexes })
        assert.deepStrictEqual([indexes[0], indexes.length], [docs, 5])
        assert.deepStrictEqual((yield* get("docs/config")).json, {
          ...docs,
          columns: ["id", "title", "big"],
          filters: ["year", "big"],
          maxResults: 5
        })
      })
    )
  })
})
