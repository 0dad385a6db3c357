/** The routes of AI Search: queries and their pages, states and syncs of indexes. */
import { Clock, Effect, Schema } from "effect"
import * as HttpRouter from "effect/http/HttpRouter"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import { randomUUID } from "node:crypto"
import type { Index, State } from "../../LocalSearch.ts"
import * as Replies from "../http/replies.ts"
import { adder, authenticated, body } from "../http/requests.ts"
import type { Directory } from "../identity/directory.ts"
import type { Principal } from "../identity/principals.ts"
import type { Command, Outcome, PostgresError } from "../postgres/session.ts"
import { commandOf } from "./queries.ts"

export interface Options {
  readonly directory: Directory
  readonly indexes: Readonly<Record<string, Index>>
  /** Runs a statement as the administrator. */
  readonly run: (command: Command) => Effect.Effect<Outcome, PostgresError>
}

const Query = Schema.Struct({
  columns: Schema.Array(Schema.String),
  query_type: Schema.optional(Schema.String),
  query_text: Schema.optional(Schema.String),
  query_vector: Schema.optional(Schema.Array(Schema.Number)),
  filters_json: Schema.optional(Schema.String),
  num_results: Schema.optional(Schema.Int),
  score_threshold: Schema.optional(Schema.Number),
  debug_level: Schema.optional(Schema.Int)
})
const NextPage = Schema.Struct({ endpoint_name: Schema.String, page_token: Schema.String })

/** The rows of a query that follow a page. */
interface Rest {
  readonly name: string
  readonly owner: Principal
  readonly columns: ReadonlyArray<string>
  readonly rows: ReadonlyArray<string>
  readonly empty: number
}

const online: State = { ready: true, detailedState: "ONLINE_NO_PENDING_UPDATE" }
const updating: State = { ready: true, detailedState: "ONLINE_TRIGGERED_UPDATE" }

const mayQuery = ({ users }: Index, { userName }: Principal) => users?.includes(userName) ?? true

const endpointOf = ({ endpoint = "local" }: Index) => endpoint

export const addTo = (router: HttpRouter.HttpRouter, { directory, indexes, run }: Options) =>
  Effect.gen(function* () {
    const add = adder(router)
    const all = new Map(Object.entries(indexes))
    const coming = new Map<string, ReadonlyArray<State>>()
    const pages = new Map<string, Rest>()

    const guarded = <E, R>(handle: (caller: Principal) => Effect.Effect<HttpServerResponse.HttpServerResponse, E, R>) =>
      authenticated(directory)("vector-search", handle)

    const found = Effect.fnUntraced(function* (caller: Principal) {
      const { name = "" } = yield* HttpRouter.params
      const index = all.get(name)
      if (index === undefined) return yield* Replies.indexNotFound(name)
      return mayQuery(index, caller) ? { name, index } : yield* Replies.indexForbidden(name)
    })

    const statesOf = (name: string, { states = [online] }: Index) => coming.get(name) ?? states
    const stateOf = (name: string, index: Index) => statesOf(name, index)[0] ?? online

    const rowsOf = (command: Command) =>
      Effect.mapBoth(run(command), {
        onFailure: ({ message }) => Replies.invalidParameter(message),
        onSuccess: ({ rows }) => rows.map(([row]) => row ?? "")
      })

    // Rows keep the digits that Postgres wrote.
    const answer = ({ rows, ...rest }: Rest, index: Index, debug: object) => {
      const { emptyPages = 0, pageSize = 1000 } = index
      const size = rest.empty < emptyPages ? 0 : pageSize
      const left = rows.slice(size)
      const token = randomUUID()
      if (left.length > 0) pages.set(token, { ...rest, rows: left, empty: size === 0 ? rest.empty + 1 : 0 })
      const head = {
        manifest: {
          column_count: rest.columns.length + 1,
          columns: [...rest.columns, "score"].map((name) => ({ name }))
        },
        ...(left.length > 0 && { next_page_token: token }),
        ...debug
      }
      const page = rows.slice(0, size)
      const result = `{"row_count":${page.length},"data_array":[${page.join(",")}]}`
      return HttpServerResponse.text(`${JSON.stringify(head).slice(0, -1)},"result":${result}}`, {
        contentType: "application/json"
      })
    }

    const query = guarded((caller) =>
      Effect.gen(function* () {
        const { index, name } = yield* found(caller)
        const asked = yield* body(Query)
        if (!stateOf(name, index).ready) return yield* Replies.indexNotReady(name)
        const command = yield* Effect.try({
          try: () => commandOf(index, asked),
          catch: (cause) => (cause instanceof Replies.Refused ? cause : Replies.invalidParameter(String(cause)))
        })
        const begin = yield* Clock.currentTimeMillis
        const rows = yield* rowsOf(command)
        const time = (yield* Clock.currentTimeMillis) - begin
        const first: Rest = { name, owner: caller, columns: asked.columns, rows, empty: 0 }
        return answer(first, index, asked.debug_level ? { debug_info: { response_time: time } } : {})
      })
    )

    // A token stays valid, so that a lost page can be asked for again.
    const nextPage = guarded((caller) =>
      Effect.gen(function* () {
        const { index, name } = yield* found(caller)
        const { endpoint_name, page_token } = yield* body(NextPage)
        const rest = pages.get(page_token)
        if (endpoint_name !== endpointOf(index) || rest?.name !== name || rest.owner.id !== caller.id) {
          return yield* Replies.pageTokenInvalid(page_token)
        }
        return answer(rest, index, {})
      })
    )

    const view = (name: string, index: Index) => ({
      name,
      endpoint_name: endpointOf(index),
      primary_key: index.primaryKey,
      index_type: "DELTA_SYNC"
    })

    const get = guarded((caller) =>
      Effect.gen(function* () {
        const { index, name } = yield* found(caller)
        const count = { sql: `SELECT count(*) FROM (${index.source}) AS source`, types: [], values: [], maxRows: 0 }
        const [rows = "0"] = yield* rowsOf(count)
        const { detailedState, message, ready } = stateOf(name, index)
        const later = statesOf(name, index).slice(1)
        if (later.length > 0) coming.set(name, later)
        return HttpServerResponse.jsonUnsafe({
          ...view(name, index),
          status: { ready, detailed_state: detailedState, message, indexed_row_count: ready ? Number(rows) : 0 }
        })
      })
    )

    const sync = guarded((caller) =>
      Effect.gen(function* () {
        const { index, name } = yield* found(caller)
        if (stateOf(name, index).detailedState === updating.detailedState) return yield* Replies.indexIsSyncing
        coming.set(name, index.syncStates ?? [updating, online])
        return HttpServerResponse.jsonUnsafe({})
      })
    )

    const list = guarded((caller) =>
      Effect.sync(() => {
        const visible = [...all].filter(([, index]) => mayQuery(index, caller))
        return HttpServerResponse.jsonUnsafe({ vector_indexes: visible.map(([name, index]) => view(name, index)) })
      })
    )

    const endpoints = guarded(() =>
      Effect.sync(() => {
        const names = [...new Set([...all.values()].map(endpointOf))]
        return HttpServerResponse.jsonUnsafe({
          endpoints: names.map((name) => ({ name, endpoint_type: "STANDARD", endpoint_status: { state: "ONLINE" } }))
        })
      })
    )

    const root = "/api/2.0/vector-search"
    yield* add("GET", `${root}/endpoints`, endpoints)
    yield* add("GET", `${root}/indexes`, list)
    yield* add("GET", `${root}/indexes/:name`, get)
    yield* add("POST", `${root}/indexes/:name/query`, query)
    yield* add("POST", `${root}/indexes/:name/query-next-page`, nextPage)
    yield* add("POST", `${root}/indexes/:name/sync`, sync)
  })
