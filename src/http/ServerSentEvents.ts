/**
 * Converts a stream to a response of server-sent events. The stream runs as the sender of the request.
 *
 * @since 0.1.0
 */
import { ByteSize, Cause, Context, type Duration, Effect, Schema, Stream } from "effect"
import { dual } from "effect/Function"
import { HttpServerRequest, HttpServerResponse } from "effect/http"
import { runningLike } from "../ExecutionContext.ts"
import { eventCodeOf } from "../internal/failures/httpStatus.ts"
import * as ClientAbort from "../internal/http/clientAbort.ts"
import * as Heartbeat from "../internal/http/heartbeat.ts"
import * as Pulls from "../internal/pulls.ts"
import * as EventId from "../internal/resume/eventId.ts"
import { withContext } from "../internal/streamContext.ts"
import { ServiceContext } from "../ServiceContext.ts"
import type { ErrorData } from "./ErrorData.ts"
import * as HttpFailure from "./HttpFailure.ts"
import { type Event, ResumableStreams } from "./ResumableStreams.ts"
import type { StreamGoneError, TooManyStreamsError } from "./ResumeError.ts"

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
export interface Encoding<A, RE = never> {
  /** Encodes an element as the JSON of its event. Defaults to `JSON.stringify`. */
  readonly schema?: Schema.ConstraintCodec<A, unknown, unknown, RE> | undefined
  /** The name of an element's event, without its line breaks. Defaults to `"message"`. */
  readonly event?: string | ((element: A) => string) | undefined
  /** The id of an element's event, without its line breaks. Defaults to the element's number, from 1. */
  readonly id?: ((element: A, index: number) => string) | undefined
  /**
   * The silence after which a comment keeps the connection open; the first comment is sent at once. Defaults to 10
   * seconds.
   */
  readonly heartbeat?: Duration.Input | undefined
  /** The largest event on the wire. A larger one ends the stream with `INVALID_REQUEST`. Defaults to 1 MiB. */
  readonly maxEventSize?: ByteSize.Input | undefined
  /**
   * What a failure or defect becomes. `"event"`, the default: an `error` event, the last of the stream. `"cut"`: the
   * connection breaks off, for clients that read every event as data.
   */
  readonly failure?: "event" | "cut" | undefined
  /**
   * Returns the JSON of an element on one line, in place of `schema`.
   *
   * @internal
   */
  readonly json?: ((element: A) => string) | undefined
  /**
   * Logs a failure, and returns the data of its event.
   *
   * @internal
   */
  readonly failed?: ((cause: Cause.Cause<unknown>) => Effect.Effect<unknown>) | undefined
}

/**
 * The options of a stream that ends when its client leaves.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options<A, RE = never> extends Encoding<A, RE> {
  readonly resume?: undefined
}

/**
 * The options of a stream that a client can continue after its connection was cut.
 *
 * @since 0.1.0
 * @category models
 */
export interface ResumableOptions<A, RE = never, RA = never> extends Encoding<A, RE> {
  /** Keeps the stream for its client. Requires `ResumableStreams`. */
  readonly resume: Resume<A, RA>
}

/**
 * How a client continues a stream.
 *
 * @since 0.1.0
 * @category models
 */
export interface Resume<A, R = never> {
  /**
   * The id that the client gave to its question. The same caller's request with the same id, to the same URL, joins the
   * running stream instead of running the source again. A blank id counts as absent.
   */
  readonly requestId?: string | undefined
  /**
   * How the stream begins, so that a client that is cut before the first event can continue. `"id"`, the default
   * without a `requestId`: an id alone, which an `EventSource` keeps. `"event"`: an event `opening` without data, for
   * clients that keep only the ids of events, as `connectSSE` does.
   */
  readonly opening?: "id" | "event" | false | undefined
  /**
   * Continues after an event of a stream that is not kept here, by its `id`, which the client may have made up. Without
   * it such a request is a 409.
   */
  readonly after?: ((lastEventId: string) => Stream.Stream<A, unknown, R>) | undefined
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
  <A, RE = never, RA = never>(
    options: ResumableOptions<A, RE, RA>
  ): <E, R>(stream: Stream.Stream<A, E, R>) => Resumed<R | RE | RA>
  <A, E, R, RE = never, RA = never>(
    stream: Stream.Stream<A, E, R>,
    options: ResumableOptions<A, RE, RA>
  ): Resumed<R | RE | RA>
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
  <A, E, R, RE = never, RA = never>(
    stream: Stream.Stream<A, E, R>,
    options: Options<A, RE> | ResumableOptions<A, RE, RA> = {}
  ) =>
    options.resume === undefined
      ? Effect.contextWith((context: Context.Context<R | RE | ServiceContext>) => {
          const texts = encode(stream, options, plain(options.id !== undefined))
          const encoded = Stream.mapArray(texts, (some) => [Buffer.from(some.join(""))] as const)
          // The events before a cut leave first. The buffer of a kept stream sees to that itself.
          const events = Stream.tapCause(encoded, () => ClientAbort.turn)
          const body = withContext(withHeartbeat(events, options), (puller: Context.Context<never>) =>
            runningLike(Context.merge(puller, context), context)
          )
          return Effect.succeed(responseOf(body))
        })
      : resumed(stream, options, options.resume)
)

const responseOf = (body: Stream.Stream<Uint8Array, unknown>) =>
  HttpServerResponse.stream(body, { contentType: "text/event-stream", headers })

/**
 * The response of a stream that is kept.
 *
 * @since 0.1.0
 * @category models
 */
export type Resumed<R> = Effect.Effect<
  HttpServerResponse.HttpServerResponse,
  StreamGoneError | TooManyStreamsError,
  R | ServiceContext | ResumableStreams | HttpServerRequest.HttpServerRequest
>

const headers = {
  // A proxy that compresses would buffer the events.
  "cache-control": "private, no-store, no-transform",
  "x-accel-buffering": "no"
}

const resumed = Effect.fnUntraced(function* <A, E, R, RE, RA>(
  stream: Stream.Stream<A, E, R>,
  options: ResumableOptions<A, RE, RA>,
  resume: Resume<A, RA>
) {
  const { after } = resume
  const requestId = resume.requestId?.trim() === "" ? undefined : resume.requestId
  const { opening = requestId === undefined ? "id" : false } = resume
  const { headers, method, originalUrl } = yield* HttpServerRequest.HttpServerRequest
  const run = <E2, R2>(elements: Stream.Stream<A, E2, R2>, streamId: string, lastId?: string) => {
    const events = encode(elements, options, keptAs(streamId), lastId)
    if (opening === false) return events
    const id = EventId.format({ streamId, number: 0, id: lastId })
    const text = opening === "id" ? `id: ${id}\n\n` : frame(id, "opening", "")
    return Stream.concat(Stream.succeed({ number: 0, text }), events)
  }
  const events = yield* ResumableStreams.use(({ open }) =>
    open<R | RE | RA | ServiceContext>({
      route: `${method} ${originalUrl}`,
      sender: headers["x-forwarded-user"],
      requestId,
      lastEventId: headers["last-event-id"],
      heartbeat: { interval: options.heartbeat ?? defaultHeartbeat, bytes: comment },
      run: (streamId) => run(stream, streamId),
      after: after && ((lastId, streamId) => run(after(lastId), streamId, lastId))
    })
  )
  return responseOf(Stream.concat(Stream.succeed(comment), events))
})

/** Adds comments, which are sent while there are no events. */
const withHeartbeat = <E, R>(
  events: Stream.Stream<Uint8Array, E, R>,
  { heartbeat }: Pick<Options<never>, "heartbeat">
) =>
  // The first comment sends the head of the response, which would otherwise wait for the first event.
  Stream.concat(
    Stream.succeed(comment),
    Heartbeat.during(events, { interval: heartbeat ?? defaultHeartbeat, bytes: comment })
  )

/** The ids of events on the wire, and the form in which an event is passed on. */
interface Wire<Out> {
  readonly id: (number: number, own: string | undefined) => string | undefined
  readonly event: (text: string, number: number) => Out
  readonly lengthOf: (event: Out) => number
}

const plain = (hasOwn: boolean): Wire<string> => ({
  id: hasOwn ? (_, own) => own : String,
  event: (text) => text,
  lengthOf: ({ length }) => length
})

const keptAs = (streamId: string): Wire<Event> => ({
  id: (number, id) => EventId.format({ streamId, number, id }),
  event: (text, number) => ({ text, number }),
  lengthOf: ({ text }) => text.length
})

const encode = <A, E, R, RE, Out>(
  stream: Stream.Stream<A, E, R>,
  options: Encoding<A, RE>,
  wire: Wire<Out>,
  resumedAfter?: string
): Stream.Stream<Out, E | HttpFailure.HttpFailure, R | RE | ServiceContext> =>
  Stream.suspend(() => {
    const event = options.event ?? "message"
    const maxEventSize =
      options.maxEventSize === undefined ? 1_048_576 : Number(ByteSize.fromInputUnsafe(options.maxEventSize))
    const { json, schema } = options
    const toJson: (element: A) => Effect.Effect<string, Schema.SchemaError, RE> =
      json !== undefined
        ? (element) => Effect.succeed(json(element))
        : schema === undefined
          ? (element) => Effect.succeed(jsonOf(element))
          : jsonBy(schema)
    let count = 0
    let lastId = resumedAfter
    const eventOf = (element: A) => (data: string) => {
      const id = options.id?.(element, count)
      const text = frame(wire.id(count + 1, id), typeof event === "string" ? event : event(element), data)
      // A character has at most 3 bytes.
      const size = text.length * 3 <= maxEventSize ? 0 : Buffer.byteLength(text)
      if (size > maxEventSize) return tooLarge(size, maxEventSize)
      count++
      lastId = id
      return Effect.succeed(wire.event(text, count))
    }
    const events = Pulls.mapTogether(stream, {
      // An element without JSON is a mistake of the application.
      map: (element) => Effect.flatMapEager(Effect.catchEager(toJson(element), Effect.die), eventOf(element)),
      sizeOf: wire.lengthOf,
      maxSize: 65_536
    })
    if (options.failure === "cut") return events
    const failed = options.failed ?? errorData
    const last = (cause: Cause.Cause<unknown>) =>
      Effect.map(failed(cause), (data) =>
        // A client resumes after an application's own id, so the error event repeats the id of the last element.
        wire.event(frame(wire.id(count + 1, lastId), "error", JSON.stringify(data)), count + 1)
      )
    return Stream.catchCause(events, (cause) => Stream.fromEffect(last(cause)))
  })

// The encoder is kept with the schema, that of `Schema.fromJsonString(…)` would be made for each stream.
const jsonBy = <A, RE>(schema: Schema.ConstraintCodec<A, unknown, unknown, RE>) => {
  const encode = Schema.encodeEffect(Schema.toCodecJson(schema))
  return (element: A) => Effect.mapEager(encode(element), jsonOf)
}

const jsonOf = (element: unknown): string => {
  const json: string | undefined = JSON.stringify(element)
  if (json === undefined) throw new TypeError(`An event of type ${typeof element} has no JSON`)
  return json
}

const errorData = Effect.fnUntraced(function* (cause: Cause.Cause<unknown>) {
  const { body, isRetryable, status } = yield* HttpFailure.report(cause, yield* ServiceContext)
  const data: typeof ErrorData.Type = {
    error: body.message,
    code: Cause.hasInterruptsOnly(cause) ? "STREAM_ABORTED" : eventCodeOf(status, isRetryable)
  }
  return data
})

const defaultHeartbeat = "10 seconds"
const comment = Buffer.from(": heartbeat\n\n")

// Sse.encoder omits the name "message"; AppKit's events have all three lines.
const frame = (id: string | undefined, event: string, data: string): string =>
  `${id === undefined ? "" : `id: ${oneLine(id)}\n`}event: ${oneLine(event)}\ndata: ${data}\n\n`

// Browsers ignore an id that contains NUL.
const oneLine = (value: string): string => (/[\r\n\0]/.test(value) ? value.replaceAll(/[\r\n\0]/g, "") : value)

const tooLarge = (size: number, limit: number) =>
  Effect.fail(
    new HttpFailure.HttpFailure({
      status: 413,
      body: { _tag: "EventTooLarge", message: `An event of ${size} bytes exceeds maxEventSize, ${limit} bytes` }
    })
  )
