/**
 * Converts a stream to a response of server-sent events. The stream runs as the sender of the request.
 *
 * @since 0.1.0
 */
import { ByteSize, Cause, Context, type Duration, Effect, Schema, Stream } from "effect"
import { dual } from "effect/Function"
import { HttpServerResponse } from "effect/http"
import { runningLike } from "../ExecutionContext.ts"
import { eventCodeOf } from "../internal/failures/httpStatus.ts"
import { withContext } from "../internal/http/bodyContext.ts"
import { ServiceContext } from "../ServiceContext.ts"
import type { ErrorData } from "./ErrorData.ts"
import * as HttpFailure from "./HttpFailure.ts"

export {
  /**
   * The code of a stream's `error` event. An Api that a browser imports uses `http/ErrorData`, which exports it too.
   *
   * @since 0.1.0
   * @category models
   */
  ErrorCode,
  /**
   * The data of an `error` event, which is the last event of its stream. A browser imports it from `http/ErrorData`.
   *
   * @since 0.1.0
   * @category models
   */
  ErrorData,
  /**
   * The success schema of an endpoint that answers with `toResponse`. A browser imports it from `http/ErrorData`.
   *
   * @since 0.1.0
   * @category constructors
   */
  events
} from "./ErrorData.ts"

/**
 * The encoding and the limits of the events.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options<A, RE = never> {
  /** Encodes an element as the JSON of its event. Defaults to `JSON.stringify`. */
  readonly schema?: Schema.ConstraintCodec<A, unknown, unknown, RE> | undefined
  /** The name of an element's event, without its line breaks. Defaults to `"message"`. */
  readonly event?: string | ((element: A) => string) | undefined
  /** The id of an element's event, without its line breaks. Defaults to the element's number, from 1. */
  readonly id?: ((element: A, index: number) => string) | undefined
  /**
   * The interval between the comments that keep the connection open; the first is sent at once. Defaults to 10 seconds.
   */
  readonly heartbeat?: Duration.Input | undefined
  /** The largest event on the wire. A larger one ends the stream with `INVALID_REQUEST`. Defaults to 1 MiB. */
  readonly maxEventSize?: ByteSize.Input | undefined
}

/**
 * Returns a response whose events are the elements of a stream: `sales.pipe(ServerSentEvents.toResponse({ schema: Sale
 * }))`.
 *
 * The stream runs with the services and as the caller of the handler. A slow client slows the stream down; a client
 * that disconnects interrupts it at once. A failure or defect becomes the last event, an `error` event with the message
 * that `Failures` would respond with. To respond with an error status, fail in the handler before you return the
 * stream.
 *
 * When the server closes, the stream has the grace period to finish. Then its connection is closed, so that the client
 * can reconnect to another server.
 *
 * @since 0.1.0
 * @category conversions
 */
export const toResponse: {
  <A, RE = never>(
    options?: Options<A, RE>
  ): <E, R>(
    stream: Stream.Stream<A, E, R>
  ) => Effect.Effect<HttpServerResponse.HttpServerResponse, never, R | RE | ServiceContext>
  <A, E, R, RE = never>(
    stream: Stream.Stream<A, E, R>,
    options?: Options<A, RE>
  ): Effect.Effect<HttpServerResponse.HttpServerResponse, never, R | RE | ServiceContext>
} = dual(
  (args) => Stream.isStream(args[0]),
  <A, E, R, RE = never>(stream: Stream.Stream<A, E, R>, options: Options<A, RE> = {}) =>
    Effect.contextWith((context: Context.Context<R | RE | ServiceContext>) => {
      const body = withContext(encode(stream, options), (puller: Context.Context<never>) =>
        runningLike(Context.merge(puller, context), context)
      )
      return Effect.succeed(HttpServerResponse.stream(body, { contentType: "text/event-stream", headers }))
    })
)

const headers = {
  // A proxy that compresses would buffer the events.
  "cache-control": "private, no-store, no-transform",
  "x-accel-buffering": "no"
}

const encode = <A, E, R, RE>(stream: Stream.Stream<A, E, R>, options: Options<A, RE>) =>
  Stream.suspend(() => {
    const event = options.event ?? "message"
    const id = options.id ?? ((_, index) => String(index + 1))
    const maxEventSize =
      options.maxEventSize === undefined ? 1_048_576 : Number(ByteSize.fromInputUnsafe(options.maxEventSize))
    const toJson: (element: A) => Effect.Effect<string, Schema.SchemaError, RE> =
      options.schema === undefined
        ? Schema.encodeEffect(Schema.fromJsonString(Schema.Unknown))
        : Schema.encodeEffect(Schema.fromJsonString(Schema.toCodecJson(options.schema)))
    let count = 0
    let lastId: string | undefined
    const frames = Stream.mapEffect(stream, (element, index) =>
      Effect.flatMap(
        Effect.orDie(toJson(element)), // an element without JSON is a mistake of the application
        (data) => {
          const elementId = id(element, index)
          const bytes = frame(elementId, typeof event === "string" ? event : event(element), data)
          if (bytes.length > maxEventSize) return tooLarge(bytes.length, maxEventSize)
          count = index + 1
          lastId = elementId
          return Effect.succeed(bytes)
        }
      )
    )
    const failed = Effect.fnUntraced(function* (cause: Cause.Cause<unknown>) {
      const { body, isRetryable, status } = yield* HttpFailure.report(cause, yield* ServiceContext)
      const data: typeof ErrorData.Type = {
        error: body.message,
        code: Cause.hasInterruptsOnly(cause) ? "STREAM_ABORTED" : eventCodeOf(status, isRetryable)
      }
      // A client resumes after an application's own id, so the error event repeats the id of the last element.
      return frame(options.id === undefined ? String(count + 1) : lastId, "error", JSON.stringify(data))
    })
    return Stream.merge(
      Stream.catchCause(frames, (cause) => Stream.fromEffect(failed(cause))),
      // The first comment sends the head of the response, which would otherwise wait for the first event.
      Stream.map(Stream.tick(options.heartbeat ?? "10 seconds"), () => heartbeat),
      { haltStrategy: "left" }
    )
  })

const text = new TextEncoder()
const heartbeat = text.encode(": heartbeat\n\n")

// Sse.encoder omits the name "message"; AppKit's events have all three lines.
const frame = (id: string | undefined, event: string, data: string): Uint8Array =>
  text.encode(`${id === undefined ? "" : `id: ${oneLine(id)}\n`}event: ${oneLine(event)}\ndata: ${data}\n\n`)

// Browsers ignore an id that contains NUL.
const oneLine = (value: string): string => value.replaceAll(/[\r\n\0]/g, "")

const tooLarge = (size: number, limit: number) =>
  Effect.fail(
    new HttpFailure.HttpFailure({
      status: 413,
      body: { _tag: "EventTooLarge", message: `An event of ${size} bytes exceeds maxEventSize, ${limit} bytes` }
    })
  )
