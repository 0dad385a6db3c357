import { Clock, Duration, Effect, Predicate, Random } from "effect"
import type { Retry } from "../Operation.ts"

/**
 * Tries again what fails with an error that `again` takes: after the error's `retryAfter`, and a random part of a delay
 * that doubles.
 */
// By hand, because a schedule is set up for every call and this costs next to nothing until one fails.
export const retried = <A, E, R>(
  effect: Effect.Effect<A, E, R>,
  { attempts = 3, budget = defaultBudget, delay = firstDelay, maxDelay = longestDelay }: Retry,
  again: (error: E) => boolean
): Effect.Effect<A, E, R> =>
  Effect.withFiber((fiber) => {
    const clock = fiber.getRef(Clock.Clock)
    const longest = Duration.toMillis(maxDelay)
    const end = clock.currentTimeMillisUnsafe() + Duration.toMillis(budget)
    const attempt = (number: number, backoff: number): Effect.Effect<A, E, R> => {
      const told = Effect.andThen(Effect.annotateCurrentSpan("retry.attempts", number), effect)
      if (number >= attempts) return told
      return Effect.catchIf(told, again, (error) =>
        Effect.flatMap(Random.next, (jitter) => {
          const wait = askedFor(error) + jitter * Math.min(backoff, longest)
          return clock.currentTimeMillisUnsafe() + wait < end
            ? Effect.delay(
                Effect.suspend(() => attempt(number + 1, backoff * 2)),
                wait
              )
            : Effect.fail(error)
        })
      )
    }
    return attempt(1, Duration.toMillis(delay))
  })

const firstDelay = Duration.seconds(1)
const longestDelay = Duration.seconds(30)
const defaultBudget = Duration.minutes(5)

const askedFor = (error: unknown) =>
  Predicate.hasProperty(error, "retryAfter") && Duration.isDuration(error.retryAfter)
    ? Duration.toMillis(error.retryAfter)
    : 0
