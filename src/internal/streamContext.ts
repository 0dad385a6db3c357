/** Sets the context in which a stream is opened and pulled. */
import { Channel, type Context, Effect, Stream } from "effect"

/**
 * Returns a stream that is opened and pulled in another context than that of its puller. The server's fiber pulls a
 * body after the handler has returned, without the handler's services and caller.
 *
 * Stream.updateContext cannot replace it, because it can add a caller but not remove one.
 */
export const withContext = <A, E, R, R2>(
  stream: Stream.Stream<A, E, R>,
  inside: (puller: Context.Context<R2>) => Context.Context<R>
): Stream.Stream<A, E, R2> =>
  Stream.fromChannel(
    Channel.fromTransform((_, scope) => {
      const run = within(inside)
      return Effect.map(run(Channel.toPullScoped(Stream.toChannel(stream), scope)), run)
    })
  )

/** Runs effects in another context, which is made once for all that run in the same one, as the pulls of a stream do. */
export const within = <R, R2>(inside: (outside: Context.Context<R2>) => Context.Context<R>) => {
  let outside: Context.Context<R2> | undefined
  let context: Context.Context<R> | undefined
  const contextOf = (current: Context.Context<R2>) => {
    if (context !== undefined && current === outside) return context
    outside = current
    return (context = inside(current))
  }
  return <A, E>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R2> => Effect.updateContext(effect, contextOf)
}
