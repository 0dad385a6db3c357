/** Streams of events as `connectSSE` of AppKit reads them. */
import { type Cause, Effect, Predicate, type Stream } from "effect"
import type { HttpServerResponse } from "effect/http"
import * as ServerSentEvents from "../../http/ServerSentEvents.ts"
import type { ServiceContext } from "../../ServiceContext.ts"
import * as Failure from "./failure.ts"

export interface Options<A> {
  /** The name of an event, which `connectSSE` does not read. Defaults to the `type` of its data, else `message`. */
  readonly event?: ((element: A) => string) | undefined
  /** The application's part of the id of an element's event. */
  readonly id?: ((element: A, index: number) => string) | undefined
  /**
   * What a failure becomes. `event`: a last event `{ type: "error", error, code }`, for hooks that show it. `cut`: the
   * connection breaks off, for hooks that read every event as data.
   */
  readonly failure?: "event" | "cut" | undefined
  /** Returns the JSON of an element on one line. Defaults to `JSON.stringify`. */
  readonly json?: ((element: A) => string) | undefined
  readonly resume?: undefined
}

export interface ResumableOptions<A, R> extends Omit<Options<A>, "resume"> {
  /** Keeps the stream for its client. */
  readonly resume: Resume<A, R>
}

export interface Resume<A, R> extends Omit<ServerSentEvents.Resume<A, R>, "opening"> {
  /**
   * Whether the stream begins with an event without data, which is not JSON. Defaults to `true` without a
   * `requestId`.
   */
  readonly opening?: boolean | undefined
}

/** Answers with a stream of events. */
export function respond<A, R, RA = never>(
  plugin: string,
  stream: Stream.Stream<A, unknown, R>,
  options: ResumableOptions<A, RA>
): ServerSentEvents.Resumed<R | RA>
export function respond<A, R>(
  plugin: string,
  stream: Stream.Stream<A, unknown, R>,
  options?: Options<A>
): Effect.Effect<HttpServerResponse.HttpServerResponse, never, R | ServiceContext>
export function respond<A, R, RA>(
  plugin: string,
  stream: Stream.Stream<A, unknown, R>,
  { resume, ...options }: Options<A> | ResumableOptions<A, RA> = {}
) {
  const encoding: ServerSentEvents.Encoding<A> = {
    event: typeOf,
    maxEventSize: "4 MiB",
    ...options,
    failed: (cause: Cause.Cause<unknown>) =>
      Effect.map(Failure.report(plugin, cause), ({ body }) => ({ type: "error", ...body }))
  }
  return resume === undefined
    ? ServerSentEvents.toResponse(stream, encoding)
    : ServerSentEvents.toResponse(stream, {
        ...encoding,
        resume: { ...resume, opening: (resume.opening ?? resume.requestId === undefined) && "event" }
      })
}

/** The name of an event that is not named. */
export const typeOf = (element: unknown): string =>
  Predicate.hasProperty(element, "type") && typeof element.type === "string" ? element.type.slice(0, 100) : "message"
