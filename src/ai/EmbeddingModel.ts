/**
 * Embedding models on serving endpoints for `effect/ai`, in batches, as the caller of the fiber.
 *
 * ```ts
 * import { Effect } from "effect"
 * import { EmbeddingModel } from "effect/ai"
 * import * as DatabricksEmbeddingModel from "effect-databricks/ai/EmbeddingModel"
 *
 * export const Gte = DatabricksEmbeddingModel.model("databricks-gte-large-en", { dimensions: 1024 })
 *
 * export const vectorsOf = (texts: ReadonlyArray<string>) =>
 *   EmbeddingModel.EmbeddingModel.use((model) => model.embedMany(texts)).pipe(
 *     Effect.map(({ embeddings }) => embeddings.map(({ vector }) => vector)),
 *     Effect.provide(Gte)
 *   )
 * ```
 *
 * @since 0.1.0
 */
import { Effect, Layer } from "effect"
import * as AiEmbeddingModel from "effect/ai/EmbeddingModel"
import * as Model from "effect/ai/Model"
import * as Embeddings from "../internal/ai/embeddings.ts"
import * as RunsAs from "../internal/ai/runsAs.ts"
import { ModelServing, type Options as CallOptions, type Target } from "../ModelServing.ts"
import { UserContext } from "../UserContext.ts"

/**
 * The options of a model.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options extends CallOptions, Target {
  /** The length of the vectors. A response with other vectors fails. Unchecked by default. */
  readonly dimensions?: number | undefined
  /** The most texts in one request. Defaults to 150. More texts take several requests, one after another. */
  readonly maxBatchSize?: number | undefined
  /** Further fields of a request's body, sent unchanged, such as `instruction`. */
  readonly config?: Readonly<Record<string, unknown>> | undefined
}

/**
 * Makes the embedding model of an endpoint, whose calls run as the caller of the fiber.
 *
 * Concurrent calls of `embed` share a request if they have the same caller. A response with a missing, a duplicate or a
 * wrong vector fails with `AiError`.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (
  endpoint: string,
  options: Options = {}
): Effect.Effect<AiEmbeddingModel.EmbeddingModel, never, ModelServing> => makeAs(RunsAs.fiber, endpoint, options)

/**
 * Provides the embedding model of an endpoint and its `Dimensions` as an `effect/ai` `Model`. Its calls run as the
 * caller of the fiber.
 *
 * @since 0.1.0
 * @category layers
 */
export const model = (
  endpoint: string,
  options: Options & { readonly dimensions: number }
): Model.Model<"databricks", AiEmbeddingModel.EmbeddingModel | AiEmbeddingModel.Dimensions, ModelServing> =>
  modelOf(endpoint, options, make(endpoint, options))

/**
 * Provides the embedding model of an endpoint, whose calls run as the user, also inside `asService`.
 *
 * It requires `UserContext`, so it is provided in a user's call. It keeps no user: a call runs as the user of its own
 * fiber, and dies without one.
 *
 * @since 0.1.0
 * @category layers
 */
export const user = (
  endpoint: string,
  options: Options & { readonly dimensions: number }
): Model.Model<
  "databricks",
  AiEmbeddingModel.EmbeddingModel | AiEmbeddingModel.Dimensions,
  ModelServing | UserContext
> => modelOf(endpoint, options, Effect.andThen(UserContext, makeAs(RunsAs.user, endpoint, options)))

const makeAs = (runsAs: RunsAs.RunsAs, endpoint: string, options: Options) =>
  ModelServing.use((serving) => Embeddings.make(serving.endpoint(endpoint, options), options, runsAs))

const modelOf = <R>(
  endpoint: string,
  { dimensions }: { readonly dimensions: number },
  made: Effect.Effect<AiEmbeddingModel.EmbeddingModel, never, R>
) =>
  Model.make(
    "databricks",
    endpoint,
    Layer.merge(
      Layer.effect(AiEmbeddingModel.EmbeddingModel, made),
      Layer.succeed(AiEmbeddingModel.Dimensions, dimensions)
    )
  )
