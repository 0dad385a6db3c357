import { Clock, Duration, Effect, Predicate, Random } from "effect"
import type { Retry } from "./models.ts"

/**
 * Tries again what fails with an error that `again` takes: after the error's `retryAfter`, and a random part of a delay
 * that doubles.
 */
// By hand, because a schedule is set up for every call and this costs next to nothing until one fails.
export const retried = <A, E, R>(
  effect: Effect.Effect<A, E, R>,
  { attempts = 3, budget = defaultBudget, delay = firstDelay, maxDelay = longestDelay }: Retry,
  again: (error: E) => boolean,
  tell: (attempts: number) => Effect.Effect<void> = inSpan
): Effect.Effect<A, E, R> => {
  if (attempts <= 1) return effect
  /** What follows the failure of so many attempts. */
  const after = (error: E, failed: number, backoff: number, end: number): Effect.Effect<A, E, R> =>
    Effect.flatMap(Effect.all([Clock.currentTimeMillis, Random.next]), ([now, random]) => {
      const wait = askedFor(error) + random * Math.min(backoff, Duration.toMillis(maxDelay))
      if (failed >= attempts || now + wait >= end) return Effect.fail(error)
      return tell(failed + 1).pipe(
        Effect.andThen(effect),
        Effect.catchIf(again, (error) => after(error, failed + 1, backoff * 2, end)),
        Effect.delay(wait)
      )
    })
  return Effect.catchIf(effect, again, (error) =>
    Effect.flatMap(Clock.currentTimeMillis, (now) =>
      after(error, 1, Duration.toMillis(delay), now + Duration.toMillis(budget))
    )
  )
}

/** For what is under way and may be asked about again: for five minutes, and no span tells of it. */
export const patiently = <A, E extends { readonly isRetryable: boolean }, R>(
  request: Effect.Effect<A, E, R>
): Effect.Effect<A, E, R> =>
  retried(
    request,
    patience,
    ({ isRetryable }) => isRetryable,
    () => Effect.void
  )

const patience = { attempts: Infinity, delay: Duration.millis(100), maxDelay: Duration.seconds(5) }

const inSpan = (attempts: number) => Effect.annotateCurrentSpan("retry.attempts", attempts)

const firstDelay = Duration.seconds(1)
const longestDelay = Duration.seconds(30)
const defaultBudget = Duration.minutes(5)

const askedFor = (error: unknown) =>
  Predicate.hasProperty(error, "retryAfter") && Duration.isDuration(error.retryAfter)
    ? Duration.toMillis(error.retryAfter)
    : 0
