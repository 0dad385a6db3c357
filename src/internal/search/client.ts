/** One index: encode the query → send → match columns → decode rows, page by page. */
import { Effect, Stream } from "effect"
import { HttpBody, HttpClientRequest } from "effect/http"
import type { Index, IndexNotReadyError, Options, Search, Target } from "../../AiSearch.ts"
import type { DatabricksError } from "../../DatabricksError.ts"
import type { ServiceContext } from "../../ServiceContext.ts"
import type { WorkspaceClient } from "../../WorkspaceClient.ts"
import { retrying } from "../operation/retries.ts"
import { advised } from "../workspace/advice.ts"
import * as Operations from "../workspace/operations.ts"
import { path } from "../workspace/path.ts"
import { longer, pause } from "../workspace/pause.ts"
import * as Retry from "../workspace/retry.ts"
import { drained } from "../workspace/transport.ts"
import { encode } from "./request.ts"
import * as Rows from "./rows.ts"
import * as Wire from "./wire.ts"

export interface Made {
  readonly service: ServiceContext["Service"]
  readonly client: WorkspaceClient["Service"]
  readonly name: string
  readonly target: Target | undefined
  readonly notReady: (fields: Pick<IndexNotReadyError, "message" | "index" | "detailedState">) => IndexNotReadyError
}

/** Makes an index whose calls run as the caller of the fiber. */
export const make = ({ client, name, notReady, service, target }: Made): Index => {
  const root = path`/api/2.0/vector-search/indexes/${name}`
  const attributes = { "search.index": name }
  const attributesOf = ({ queryType = "ann" }: Search) => ({ ...attributes, "search.query_type": queryType })

  const operations = Operations.make(service)

  const withAdvice = advised({
    denied: `The caller needs SELECT on the index ${name}, and USE CATALOG and USE SCHEMA above it`,
    missing: `Check the name of the index ${name}, catalog.schema.index, and that the caller may see it`
  })
  const explained = (error: DatabricksError): DatabricksError | IndexNotReadyError => {
    const { _tag, message } = error.reason
    // Databricks has no code for it.
    return _tag === "InvalidRequestError" && /\bnot ready\b/i.test(message)
      ? notReady({ index: name, message: `${message} Wait with ready, or with ready({ synced: true })` })
      : withAdvice(error)
  }

  const send = (request: HttpClientRequest.HttpClientRequest) => Effect.mapError(client.send(request), explained)

  const post = (action: string, body: string) =>
    send(HttpClientRequest.post(`${root}/${action}`, { body: HttpBody.text(body, "application/json") }))

  const read = Effect.flatMap(client.send(HttpClientRequest.get(root)), Wire.state)
  const state = Effect.mapError(read, explained)

  const first = <A, R>(reader: Rows.Reader<A, R>, search: Search, { rerank }: Pick<Options, "rerank">) =>
    Effect.flatMap(encode(name, reader.columns, rerank, search), (body) =>
      Effect.flatMap(post("query", body), Wire.page(reader))
    )

  const next = <A, R>(reader: Rows.Reader<A, R>, pageToken: string, endpoint: string) =>
    Effect.flatMap(
      post("query-next-page", JSON.stringify({ endpoint_name: endpoint, page_token: pageToken })),
      Wire.page(reader)
    )

  const endpointOf =
    target?.endpoint === undefined ? Effect.map(state, (_) => _.endpoint) : Effect.succeed(target.endpoint)

  const untilReady = Effect.fnUntraced(function* (synced: boolean) {
    for (let delay = longer(0); ; delay = longer(delay)) {
      const found = yield* Effect.mapError(Retry.polled(read), explained)
      const { detailedState = "", isReady, message } = found
      if (isOffline(detailedState) || (synced && detailedState.includes("FAILED"))) {
        const said = message === undefined ? "" : `: ${message}`
        return yield* Effect.fail(
          notReady({
            index: name,
            detailedState,
            message: `The index ${name} is ${detailedState}${said}. See its page in the workspace`
          })
        )
      }
      if (isReady && !(synced && isSyncing(detailedState))) return found
      yield* pause(delay)
    }
  })

  return {
    name,
    query: (schema, options = {}) => {
      const reader = Rows.reader(name, schema, options.columns)
      return (search) => operations.call("search.query", attributesOf(search), options, first(reader, search, options))
    },
    nextPage: (schema, options = {}) => {
      const reader = Rows.reader(name, schema, options.columns)
      return (pageToken) =>
        operations.call(
          "search.nextPage",
          attributes,
          options,
          Effect.flatMap(endpointOf, (endpoint) => next(reader, pageToken, endpoint))
        )
    },
    stream: (schema, options = {}) => {
      const reader = Rows.reader(name, schema, options.columns)
      return (search) =>
        Stream.suspend(() => {
          let endpoint = endpointOf
          const found = Effect.tap(
            Effect.suspend(() => endpoint),
            (name) => Effect.sync(() => (endpoint = Effect.succeed(name)))
          )
          return operations.list("search.stream", attributesOf(search), options, (token) => {
            const page =
              token === undefined
                ? first(reader, search, options)
                : Effect.flatMap(found, (name) => next(reader, token, name))
            return Effect.map(page, ({ hits, nextPageToken }) => [hits, nextPageToken])
          })
        })
    },
    state: operations.call("search.state", attributes, {}, state),
    sync: ({ retry, ...limits } = {}) =>
      operations.call(
        "search.sync",
        attributes,
        limits,
        retrying(Effect.flatMap(post("sync", "{}"), drained), retry, neverRan)
      ),
    ready: ({ synced = false, timeout = "10 minutes" } = {}) =>
      operations.call("search.ready", attributes, { timeout }, untilReady(synced))
  }
}

/** Makes an index whose calls read the service when they run. */
export const deferred = <R>(name: string, index: Effect.Effect<Index, never, R>): Index<R> => ({
  name,
  query: (schema, options) => (search) => Effect.flatMap(index, (_) => _.query(schema, options)(search)),
  nextPage: (schema, options) => (token) => Effect.flatMap(index, (_) => _.nextPage(schema, options)(token)),
  stream: (schema, options) => (search) => Stream.unwrap(Effect.map(index, (_) => _.stream(schema, options)(search))),
  state: Effect.flatMap(index, (_) => _.state),
  sync: (options) => Effect.flatMap(index, (_) => _.sync(options)),
  ready: (options) => Effect.flatMap(index, (_) => _.ready(options))
})

const neverRan = (error: DatabricksError | IndexNotReadyError) =>
  error._tag === "DatabricksError" && Retry.neverRan(error)

const isOffline = (state: string) => state.startsWith("OFFLINE")

// ONLINE_CONTINUOUS_UPDATE never ends.
const isSyncing = (state: string) =>
  state === "ONLINE_TRIGGERED_UPDATE" || state === "ONLINE_UPDATING_PIPELINE_RESOURCES"
