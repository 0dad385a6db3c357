/** Writes a file: a content of known bytes, or a stream that the workspace must have taken to its end. */
import { Effect, Stream } from "effect"
import { HttpBody, HttpClientRequest } from "effect/http"
import { type DatabricksError, InvalidResponseError, make as databricksError } from "../../DatabricksError.ts"
import type { WriteOptions } from "../../Files.ts"
import type { FileExistsError } from "../../FilesError.ts"
import * as Answer from "../workspace/answer.ts"
import * as Paths from "./paths.ts"
import { exists, isConflict, type Requests, type Segments } from "./requests.ts"

type Failure = DatabricksError | FileExistsError

const requestOf = (segments: Segments, { overwrite = false }: WriteOptions) =>
  HttpClientRequest.setUrlParam(HttpClientRequest.put(Paths.urlOf("files", segments)), "overwrite", String(overwrite))

const put = (
  { run }: Requests,
  segments: Segments,
  body: HttpBody.HttpBody,
  options: WriteOptions
): Effect.Effect<void, Failure> =>
  Effect.catchIf(
    run(HttpClientRequest.setBody(requestOf(segments, options), body), "WRITE VOLUME"),
    (error) => options.overwrite !== true && isConflict(error),
    () => exists(segments, "choose another name, or overwrite it")
  )

export const bytes = (
  requests: Requests,
  segments: Segments,
  content: Uint8Array | string,
  options: WriteOptions
): Effect.Effect<void, Failure> =>
  put(
    requests,
    segments,
    typeof content === "string" ? HttpBody.text(content, octets) : HttpBody.uint8Array(content, octets),
    options
  )

/** Sends the last chunk when the content has ended: one that fails after its last byte is not stored either. */
export const stream = <E>(
  requests: Requests,
  segments: Segments,
  content: Stream.Stream<Uint8Array, E>,
  options: WriteOptions
): Effect.Effect<void, Failure | E> =>
  Effect.suspend(() => {
    let failure: Effect.Effect<never, E> | undefined
    let hasEnded = false
    const body = content.pipe(
      Stream.tapCause((cause) => Effect.sync(() => void (failure = Effect.failCause(cause)))),
      Stream.mapAccum(noChunk, (held, chunk) => [[chunk], held], {
        onHalt: (held) => {
          hasEnded = true
          return held
        }
      })
    )
    const sent = put(requests, segments, HttpBody.stream(body, octets, options.contentLength), options)
    return Effect.matchCauseEffect(sent, {
      // The request of a content that fails does so too.
      onFailure: (cause): Effect.Effect<never, Failure | E> => failure ?? Effect.failCause(cause),
      onSuccess: (): Effect.Effect<void, Failure | E> =>
        hasEnded
          ? Effect.void
          : Effect.fail(databricksError(new InvalidResponseError({ message: early(requestOf(segments, options)) })))
    })
  })

const noChunk = (): ReadonlyArray<Uint8Array> => []

const octets = "application/octet-stream"

const early = (request: HttpClientRequest.HttpClientRequest) =>
  `${Answer.endpointOf(request)} answered before the whole file was sent: remove the file, and write it again`
