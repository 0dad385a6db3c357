/** The official SDK, with its requests sent by our transport. */
import type * as Sdk from "@databricks/sdk-experimental"
import { Effect, Predicate, Stream } from "effect"
import { identity } from "effect/Function"
import { HttpBody, HttpClientRequest, type HttpClientResponse } from "effect/http"
import {
  DatabricksError,
  InvalidRequestError,
  make as databricksError,
  WorkspaceFailedError
} from "../../DatabricksError.ts"
import { type Redact, redactorOf } from "./answer.ts"
import * as ExactJson from "./exactJson.ts"
import * as Transport from "./transport.ts"

/** Calls the SDK, and sends its requests with `send`. Interruption aborts them. */
export const use = Effect.fnUntraced(function* <A>(
  host: string,
  send: (
    request: HttpClientRequest.HttpClientRequest
  ) => Effect.Effect<HttpClientResponse.HttpClientResponse, DatabricksError>,
  call: (sdk: Sdk.WorkspaceClient) => Promise<A>
): Effect.fn.Return<A, DatabricksError> {
  // Loaded by the first call, because loading takes a tenth of a second.
  const sdk = yield* Effect.promise(() => import("@databricks/sdk-experimental"))
  const waiting = yield* Effect.promise(() => import("@databricks/sdk-experimental/dist/apis/apiError.js"))
  const context = yield* Effect.context<never>()
  let redact: Redact = identity
  return yield* Effect.tryPromise({
    try: (signal) =>
      call(
        makeSdk(sdk, host, (request, read) =>
          Effect.runPromiseWith(context)(
            Effect.flatMap(send(request), (response) => {
              redact = redactorOf(response)
              return read(response)
            }),
            { signal }
          )
        )
      ),
    catch: (cause) => cause
  }).pipe(
    Effect.catch((cause) => {
      if (cause instanceof DatabricksError) return Effect.fail(cause)
      if (cause instanceof Error) {
        if (cause.cause instanceof DatabricksError) return Effect.fail(cause.cause)
        if (cause instanceof waiting.ApiError || cause instanceof sdk.retries.TimeoutError) {
          return Effect.fail(databricksError(new WorkspaceFailedError({ message: redact(cause.message) })))
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

// One client per call, so that no client can be used for another caller; a client is only closures. Its requests use our
// transport: the SDK's own retries for five minutes regardless of `Retry-After`, loses error codes, hangs on redirects
// and keeps connections of its own.
const makeSdk = (sdk: typeof Sdk, host: string, exchange: Exchange): Sdk.WorkspaceClient => {
  // No loaders, so that neither environment nor profile adds the service principal's credentials to a user's.
  const config = new sdk.Config({ host, loaders: [], authType: "pat" })
  const client = new sdk.WorkspaceClient(config, { product: "effect-databricks" })
  client.apiClient.request = async ({ headers, method, path, payload, query, raw, responseHeaders = [] }) => {
    // The SDK does not encode ids in a path, and a URL drops spaces at its end.
    const url = path.replaceAll(/[%?# ]/g, encodeURIComponent)
    const search = client.apiClient.searchParams(exact(query ?? {}))
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
      // Existing code around the SDK catches its ApiError.
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
      : HttpBody.text(ExactJson.stringify(payload, rounded), "application/json")

const contents = (response: HttpClientResponse.HttpClientResponse) =>
  Effect.succeed({ contents: Stream.toReadableStream(response.stream) })

const exact = <A>(query: A): A => {
  ExactJson.stringify(query, rounded)
  return query
}

const rounded = (name: string, value: unknown): never => {
  throw databricksError(
    new InvalidRequestError({
      message: Number.isFinite(value)
        ? `The request's "${name}" is an integer beyond 2^53, which JavaScript may have rounded: pass it as a bigint`
        : `The request's "${name}" is ${String(value)}, which JSON cannot represent`
    })
  )
}

// For the SDK a response without a body is an empty object, and every number is a JavaScript number.
const sdkJson = (response: HttpClientResponse.HttpClientResponse) =>
  Effect.flatMap(Transport.text(response), (text): Effect.Effect<unknown, DatabricksError> =>
    text === ""
      ? Effect.succeed({})
      : Transport.parsed(response, text, () =>
          ExactJson.parse(text, (_, name) => {
            throw Transport.invalid(
              response,
              `a number in "${name}" that the SDK would round: make this call with requestJson, with Schema.BigInt or Schema.String`
            )
          })
        )
  )
