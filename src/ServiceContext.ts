/**
 * The service principal and its workspace, resolved once at start-up.
 *
 * @since 0.1.0
 */
import { Config, Context, Effect, Layer, type Option, type Redacted, Schema } from "effect"
import type { HttpClient } from "effect/http"
import type { Caller } from "./Caller.ts"
import type { IdentityVerifier } from "./IdentityVerifier.ts"
import { defined } from "./internal/workspace/settings.ts"
import type { WorkspaceClient } from "./WorkspaceClient.ts"

/**
 * @since 0.1.0
 * @category services
 */
export class ServiceContext extends Context.Service<
  ServiceContext,
  {
    /** The workspace's URL, without a path. */
    readonly host: string
    readonly workspaceId: string
    /** The SQL warehouse to use; absent where none is configured and none was found. */
    readonly warehouseId: Option.Option<string>
    /** The service principal, which every call runs as outside of `asUser`. */
    readonly principal: Caller
    /** Whether `NODE_ENV` is `development`. */
    readonly development: boolean
    readonly identityVerifier: IdentityVerifier
  }
>()("effect-databricks/ServiceContext") {}

/**
 * The application cannot start: the workspace or the sign-in refuses the credentials, or cannot be reached. From `make` and
 * `layer` also: an option is missing or wrong, which is a `ConfigError` from `layerConfig`.
 *
 * @since 0.1.0
 * @category errors
 */
export class ServiceContextError extends Schema.TaggedError<ServiceContextError>(
  "effect-databricks/ServiceContextError"
)("ServiceContextError", { message: Schema.String }) {}

/**
 * @since 0.1.0
 * @category models
 */
export interface Options {
  /** URL or bare host name; may be left to the profile. */
  readonly host?: string | undefined
  readonly token?: Redacted.Redacted | undefined
  readonly clientId?: string | undefined
  readonly clientSecret?: Redacted.Redacted | undefined
  /** A profile of `~/.databrickscfg`. */
  readonly profile?: string | undefined
  /** Further settings of the SDK's auth chain, by the name of their variable. */
  readonly environment?: Readonly<Record<string, Redacted.Redacted>> | undefined
  /** Asked of the workspace when absent. */
  readonly workspaceId?: string | undefined
  /** In development the first usable one when absent. */
  readonly warehouseId?: string | undefined
  /** `"proven"` (the default) asks the workspace who holds a token; for `"trusted"` see `IdentityVerifier.trustProxy`. */
  readonly identity?: "proven" | "trusted" | undefined
}

/**
 * Reads every variable that the SDK's auth chain knows, `DATABRICKS_WORKSPACE_ID` and `DATABRICKS_WAREHOUSE_ID`.
 *
 * @since 0.1.0
 * @category configuration
 */
export const config: Config.Config<Options> = Config.succeed(undefined).pipe(
  Config.mapEffect(() => body),
  Config.flatMap((_) => _.config)
)

/**
 * Signs in, then asks the workspace for what the options leave out; fails after 10 s. Uses the `HttpClient` that it is
 * given for every call to the workspace.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (
  options: Options
): Effect.Effect<Context.Context<ServiceContext | WorkspaceClient>, ServiceContextError, HttpClient.HttpClient> =>
  Effect.catchTag(start(options), "ConfigError", (error) =>
    Effect.fail(new ServiceContextError({ message: error.cause.message }))
  )

/**
 * The service principal, and the `WorkspaceClient` that reaches its workspace.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (options: Options): Layer.Layer<ServiceContext | WorkspaceClient, ServiceContextError> =>
  overHttp(make(options))

/**
 * Reads `config`, with `overrides` on top: the layer of an application on Databricks Apps. Fails with a `ConfigError` when a
 * setting is missing or wrong, and with a `ServiceContextError` when the workspace refuses it or cannot be reached.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerConfig = (
  overrides?: Options
): Layer.Layer<ServiceContext | WorkspaceClient, ServiceContextError | Config.ConfigError> =>
  overrides === undefined ? fromEnvironment : configured(overrides)

// Loaded when it is used: the SDK and the HTTP client take longer than everything else that an application imports.
const body = Effect.promise(() => import("./internal/workspace/start.ts"))

const start = (options: Options) => Effect.flatMap(body, (_) => _.make(options))

const layerHttpClient = Layer.unwrap(Effect.map(body, (_) => _.layerHttpClient))

const overHttp = <A, E>(services: Effect.Effect<Context.Context<A>, E, HttpClient.HttpClient>) =>
  Layer.provide(Layer.effectContext(services), layerHttpClient)

const configured = (overrides: Options) =>
  overHttp(
    Effect.flatMap(config, (options) => {
      const environment = { ...options.environment, ...overrides.environment }
      return start({ ...options, ...defined(overrides), environment })
    })
  )

// One layer object, so that it is built once wherever it is provided.
const fromEnvironment = configured({})
