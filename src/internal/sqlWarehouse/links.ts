/** Downloads from the storage that the external links of a result point to. */
import { Data, Effect, Stream } from "effect"
import { type HttpClientError, HttpClientRequest, type HttpClientResponse } from "effect/http"
import {
  ConnectionError,
  type DatabricksError,
  InvalidResponseError,
  make as databricksError,
  UnavailableError
} from "../../DatabricksError.ts"
import * as Answer from "../workspace/answer.ts"
import type { Link } from "./wire.ts"

/** Sends a request without a credential, and without a span: the address is a credential. */
export type Fetch = (
  request: HttpClientRequest.HttpClientRequest
) => Effect.Effect<HttpClientResponse.HttpClientResponse, HttpClientError.HttpClientError>

/** The storage refuses the link: it has expired, or its object is gone. */
export class LinkRefused extends Data.TaggedError("LinkRefused")<{ readonly status: number }> {}

// Databricks makes chunks of about 20 MB.
const maxBytes = 256 * 1024 * 1024

// A link must not expire on the way to the storage.
const margin = 10_000

export const isStale = ({ expiration }: Link, now: number): boolean => Date.parse(expiration ?? "") <= now + margin

export const download = Effect.fnUntraced(function* (
  fetch: Fetch,
  host: string,
  { external_link, http_headers }: Link
): Effect.fn.Return<Uint8Array, DatabricksError | LinkRefused> {
  const url = URL.parse(external_link)
  // Plaintext only if the workspace itself is reached in plaintext.
  if (url === null || !["https:", new URL(host).protocol].includes(url.protocol)) {
    return yield* invalid("is not an https address")
  }
  const request = HttpClientRequest.get(external_link, { headers: http_headers ?? {} })
  const response = yield* Effect.mapError(fetch(request), lost)
  const { headers, status } = response
  if (status === 429 || status >= 500) return yield* unavailable(status)
  if (status >= 400) return yield* new LinkRefused({ status })
  if (status >= 300) return yield* invalid(`was answered with ${status}`)
  return yield* bytesOf(response, Number(headers["content-length"]) || 0)
})

// Each part goes into its place as it arrives: to join them at the end takes twice the memory of the chunk.
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

// None of these sentences has the link, which is a credential.
const invalid = (what: string) =>
  Effect.fail(
    databricksError(new InvalidResponseError({ message: `A link to a part of the result of a statement ${what}` }))
  )

const tooLong = Effect.suspend(() => invalid(`leads to more than ${maxBytes} bytes`))

const unavailable = (status: number) =>
  Effect.fail(
    databricksError(
      new UnavailableError({ status, message: `The storage of the result of a statement answered with ${status}` })
    )
  )

const lost = (error: HttpClientError.HttpClientError) => {
  const code = Answer.codeOf(error.reason.cause)
  return databricksError(
    new ConnectionError({
      message: `No answer from the storage of the result of a statement${code === undefined ? "" : ` (${code})`}: check that this network can reach it`,
      cause: code
    })
  )
}
