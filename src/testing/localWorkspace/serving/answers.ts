/** The responses of serving endpoints, whole or as server-sent events, and their ways to break. */
import { Data, Effect, Stream } from "effect"
import * as HttpServerResponse from "effect/http/HttpServerResponse"

/** A response that is not a 2xx. */
export class Refusal extends Data.TaggedError("Refusal")<{
  readonly status: number
  readonly message: string
  readonly errorCode?: string
  /** In seconds. */
  readonly retryAfter?: number
}> {}

export interface Breaks {
  readonly after?: number
  readonly with: "cut" | "stall" | "end" | Refusal
}

export type Answer =
  | { readonly _tag: "Json"; readonly body: unknown; readonly breaks: Breaks | undefined }
  | { readonly _tag: "Events"; readonly events: Stream.Stream<string>; readonly breaks: Breaks | undefined }

// Closes the connection when the events before have left for it, at the next turn of Node's loop.
const cut = Stream.fromEffect(
  Effect.andThen(
    Effect.promise(() => new Promise(setImmediate)),
    Effect.die(new Error("The connection is cut"))
  )
)

const eventOf = (data: string) => `data: ${data}\n\n`

const errorOf = ({ errorCode, message, retryAfter, status }: Refusal) => {
  const details = retryAfter === undefined ? undefined : [{ retry_delay: `${retryAfter}s` }]
  return JSON.stringify({ error: { message, code: errorCode ?? status, status, type: "error", details } })
}

/** The events up to the break, if there is one, and the end mark. */
const written = (events: Stream.Stream<string>, breaks: Breaks | undefined): Stream.Stream<string> => {
  const end = Stream.succeed(eventOf("[DONE]"))
  const all = Stream.map(events, eventOf)
  if (breaks === undefined) return Stream.concat(all, end)
  const before = Stream.take(all, breaks.after ?? 0)
  switch (breaks.with) {
    case "cut":
      return Stream.concat(before, cut)
    case "stall":
      return Stream.concat(before, Stream.never)
    case "end":
      return before
    default:
      return Stream.concat(before, Stream.succeed(eventOf(errorOf(breaks.with))))
  }
}

const inParts = (size: number) => (bytes: Uint8Array) =>
  Array.from({ length: Math.ceil(bytes.length / size) }, (_, index) => bytes.subarray(index * size, (index + 1) * size))

/** Writes an answer; a stream has `bytesPerWrite` bytes in each write, or one event. */
export const responseTo = (
  { breaks, ...answer }: Answer,
  bytesPerWrite: number | undefined
): Effect.Effect<HttpServerResponse.HttpServerResponse, Refusal> => {
  if (answer._tag === "Json") {
    if (breaks === undefined) return Effect.succeed(HttpServerResponse.jsonUnsafe(answer.body))
    if (breaks.with instanceof Refusal) return Effect.fail(breaks.with)
    return breaks.with === "stall"
      ? Effect.never
      : Effect.succeed(HttpServerResponse.stream(cut, { contentType: "application/json" }))
  }
  const bytes = Stream.encodeText(written(answer.events, breaks))
  const parts =
    bytesPerWrite === undefined ? bytes : Stream.flatMap(bytes, (_) => Stream.fromIterable(inParts(bytesPerWrite)(_)))
  return Effect.succeed(
    // The empty first part sends the head of the response, which would otherwise wait for the first event.
    HttpServerResponse.stream(Stream.rechunk(Stream.concat(Stream.succeed(new Uint8Array()), parts), 1), {
      contentType: "text/event-stream",
      headers: { "cache-control": "no-cache" }
    })
  )
}
