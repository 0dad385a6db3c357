/**
 * A stream as a response of server-sent events, which runs to its end as whoever asked for it.
 *
 * @since 0.1.0
 */
import { ByteSize, Cause, Context, type Duration, Effect, Schema, Stream } from "effect"
import { dual } from "effect/Function"
import { HttpServerResponse } from "effect/http"
import { ExecutionContext, runningAs } from "../ExecutionContext.ts"
import { pulledIn } from "../internal/http/pulled.ts"
import { ServiceContext } from "../ServiceContext.ts"
import * as HttpFailure from "./HttpFailure.ts"

/**
 * Why a stream ended with an `error` event.
 *
 * @since 0.1.0
 * @category models
 */
export const ErrorCode = Schema.Literals([
  "TEMPORARY_UNAVAILABLE",
  "TIMEOUT",
  "INTERNAL_ERROR",
  "INVALID_REQUEST",
  "STREAM_ABORTED",
  "STREAM_FORBIDDEN",
  "UPSTREAM_ERROR"
])

/**
 * @since 0.1.0
 * @category models
 */
export type ErrorCode = typeof ErrorCode.Type

/**
 * The data of an `error` event, the last one of its stream.
 *
 * @since 0.1.0
 * @category models
 */
export const ErrorData = Schema.Struct({ error: Schema.String, code: ErrorCode })

/**
 * @since 0.1.0
 * @category models
 */
export interface Options<A, RE = never> {
  /** Encodes an element as the JSON of its event; without one, whatever `JSON.stringify` makes of it. */
  readonly schema?: Schema.ConstraintCodec<A, unknown, unknown, RE> | undefined
  /** The name of an element's event, `"message"` unless given; what would end its line is taken out. */
  readonly event?: string | ((element: A) => string) | undefined
  /** The id of an element's event, counted from 1 unless given; what would end its line is taken out. */
  readonly id?: ((element: A, index: number) => string) | undefined
  /** How often a comment shows that the stream lives: at its start, and every 10 seconds unless given. */
  readonly heartbeat?: Duration.Input | undefined
  /** How large one event may be on the wire, 1 MiB unless given; a larger one ends the stream, as INVALID_REQUEST. */
  readonly maxEventSize?: ByteSize.Input | undefined
}

/**
 * A response whose events are the elements of a stream: `sales.pipe(ServerSentEvents.toResponse({ schema: Sale }))`.
 *
 * The stream runs, with the services of the handler, as the caller of the handler. A slow client slows it down, and a
 * client that leaves interrupts it at once. Its failure or defect is its last event, with the sentence that `Failures`
 * would answer with: what should be answered with a status has to fail in the handler, before there is a stream.
 *
 * When the server closes, a stream may run on for the grace period; then its connection is cut, for its client to
 * come back to another server.
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
      const opener = Context.get(context, ExecutionContext)
      const body = pulledIn(encode(stream, options), (puller: Context.Context<never>) =>
        runningAs(Context.merge(puller, context), opener)
      )
      return Effect.succeed(HttpServerResponse.stream(body, { contentType: "text/event-stream", headers }))
    })
)

const headers = {
  // What compresses on the way would keep events back.
  "cache-control": "no-cache, no-transform",
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
        Effect.orDie(toJson(element)), // without JSON it is a mistake of the application, and no request's
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
      const { body, status } = yield* HttpFailure.report(cause, yield* ServiceContext)
      const data: typeof ErrorData.Type = {
        error: body.message,
        code: Cause.hasInterruptsOnly(cause) ? "STREAM_ABORTED" : codeOf(status)
      }
      // An id of an application's own is where its client goes on: the one of the last event that arrived.
      return frame(options.id === undefined ? String(count + 1) : lastId, "error", JSON.stringify(data))
    })
    return Stream.merge(
      Stream.catchCause(frames, (cause) => Stream.fromEffect(failed(cause))),
      // The first one sends the head of the response, which may else wait long for an event.
      Stream.map(Stream.tick(options.heartbeat ?? "10 seconds"), () => heartbeat),
      { haltStrategy: "left" }
    )
  })

const text = new TextEncoder()
const heartbeat = text.encode(": heartbeat\n\n")

// Sse.encoder leaves out the name "message"; AppKit's events have all three lines.
const frame = (id: string | undefined, event: string, data: string): Uint8Array =>
  text.encode(`${id === undefined ? "" : `id: ${oneLine(id)}\n`}event: ${oneLine(event)}\ndata: ${data}\n\n`)

// A browser ignores an id with a NUL in it.
const oneLine = (value: string): string => value.replaceAll(/[\r\n\0]/g, "")

const tooLarge = (size: number, limit: number) =>
  Effect.fail(
    new HttpFailure.HttpFailure({
      status: 413,
      body: { _tag: "EventTooLarge", message: `An event of ${size} bytes is larger than the ${limit} that it may have` }
    })
  )

const codeOf = (status: number): ErrorCode => {
  switch (status) {
    case 401:
    case 403:
      return "STREAM_FORBIDDEN"
    case 408:
    case 504:
      return "TIMEOUT"
    case 429:
    case 503:
      return "TEMPORARY_UNAVAILABLE"
    case 502:
      return "UPSTREAM_ERROR"
    default:
      return status < 500 ? "INVALID_REQUEST" : "INTERNAL_ERROR"
  }
}
