/** HTTP to one workspace as a given caller: the one place where a credential meets the wire. */
import { Effect, Redacted, Schema, Stream } from "effect"
import { HttpClient, HttpClientError, HttpClientRequest, type HttpClientResponse } from "effect/http"
import type { Caller } from "../../Caller.ts"
import { DatabricksError, InvalidRequestError, InvalidResponseError } from "../../DatabricksError.ts"
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
  const problem = problemOf(request.url)
  if (problem !== undefined) {
    return yield* new DatabricksError({ reason: new InvalidRequestError({ message: problem }) })
  }
  return yield* exchange(http, HttpClientRequest.prependUrl(request, host), yield* caller.authorization)
})

// A credential leaves for this workspace only, and for the API that the path names, whatever id is a part of it.
const problemOf = (url: string): string | undefined => {
  if (!/^\/(?![/\\])/.test(url)) return `A request to the workspace is a path that begins with one "/"`
  const path = url.split(/[?#]/, 1)[0]!
  // oxlint-disable-next-line no-control-regex -- a URL drops some, and spaces at its end: what is left may be two dots
  return /[\\\u0000-\u001f]|(?:\/|%2f|%5c)(?:\.|%2e){1,2}(?=\/|%2f|%5c| *$)/i.test(path)
    ? `The path of a request to the workspace has a segment "." or "..", a backslash or a control character`
    : undefined
}

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
        onSuccess: (response) => answerTo(request, response)
      })
    )
  )

/** The answer as one to this request. What shows an object shows its own properties, and of these it has none. */
const answerTo = (
  request: HttpClientRequest.HttpClientRequest,
  response: HttpClientResponse.HttpClientResponse
): HttpClientResponse.HttpClientResponse =>
  // Not Object.create: each prototype has a hidden class of its own, which keeps it from dying young.
  new Proxy({} as HttpClientResponse.HttpClientResponse, {
    // all that it seems to have is the answer's
    get: (_, name) => (name === "request" ? request : Reflect.get(response, name)),
    has: (_, name) => name in response
  })

/** The most that is read of an answer, in bytes: the rows of a statement come as up to 25 MiB of JSON. */
export const maxAnswer = 64 * 1024 * 1024

/** The same where an answer is short: SCIM Me lists every group that somebody is in. */
export const maxShortAnswer = 4 * 1024 * 1024

/** Decodes a JSON body; anything else, half a document or more than `maxBytes` included, is an `InvalidResponseError`. */
export const json = <S extends Schema.Constraint>(schema: S, maxBytes = maxAnswer) => {
  const decode = decoder(schema)
  return (response: HttpClientResponse.HttpClientResponse) =>
    Effect.flatMap(text(response, maxBytes), (text) => decode(response, text))
}

/** `json` for a text that was read from a response. */
export const decoder = <S extends Schema.Constraint>(schema: S) => {
  const decode = Schema.decodeUnknownEffect(Schema.fromJsonString(schema))
  return (response: HttpClientResponse.HttpClientResponse, text: string) =>
    Effect.mapError(decode(text), () => invalid(response, whatIsNoJson(response, text)))
}

/** The text of a body of at most so many bytes. */
export const text = (
  response: HttpClientResponse.HttpClientResponse,
  maxBytes = maxAnswer
): Effect.Effect<string, DatabricksError> =>
  Effect.flatMap(bytes(response, maxBytes), (body) => {
    try {
      return Effect.succeed(utf8.decode(body))
    } catch {
      // A character in place of what cannot be read would make two names that differ the same.
      return Effect.fail(invalid(response, "bytes that are no UTF-8"))
    }
  })

const utf8 = new TextDecoder("utf-8", { fatal: true })

const bytes = (
  response: HttpClientResponse.HttpClientResponse,
  maxBytes: number
): Effect.Effect<ArrayBuffer | Uint8Array, DatabricksError> => {
  const declared = Number(response.headers["content-length"] ?? Number.NaN)
  // No more comes than is declared, and to count what comes would cost the request a third more.
  if (declared <= maxBytes) return Effect.mapError(response.arrayBuffer, Answer.fromHttpClientError)
  return Effect.suspend(() => {
    const chunks: Array<Uint8Array> = []
    let left = declared > maxBytes ? 0 : maxBytes
    return response.stream.pipe(
      Stream.mapError(Answer.fromHttpClientError),
      Stream.runForEach((chunk) => {
        left -= chunk.length
        if (left < 0) return Effect.fail(invalid(response, `more than the ${maxBytes} bytes that are read of it`))
        chunks.push(chunk)
        return Effect.void
      }),
      Effect.map(() => Buffer.concat(chunks))
    )
  })
}

const whatIsNoJson = (response: HttpClientResponse.HttpClientResponse, text: string) => {
  const type = (response.headers["content-type"] ?? "something of no type").slice(0, 100)
  return text === ""
    ? "an empty body"
    : type.includes("json")
      ? "JSON that breaks off or is not of the shape it should have"
      : `${type} in place of JSON`
}

const invalid = (response: HttpClientResponse.HttpClientResponse, what: string) =>
  new DatabricksError({
    reason: new InvalidResponseError({
      message: `${Answer.endpointOf(response.request)} answered ${response.status} with ${what}`,
      status: response.status,
      requestId: response.headers["x-request-id"]
    })
  })
