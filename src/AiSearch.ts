/**
 * Queries of AI Search (vector search) indexes. The module's functions run as the caller of the fiber, those of `user`
 * always as the user.
 *
 * ```ts
 * import { Effect, Schema } from "effect"
 * import { AiSearch } from "effect-databricks"
 *
 * const Article = Schema.Struct({ id: Schema.String, title: Schema.String })
 *
 * // As the user: without `asUser` it does not compile.
 * export const articles = Effect.fn(function* (text: string, team: string) {
 *   const { index } = yield* AiSearch.user
 *   const { hits } = yield* index("main.support.articles_index").query(Article)({
 *     text,
 *     queryType: "hybrid",
 *     filters: { team, year: { ">=": 2024 } },
 *     numResults: 5
 *   })
 *   return hits.map(({ row, score }) => ({ ...row, score }))
 * })
 * ```
 *
 * @since 0.1.0
 */
import { Context, type Duration, Effect, Layer, Schema, type Stream } from "effect"
import type { DatabricksError } from "./DatabricksError.ts"
import { ownedBy } from "./internal/owner.ts"
import * as Client from "./internal/search/client.ts"
import type * as Operation from "./Operation.ts"
import { ServiceContext } from "./ServiceContext.ts"
import type { RowDecodeError } from "./SqlWarehouse.ts"
import { UserContext } from "./UserContext.ts"
import { WorkspaceClient } from "./WorkspaceClient.ts"

/**
 * A value that a filter compares with. A bigint is exact; times are ISO texts.
 *
 * @since 0.1.0
 * @category models
 */
export type Value = string | number | bigint | boolean

/**
 * Comparisons of a column, which must all hold. `LIKE` matches one word between spaces, without wildcards.
 *
 * @since 0.1.0
 * @category models
 */
export interface Comparison {
  readonly "<"?: Value
  readonly "<="?: Value
  readonly ">"?: Value
  readonly ">="?: Value
  readonly NOT?: Value
  readonly LIKE?: string
}

/**
 * The condition of each column: a value that it equals, values of which it equals one, or comparisons. A column of an
 * array matches if one of its items does.
 *
 * An empty list, `null`, `undefined` or an empty object fails with `InvalidRequestError` before anything is sent: a
 * filter never vanishes.
 *
 * @since 0.1.0
 * @category models
 */
export interface Filters {
  readonly [column: string]: Value | ReadonlyArray<Value> | Comparison
}

/**
 * The conditions of a query.
 *
 * @since 0.1.0
 * @category models
 */
export interface Criteria {
  /** `ann` compares vectors, `full_text` compares words, and `hybrid` does both. Defaults to `ann`. */
  readonly queryType?: "ann" | "hybrid" | "full_text" | undefined
  /** The conditions of columns, which must all hold. The columns need not be those of the Schema. */
  readonly filters?: Filters | undefined
  /** Further conditions, at least two, of which one must hold. */
  readonly anyOf?: { readonly [column: string]: Value | Comparison } | undefined
  /** The most hits, over all pages. Defaults to 10; Databricks allows up to 10,000, and 200 without `ann`. */
  readonly numResults?: number | undefined
  /** The least score of a hit. Defaults to 0. */
  readonly scoreThreshold?: number | undefined
}

/**
 * A query: a text, a vector, or both. Databricks embeds a text for an index with an embedding model; other indexes need
 * the vector.
 *
 * @since 0.1.0
 * @category models
 */
export type Search = Criteria &
  (
    | { readonly text: string; readonly vector?: ReadonlyArray<number> | undefined }
    | { readonly text?: string | undefined; readonly vector: ReadonlyArray<number> }
  )

/**
 * The options of a query. They belong to the code of the application, never to a request.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options extends Operation.Policy {
  /** The columns that the index returns. Defaults to the fields of the Schema; a Schema without fields needs them. */
  readonly columns?: ReadonlyArray<string> | undefined
  /** The columns that the Databricks reranker reads to sort the hits. By default nothing is reranked. */
  readonly rerank?: ReadonlyArray<string> | undefined
}

/**
 * The options of a stream. `timeout` and `retry` apply to each page.
 *
 * @since 0.1.0
 * @category models
 */
export interface StreamOptions extends Omit<Options, "totalTimeout"> {}

/**
 * A row of the index, and its score, which is higher for a better match. Scores of different query types do not
 * compare.
 *
 * @since 0.1.0
 * @category models
 */
export interface Hit<A> {
  readonly score: number
  readonly row: A
}

/**
 * A page of hits, of up to 1,000.
 *
 * @since 0.1.0
 * @category models
 */
export interface Page<A> {
  /** The hits, best first. May be empty before the last page. */
  readonly hits: ReadonlyArray<Hit<A>>
  /** The number of rows that the workspace reports. */
  readonly rowCount: number
  /** The token of the next page; absent on the last. */
  readonly nextPageToken: string | undefined
  /** The time that the index took, if the workspace reports it. */
  readonly responseTime: Duration.Duration | undefined
}

/**
 * The state of an index.
 *
 * @since 0.1.0
 * @category models
 */
export interface State {
  /** Whether the index takes queries. */
  readonly isReady: boolean
  /** Databricks' own state, such as `ONLINE_NO_PENDING_UPDATE` or `PROVISIONING_INITIAL_SNAPSHOT`. */
  readonly detailedState: string | undefined
  /** The number of rows that a query may find. */
  readonly indexedRowCount: number | undefined
  /** What Databricks says about the state. */
  readonly message: string | undefined
  /** The name of the endpoint that serves the index. */
  readonly endpoint: string
  /** `DELTA_SYNC`, which copies a table, or `DIRECT_ACCESS`, which is written to. */
  readonly indexType: string | undefined
  readonly primaryKey: string | undefined
}

/**
 * The options of `ready`.
 *
 * @since 0.1.0
 * @category models
 */
export interface ReadyOptions {
  /** The time limit of the wait. Defaults to 10 minutes. */
  readonly timeout?: Duration.Input | undefined
  /** Whether to wait also until no triggered sync is under way. Off by default. */
  readonly synced?: boolean | undefined
}

/**
 * The index does not take queries, or a sync, now (503). `isRetryable` says whether it may do so by itself.
 *
 * @since 0.1.0
 * @category errors
 */
export class IndexNotReadyError extends Schema.TaggedError<IndexNotReadyError>("effect-databricks/IndexNotReadyError")(
  "IndexNotReadyError",
  {
    message: Schema.String,
    index: Schema.String,
    /** The state that `ready` saw, such as `OFFLINE_FAILED`; absent if a query or sync was refused. */
    detailedState: Schema.optional(Schema.String)
  },
  { httpApiStatus: 503 }
) {
  get isRetryable(): boolean {
    return this.detailedState === undefined
  }
}

/**
 * The errors of every call. `RowDecodeError` is that of a row, or of a column that the index does not return.
 *
 * @since 0.1.0
 * @category errors
 */
export type Failure = DatabricksError | IndexNotReadyError | Operation.OperationTimeoutError

/**
 * One index. A call that the workspace refuses (429, 503, no connection) is sent up to 3 times within 30 seconds;
 * `retry` replaces that.
 *
 * Columns are matched by name. Integers are exact with `Schema.String` or `Schema.BigInt`; fractions are rounded to the
 * nearest JavaScript number. A response may have at most 64 MiB.
 *
 * @since 0.1.0
 * @category models
 */
export interface Index<R = never> {
  /** The index's name. */
  readonly name: string
  /** Returns the first page of a query, whose rows are decoded by the Schema. */
  readonly query: <S extends Schema.Constraint>(
    schema: S,
    options?: Options
  ) => (search: Search) => Effect.Effect<Page<S["Type"]>, Failure | RowDecodeError, R | S["DecodingServices"]>
  /** Returns the page of a `nextPageToken`. The columns must be those of the query. */
  readonly nextPage: <S extends Schema.Constraint>(
    schema: S,
    options?: Options
  ) => (pageToken: string) => Effect.Effect<Page<S["Type"]>, Failure | RowDecodeError, R | S["DecodingServices"]>
  /** Streams the hits of a query, page by page. The next page is requested when its first hit is. */
  readonly stream: <S extends Schema.Constraint>(
    schema: S,
    options?: StreamOptions
  ) => (search: Search) => Stream.Stream<Hit<S["Type"]>, Failure | RowDecodeError, R | S["DecodingServices"]>
  /** Reads the state of the index. */
  readonly state: Effect.Effect<State, Failure, R>
  /**
   * Starts a sync of a `DELTA_SYNC` index with its table, and does not wait for it: see `ready`. Fails with
   * `IndexNotReadyError` while another one is under way.
   */
  readonly sync: (options?: Operation.Policy) => Effect.Effect<void, Failure, R>
  /**
   * Waits until the index takes queries. Fails with `IndexNotReadyError` if it is offline or its creation failed, and
   * with `synced` if its last sync failed.
   */
  readonly ready: (options?: ReadyOptions) => Effect.Effect<State, Failure, R>
}

/**
 * The endpoint of an index.
 *
 * @since 0.1.0
 * @category models
 */
export interface Target {
  /** The name of the endpoint that serves the index, for further pages. Without it they first read the state. */
  readonly endpoint?: string | undefined
}

/**
 * The service that queries indexes as the caller of the fiber.
 *
 * @since 0.1.0
 * @category services
 */
export class AiSearch extends Context.Service<
  AiSearch,
  {
    /** Returns the index of this name, `catalog.schema.index`. It sends nothing. */
    readonly index: (name: string, target?: Target) => Index
  }
>()("effect-databricks/AiSearch") {}

/**
 * Makes the service.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make: Effect.Effect<AiSearch["Service"], never, ServiceContext | WorkspaceClient> = Effect.map(
  Effect.all([ServiceContext, WorkspaceClient]),
  ([service, client]) => ({
    index: (name, target) =>
      Client.make({ service, client, name, target, notReady: (fields) => new IndexNotReadyError(fields) })
  })
)

/**
 * Provides the service.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer: Layer.Layer<AiSearch, never, ServiceContext | WorkspaceClient> = Layer.effect(AiSearch, make)

/**
 * Returns the index of this name, `catalog.schema.index`, whose calls run as the caller of the fiber.
 *
 * @since 0.1.0
 * @category accessors
 */
export const index = (name: string, target?: Target): Index<AiSearch> =>
  Client.deferred(
    name,
    AiSearch.useSync((search) => search.index(name, target))
  )

/**
 * Returns the service of the user. Its indexes are queried as that user, also inside `asService`.
 *
 * An effect that uses it compiles only under `asUser`. Use it only in the call that returned it: outside of that user's
 * calls its requests die.
 *
 * @since 0.1.0
 * @category accessors
 */
export const user: Effect.Effect<AiSearch["Service"], never, UserContext | AiSearch> = AiSearch.use((search) =>
  Effect.map(UserContext, (caller) => ({
    index: (name, target) => ownedBy(search.index(name, target), caller)
  }))
)
