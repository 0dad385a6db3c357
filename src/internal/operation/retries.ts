/** The retries of an operation, and of the requests inside it. */
import { Cause, Context, Duration, Effect, Predicate, Random, Schedule } from "effect"
import type { Policy, Retry } from "../../Operation.ts"

/** A random part of an exponential backoff, plus the error's `retryAfter`. */
export const schedule = ({
  attempts = 3,
  budget = 300_000,
  delay = 1_000,
  maxDelay = 30_000
}: Retry = {}): Schedule.Schedule<Duration.Duration> => {
  if (!(attempts >= 0)) throw new RangeError(`The option attempts of a retry is not a number of 0 or more: ${attempts}`)
  const [first, longest, end] = [Duration.toMillis(delay), Duration.toMillis(maxDelay), Duration.toMillis(budget)]
  const step = ({ attempt, elapsed, input }: Schedule.InputMetadata<unknown>) =>
    Effect.flatMap(Random.next, (random) => {
      const wait = askedFor(input) + random * Math.min(first * 2 ** (attempt - 1), longest)
      const duration = Duration.millis(wait)
      return attempt < attempts && elapsed + wait < end
        ? Effect.succeed<[Duration.Duration, Duration.Duration]>([duration, duration])
        : Cause.done(duration)
    })
  return Schedule.fromStepWithMetadata(Effect.succeed(step))
}

const askedFor = (error: unknown) =>
  Predicate.hasProperty(error, "retryAfter") && Duration.isDuration(error.retryAfter)
    ? Duration.toMillis(error.retryAfter)
    : 0

/** Retries an effect while `again` accepts its error. The span of the operation counts the attempts. */
export const retried = <A, E, R>(
  effect: Effect.Effect<A, E, R>,
  retry: Retry,
  again: (error: E) => boolean
): Effect.Effect<A, E, R> =>
  withoutRetries(Effect.andThen(countFirst, retriedAfterFailure(effect, schedule(retry), again)))

/**
 * Applies the option `retry` to an effect: `undefined` leaves it as it is, and `false` sends each of its requests once.
 */
export const retrying = <A, E, R>(
  effect: Effect.Effect<A, E, R>,
  retry: Policy["retry"],
  again: (error: E) => boolean
): Effect.Effect<A, E, R> =>
  retry === undefined ? effect : retry === false ? withoutRetries(effect) : retried(effect, retry, again)

/** Whether a request that the workspace refused before it ran is retried by default. */
export const RetriesByDefault = Context.Reference<boolean>("effect-databricks/Operation/RetriesByDefault", {
  defaultValue: () => true
})

/** Sends each request once, so that the attempts of nested retries do not multiply. */
export const withoutRetries = Effect.provideService(RetriesByDefault, false)

/**
 * `Effect.retry` that begins when the first attempt has failed, and costs nothing before. The span of the operation
 * counts the further attempts.
 */
export const retriedAfterFailure = <A, E, R>(
  effect: Effect.Effect<A, E, R>,
  delays: Schedule.Schedule<unknown>,
  again: (error: E) => boolean
): Effect.Effect<A, E, R> =>
  Effect.catchIf(effect, again, (error) => {
    let hasFailed = false
    // The schedule counts the first attempt too.
    const attempt = Effect.suspend(() => {
      if (hasFailed) return Effect.andThen(countAttempt, effect)
      hasFailed = true
      return Effect.fail(error)
    })
    return Effect.retry(attempt, { schedule: delays, while: again })
  })

const countFirst = Effect.annotateCurrentSpan("retry.attempts", 1)

const countAttempt = Effect.flatMap(Schedule.CurrentMetadata, ({ attempt }) =>
  Effect.annotateCurrentSpan("retry.attempts", attempt + 1)
)

/** Whether an error says that the same call may succeed later. */
export const isRetryable = <E>(error: E): boolean =>
  Predicate.hasProperty(error, "isRetryable") && error.isRetryable === true
