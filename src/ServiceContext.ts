/**
 * The service principal and its workspace, resolved once at start-up.
 *
 * @since 0.1.0
 */
import { Config, Context, Effect, Layer, type Option, type Redacted, Schema } from "effect"
import type { HttpClient } from "effect/http"
import type { Caller } from "./Caller.ts"
import type { IdentityVerifier } from "./IdentityVerifier.ts"
import type { WorkspaceClient } from "./WorkspaceClient.ts"

/**
 * The service principal, its workspace and the default SQL warehouse.
 *
 * @since 0.1.0
 * @category services
 */
export class ServiceContext extends Context.Service<
  ServiceContext,
  {
    /** The workspace's URL, without a path. */
    readonly host: string
    /** The workspace's id. */
    readonly workspaceId: string
    /** The id of the default SQL warehouse; `None` if none is configured and none was found. */
    readonly warehouseId: Option.Option<string>
    /** The service principal, as which every call outside of `asUser` runs. */
    readonly principal: Caller
    /** Whether `NODE_ENV` is `development`. */
    readonly development: boolean
    /** Verifies the sender of a request for `asUser`. */
    readonly identityVerifier: IdentityVerifier
  }
>()("effect-databricks/ServiceContext") {}

/**
 * The application cannot start: the workspace or the sign-in refuses the credentials, or cannot be reached.
 *
 * `make` and `layer` also fail with it if an option is missing or wrong, where `layerConfig` fails with a
 * `ConfigError`.
 *
 * @since 0.1.0
 * @category errors
 */
export class ServiceContextError extends Schema.TaggedError<ServiceContextError>(
  "effect-databricks/ServiceContextError"
)("ServiceContextError", { message: Schema.String }) {}

/**
 * The workspace, and the credentials of the service principal.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options {
  /**
   * The workspace's URL or host name. Optional with a profile. `?o=` selects a workspace of a host that has several.
   */
  readonly host?: string | undefined
  /** A personal access token. */
  readonly token?: Redacted.Redacted | undefined
  /** The client id of the service principal, for OAuth. */
  readonly clientId?: string | undefined
  /** The client secret of the service principal, for OAuth. */
  readonly clientSecret?: Redacted.Redacted | undefined
  /** A profile of `~/.databrickscfg`. Its settings take precedence over the environment. */
  readonly profile?: string | undefined
  /** Further settings of the SDK's auth chain, by the name of the variable. */
  readonly environment?: Readonly<Record<string, Redacted.Redacted>> | undefined
  /** The id sent with every request as `X-Databricks-Org-Id`. Defaults to the id that the workspace returns. */
  readonly workspaceId?: string | undefined
  /** The id of the default SQL warehouse. Defaults, in development only, to the first usable one. */
  readonly warehouseId?: string | undefined
  /** The OAuth scopes requested by a sign-in with client id and secret. Defaults to `["all-apis"]`. */
  readonly scopes?: ReadonlyArray<string> | undefined
  /**
   * How `asUser` verifies a user. `"proven"` verifies each token with the workspace; `"trusted"` trusts the headers
   * (see `IdentityVerifier.trustProxy`). Defaults to `"proven"`.
   */
  readonly identity?: "proven" | "trusted" | undefined
}

/**
 * Reads the variables of the SDK's auth chain, `DATABRICKS_WORKSPACE_ID`, `DATABRICKS_WAREHOUSE_ID` and
 * `DATABRICKS_SCOPES`.
 *
 * @since 0.1.0
 * @category configuration
 */
export const config: Config.Config<Options> = Config.succeed(undefined).pipe(
  Config.mapEffect(() => body),
  Config.flatMap((_) => _.config)
)

/**
 * Signs in, then reads the settings that the options leave out from the workspace.
 *
 * Fails after 10 seconds. Until then it retries after a 429, a 5xx or a lost connection, but not after an unknown host
 * name. Every call to the workspace uses the given `HttpClient`.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (
  options: Options
): Effect.Effect<Context.Context<ServiceContext | WorkspaceClient>, ServiceContextError, HttpClient.HttpClient> =>
  Effect.catchTag(start(options), "ConfigError", wrongOption)

/**
 * Provides the service principal and the `WorkspaceClient` of its workspace.
 *
 * Requests go through the proxy of `HTTPS_PROXY` unless `NO_PROXY` excludes the workspace.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (options: Options): Layer.Layer<ServiceContext | WorkspaceClient, ServiceContextError> =>
  Layer.catchTag(overHttp(start(options)), "ConfigError", (error) => Layer.effectContext(wrongOption(error)))

/**
 * Provides `layer` from the environment, as `config` reads it, with `overrides` on top.
 *
 * Fails with a `ConfigError` if a setting is missing or wrong, and with a `ServiceContextError` if the workspace
 * refuses the sign-in or cannot be reached.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerConfig = (
  overrides?: Options
): Layer.Layer<ServiceContext | WorkspaceClient, ServiceContextError | Config.ConfigError> =>
  overrides === undefined ? fromEnvironment : configured(overrides)

// Loaded on use, because the SDK and the HTTP client take longer to load than the rest of the library.
const body = Effect.promise(() => import("./internal/workspace/start.ts"))

const start = (options: Options, ambient?: Options["environment"]) =>
  Effect.flatMap(body, (_) => _.make(options, ambient))

const wrongOption = (error: Config.ConfigError) =>
  Effect.fail(new ServiceContextError({ message: error.cause.message }))

const layerHttpClient = Layer.unwrap(Effect.map(body, (_) => _.layerHttpClient))

const overHttp = <A, E>(services: Effect.Effect<Context.Context<A>, E, HttpClient.HttpClient>) =>
  Layer.provide(Layer.effectContext(services), layerHttpClient)

const configured = (overrides: Options) =>
  overHttp(Effect.flatMap(config, ({ environment }) => start(overrides, environment)))

// One layer object, so that a composition builds it once.
const fromEnvironment = configured({})
