/**
 * Serves AI Search indexes to `useAiSearchQuery` of `@databricks/appkit-ui`, below `/api/ai-search`.
 *
 * ```ts
 * import { AiSearch } from "effect-databricks"
 * import * as AppKitAiSearch from "effect-databricks/appkit/AiSearch"
 * import { Layer } from "effect"
 *
 * export const Routes = AppKitAiSearch.layer({
 *   indexes: {
 *     docs: { index: "main.support.articles_index", columns: ["id", "title"], filters: ["year"], queryType: "hybrid" }
 *   }
 * }).pipe(Layer.provide(AiSearch.layer))
 * ```
 *
 * A front end queries aliases. The application chooses the index, the columns, the filters and the number of hits; a
 * request that asks for more is a 400 that names it.
 *
 * @since 0.1.0
 */
import { Layer, type Redacted } from "effect"
import type { HttpRouter } from "effect/http"
import type * as Search from "../AiSearch.ts"
import { AiSearch } from "../AiSearch.ts"
import * as Internal from "../internal/appkit/aiSearch/routes.ts"
import * as Routes from "../internal/appkit/routes.ts"
import type { ServiceContext } from "../ServiceContext.ts"
import { ClientConfig } from "./ClientConfig.ts"
import type { Policy } from "./Policy.ts"

/**
 * An index, and the part of it that a front end may read.
 *
 * @since 0.1.0
 * @category models
 */
export interface IndexOptions {
  /** The name of the index, `catalog.schema.index`. */
  readonly index: string
  /** The columns that a front end may read, and the default of a request. */
  readonly columns: readonly [string, ...ReadonlyArray<string>]
  /** The columns that a front end may filter by. Defaults to none. */
  readonly filters?: ReadonlyArray<string> | undefined
  /** The query type of requests that name none. Defaults to `ann`. */
  readonly queryType?: "ann" | "hybrid" | "full_text" | undefined
  /** The number of hits of requests that name none, over all pages. Defaults to 10. */
  readonly numResults?: number | undefined
  /** The most hits that a request may ask for. Defaults to 100. */
  readonly maxResults?: number | undefined
  /** Whether results have a `nextPageToken`. Off by default. */
  readonly pagination?: boolean | undefined
  /** The columns that the Databricks reranker reads. By default nothing is reranked, and `reranker: true` is a 400. */
  readonly rerank?: ReadonlyArray<string> | undefined
  /** The name of the endpoint that serves the index, for further pages. Without it they first read the state. */
  readonly endpoint?: Search.Target["endpoint"]
}

/**
 * An index and the identity of its queries.
 *
 * `user`, the default: as the sender of the request; without a token it is a 401. `service`: as the app, for the senders
 * that the policy allows. The default policy allows all of them.
 *
 * @since 0.1.0
 * @category models
 */
export type Index = IndexOptions &
  (
    | { readonly runsAs?: "user" | undefined }
    | {
        readonly runsAs: "service"
        /** Its resource is the alias. */
        readonly policy?: Policy<"search", string> | undefined
      }
  )

/**
 * The indexes of an application.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options {
  /** The indexes by alias. */
  readonly indexes: Readonly<Record<string, Index>>
  /**
   * The key that signs page tokens, so that they are valid in several processes and after a restart. Defaults to random
   * bytes.
   */
  readonly pageTokenKey?: Redacted.Redacted | undefined
}

/**
 * Adds the routes `POST /:alias/query`, `POST /:alias/next-page`, `GET /config` and `GET /:alias/config` below
 * `/api/ai-search`, and the aliases to the client config.
 *
 * A page token is valid for the caller, the alias and the columns of its query.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (
  options: Options
): Layer.Layer<never, never, AiSearch | ClientConfig | HttpRouter.HttpRouter | ServiceContext> =>
  Layer.mergeAll(
    Routes.layer("ai-search", [AiSearch], Internal.make(options)),
    Layer.effectDiscard(
      ClientConfig.use((_) => _.add("aiSearch", { config: { indexes: Internal.listed(options.indexes) } }))
    )
  )
