import { Duration, Effect, Predicate, Random } from "effect"
import type { Retry } from "../Operation.ts"

/** Tries again what fails with an error that `again` takes, no sooner than the error's `retryAfter`. */
// By hand, because a schedule is set up for every call and this costs nothing until one fails.
export const retried = <A, E, R>(
  effect: Effect.Effect<A, E, R>,
  { attempts = 3, delay = firstDelay }: Retry,
  again: (error: E) => boolean
): Effect.Effect<A, E, R> =>
  attempts <= 1
    ? effect
    : Effect.catchIf(effect, again, (error) => {
        const backoff = Duration.min(Duration.fromInputUnsafe(delay), maxDelay)
        return Effect.flatMap(Random.nextBetween(0.8, 1.2), (jitter) =>
          Effect.delay(
            retried(effect, { attempts: attempts - 1, delay: Duration.times(backoff, 2) }, again),
            Duration.max(Duration.times(backoff, jitter), askedFor(error))
          )
        )
      })

const firstDelay = Duration.seconds(1)
const maxDelay = Duration.seconds(30)

const askedFor = (error: unknown) =>
  Predicate.hasProperty(error, "retryAfter") && Duration.isDuration(error.retryAfter) ? error.retryAfter : Duration.zero
