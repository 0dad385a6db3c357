/**
 * Keeps running event streams, so that a client whose connection was cut can continue after its last event.
 *
 * @since 0.1.0
 */
import { ByteSize, type Config, Context, type Duration, Effect, Layer, Option, type Stream } from "effect"
import * as Bounds from "../internal/bounds.ts"
import * as Streams from "../internal/resume/streams.ts"
import type { ServiceContext } from "../ServiceContext.ts"
import type { StreamGoneError, TooManyStreamsError } from "./ResumeError.ts"

/**
 * The bounds of the streams that are kept.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options {
  /**
   * The time for which a stream is kept after its client has left, and after its end. Defaults to 30 seconds; AppKit's
   * `connectSSE` retries after 2, 6 and 14 seconds.
   */
  readonly grace?: Duration.Input | undefined
  /**
   * The most bytes of events that a stream keeps, with 200 for each event in addition, but always at least one event. A
   * source is at most this far ahead of its client. Defaults to 1 MiB.
   */
  readonly maxBufferSize?: ByteSize.Input | undefined
  /**
   * The most streams of one caller. For a further one, a stream without a connection is dropped: first one that has
   * ended, then the one whose client left the longest ago. Defaults to a tenth of `maxTotalStreams`.
   */
  readonly maxStreams?: number | undefined
  /**
   * The most streams of all callers together. For a further one, a stream of its own caller is dropped as above, else an
   * ended stream of another one. Defaults to 500.
   */
  readonly maxTotalStreams?: number | undefined
}

/**
 * An event of a stream.
 *
 * @since 0.1.0
 * @category models
 */
export interface Event {
  /** The number of the event. The numbers of a stream are consecutive, and begin with 0 or 1. */
  readonly number: number
  /** The event as it is sent, in UTF-8. It is not empty. */
  readonly text: string
}

/**
 * A request for a new stream, or for the rest of a stream.
 *
 * @since 0.1.0
 * @category models
 */
export interface Request<R> {
  /** The method and the URL. A stream is found only by requests with the same one. */
  readonly route: string
  /** The user that the proxy names. A stream is found only by requests of the same one, also if it runs as the app. */
  readonly sender: string | undefined
  /** The client's id of its question. A request that repeats it joins the stream that answers the question. */
  readonly requestId: string | undefined
  /** The client's `Last-Event-ID`, as it was received. */
  readonly lastEventId: string | undefined
  /** The bytes that are sent when there was no event for this time, so that the connection stays open. */
  readonly heartbeat: { readonly interval: Duration.Input; readonly bytes: Uint8Array }
  /** Runs the source, as the stream with this id. */
  readonly run: (streamId: string) => Stream.Stream<Event, unknown, R>
  /** Continues after an event of a stream that is not kept here, given the application's part of its id. */
  readonly after: ((lastEventId: string, streamId: string) => Stream.Stream<Event, unknown, R>) | undefined
}

/**
 * The streams that are kept, separately for each caller.
 *
 * @since 0.1.0
 * @category services
 */
export class ResumableStreams extends Context.Service<
  ResumableStreams,
  {
    /**
     * Starts a stream for the running caller, or finds the one that the request continues. The effect succeeds with
     * the events that the client has not received.
     *
     * A started stream runs with the services and as the caller of this effect, in the scope of the layer. The events
     * end only if the source has ended. If it fails, which is logged once, or if another request takes the stream over,
     * the events are interrupted as if the client had left.
     */
    readonly open: <R>(
      request: Request<R>
    ) => Effect.Effect<Stream.Stream<Uint8Array>, StreamGoneError | TooManyStreamsError, R | ServiceContext>
  }
>()("effect-databricks/ResumableStreams") {}

/**
 * Keeps streams in memory, within the given bounds.
 *
 * Fails with a `ConfigError` if an option is out of bounds. When the layer closes, it interrupts all streams.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerWith = (options: Options): Layer.Layer<ResumableStreams, Config.ConfigError> =>
  Layer.effect(
    ResumableStreams,
    Effect.andThen(
      Bounds.check("ResumableStreams", options, {
        grace: Bounds.duration(),
        maxBufferSize: (size) =>
          Option.isSome(ByteSize.fromInput(size as ByteSize.Input)) ? undefined : 'a size, such as "1 MB"',
        maxTotalStreams: Bounds.integer(1),
        maxStreams: Bounds.integer(1, options.maxTotalStreams ?? 500)
      }),
      Streams.make(options)
    )
  )

/**
 * Keeps streams in memory, within the default bounds.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer: Layer.Layer<ResumableStreams, Config.ConfigError> = layerWith({})
