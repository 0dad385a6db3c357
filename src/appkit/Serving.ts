/**
 * Serves model serving endpoints to `useServingInvoke` and `useServingStream` of `@databricks/appkit-ui`, below
 * `/api/serving`.
 *
 * ```ts
 * import { ModelServing } from "effect-databricks"
 * import * as Serving from "effect-databricks/appkit/Serving"
 * import { Layer, Schema } from "effect"
 *
 * const Price = Schema.Struct({ dataframe_records: Schema.Array(Schema.Struct({ rooms: Schema.Int })) })
 *
 * export const Routes = Serving.layer({
 *   endpoints: {
 *     llm: "databricks-claude-sonnet-4-5",
 *     price: { endpoint: "house-prices", servedModel: "house-prices-3", request: Price }
 *   }
 * }).pipe(Layer.provide(ModelServing.layer))
 * ```
 *
 * Each call runs as the sender of the request; without a token it is a 401. The alias alone chooses the endpoint. The
 * body reaches it as it came, except `stream`, which the route sets.
 *
 * @since 0.1.0
 */
import { type Duration, Layer, type Schema } from "effect"
import type { HttpRouter } from "effect/http"
import { ResumableStreams } from "../http/ResumableStreams.ts"
import * as Routes from "../internal/appkit/routes.ts"
import * as Internal from "../internal/appkit/serving/routes.ts"
import { ModelServing, type StreamOptions, type Target } from "../ModelServing.ts"
import type { ServiceContext } from "../ServiceContext.ts"
import { ClientConfig } from "./ClientConfig.ts"

/**
 * A serving endpoint, and the bodies that it takes.
 *
 * @since 0.1.0
 * @category models
 */
export interface Endpoint extends Target, Pick<StreamOptions, "idleTimeout"> {
  /** The name of the endpoint. */
  readonly endpoint: string
  /**
   * Checks the body, which is sent as it came. A body with an unknown or wrong field is a 400 that names the field. By
   * default every object is sent.
   */
  readonly request?: Schema.ConstraintDecoder<unknown> | undefined
  /** The time limit of `invoke`, and of `stream` until its first chunk: see `ModelServing`. */
  readonly timeout?: Duration.Input | undefined
}

/**
 * The serving endpoints of an application.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options {
  /** The endpoints by alias. A text is the name of an endpoint. */
  readonly endpoints?: Readonly<Record<string, string | Endpoint>> | undefined
  /** The endpoint of hooks that name no alias. Its alias is `default`. */
  readonly default?: string | Endpoint | undefined
}

/**
 * Adds the routes `POST /:alias/invoke`, `POST /:alias/stream`, `POST /invoke` and `POST /stream` below `/api/serving`,
 * and the aliases to the client config.
 *
 * A stream answers with the status of the endpoint once that has accepted the request. It has no total time limit. A
 * stream that breaks cuts the connection, so that it never looks complete. A client that was cut continues the stream
 * without another call of the model for the grace period of `ResumableStreams`; after it, such a request is a 409.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (
  options: Options
): Layer.Layer<
  never,
  never,
  ModelServing | ResumableStreams | ClientConfig | HttpRouter.HttpRouter | ServiceContext
> => {
  const endpoints = Internal.endpointsOf(options)
  return Layer.mergeAll(
    Routes.layer("serving", [ModelServing, ResumableStreams], Internal.make(endpoints)),
    Layer.effectDiscard(
      ClientConfig.use((_) =>
        _.add("serving", { config: { isNamedMode: options.endpoints !== undefined, aliases: [...endpoints.keys()] } })
      )
    )
  )
}
