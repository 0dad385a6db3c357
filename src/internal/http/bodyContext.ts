/** Sets the context in which the body of a response is opened and pulled. */
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
): Stream.Stream<A, E, R2> => {
  const run = <A2, E2>(effect: Effect.Effect<A2, E2, R>) => Effect.updateContext(effect, inside)
  return Stream.fromChannel(
    Channel.fromTransform((_, scope) => Effect.map(run(Channel.toPullScoped(Stream.toChannel(stream), scope)), run))
  )
}
