/**
 * Calls of model serving endpoints. The module's functions run as the caller of the fiber, those of `user` always as
 * the user.
 *
 * ```ts
 * import { Effect, Stream } from "effect"
 * import { ChatCompletion, ModelServing } from "effect-databricks"
 *
 * const chat = ModelServing.endpoint("databricks-claude-sonnet-4-5")
 *
 * export const answer = (question: string) =>
 *   chat.invoke(ChatCompletion.Completion)({ messages: [{ role: "user", content: question }], max_tokens: 200 })
 *
 * // As the user, chunk by chunk: without `asUser` it does not compile.
 * export const mine = (question: string) =>
 *   Stream.unwrap(
 *     Effect.map(ModelServing.user, ({ endpoint }) =>
 *       endpoint("databricks-claude-sonnet-4-5").stream(ChatCompletion.Chunk)({
 *         messages: [{ role: "user", content: question }]
 *       })
 *     )
 *   )
 * ```
 *
 * @since 0.1.0
 */
import { Context, type Duration, Effect, Layer, Schema, Stream } from "effect"
import type { DatabricksError } from "./DatabricksError.ts"
import { ownedBy } from "./internal/owner.ts"
import * as Client from "./internal/serving/client.ts"
import * as Json from "./internal/serving/json.ts"
import type * as Operation from "./Operation.ts"
import { ServiceContext } from "./ServiceContext.ts"
import { UserContext } from "./UserContext.ts"
import { WorkspaceClient } from "./WorkspaceClient.ts"

/**
 * The part of an endpoint that is called.
 *
 * @since 0.1.0
 * @category models
 */
export interface Target {
  /** The name of one served model of the endpoint, past its traffic split. Defaults to the split. */
  readonly servedModel?: string | undefined
}

/**
 * The options of a call.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options {
  /**
   * The time limit of the whole call, retries included. By default `invoke` fails with `ConnectionError` if no byte
   * arrives for 6 minutes. Databricks ends a request after 297 seconds.
   */
  readonly timeout?: Duration.Input | undefined
  /**
   * Retries of a request that the workspace refused before it ran (429, 503, no connection). Defaults to 3 attempts
   * within 30 seconds; `false` switches them off. A request that may have run is never sent again.
   */
  readonly retry?: Operation.Retry | false | undefined
}

/**
 * The options of a stream.
 *
 * @since 0.1.0
 * @category models
 */
export interface StreamOptions extends Options {
  /** The time limit until the first chunk, retries included. Defaults to 5 minutes. */
  readonly timeout?: Duration.Input | undefined
  /**
   * The time limit between two chunks. The time in which the stream's reader is busy does not count. Defaults to 5
   * minutes: a model may think for long, and Databricks ends a request after 297 seconds.
   */
  readonly idleTimeout?: Duration.Input | undefined
  /** Runs when the endpoint has accepted the request: its response has begun, and no chunk has arrived yet. */
  readonly onStart?: Effect.Effect<unknown> | undefined
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
}

/**
 * The state of an endpoint.
 *
 * @since 0.1.0
 * @category models
 */
export interface State {
  /** Whether the endpoint takes requests. One that is scaled to zero does, and starts for the first one. */
  readonly isReady: boolean
  /** The last change of the endpoint: `NOT_UPDATING`, `IN_PROGRESS`, `UPDATE_FAILED`, `UPDATE_CANCELED` or another. */
  readonly configUpdate: string | undefined
  /** The task of its models, such as `llm/v1/chat`; absent for custom models. */
  readonly task: string | undefined
  /** The names of its served models, for `servedModel`. */
  readonly servedModels: ReadonlyArray<string>
}

/**
 * The stream of a model broke after it had begun (502). It is not retried, because the model has run.
 *
 * `failed`: the endpoint reported an error inside the stream. `cut`: the connection was lost, or the stream ended
 * without its end mark `[DONE]`. `invalid`: a chunk is not JSON, does not match its Schema, or exceeds 10 MiB.
 *
 * @since 0.1.0
 * @category errors
 */
export class ModelStreamError extends Schema.TaggedError<ModelStreamError>("effect-databricks/ModelStreamError")(
  "ModelStreamError",
  {
    message: Schema.String,
    endpoint: Schema.String,
    kind: Schema.Literals(["failed", "cut", "invalid"]),
    /** The number of chunks that the stream delivered before. */
    chunks: Schema.Int,
    /** The status of the endpoint's error, such as 429, if the error has one. */
    status: Schema.optional(Schema.Int),
    /** The code of the endpoint's error. */
    errorCode: Schema.optional(Schema.String),
    /** The request id of the workspace, for Databricks support. */
    requestId: Schema.optional(Schema.String),
    /** The delay that the endpoint's error asks for. */
    retryAfter: Schema.optional(Schema.Duration)
  },
  { httpApiStatus: 502 }
) {
  get isRetryable(): boolean {
    return false
  }
}

/**
 * An endpoint is not ready and does not become so by itself, because its last update failed or was canceled (503).
 *
 * @since 0.1.0
 * @category errors
 */
export class EndpointNotReadyError extends Schema.TaggedError<EndpointNotReadyError>(
  "effect-databricks/EndpointNotReadyError"
)(
  "EndpointNotReadyError",
  {
    message: Schema.String,
    endpoint: Schema.String,
    /** The state of the last update, such as `UPDATE_FAILED`. */
    configUpdate: Schema.optional(Schema.String)
  },
  { httpApiStatus: 503 }
) {
  get isRetryable(): boolean {
    return false
  }
}

/**
 * One serving endpoint. Its calls take the body of a request, an object, and send it unchanged as JSON of at most 16
 * MiB. No field of the body selects the endpoint. A bigint is sent as an exact number; a number that JSON does not have
 * (`NaN`, `Infinity`) fails with `InvalidRequestError`.
 *
 * A response is decoded by its Schema. Integers are exact with `Schema.String` or `Schema.BigInt`; fractions are
 * rounded to the nearest JavaScript number.
 *
 * @since 0.1.0
 * @category models
 */
export interface Endpoint<R = never> {
  /** The endpoint's name. */
  readonly name: string
  /** Sends a body and decodes the response, which may have at most 64 MiB. */
  readonly invoke: <S extends Schema.Constraint, const O extends Options = {}>(
    schema: S,
    options?: O
  ) => (body: object) => Effect.Effect<S["Type"], DatabricksError | Operation.TimeoutOf<O>, R | S["DecodingServices"]>
  /**
   * Sends a body with `stream: true`, and decodes each chunk of the response as it arrives.
   *
   * Each run of the stream sends one request, as the caller that opens it. The stream ends when the endpoint has sent
   * its end mark; a stream that breaks before fails with `ModelStreamError`. Ending the stream early aborts the
   * request. Errors before the response begins are `DatabricksError`.
   */
  readonly stream: <S extends Schema.Constraint>(
    schema: S,
    options?: StreamOptions
  ) => (
    body: object
  ) => Stream.Stream<
    S["Type"],
    DatabricksError | ModelStreamError | Operation.OperationTimeoutError,
    R | S["DecodingServices"]
  >
  /** Reads the state of the endpoint. */
  readonly state: Effect.Effect<State, DatabricksError, R>
  /** Waits until the endpoint takes requests. Fails with `EndpointNotReadyError` if its last update failed. */
  readonly ready: (
    options?: ReadyOptions
  ) => Effect.Effect<void, DatabricksError | EndpointNotReadyError | Operation.OperationTimeoutError, R>
}

/**
 * The service that calls serving endpoints as the caller of the fiber.
 *
 * @since 0.1.0
 * @category services
 */
export class ModelServing extends Context.Service<
  ModelServing,
  {
    /** Returns the endpoint of this name. It sends nothing. */
    readonly endpoint: (name: string, target?: Target) => Endpoint
  }
>()("effect-databricks/ModelServing") {}

/**
 * Makes the service.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make: Effect.Effect<ModelServing["Service"], never, ServiceContext | WorkspaceClient> = Effect.map(
  Effect.all([ServiceContext, WorkspaceClient]),
  ([service, client]) => ({
    endpoint: (name, target) =>
      Client.make({
        service,
        client,
        name,
        target,
        broken: (fields) => new ModelStreamError(fields),
        notReady: (fields) => new EndpointNotReadyError(fields)
      })
  })
)

/**
 * Provides the service.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer: Layer.Layer<ModelServing, never, ServiceContext | WorkspaceClient> = Layer.effect(
  ModelServing,
  make
)

/**
 * Returns the endpoint of this name, whose calls run as the caller of the fiber.
 *
 * @since 0.1.0
 * @category accessors
 */
export const endpoint = (name: string, target?: Target): Endpoint<ModelServing> => {
  const found = ModelServing.useSync((serving) => serving.endpoint(name, target))
  return {
    name,
    invoke: (schema, options) => (body) => Effect.flatMap(found, (_) => _.invoke(schema, options)(body)),
    stream: (schema, options) => (body) => Stream.unwrap(Effect.map(found, (_) => _.stream(schema, options)(body))),
    state: Effect.flatMap(found, (_) => _.state),
    ready: (options) => Effect.flatMap(found, (_) => _.ready(options))
  }
}

/**
 * Returns the service of the user. Its endpoints run as that user, also inside `asService`.
 *
 * An effect that uses it compiles only under `asUser`. Use it only in the call that returned it: outside of that user's
 * calls its requests die.
 *
 * @since 0.1.0
 * @category accessors
 */
export const user: Effect.Effect<ModelServing["Service"], never, UserContext | ModelServing> = ModelServing.use(
  (serving) =>
    Effect.map(UserContext, (caller) => ({
      endpoint: (name, target) => ownedBy(serving.endpoint(name, target), caller)
    }))
)

/**
 * A response, or a chunk, that is not decoded: the text of its JSON, with every digit.
 *
 * @since 0.1.0
 * @category models
 */
export const JsonText: Schema.String = Json.Verbatim

/**
 * The body of a request with rows as objects: `{ dataframe_records: [{ price: 10 }] }`. Fractions and integers keep
 * their form.
 *
 * @since 0.1.0
 * @category models
 */
export const DataframeRecords = <S extends Schema.Constraint>(row: S) =>
  Schema.Struct({ dataframe_records: Schema.Array(row) })

/**
 * The body of a request with rows as arrays, in the order of `columns`.
 *
 * @since 0.1.0
 * @category models
 */
export const DataframeSplit = Schema.Struct({
  dataframe_split: Schema.Struct({
    columns: Schema.Array(Schema.String),
    data: Schema.Array(Schema.Array(Schema.Json)),
    index: Schema.optional(Schema.Array(Schema.Json))
  })
})

/**
 * The response of a custom model: one prediction for each row, in the order of the rows.
 *
 * @since 0.1.0
 * @category models
 */
export const Predictions = <S extends Schema.Constraint>(prediction: S) =>
  Schema.Struct({ predictions: Schema.Array(prediction) })

/**
 * The response of an embedding endpoint to `{ input: ["…"] }`. `index` is the position of the text in `input`.
 *
 * @since 0.1.0
 * @category models
 */
export const Embeddings = Schema.Struct({
  data: Schema.Array(Schema.Struct({ index: Schema.Int, embedding: Schema.Array(Schema.Number) })),
  model: Schema.optional(Schema.NullOr(Schema.String)),
  usage: Schema.optional(
    Schema.NullOr(
      Schema.Struct({
        prompt_tokens: Schema.optional(Schema.NullOr(Schema.Int)),
        total_tokens: Schema.optional(Schema.NullOr(Schema.Int))
      })
    )
  )
})
