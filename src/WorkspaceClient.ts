/**
 * The workspace's APIs, as whoever runs now.
 *
 * @since 0.1.0
 */
import type * as Sdk from "@databricks/sdk-experimental"
import { Effect, Predicate, Schema, Stream } from "effect"
import { HttpBody, HttpClientRequest, type HttpClientResponse } from "effect/http"
import type { Caller } from "./Caller.ts"
import { DatabricksError, make as databricksError, WorkspaceFailedError } from "./DatabricksError.ts"
import * as ExecutionContext from "./ExecutionContext.ts"
import * as Answer from "./internal/workspace/answer.ts"
import * as WorkspaceHttp from "./internal/workspace/transport.ts"
import * as Operation from "./Operation.ts"
import { ServiceContext } from "./ServiceContext.ts"

/**
 * A client that may be kept: each of its calls runs as the caller of the fiber that makes it.
 *
 * A call has no timeout and is not tried again unless asked for. Whoever asks for retries says that it may be carried
 * out twice: a connection that was lost does not tell whether it was. What timed out has been aborted.
 *
 * @since 0.1.0
 * @category models
 */
export interface WorkspaceClient {
  /** Sends a request to a path of the workspace; an answer outside 2xx is a `DatabricksError`. A timeout is for its head. */
  readonly request: <const O extends Operation.Chain = {}>(
    request: HttpClientRequest.HttpClientRequest,
    options?: O
  ) => Effect.Effect<HttpClientResponse.HttpClientResponse, DatabricksError | Operation.TimeoutOf<O>>
  /** `request`, with the JSON of the answer decoded, which may have 64 MiB. */
  readonly requestJson: <S extends Schema.Constraint, const O extends Operation.Chain = {}>(
    request: HttpClientRequest.HttpClientRequest,
    schema: S,
    options?: O
  ) => Effect.Effect<S["Type"], DatabricksError | Operation.TimeoutOf<O>, S["DecodingServices"]>
  /** Makes any call of the official SDK, with a client of this caller's that is not to be kept; interruption aborts it. */
  readonly use: <A, const O extends Operation.Chain = {}>(
    call: (sdk: Sdk.WorkspaceClient) => Promise<A>,
    options?: O
  ) => Effect.Effect<A, DatabricksError | Operation.TimeoutOf<O>>
}

/**
 * @since 0.1.0
 * @category accessors
 */
export const getWorkspaceClient: Effect.Effect<WorkspaceClient, never, ServiceContext> = Effect.map(
  ServiceContext,
  (service) => {
    const { send } = service.connection
    const execute = <A, R, O extends Operation.Chain>(
      effect: (caller: Caller) => Effect.Effect<A, DatabricksError, R>,
      options: O | undefined,
      operation: Operation.StreamOptions
    ) => {
      const { retry, timeout, totalTimeout }: Operation.Chain = options ?? {}
      return Effect.flatMap(ExecutionContext.current, effect).pipe(
        Operation.execute({ ...operation, retry, timeout, totalTimeout }),
        Effect.provideService(ServiceContext, service)
        // Without a timeout there is no timeout error, which the compiler cannot see through the options.
      ) as Effect.Effect<A, DatabricksError | Operation.TimeoutOf<O>, Exclude<R, ServiceContext>>
    }
    const ofRequest = (request: HttpClientRequest.HttpClientRequest) => ({
      name: "workspace.request",
      attributes: { "workspace.endpoint": Answer.endpointOf(request) }
    })
    return {
      request: (request, options) => execute((caller) => send(caller, request), options, ofRequest(request)),
      requestJson: (request, schema, options) => {
        const decode = WorkspaceHttp.json(schema)
        const asked = (caller: Caller) => Effect.flatMap(send(caller, request), decode)
        return execute(asked, options, ofRequest(request))
      },
      use: (call, options) => execute((caller) => useSdk(service, caller, call), options, { name: "workspace.use" })
    }
  }
)

const useSdk = Effect.fnUntraced(function* <A>(
  { connection, host }: ServiceContext["Service"],
  caller: Caller,
  call: (sdk: Sdk.WorkspaceClient) => Promise<A>
): Effect.fn.Return<A, DatabricksError> {
  // The SDK takes a tenth of a second to load: whoever never calls it never waits for it.
  const sdk = yield* Effect.promise(() => import("@databricks/sdk-experimental"))
  const waiting = yield* Effect.promise(() => import("@databricks/sdk-experimental/dist/apis/apiError.js"))
  const context = yield* Effect.context<never>()
  return yield* Effect.tryPromise({
    try: (signal) =>
      call(
        makeSdk(sdk, host, (request, read) =>
          Effect.runPromiseWith(context)(Effect.flatMap(connection.send(caller, request), read), { signal })
        )
      ),
    catch: (cause) => cause
  }).pipe(
    Effect.catch((cause) => {
      if (cause instanceof DatabricksError) return Effect.fail(cause)
      if (cause instanceof Error) {
        if (cause.cause instanceof DatabricksError) return Effect.fail(cause.cause)
        if (cause instanceof waiting.ApiError || cause instanceof sdk.retries.TimeoutError) {
          return Effect.fail(databricksError(new WorkspaceFailedError({ message: cause.message })))
        }
      }
      return Effect.die(cause)
    })
  )
})

type Exchange = <A>(
  request: HttpClientRequest.HttpClientRequest,
  read: (response: HttpClientResponse.HttpClientResponse) => Effect.Effect<A, DatabricksError>
) => Promise<A>

// One client a call: it is nothing but closures, and so there is none that could be used for somebody else. The SDK
// names paths and shapes; its requests go the way of all others, because its own transport retries for five minutes
// whatever `Retry-After` says, loses error codes, hangs on redirects and keeps its own connections.
const makeSdk = (sdk: typeof Sdk, host: string, exchange: Exchange): Sdk.WorkspaceClient => {
  // No loaders: neither the environment nor a profile may add the service principal's credentials to a user's.
  const config = new sdk.Config({ host, loaders: [], authType: "pat" })
  const client = new sdk.WorkspaceClient(config, { product: "effect-databricks" })
  client.apiClient.request = async ({ headers, method, path, payload, query, raw, responseHeaders = [] }) => {
    // The SDK puts ids into a path as they are.
    const url = path.replaceAll(/[?#]/g, encodeURIComponent)
    const search = client.apiClient.searchParams(query ?? {})
    const request = HttpClientRequest.make(method)(search === "" ? url : `${url}?${search}`, {
      headers: { ...Object.fromEntries(headers), "user-agent": client.apiClient.userAgent() },
      body: bodyOf(payload)
    })
    return exchange(request, (response) =>
      Effect.map(raw ? contents(response) : sdkJson(response), (body) =>
        Predicate.isObject(body)
          ? { ...body, ...Object.fromEntries(responseHeaders.map((name) => [name, response.headers[name]])) }
          : body
      )
    ).catch((error: unknown) => {
      // Code around the SDK catches its ApiError.
      throw error instanceof DatabricksError && error.status !== undefined
        ? Object.assign(new sdk.ApiError(error.message, error.reason.errorCode ?? "UNKNOWN", error.status, "", []), {
            cause: error
          })
        : error
    })
  }
  return client
}

const bodyOf = (payload: unknown): HttpBody.HttpBody =>
  payload === undefined
    ? HttpBody.empty
    : payload instanceof ReadableStream
      ? HttpBody.stream(
          Stream.fromReadableStream({ evaluate: () => payload, onError: (cause) => cause }),
          "application/octet-stream"
        )
      : HttpBody.jsonUnsafe(payload)

const contents = (response: HttpClientResponse.HttpClientResponse) =>
  Effect.succeed({ contents: Stream.toReadableStream(response.stream) })

// An answer without a body is an empty object to the SDK.
const sdkJson = (response: HttpClientResponse.HttpClientResponse) =>
  Effect.flatMap(WorkspaceHttp.text(response), (text): Effect.Effect<unknown, DatabricksError> =>
    text === "" ? Effect.succeed({}) : decodeJson(response, text)
  )

const decodeJson = WorkspaceHttp.decoder(Schema.Unknown)
