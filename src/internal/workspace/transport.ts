/** Sends HTTP requests to one workspace as a given caller. Only this module adds credentials to requests. */
import { Effect, Inspectable, Redacted, Schema, Stream } from "effect"
import {
  type Headers,
  HttpClient,
  HttpClientError,
  HttpClientRequest,
  HttpClientResponse,
  HttpIncomingMessage
} from "effect/http"
import type { Caller } from "../../Caller.ts"
import { DatabricksError, InvalidRequestError, InvalidResponseError, UnavailableError } from "../../DatabricksError.ts"
import * as Answer from "./answer.ts"
import * as ExactJson from "./exactJson.ts"
import { fitted, placeOf, refusalOf } from "./schemaJson.ts"
import * as Renewal from "./renewal.ts"
import * as Retry from "./retry.ts"

export type Credential = Pick<Caller, "authorization" | "context">

export type Send = (
  caller: Credential,
  request: HttpClientRequest.HttpClientRequest
) => Effect.Effect<HttpClientResponse.HttpClientResponse, DatabricksError>

/** Adds the execution context of a failed call to its error. */
export const ranAs =
  ({ context }: Pick<Caller, "context">) =>
  <E>(error: E): E | DatabricksError =>
    error instanceof DatabricksError ? new DatabricksError({ reason: error.reason, context }) : error

/** Makes the transport; `own` is the service principal's credential, which is renewed when it is refused. */
export const make = (http: HttpClient.HttpClient, host: string, own: Renewal.Renewable): Send => {
  const sendAs = Renewal.make(own)
  return (caller, request) => {
    const problem = problemOf(request.url) ?? headerProblemOf(request.headers)
    const sent =
      problem === undefined
        ? sendAs(caller, (_) => exchange(http, HttpClientRequest.prependUrl(request, host), _), isRepeatable(request))
        : Effect.fail(new DatabricksError({ reason: new InvalidRequestError({ message: problem }) }))
    return Effect.mapError(sent, ranAs(caller))
  }
}

/** Sends requests without a credential to signed addresses, which spans must not show. */
export const makeFetch =
  (http: HttpClient.HttpClient) =>
  (
    request: HttpClientRequest.HttpClientRequest
  ): Effect.Effect<HttpClientResponse.HttpClientResponse, HttpClientError.HttpClientError> =>
    Effect.provideService(http.execute(request), HttpClient.TracerDisabledWhen, () => true)

// Credentials are sent to this workspace only, and an id in the path must not select another API.
const problemOf = (url: string): string | undefined => {
  if (!/^\/(?![/\\])/.test(url)) return `The URL of a request to the workspace must be a path that begins with one "/"`
  const path = url.split(/[?#]/, 1)[0]!
  // Half a surrogate pair is sent as another character, which names another file.
  return !path.isWellFormed() ||
    // oxlint-disable-next-line no-control-regex -- a URL drops some, and spaces at its end, which may leave two dots
    /[\\\u0000-\u001f]|(?:\/|%2f|%5c)(?:\.|%2e){1,2}(?=\/|%2f|%5c| *$)/i.test(path)
    ? `The path of a request to the workspace contains a segment "." or "..", a backslash, a control character or half a surrogate pair`
    : undefined
}

// undici would report such a header like a lost connection, which is retried.
const headerProblemOf = (headers: HttpClientRequest.HttpClientRequest["headers"]): string | undefined => {
  const name = Object.keys(headers).find(
    (name) => !/^[\w!#$%&'*+.^`|~-]+$/.test(name) || /[^\t\x20-\x7e\x80-\xff]/.test(String(headers[name]))
  )
  return name === undefined
    ? undefined
    : `The header ${JSON.stringify(name)} of a request to the workspace contains a character that is not allowed in a header`
}

/**
 * Sends a request with this value of its `Authorization` header. Fails if the response is not a 2xx. Retries a request
 * that the workspace refused before it ran, unless its body is a stream.
 */
export const exchange = (
  http: HttpClient.HttpClient,
  request: HttpClientRequest.HttpClientRequest,
  authorization?: Redacted.Redacted
): Effect.Effect<HttpClientResponse.HttpClientResponse, DatabricksError> => {
  const attempt = exchangeOnce(http, request, authorization)
  return isRepeatable(request) ? Retry.byDefault(attempt) : attempt
}

// A body that is read while it is sent cannot be sent again.
const isRepeatable = ({ body: { _tag } }: HttpClientRequest.HttpClientRequest) => _tag !== "Stream" && _tag !== "Raw"

const exchangeOnce = Effect.fnUntraced(function* (
  http: HttpClient.HttpClient,
  request: HttpClientRequest.HttpClientRequest,
  authorization?: Redacted.Redacted
): Effect.fn.Return<HttpClientResponse.HttpClientResponse, DatabricksError> {
  const client = authorization === undefined ? http : withAuthorization(http, authorization)
  const response = yield* Effect.mapError(client.execute(request), Answer.fromHttpClientError)
  if (response.status < 200 || response.status >= 300) {
    return yield* Effect.flip(Answer.fromResponse(request, response, authorization))
  }
  if (authorization !== undefined) Answer.answers(response, authorization)
  return response
})

// Adds the credential last: spans, errors and responses, which an application may log, keep the request without it.
const withAuthorization = (http: HttpClient.HttpClient, authorization: Redacted.Redacted): HttpClient.HttpClient =>
  HttpClient.make((request) =>
    http.execute(HttpClientRequest.setHeader(request, "authorization", Redacted.value(authorization))).pipe(
      Effect.provideService(HttpClient.TracerDisabledWhen, () => true),
      Effect.mapBoth({
        onFailure: ({ reason: { cause } }) =>
          new HttpClientError.HttpClientError({ reason: new HttpClientError.TransportError({ request, cause }) }),
        onSuccess: (response) => answerTo(request, response, authorization)
      })
    )
  )

/**
 * Returns the response as one to this request, without the credential in its headers. It has no own properties, so that
 * logging it shows nothing.
 */
const answerTo = (
  request: HttpClientRequest.HttpClientRequest,
  response: HttpClientResponse.HttpClientResponse,
  authorization: Redacted.Redacted
): HttpClientResponse.HttpClientResponse => {
  let headers: Headers.Headers | undefined
  const toJSON = () =>
    HttpIncomingMessage.inspect(answer, { _id: HttpClientResponse.TypeId, request, status: response.status })
  const replaced: Record<PropertyKey, () => unknown> = {
    request: () => request,
    headers: () => (headers ??= Answer.redactedHeaders(response.headers, authorization)),
    json: () => jsonOf(answer, response),
    toJSON: () => toJSON,
    [Inspectable.NodeInspectSymbol]: () => toJSON
  }
  // Object.create would keep V8 from collecting responses early, because each prototype has its own hidden class.
  const answer = new Proxy({} as HttpClientResponse.HttpClientResponse, {
    // all other properties are the response's
    get: (_, name) => (Object.hasOwn(replaced, name) ? replaced[name]!() : Reflect.get(response, name)),
    has: (_, name) => name in response
  })
  return answer
}

// The response's own would round numbers, and its failure would show the request with its credential.
const jsonOf = (
  answer: HttpClientResponse.HttpClientResponse,
  response: HttpClientResponse.HttpClientResponse
): HttpClientResponse.HttpClientResponse["json"] =>
  Effect.flatMap(response.text, (text) =>
    Effect.try({
      try: () => (text === "" ? null : (ExactJson.parse(text, String) as Schema.Json)), // at most, numbers have become text
      catch: (cause) =>
        new HttpClientError.HttpClientError({
          reason: new HttpClientError.DecodeError({ request: answer.request, response: answer, cause })
        })
    })
  )

/** The largest body, in bytes: the rows of a statement are up to 25 MiB of JSON. */
export const maxAnswer = 64 * 1024 * 1024

/** The largest body of short responses: SCIM Me lists every group of a user. */
export const maxShortAnswer = 4 * 1024 * 1024

/** Decodes a JSON body. Fails with `InvalidResponseError` if it is not JSON, truncated or larger than `maxBytes`. */
export const json = <S extends Schema.Constraint>(schema: S, maxBytes = maxAnswer) => reader(schema, maxBytes, invalid)

/** `json` for requests that are retried until they succeed: a body that is not JSON is a gateway's, and temporary. */
export const patientJson = <S extends Schema.Constraint>(schema: S) => reader(schema, maxAnswer, unavailable)

const reader = <S extends Schema.Constraint>(schema: S, maxBytes: number, notJson: typeof invalid) => {
  const decode = Schema.decodeUnknownEffect(schema)
  const place = placeOf(schema.ast)
  return Effect.fnUntraced(function* (
    response: HttpClientResponse.HttpClientResponse
  ): Effect.fn.Return<S["Type"], DatabricksError, S["DecodingServices"]> {
    const body = yield* text(response, maxBytes)
    const json = yield* parsed(response, body, () => fitted(ExactJson.parse(body, String), place), notJson)
    return yield* Effect.mapError(decode(json), ({ issue }) => {
      const { message, path } = refusalOf(issue, json, place)
      const where = path.length === 0 ? "" : `"${path.join(".")}": `
      return invalid(response, `JSON that does not match its schema: ${where}${message}`)
    })
  })
}

/** Parses the body of a response. */
export const parsed = (
  response: HttpClientResponse.HttpClientResponse,
  body: string,
  parse: () => unknown,
  notJson = invalid
): Effect.Effect<unknown, DatabricksError> =>
  Effect.try({
    try: parse,
    catch: (cause) => (cause instanceof DatabricksError ? cause : notJson(response, whatIsNoJson(response, body)))
  })

/** Reads the text of a body of at most `maxBytes`. */
export const text = (
  response: HttpClientResponse.HttpClientResponse,
  maxBytes = maxAnswer
): Effect.Effect<string, DatabricksError> =>
  Effect.flatMap(bytes(response, maxBytes), (body) => {
    try {
      return Effect.succeed(utf8.decode(body))
    } catch {
      // Replacement characters could make different names equal.
      return Effect.fail(invalid(response, "bytes that are not UTF-8"))
    }
  })

const utf8 = new TextDecoder("utf-8", { fatal: true })

/** Reads a response whose content is not used: an unread body would keep its connection. */
export const drained = (response: HttpClientResponse.HttpClientResponse): Effect.Effect<void, DatabricksError> =>
  Effect.asVoid(text(response, maxShortAnswer))

/** Aborts the request of a response whose body is not read. */
export const released = (response: HttpClientResponse.HttpClientResponse): Effect.Effect<void> =>
  Effect.scoped(Effect.asVoid(Stream.toPull(response.stream)))

const bytes = (
  response: HttpClientResponse.HttpClientResponse,
  maxBytes: number
): Effect.Effect<ArrayBuffer | Uint8Array, DatabricksError> => {
  const declared = Number(response.headers["content-length"] ?? Number.NaN)
  // The HTTP client enforces the declared length, and counting would cost the request a third more.
  if (declared <= maxBytes) return Effect.mapError(response.arrayBuffer, Answer.fromHttpClientError)
  return Effect.suspend(() => {
    const chunks: Array<Uint8Array> = []
    let left = declared > maxBytes ? 0 : maxBytes
    return response.stream.pipe(
      Stream.mapError(Answer.fromHttpClientError),
      Stream.runForEach((chunk) => {
        left -= chunk.length
        if (left < 0) return Effect.fail(invalid(response, `more than ${maxBytes} bytes, which is the limit`))
        chunks.push(chunk)
        return Effect.void
      }),
      Effect.map(() => Buffer.concat(chunks))
    )
  })
}

const whatIsNoJson = (response: HttpClientResponse.HttpClientResponse, text: string) => {
  const type = (response.headers["content-type"] ?? "content without a type").slice(0, 100)
  return text === ""
    ? "an empty body"
    : type.includes("json")
      ? "JSON that is truncated or does not match its schema"
      : `${type} in place of JSON`
}

export const invalid = (response: HttpClientResponse.HttpClientResponse, what: string) =>
  new DatabricksError({ reason: new InvalidResponseError(saying(response, what)) })

const unavailable = (response: HttpClientResponse.HttpClientResponse, what: string) =>
  new DatabricksError({ reason: new UnavailableError(saying(response, what)) })

const saying = (response: HttpClientResponse.HttpClientResponse, what: string) => ({
  message: `${Answer.endpointOf(response.request)} answered ${response.status} with ${Answer.redactorOf(response)(what)}`,
  status: response.status,
  requestId: response.headers["x-request-id"]
})
