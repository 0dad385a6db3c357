/** Opens a file: asks for its bytes, checks that they are those of the range, and reads them as a stream. */
import { Duration, Effect, Stream } from "effect"
import { HttpClientRequest } from "effect/http"
import { ConnectionError, type DatabricksError, make as databricksError } from "../../DatabricksError.ts"
import type { Download, Range, ReadOptions } from "../../Files.ts"
import { InvalidRangeError } from "../../FilesError.ts"
import { OperationTimeoutError } from "../../Operation.ts"
import * as Answer from "../workspace/answer.ts"
import * as Transport from "../workspace/transport.ts"
import * as Paths from "./paths.ts"
import { entryOf, lengthOf, metadataOf, pathOf, type Requests, type Response, type Segments } from "./requests.ts"

const defaultIdleTimeout = Duration.minutes(1)

/** Returns an open file, and an effect that aborts its request if it is not read. */
export const open = Effect.fnUntraced(function* (
  { send }: Requests,
  name: string,
  segments: Segments,
  { idleTimeout = defaultIdleTimeout, range }: ReadOptions
): Effect.fn.Return<
  { readonly download: Download; readonly close: Effect.Effect<void> },
  DatabricksError | InvalidRangeError
> {
  const header = range && headerOf(range)
  if (range !== undefined && header === undefined) {
    return yield* invalid(segments, "it does not consist of whole bytes in order")
  }
  const request = HttpClientRequest.get(Paths.urlOf("files", segments))
  const response = yield* Effect.catchIf(
    send(header === undefined ? request : HttpClientRequest.setHeader(request, "range", header), "READ VOLUME"),
    ({ status }) => status === 416,
    () => invalid(segments, "it begins beyond the end of the file")
  )
  const contentLength = lengthOf(response)
  const part = range && partOf(response)
  const close = Transport.released(response)
  if (range !== undefined && !isPart(range, part, contentLength)) {
    yield* close
    return yield* Transport.invalid(response, `other bytes than those of the range ${header}`)
  }
  const download = {
    ...entryOf(segments, { isDirectory: false, size: part ? part.size : contentLength, ...metadataOf(response) }),
    contentLength,
    range: part && { start: part.start, end: part.end },
    body: bodyOf(response, contentLength, name, Duration.fromInputUnsafe(idleTimeout))
  }
  return { download, close }
})

const invalid = (segments: Segments, why: string) => {
  const path = pathOf(segments)
  return Effect.fail(new InvalidRangeError({ path, message: `The range of ${path} cannot be read: ${why}` }))
}

const isPosition = (value: number) => Number.isSafeInteger(value) && value >= 0

const headerOf = ({ end, start }: Range): string | undefined =>
  end !== undefined
    ? isPosition(start) && isPosition(end) && start <= end
      ? `bytes=${start}-${end}`
      : undefined
    : Number.isSafeInteger(start)
      ? `bytes=${start}${start < 0 ? "" : "-"}`
      : undefined

interface Part {
  readonly start: number
  readonly end: number
  readonly size: number | undefined
}

const partOf = ({ headers, status }: Response): Part | undefined => {
  const [, start, end, size] = /^bytes (\d+)-(\d+)\/(\d+|\*)$/.exec(headers["content-range"] ?? "") ?? []
  return status !== 206 || start === undefined
    ? undefined
    : { start: Number(start), end: Number(end), size: size === "*" ? undefined : Number(size) }
}

/** Whether a part is the one that was requested. */
const isPart = ({ end, start }: Range, part: Part | undefined, length: number | undefined): boolean => {
  if (part === undefined || (length !== undefined && length !== part.end - part.start + 1)) return false
  const last = part.size === undefined ? part.end : part.size - 1
  return start < 0
    ? part.end === last && part.start === Math.max(0, last + 1 + start)
    : part.start === start && part.end === Math.min(end ?? last, last)
}

const bodyOf = (response: Response, length: number | undefined, name: string, idleTimeout: Duration.Duration) =>
  Stream.suspend(() => {
    let read = 0
    const progress = () => `after ${read}${length === undefined ? "" : ` of ${length}`} bytes`
    return response.stream.pipe(
      Stream.tap((chunk) => Effect.sync(() => void (read += chunk.length))),
      Stream.mapError(({ reason }) => {
        const code = Answer.codeOf(reason.cause)
        const message = `The response to ${Answer.endpointOf(response.request)} broke off ${progress()}${code === undefined ? "" : ` (${code})`}: read the file again, or the rest of it with the option range`
        return databricksError(new ConnectionError({ message, cause: code }))
      }),
      Stream.timeoutOrElse({
        duration: idleTimeout,
        orElse: () => {
          const message = `${name} received nothing for ${Duration.format(idleTimeout)}, ${progress()}`
          return Stream.fail(new OperationTimeoutError({ operation: name, message }))
        }
      })
    )
  })
