/**
 * Chat models on serving endpoints for `effect/ai`: text, streams, tools, objects and chats, as the caller of the fiber.
 *
 * ```ts
 * import { Effect } from "effect"
 * import { LanguageModel } from "effect/ai"
 * import * as DatabricksLanguageModel from "effect-databricks/ai/LanguageModel"
 *
 * // As the user: without `asUser` it does not compile.
 * export const answer = (question: string) =>
 *   LanguageModel.generateText({ prompt: question }).pipe(
 *     Effect.provide(DatabricksLanguageModel.user("databricks-claude-sonnet-4-5", { max_tokens: 500 }))
 *   )
 * ```
 *
 * @since 0.1.0
 */
import { Context, type Duration, Effect, Layer } from "effect"
import * as AiLanguageModel from "effect/ai/LanguageModel"
import * as Model from "effect/ai/Model"
import { toCodecOpenAI } from "effect/ai/OpenAiStructuredOutput"
import type { AiError } from "effect/ai"
import { dual } from "effect/Function"
import { DatabricksError } from "../DatabricksError.ts"
import * as Chat from "../internal/ai/chat.ts"
import * as RunsAs from "../internal/ai/runsAs.ts"
import { ModelServing, ModelStreamError, type StreamOptions, type Target } from "../ModelServing.ts"
import { OperationTimeoutError } from "../Operation.ts"
import { UserContext } from "../UserContext.ts"

/**
 * Fields of a request's body beside the prompt, sent unchanged: those below, and any other that the endpoint takes, such
 * as `thinking`.
 *
 * @since 0.1.0
 * @category models
 */
export interface Config {
  readonly max_tokens?: number | undefined
  readonly temperature?: number | undefined
  readonly top_p?: number | undefined
  readonly top_k?: number | undefined
  readonly stop?: string | ReadonlyArray<string> | undefined
  readonly reasoning_effort?: string | undefined
  /** Defaults to `{ include_usage: true }` in a stream; `undefined` leaves the field out. */
  readonly stream_options?: object | undefined
  /** The prompt decides on these. */
  readonly messages?: never
  readonly stream?: never
  readonly n?: never
  readonly [field: string]: unknown
}

/**
 * The configuration of the running call, which is merged over that of the model. Set it with `withConfigOverride`, or
 * for a stream with `Stream.provideService`.
 *
 * @since 0.1.0
 * @category references
 */
export const Config = Context.Reference<Config>("effect-databricks/ai/LanguageModel/Config", {
  defaultValue: () => ({})
})

/**
 * The options of a model: the time limits and retries of its requests, and the served model.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options extends StreamOptions, Target {
  /** The time limit of a whole response, or until the first chunk of a stream. Unlimited by default. */
  readonly timeout?: Duration.Input | undefined
  /** Adapts the Schemas of objects and strict tools to the model. Defaults to `toCodecOpenAI` of `effect/ai`. */
  readonly codecTransformer?: AiLanguageModel.CodecTransformer | undefined
}

/**
 * Makes the language model of an endpoint, whose calls run as the caller of the fiber.
 *
 * Everything that a request cannot carry fails before it is sent, with `AiError`.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (
  endpoint: string,
  config: Config = {},
  options: Options = {}
): Effect.Effect<AiLanguageModel.LanguageModel, never, ModelServing> => makeAs(RunsAs.fiber, endpoint, config, options)

/**
 * Provides the language model of an endpoint as an `effect/ai` `Model`, whose calls run as the caller of the fiber. It is
 * a Layer, and a step of an `ExecutionPlan`.
 *
 * @since 0.1.0
 * @category layers
 */
export const model = (
  endpoint: string,
  config?: Config,
  options?: Options
): Model.Model<"databricks", AiLanguageModel.LanguageModel, ModelServing> =>
  Model.make("databricks", endpoint, Layer.effect(AiLanguageModel.LanguageModel, make(endpoint, config, options)))

/**
 * Provides the language model of an endpoint, whose calls run as the user, also inside `asService`.
 *
 * It requires `UserContext`, so it is provided in a user's call. It keeps no user: a call runs as the user of its own
 * fiber, and dies without one.
 *
 * @since 0.1.0
 * @category layers
 */
export const user = (
  endpoint: string,
  config: Config = {},
  options: Options = {}
): Model.Model<"databricks", AiLanguageModel.LanguageModel, ModelServing | UserContext> =>
  Model.make(
    "databricks",
    endpoint,
    Layer.effect(
      AiLanguageModel.LanguageModel,
      Effect.andThen(UserContext, makeAs(RunsAs.user, endpoint, config, options))
    )
  )

/**
 * Runs an effect with further fields in the bodies of its requests.
 *
 * @since 0.1.0
 * @category configuration
 */
export const withConfigOverride: {
  (overrides: Config): <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
  <A, E, R>(self: Effect.Effect<A, E, R>, overrides: Config): Effect.Effect<A, E, R>
} = dual(2, <A, E, R>(self: Effect.Effect<A, E, R>, overrides: Config) =>
  Effect.updateService(self, Config, (config) => ({ ...config, ...overrides }))
)

/**
 * Returns the error of the library for which an `AiError` failed, with status, request id and `Retry-After`. `undefined`
 * if the request did not fail.
 *
 * @since 0.1.0
 * @category accessors
 */
export const causeOf = ({
  reason: { cause }
}: AiError.AiError): DatabricksError | ModelStreamError | OperationTimeoutError | undefined =>
  cause instanceof DatabricksError || cause instanceof ModelStreamError || cause instanceof OperationTimeoutError
    ? cause
    : undefined

const makeAs = (runsAs: RunsAs.RunsAs, endpoint: string, config: Config, options: Options) =>
  ModelServing.use((serving) =>
    Chat.make({
      endpoint: serving.endpoint(endpoint, options),
      config: Effect.map(Config, (overrides) => ({ ...config, ...overrides })),
      options: { ...options, codecTransformer: options.codecTransformer ?? toCodecOpenAI },
      runsAs
    })
  )
