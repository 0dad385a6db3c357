/** HTTP to one workspace as a given caller: the one place where a credential meets the wire. */
import { Effect, Redacted, Schema } from "effect"
import { HttpClient, HttpClientError, HttpClientRequest, type HttpClientResponse } from "effect/http"
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
  return yield* exchange(http, HttpClientRequest.prependUrl(request, host), yield* caller.authorization)
})

/** Sends a request, with this value of its `Authorization` header; an answer outside 2xx is a failure. */
export const exchange = Effect.fnUntraced(function* (
  http: HttpClient.HttpClient,
  request: HttpClientRequest.HttpClientRequest,
  authorization?: Redacted.Redacted
): Effect.fn.Return<HttpClientResponse.HttpClientResponse, DatabricksError> {
  const client = authorization === undefined ? http : withAuthorization(http, authorization)
  const response = yield* Effect.mapError(client.execute(request), Answer.fromHttpClientError)
  return response.status >= 200 && response.status < 300
    ? response
    : yield* Effect.flip(Answer.fromResponse(request, response, authorization))
})

// Spans keep requests, errors and answers, and an application may show what it has of them: what these hold is the
// request before it gets its credential.
const withAuthorization = (http: HttpClient.HttpClient, authorization: Redacted.Redacted): HttpClient.HttpClient =>
  HttpClient.make((request) =>
    http.execute(HttpClientRequest.setHeader(request, "authorization", Redacted.value(authorization))).pipe(
      Effect.provideService(HttpClient.TracerDisabledWhen, () => true),
      Effect.mapBoth({
        onFailure: ({ reason: { cause } }) =>
          new HttpClientError.HttpClientError({ reason: new HttpClientError.TransportError({ request, cause }) }),
        onSuccess: (response): HttpClientResponse.HttpClientResponse =>
          Object.create(response, { request: { value: request } })
      })
    )
  )

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
