/**
 * The service principal and its workspace: built once, at start-up.
 *
 * @since 0.1.0
 */
import { Config as SdkConfig } from "@databricks/sdk-experimental/dist/config/Config.js"
import * as NodeHttpClient from "@effect/platform-node/NodeHttpClient"
import { Config, Context, Duration, Effect, Layer, Option, Redacted, Schema } from "effect"
import { HttpClient, HttpClientRequest } from "effect/http"
import type { Caller } from "./Caller.ts"
import * as IdentityVerifier from "./IdentityVerifier.ts"
import { type CredentialOptions, resolve } from "./internal/workspace/credentials.ts"
import * as Scim from "./internal/workspace/scim.ts"
import { failed, type ServiceContextError, startSentence } from "./internal/workspace/startError.ts"
import * as WorkspaceHttp from "./internal/workspace/transport.ts"

export {
  /**
   * @since 0.1.0
   * @category errors
   */
  ServiceContextError
} from "./internal/workspace/startError.ts"

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
    /** The service principal: whoever runs where `asUser` says nothing else. */
    readonly principal: Caller
    /** Whether `NODE_ENV` is `development`. */
    readonly development: boolean
    readonly identityVerifier: IdentityVerifier.IdentityVerifier
    /** How requests leave for the workspace; the same connections serve every caller. */
    readonly connection: {
      readonly send: WorkspaceHttp.Send
      /** To the storage that a workspace sends to, with no credential of anybody. */
      readonly fetch: ReturnType<typeof WorkspaceHttp.makeFetch>
    }
  }
>()("effect-databricks/ServiceContext") {}

/**
 * @since 0.1.0
 * @category models
 */
export interface Options extends CredentialOptions {
  /** Asked of the workspace when absent. */
  readonly workspaceId?: string | undefined
  /** In development the first usable one when absent. */
  readonly warehouseId?: string | undefined
  /** `"proven"` (the default) asks the workspace who holds a token; for `"trusted"` see `IdentityVerifier.trustProxy`. */
  readonly identity?: "proven" | "trusted" | undefined
}

/**
 * Every variable that the SDK's auth chain knows, with `DATABRICKS_WORKSPACE_ID` and `DATABRICKS_WAREHOUSE_ID`.
 *
 * @since 0.1.0
 * @category configuration
 */
export const config: Config.Config<Options> = Config.all(
  Object.fromEntries(
    Array.from(new SdkConfig({}).attributes).flatMap(({ envVar }) =>
      envVar === undefined ? [] : [[envVar, Config.option(Config.Redacted(envVar))]]
    )
  )
).pipe(
  Config.map((variables) => {
    const environment = Object.fromEntries(
      Object.entries(variables).flatMap(([name, value]) => (Option.isSome(value) ? [[name, value.value]] : []))
    )
    const plain = (name: string) => (environment[name] && Redacted.value(environment[name]).trim()) || undefined
    return {
      workspaceId: plain("DATABRICKS_WORKSPACE_ID"),
      warehouseId: plain("DATABRICKS_WAREHOUSE_ID"),
      environment
    }
  })
)

/**
 * Resolves the credentials, then asks the workspace in parallel for what it alone knows; gives up after 10 s.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (
  options: Options
): Effect.Effect<ServiceContext["Service"], ServiceContextError, HttpClient.HttpClient> =>
  Effect.suspend(() => {
    let asked = "The service principal's sign-in"
    return Effect.timeoutOrElse(
      connect(options, (host) => {
        asked = host
      }),
      {
        duration: startTimeout,
        orElse: () =>
          Effect.fail(
            failed(
              `${asked} did not answer within ${Duration.format(startTimeout)}: check DATABRICKS_HOST and the network`
            )
          )
      }
    )
  })

/**
 * @since 0.1.0
 * @category layers
 */
export const layer = (options: Options): Layer.Layer<ServiceContext, ServiceContextError> =>
  Layer.effect(ServiceContext, make(options)).pipe(Layer.provide(layerHttpClient))

/**
 * The layer that an application on Databricks Apps wants: everything from the environment.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerConfig: Layer.Layer<ServiceContext, ServiceContextError> = Layer.unwrap(
  Effect.map(
    Effect.mapError(config, (error) => failed(error.message)),
    layer
  )
)

const startTimeout = Duration.seconds(10)

// Databricks keeps idle connections for a minute and more; undici would give them up after 4 s. Not NodeHttpClient's own
// layer, which adds the context of the start to that of each request.
const layerHttpClient = Layer.effect(HttpClient.HttpClient, NodeHttpClient.makeUndici).pipe(
  Layer.provide(NodeHttpClient.layerDispatcherOptions({ keepAliveTimeout: 30_000 }))
)

const connect = Effect.fnUntraced(function* (
  options: Options,
  asking: (host: string) => void
): Effect.fn.Return<ServiceContext["Service"], ServiceContextError, HttpClient.HttpClient> {
  const nodeEnv = yield* Effect.mapError(Config.option(Config.String("NODE_ENV")), (error) => failed(error.message))
  const development = Option.contains(nodeEnv, "development")
  const http = yield* HttpClient.HttpClient
  const { authorization, host, source } = yield* resolve(http, options)
  const credential = { authorization, context: "service" as const }
  asking(host)
  const send = WorkspaceHttp.make(http, host)
  const [{ identity, workspaceId }, warehouseId] = yield* Effect.all(
    [
      Effect.mapError(Scim.me(send, credential), (error) => failed(startSentence(error, host, source))),
      options.warehouseId !== undefined
        ? Effect.succeedSome(options.warehouseId)
        : development
          ? firstUsableWarehouse(send, credential)
          : Effect.succeedNone
    ],
    { concurrency: "unbounded" }
  )
  if (options.workspaceId === undefined && workspaceId === undefined) {
    return yield* failed(
      `${host} does not say which workspace it is (GET ${Scim.path} has no x-databricks-org-id header): set DATABRICKS_WORKSPACE_ID`
    )
  }
  return {
    host,
    workspaceId: options.workspaceId ?? workspaceId!,
    warehouseId,
    principal: {
      context: "service",
      id: identity.id,
      scimId: identity.id,
      userName: identity.userName,
      email: identity.email,
      oboDevFallback: false,
      authorization
    },
    development,
    identityVerifier: options.identity === "trusted" ? IdentityVerifier.trustProxy : yield* IdentityVerifier.make(send),
    connection: { send, fetch: WorkspaceHttp.makeFetch(http) }
  }
})

const Warehouses = Schema.Struct({
  warehouses: Schema.optional(Schema.Array(Schema.Struct({ id: Schema.String, state: Schema.optional(Schema.String) })))
})

const decodeWarehouses = WorkspaceHttp.json(Warehouses)

const usable = ["RUNNING", "STOPPED", "STARTING", "STOPPING"]

const firstUsableWarehouse = (send: WorkspaceHttp.Send, credential: WorkspaceHttp.Credential) =>
  send(credential, HttpClientRequest.get("/api/2.0/sql/warehouses?skip_cannot_use=true")).pipe(
    Effect.flatMap(decodeWarehouses),
    Effect.map(({ warehouses = [] }) => {
      const byState = usable.flatMap((state) => warehouses.filter((_) => _.state === state))
      return Option.fromUndefinedOr(byState[0]?.id)
    }),
    Effect.catch((error) =>
      Effect.as(Effect.logWarning(`No SQL warehouse was chosen: ${error.message}`), Option.none<string>())
    )
  )
