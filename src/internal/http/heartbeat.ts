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
  { bytes, interval }: Heartbeat
): Stream.Stream<Uint8Array, E, R> => {
  const millis = Duration.toMillis(Duration.fromInputUnsafe(interval))
  return Pulls.watch(events, { within: () => millis, late: Effect.succeed([bytes] as const) })
}
