/** The waits between polls. */
import { Effect, Random } from "effect"

/** Sleeps so many milliseconds, a fifth more or less: many callers do not poll at the same moment. */
export const pause = (millis: number): Effect.Effect<void> =>
  Effect.flatMap(Random.next, (random) => Effect.sleep(millis * (0.8 + 0.4 * random)))

/** Returns the delay after this one, in milliseconds. Polls begin with the delay 0. */
export const longer = (delay: number, first = 1_000, longest = 10_000): number =>
  delay === 0 ? first : Math.min(delay * 1.5, longest)
