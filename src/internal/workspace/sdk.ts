/** The official SDK, with its requests sent by our transport. */
import type * as Sdk from "@databricks/sdk-experimental"
import { Effect, Predicate, Schema, Stream } from "effect"
import { HttpBody, HttpClientRequest, type HttpClientResponse } from "effect/http"
import { DatabricksError, make as databricksError, WorkspaceFailedError } from "../../DatabricksError.ts"
import * as Transport from "./transport.ts"

/** Makes a call of the SDK whose requests leave by `send`; interruption aborts them. */
export const use = Effect.fnUntraced(function* <A>(
  host: string,
  send: (
    request: HttpClientRequest.HttpClientRequest
  ) => Effect.Effect<HttpClientResponse.HttpClientResponse, DatabricksError>,
  call: (sdk: Sdk.WorkspaceClient) => Promise<A>
): Effect.fn.Return<A, DatabricksError> {
  // Loaded by the first call: it takes a tenth of a second.
  const sdk = yield* Effect.promise(() => import("@databricks/sdk-experimental"))
  const waiting = yield* Effect.promise(() => import("@databricks/sdk-experimental/dist/apis/apiError.js"))
  const context = yield* Effect.context<never>()
  return yield* Effect.tryPromise({
    try: (signal) =>
      call(
        makeSdk(sdk, host, (request, read) =>
          Effect.runPromiseWith(context)(Effect.flatMap(send(request), read), { signal })
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
  Effect.flatMap(Transport.text(response), (text): Effect.Effect<unknown, DatabricksError> =>
    text === "" ? Effect.succeed({}) : decodeJson(response, text)
  )

const decodeJson = Transport.decoder(Schema.Unknown)
