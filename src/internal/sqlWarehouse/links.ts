/** Downloads the chunks of a result from the storage of its external links. */
import { Clock, Data, Effect, Stream } from "effect"
import { type HttpClientError, HttpClientRequest, type HttpClientResponse } from "effect/http"
import {
  ConnectionError,
  type DatabricksError,
  InvalidResponseError,
  make as databricksError,
  UnavailableError
} from "../../DatabricksError.ts"
import { advice } from "../unreachable.ts"
import * as Answer from "../workspace/answer.ts"
import * as Retry from "../workspace/retry.ts"
import type { Chunk, Link } from "./wire.ts"

/** Sends a request without a credential, and without a span, because the address is a credential. */
export type Fetch = (
  request: HttpClientRequest.HttpClientRequest
) => Effect.Effect<HttpClientResponse.HttpClientResponse, HttpClientError.HttpClientError>

/** The storage and the workspace of a result. */
export interface Source {
  readonly host: string
  readonly fetch: Fetch
  /** Requests a chunk, or the link to it, from the workspace. */
  readonly ask: (index: number) => Effect.Effect<Chunk, DatabricksError>
}

/** The storage refused the link, which has expired or whose object is gone. */
export class LinkRefused extends Data.TaggedError("LinkRefused")<{ readonly status: number }> {}

// Databricks makes chunks of about 20 MB.
const maxBytes = 256 * 1024 * 1024

// Keeps a link from expiring on the way to the storage.
const margin = 10_000

export const isStale = ({ expiration }: Link, now: number): boolean => Date.parse(expiration ?? "") <= now + margin

export const linkIn = ({ external_links }: Chunk, index: number): Link | undefined =>
  external_links?.find(({ chunk_index }) => (chunk_index ?? index) === index)

/** Uses the link to a chunk. Requests a new one, in each run, if it has expired or the storage has refused it. */
export const using = <A>(
  source: Source,
  index: number,
  first: Link,
  use: (link: Link) => Effect.Effect<A, DatabricksError | LinkRefused>
): Effect.Effect<A, DatabricksError> => {
  let link: Link | undefined = first
  let refusals = 0
  const used: Effect.Effect<A, DatabricksError> = Effect.gen(function* () {
    if (link === undefined || isStale(link, yield* Clock.currentTimeMillis)) {
      link = linkIn(yield* source.ask(index), index)
    }
    if (link === undefined) return yield* noLink(index)
    const result = yield* use(link)
    refusals = 0
    return result
  }).pipe(
    Effect.catchTag("LinkRefused", ({ status }) => {
      link = undefined
      return ++refusals < 3 ? used : refused(index, status)
    })
  )
  return used
}

/** Downloads a chunk as a whole. */
export const download = Effect.fnUntraced(function* (
  source: Source,
  link: Link
): Effect.fn.Return<Uint8Array, DatabricksError | LinkRefused> {
  const response = yield* open(source, link)
  const bytes = yield* bytesOf(response, Number(response.headers["content-length"]) || 0)
  return isPage(bytes) ? yield* unavailable(response.status) : bytes
})

/**
 * Downloads a chunk part by part, as fast as its reader takes them. A download that breaks off continues after the bytes
 * that were read, for up to 5 minutes without a further byte.
 */
export const stream = (source: Source, index: number, first: Link): Stream.Stream<Uint8Array, DatabricksError> =>
  Stream.suspend(() => {
    let passed = 0
    const opened = using(source, index, first, (link) => open(source, link))
    const attempt = Stream.unwrap(
      Effect.map(opened, ({ status, stream }) => {
        let at = 0
        return stream.pipe(
          Stream.mapError(lost),
          Stream.mapEffect((part) => {
            if (at === 0 && isPage(part)) return unavailable(status)
            const further = part.subarray(Math.max(passed - at, 0))
            at += part.length
            passed = Math.max(passed, at)
            return Effect.succeed(further)
          }),
          Stream.filter(({ length }) => length > 0)
        )
      })
    )
    return Retry.polledStream(attempt)
  })

const open = Effect.fnUntraced(function* (
  { fetch, host }: Source,
  { external_link, http_headers }: Link
): Effect.fn.Return<HttpClientResponse.HttpClientResponse, DatabricksError | LinkRefused> {
  const url = URL.parse(external_link)
  // Plaintext only if the workspace itself is reached in plaintext.
  if (url === null || !["https:", new URL(host).protocol].includes(url.protocol)) {
    return yield* invalid("is not an https address")
  }
  const request = HttpClientRequest.get(external_link, { headers: http_headers ?? {} })
  const response = yield* Effect.mapError(fetch(request), lost)
  const { status } = response
  if (status === 429 || status >= 500) return yield* unavailable(status)
  if (status >= 400) return yield* new LinkRefused({ status })
  if (status >= 300) return yield* invalid(`responded with ${status}`)
  return response
})

// A gateway's HTML page: rows begin with a bracket in JSON, and with 0xff in Arrow.
const isPage = (bytes: Uint8Array) => /^\s*</.test(new TextDecoder().decode(bytes.subarray(0, 100)))

// Copies each part on arrival: joining all parts at the end would take twice the memory of the chunk.
const bytesOf = (response: HttpClientResponse.HttpClientResponse, declared: number) =>
  Effect.suspend(() => {
    if (declared > maxBytes) return tooLong
    let bytes = new Uint8Array(declared)
    let length = 0
    return response.stream.pipe(
      Stream.mapError(lost),
      Stream.runForEach((part) => {
        const end = length + part.length
        if (end > maxBytes) return tooLong
        if (end > bytes.length) {
          const larger = new Uint8Array(Math.min(end * 2, maxBytes))
          larger.set(bytes.subarray(0, length))
          bytes = larger
        }
        bytes.set(part, length)
        length = end
        return Effect.void
      }),
      Effect.map(() => bytes.subarray(0, length))
    )
  })

// These messages omit the link, which is a credential.
const invalid = (what: string) =>
  Effect.fail(
    databricksError(new InvalidResponseError({ message: `A link to a chunk of a statement's result ${what}` }))
  )

const tooLong = Effect.suspend(() => invalid(`leads to more than ${maxBytes} bytes`))

const unavailable = (status: number) =>
  Effect.fail(
    databricksError(
      new UnavailableError({ status, message: `The storage of a statement's result responded with ${status}` })
    )
  )

const lost = (error: HttpClientError.HttpClientError) => {
  const code = Answer.codeOf(error.reason.cause)
  return databricksError(
    new ConnectionError({
      message: `No response from the storage of a statement's result${code === undefined ? "" : ` (${code})`}: ${advice(code, "check that this network can reach it")}`,
      cause: code
    })
  )
}

const noLink = (index: number) =>
  Effect.fail(
    databricksError(new InvalidResponseError({ message: `The workspace has no link to chunk ${index} of a result` }))
  )

const refused = (index: number, status: number) =>
  Effect.fail(
    databricksError(
      new InvalidResponseError({
        message: `The storage refused three links to chunk ${index} of a result (${status})`,
        status
      })
    )
  )
