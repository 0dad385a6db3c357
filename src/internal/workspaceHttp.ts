/** HTTP to one workspace as a given caller: the one place where a credential meets the wire. */
import { Effect, Redacted, Schema } from "effect"
import { HttpClient, type HttpClientError, HttpClientRequest, type HttpClientResponse } from "effect/http"
import type { Caller } from "../Caller.ts"
import { DatabricksError, InvalidRequestError, InvalidResponseError } from "../DatabricksError.ts"
import * as Answer from "./answer.ts"

export type Credential = Pick<Caller, "authorization" | "context">

export type Send = (
  caller: Credential,
  request: HttpClientRequest.HttpClientRequest
) => Effect.Effect<HttpClientResponse.HttpClientResponse, DatabricksError>

/** Says whom a call ran as that failed. */
export const ranAs =
  ({ context }: Pick<Caller, "context">) =>
  <E>(error: E): E | DatabricksError =>
    error instanceof DatabricksError ? new DatabricksError({ reason: error.reason, context }) : error

export const make =
  (http: HttpClient.HttpClient, host: string): Send =>
  (caller, request) =>
    Effect.mapError(send(http, host, caller, request), ranAs(caller))

/** How a request leaves that needs no credential, since its address is one: hence no span shows it. */
export const makeFetch =
  (http: HttpClient.HttpClient) =>
  (
    request: HttpClientRequest.HttpClientRequest
  ): Effect.Effect<HttpClientResponse.HttpClientResponse, HttpClientError.HttpClientError> =>
    Effect.provideService(http.execute(request), HttpClient.TracerDisabledWhen, () => true)

const send = Effect.fnUntraced(function* (
  http: HttpClient.HttpClient,
  host: string,
  caller: Credential,
  request: HttpClientRequest.HttpClientRequest
): Effect.fn.Return<HttpClientResponse.HttpClientResponse, DatabricksError> {
  // A credential leaves for this workspace only, whatever address a caller puts together.
  if (!/^\/(?![/\\])/.test(request.url)) {
    return yield* new DatabricksError({
      reason: new InvalidRequestError({ message: `A request to the workspace is a path that begins with one "/"` })
    })
  }
  const authorization = yield* caller.authorization
  return yield* exchange(
    http,
    request.pipe(
      HttpClientRequest.prependUrl(host),
      HttpClientRequest.setHeader("authorization", Redacted.value(authorization))
    )
  )
})

/** Sends a request as it is; an answer outside 2xx is a failure. */
export const exchange = Effect.fnUntraced(function* (
  http: HttpClient.HttpClient,
  request: HttpClientRequest.HttpClientRequest
): Effect.fn.Return<HttpClientResponse.HttpClientResponse, DatabricksError> {
  const response = yield* Effect.mapError(http.execute(request), Answer.fromHttpClientError)
  return response.status >= 200 && response.status < 300
    ? response
    : yield* Effect.flip(Answer.fromResponse(request, response))
})

/** Decodes a JSON body; anything else, half a document included, is an `InvalidResponseError`. */
export const json = <S extends Schema.Constraint>(schema: S) => {
  const decode = Schema.decodeUnknownEffect(Schema.fromJsonString(schema))
  return (response: HttpClientResponse.HttpClientResponse) =>
    response.text.pipe(
      Effect.mapError(Answer.fromHttpClientError),
      Effect.flatMap((text) => Effect.mapError(decode(text), () => invalid(response, text)))
    )
}

const invalid = (response: HttpClientResponse.HttpClientResponse, text: string) => {
  const type = response.headers["content-type"] ?? "something of no type"
  const what =
    text === ""
      ? "an empty body"
      : type.includes("json")
        ? "JSON that breaks off or is not of the shape it should have"
        : `${type} in place of JSON`
  return new DatabricksError({
    reason: new InvalidResponseError({
      message: `${Answer.endpointOf(response.request)} answered ${response.status} with ${what}`,
      status: response.status,
      requestId: response.headers["x-request-id"]
    })
  })
}
