/** Streams of events as `connectSSE` of AppKit reads them. */
import { Effect, Stream } from "effect"
import type { HttpServerResponse } from "effect/http"
import * as ServerSentEvents from "../../http/ServerSentEvents.ts"
import type { ServiceContext } from "../../ServiceContext.ts"
import * as Failure from "./failure.ts"

export interface Options<A> {
  /** The name of an event, which `connectSSE` does not read. */
  readonly event?: ((element: A) => string) | undefined
  /** The id of an element's event. */
  readonly id?: ((element: A, index: number) => string) | undefined
  /**
   * What a failure becomes. `event`: a last event `{ type: "error", error, code }`, for hooks that show it. `cut`: the
   * connection breaks off, for hooks that read every event as data.
   */
  readonly failure?: "event" | "cut" | undefined
}

/** Answers with a stream of events. */
export const respond = <A, R>(
  plugin: string,
  stream: Stream.Stream<A, unknown, R>,
  options: Options<A> = {}
): Effect.Effect<HttpServerResponse.HttpServerResponse, never, R | ServiceContext> => {
  const elements: Stream.Stream<unknown, unknown, R> =
    options.failure === "cut"
      ? stream
      : Stream.catchCause(stream, (cause) =>
          Stream.fromEffect(Effect.map(Failure.report(plugin, cause), ({ body }) => ({ type: "error", ...body })))
        )
  return ServerSentEvents.toResponse(elements, {})
}
