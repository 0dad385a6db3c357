/** The start of an application: settings → credentials → who and where the service principal is → its services. */
import { Config as SdkConfig } from "@databricks/sdk-experimental/dist/config/Config.js"
import * as NodeHttpClient from "@effect/platform-node/NodeHttpClient"
import { Config, Context, Duration, Effect, Layer, Option, Redacted, Schema } from "effect"
import { HttpClient, HttpClientRequest } from "effect/http"
import * as IdentityVerifier from "../../IdentityVerifier.ts"
import { type Options, ServiceContext, type ServiceContextError } from "../../ServiceContext.ts"
import { WorkspaceClient } from "../../WorkspaceClient.ts"
import * as Client from "./client.ts"
import { resolve } from "./credentials.ts"
import * as Scim from "./scim.ts"
import { failed, startSentence } from "./startError.ts"
import * as Transport from "./transport.ts"

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

// Databricks keeps idle connections for a minute and more; undici would give them up after 4 s. Not NodeHttpClient's own
// layer, which adds the context of the start to that of each request.
export const layerHttpClient = Layer.effect(HttpClient.HttpClient, NodeHttpClient.makeUndici).pipe(
  Layer.provide(NodeHttpClient.layerDispatcherOptions({ keepAliveTimeout: 30_000 }))
)

const startTimeout = Duration.seconds(10)

/** Fails with `ConfigError` for settings, with `ServiceContextError` for what the workspace or the sign-in refuses. */
export const make = (
  options: Options
): Effect.Effect<
  Context.Context<ServiceContext | WorkspaceClient>,
  ServiceContextError | Config.ConfigError,
  HttpClient.HttpClient
> =>
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

const connect = Effect.fnUntraced(function* (options: Options, asking: (host: string) => void) {
  const nodeEnv = yield* Config.option(Config.String("NODE_ENV"))
  const development = Option.contains(nodeEnv, "development")
  const http = yield* HttpClient.HttpClient
  const { authorization, host, source } = yield* resolve(http, options)
  const credential = { authorization, context: "service" as const }
  asking(host)
  const send = Transport.make(http, host)
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
  const service: ServiceContext["Service"] = {
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
    identityVerifier: options.identity === "trusted" ? IdentityVerifier.trustProxy : yield* IdentityVerifier.make(send)
  }
  const client = Client.make(service, { send, fetch: Transport.makeFetch(http) })
  return Context.make(ServiceContext, service).pipe(Context.add(WorkspaceClient, client))
})

const Warehouses = Schema.Struct({
  warehouses: Schema.optional(Schema.Array(Schema.Struct({ id: Schema.String, state: Schema.optional(Schema.String) })))
})

const decodeWarehouses = Transport.json(Warehouses)

const usable = ["RUNNING", "STOPPED", "STARTING", "STOPPING"]

const firstUsableWarehouse = (send: Transport.Send, credential: Transport.Credential) =>
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
