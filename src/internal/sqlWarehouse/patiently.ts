/** The retry of requests that change nothing, about a statement that is under way: for 5 minutes. */
import { Duration, Effect } from "effect"
import * as Operation from "../../Operation.ts"

export const patiently = <A, E extends { readonly isRetryable: boolean }, R>(
  request: Effect.Effect<A, E, R>
): Effect.Effect<A, E, R> => Effect.retry(request, { schedule, while: (error) => error.isRetryable })

const schedule = Operation.schedule({
  attempts: Infinity,
  delay: Duration.millis(100),
  maxDelay: Duration.seconds(5),
  budget: Duration.minutes(5)
})
