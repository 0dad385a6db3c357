/** The start of an application: settings → credentials → identity and workspace of the service principal → services. */
import * as NodeHttpClient from "@effect/platform-node/NodeHttpClient"
import { Config, Context, Duration, Effect, Layer, Option, Schema } from "effect"
import { HttpClient, HttpClientRequest } from "effect/http"
import type { Caller } from "../../Caller.ts"
import type { DatabricksError } from "../../DatabricksError.ts"
import * as IdentityVerifier from "../../IdentityVerifier.ts"
import { type Options, ServiceContext, type ServiceContextError } from "../../ServiceContext.ts"
import { WorkspaceClient } from "../../WorkspaceClient.ts"
import * as Client from "./client.ts"
import { resolve } from "./credentials.ts"
import * as Dispatcher from "./dispatcher.ts"
import * as Form from "./form.ts"
import * as Sources from "./sources.ts"
import * as Retry from "./retry.ts"
import * as Scim from "./scim.ts"
import { failed, startSentence } from "./startError.ts"
import * as Transport from "./transport.ts"

export const config: Config.Config<Options> = Config.all(
  Object.fromEntries(Sources.variables.map((name) => [name, Config.option(Config.Redacted(name))]))
).pipe(
  Config.map((variables) => ({
    environment: Object.fromEntries(
      Object.entries(variables).flatMap(([name, value]) => (Option.isSome(value) ? [[name, value.value]] : []))
    )
  }))
)

// NodeHttpClient's own layer would add the context of the start to that of each request.
export const layerHttpClient = Layer.effect(
  HttpClient.HttpClient,
  Effect.map(NodeHttpClient.makeUndici, HttpClient.mapRequestEffect(Form.encoded))
).pipe(
  // makeDispatcherOptions imports undici dynamically, of which esbuild's code splitting drops the named exports.
  Layer.provide(Layer.effect(NodeHttpClient.Dispatcher, Dispatcher.make))
)

const startTimeout = Duration.seconds(10)

/**
 * Starts with options and, after them, the environment that `config` has read. Fails with `ConfigError` if a setting is
 * wrong, and with `ServiceContextError` if the workspace or the sign-in refuses it.
 */
export const make = (
  options: Options,
  ambient?: Options["environment"]
): Effect.Effect<
  Context.Context<ServiceContext | WorkspaceClient>,
  ServiceContextError | Config.ConfigError,
  HttpClient.HttpClient
> =>
  Effect.suspend(() => {
    let latest = silent("The service principal's sign-in")
    return Effect.timeoutOrElse(
      connect(options, ambient, (sentence) => {
        latest = sentence
      }),
      { duration: startTimeout, orElse: () => Effect.fail(failed(latest)) }
    )
  })

const silent = (asked: string) =>
  `${asked} did not answer within ${Duration.format(startTimeout)}: check DATABRICKS_HOST and the network`

/** `noting` receives the message of the failure if the start gets no further. */
const connect = Effect.fnUntraced(function* (
  options: Options,
  ambient: Options["environment"],
  noting: (sentence: string) => void
) {
  const nodeEnv = yield* Config.option(Config.String("NODE_ENV"))
  const development = Option.contains(nodeEnv, "development")
  const outside = yield* HttpClient.HttpClient
  const settings = yield* Sources.find(options, ambient)
  const host = settings.address.origin
  const http = settings.workspaceId === undefined ? outside : inWorkspace(outside, settings.workspaceId)
  const { authorization, forget, source } = yield* resolve(http, settings)
  const credential = { authorization, context: "service" as const }
  noting(silent(host))
  const send = Transport.make(http, host, { authorization, forget })
  const persistently = <A>(request: Effect.Effect<A, DatabricksError>) => {
    const sentenceOf = (error: DatabricksError) => startSentence(error, host, source)
    return Effect.tapError(request, (error) => Effect.sync(() => noting(sentenceOf(error)))).pipe(
      Retry.patiently(startTimeout, Retry.mayPassAtStart),
      Effect.mapError((error) => failed(sentenceOf(error)))
    )
  }
  yield* persistently(authorization)
  // A request in the same turn as the last response would open a second connection.
  yield* Effect.yieldNow
  const given = options.warehouseId?.trim() || settings.values["warehouseId"]
  const [{ identity, workspaceId }, warehouseId] = yield* Effect.all(
    [
      persistently(Scim.me(send, credential)),
      given !== undefined
        ? Effect.succeedSome(given)
        : development
          ? firstUsableWarehouse(send, credential)
          : Effect.succeedNone
    ],
    { concurrency: "unbounded" }
  )
  if (settings.workspaceId === undefined && workspaceId === undefined) {
    return yield* failed(
      `${host} does not say which workspace it is (GET ${Scim.path} has no x-databricks-org-id header): set DATABRICKS_WORKSPACE_ID`
    )
  }
  if (!identity.isActive) {
    return yield* failed(
      `${host} says that the service principal ${identity.userName} has been deactivated: check ${source}`
    )
  }
  const principal: Caller = {
    // Callers are bound to the id that the workspace returns: the variable may be another workspace's.
    workspaceId: workspaceId ?? settings.workspaceId!,
    context: "service",
    id: identity.id,
    scimId: identity.id,
    userName: identity.userName,
    email: identity.email,
    oboDevFallback: false,
    authorization
  }
  const service: ServiceContext["Service"] = {
    host,
    workspaceId: settings.workspaceId ?? principal.workspaceId,
    warehouseId,
    principal,
    development,
    identityVerifier:
      options.identity === "trusted"
        ? IdentityVerifier.trustProxy(principal)
        : yield* IdentityVerifier.make(send, principal)
  }
  if (service.workspaceId !== principal.workspaceId) {
    yield* Effect.logWarning(
      `DATABRICKS_WORKSPACE_ID is ${service.workspaceId}, and ${host} says that it is workspace ${principal.workspaceId}: callers are verified in the latter. Correct or remove DATABRICKS_WORKSPACE_ID`
    )
  }
  const client = Client.make(service, { send, fetch: Transport.makeFetch(outside) })
  return Context.make(ServiceContext, service).pipe(Context.add(WorkspaceClient, client))
})

// On a host that has several workspaces, every request names its workspace, also the request for a token.
const inWorkspace = (http: HttpClient.HttpClient, workspaceId: string) =>
  HttpClient.mapRequest(http, HttpClientRequest.setHeader("x-databricks-org-id", workspaceId))

const Warehouses = Schema.Struct({
  warehouses: Schema.optional(Schema.Array(Schema.Struct({ id: Schema.String, state: Schema.optional(Schema.String) })))
})

const decodeWarehouses = Transport.json(Warehouses)

const usable = ["RUNNING", "STOPPED", "STARTING", "STOPPING"]

const firstUsableWarehouse = (send: Transport.Send, credential: Transport.Credential) =>
  send(credential, HttpClientRequest.get("/api/2.0/sql/warehouses?skip_cannot_use=true")).pipe(
    Effect.flatMap(decodeWarehouses),
    // The start continues without a warehouse.
    Retry.patiently(Duration.seconds(8)),
    Effect.map(({ warehouses = [] }) => {
      const byState = usable.flatMap((state) => warehouses.filter((_) => _.state === state))
      return Option.fromUndefinedOr(byState[0]?.id)
    }),
    Effect.catch((error) =>
      Effect.as(
        Effect.logWarning(
          `No SQL warehouse was chosen, because none could be listed (${error.message}): set DATABRICKS_WAREHOUSE_ID`
        ),
        Option.none<string>()
      )
    )
  )
