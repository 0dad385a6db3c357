/** The end of a response whose client has left, or is cut off because it can return. It is no failure for the log. */
import { Cause, Effect } from "effect"
import { HttpServerError } from "effect/http"

/** Marks the interruption of the fiber of such a response. */
export const { annotation } = HttpServerError.ClientAbort

/** Cuts the connection of the response that runs in this fiber. */
export const cut: Effect.Effect<never> = Effect.failCause(Cause.annotate(Cause.interrupt(), annotation))

/** A turn of the event loop, in which Node sends what was written before a connection is cut. */
export const turn = Effect.promise(() => new Promise(setImmediate))

export const isIn = ({ reasons }: Cause.Cause<unknown>): boolean =>
  reasons.some((reason) => reason._tag === "Interrupt" && reason.annotations.has(HttpServerError.ClientAbort.key))
