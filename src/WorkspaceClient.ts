/**
 * The workspace's APIs, as whoever runs now.
 *
 * @since 0.1.0
 */
import type * as Sdk from "@databricks/sdk-experimental"
import { Effect, Redacted, type Schema } from "effect"
import type { HttpClientRequest, HttpClientResponse } from "effect/http"
import type { Caller } from "./Caller.ts"
import { DatabricksError, InvalidResponseError, make as databricksError } from "./DatabricksError.ts"
import * as ExecutionContext from "./ExecutionContext.ts"
import * as Answer from "./internal/answer.ts"
import * as WorkspaceHttp from "./internal/workspaceHttp.ts"
import * as Operation from "./Operation.ts"
import { ServiceContext } from "./ServiceContext.ts"

/**
 * A client that may be kept: each of its calls runs as the caller of the fiber that makes it.
 *
 * @since 0.1.0
 * @category models
 */
export interface WorkspaceClient {
  /** Sends a request to a path of the workspace; an answer outside 2xx is a `DatabricksError`. */
  readonly request: (
    request: HttpClientRequest.HttpClientRequest
  ) => Effect.Effect<HttpClientResponse.HttpClientResponse, DatabricksError>
  /** `request`, with the JSON of the answer decoded. */
  readonly requestJson: <S extends Schema.Constraint>(
    request: HttpClientRequest.HttpClientRequest,
    schema: S
  ) => Effect.Effect<S["Type"], DatabricksError, S["DecodingServices"]>
  /** Makes any call of the official SDK; interruption aborts its requests. */
  readonly use: <A>(call: (sdk: Sdk.WorkspaceClient) => Promise<A>) => Effect.Effect<A, DatabricksError>
}

/**
 * @since 0.1.0
 * @category accessors
 */
export const getWorkspaceClient: Effect.Effect<WorkspaceClient, never, ServiceContext> = Effect.map(
  ServiceContext,
  (service) => {
    const { send } = service.connection
    const execute =
      (name: string, attributes?: Record<string, unknown>) =>
      <A, R>(effect: (caller: Caller) => Effect.Effect<A, DatabricksError, R>) =>
        Effect.flatMap(ExecutionContext.current, effect).pipe(
          Operation.execute({ name, attributes }),
          Effect.provideService(ServiceContext, service)
        )
    const ofRequest = (request: HttpClientRequest.HttpClientRequest) =>
      execute("workspace.request", { "workspace.endpoint": Answer.endpointOf(request) })
    return {
      request: (request) => ofRequest(request)((caller) => send(caller, request)),
      requestJson: (request, schema) => {
        const decode = WorkspaceHttp.json(schema)
        return ofRequest(request)((caller) => Effect.flatMap(send(caller, request), decode))
      },
      use: (call) => execute("workspace.use")((caller) => useSdk(service, caller, call))
    }
  }
)

const useSdk = <A>(
  { host, connection }: ServiceContext["Service"],
  caller: Caller,
  call: (sdk: Sdk.WorkspaceClient) => Promise<A>
): Effect.Effect<A, DatabricksError> =>
  Effect.gen(function* () {
    // The SDK takes a tenth of a second to load: whoever never calls it never waits for it.
    const sdk = yield* Effect.promise(() => import("@databricks/sdk-experimental"))
    const sent = { endpoint: "a call of the Databricks SDK" }
    return yield* Effect.tryPromise({
      try: (signal) => call(makeSdk(sdk, { host, caller, signal, sent, agent: connection.agent })),
      catch: (cause) => cause
    }).pipe(
      Effect.catch((cause) => {
        const error = sdkError(sdk, sent.endpoint, cause)
        return error === undefined ? Effect.die(cause) : Effect.fail(error)
      })
    )
  })

// One client a call: it is nothing but closures, and so there is none that could be used for somebody else.
const makeSdk = (
  sdk: typeof Sdk,
  options: {
    readonly host: string
    readonly caller: Caller
    readonly signal: AbortSignal
    readonly sent: { endpoint: string }
    readonly agent: NonNullable<ConstructorParameters<typeof Sdk.ApiClient>[1]>["agent"]
  }
): Sdk.WorkspaceClient => {
  const { agent, caller, host, sent, signal } = options
  const config = new sdk.Config({
    host,
    // Neither the environment nor a profile may add the service principal's credentials to a user's.
    loaders: [],
    authType: "pat",
    credentials: {
      name: "pat",
      configure: async () => async (headers) => {
        headers.set("Authorization", Redacted.value(await Effect.runPromise(caller.authorization)))
      }
    }
  })
  const client = new sdk.WorkspaceClient(config, { agent: agent!, product: "effect-databricks" })
  const request = client.apiClient.request.bind(client.apiClient)
  const cancellationToken = {
    get isCancellationRequested() {
      return signal.aborted
    },
    onCancellationRequested: (f: () => void) => signal.addEventListener("abort", f, { once: true })
  }
  client.apiClient.request = (options, context) => {
    sent.endpoint = `${options.method} ${options.path}`
    const cancellable = context?.copy() ?? new sdk.Context()
    cancellable.setItems({ cancellationToken })
    return request(options, cancellable)
  }
  return client
}

// Undefined for what the SDK does not throw: that is a defect of the call.
const sdkError = (sdk: typeof Sdk, endpoint: string, cause: unknown): DatabricksError | undefined => {
  if (cause instanceof DatabricksError) return cause
  if (cause instanceof sdk.ApiError) {
    const { response, statusCode } = cause
    // The SDK loses the code of some answers, but keeps what was answered.
    const body = typeof response === "string" ? response : JSON.stringify(response)
    return Answer.fromAnswer({ endpoint, status: statusCode, headers: {}, body })
  }
  if (!(cause instanceof Error)) return undefined
  if (cause instanceof sdk.HttpError || cause.name === "AbortError" || "code" in cause) {
    return Answer.connection(endpoint, cause)
  }
  return cause.message.startsWith("Can't parse reponse as JSON")
    ? databricksError(new InvalidResponseError({ message: `${endpoint} answered with something else than its JSON` }))
    : undefined
}
