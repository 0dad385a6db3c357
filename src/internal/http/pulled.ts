/** The context in which the body of a response is opened and pulled. */
import { Channel, type Context, Effect, Stream } from "effect"

/**
 * A stream that is opened and pulled in another context than that of who pulls it: the server's fiber, which does so after
 * the handler has returned, and knows neither its services nor its caller.
 *
 * Stream.updateContext would not do: it can add a caller, but not take one away.
 */
export const pulledIn = <A, E, R, R2>(
  stream: Stream.Stream<A, E, R>,
  inside: (puller: Context.Context<R2>) => Context.Context<R>
): Stream.Stream<A, E, R2> => {
  const run = <A2, E2>(effect: Effect.Effect<A2, E2, R>) => Effect.updateContext(effect, inside)
  return Stream.fromChannel(
    Channel.fromTransform((_, scope) => Effect.map(run(Channel.toPullScoped(Stream.toChannel(stream), scope)), run))
  )
}
