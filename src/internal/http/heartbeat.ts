/** Comments that keep a connection open while its stream has no events. */
import { Duration, Effect, type Stream } from "effect"
import * as Pulls from "../pulls.ts"

export interface Heartbeat {
  readonly interval: Duration.Input
  readonly bytes: Uint8Array
}

/** Adds a comment after each interval of silence. */
export const during = <E, R>(
  events: Stream.Stream<Uint8Array, E, R>,
  heartbeat: Heartbeat
): Stream.Stream<Uint8Array, E, R> => Pulls.watch(events, watchOf(heartbeat))

/** Streams a source of events, with a comment after each interval of silence. */
export const beside = <E>(events: Pulls.Source<Uint8Array, E>, heartbeat: Heartbeat) =>
  Pulls.fromSource(events, watchOf(heartbeat))

const watchOf = ({ bytes, interval }: Heartbeat) => {
  const millis = Duration.toMillis(Duration.fromInputUnsafe(interval))
  return { within: () => millis, late: Effect.succeed([bytes] as const) }
}
