/** A clock for expiry: of verified tokens, credentials, connections and cached results. */
import { Clock, Context, Effect } from "effect"

/**
 * Returns a clock in milliseconds that advances at least as fast as the system clock and the monotonic clock. If the
 * system clock is set back, nothing lives longer; if it is set forward, or the machine was suspended, entries expire
 * early.
 */
export const now = (clock: Clock.Clock): (() => number) => {
  let ahead = -Infinity
  return () => {
    const monotonic = Number(clock.monotonicTimeNanosUnsafe()) / 1e6
    ahead = Math.max(ahead, clock.currentTimeMillisUnsafe() - monotonic)
    return monotonic + ahead
  }
}

/** The context of the fiber with this clock, for a `Cache` whose entries must expire in time. */
export const context: Effect.Effect<Context.Context<never>> = Effect.contextWith((context: Context.Context<never>) => {
  const clock = Context.get(context, Clock.Clock)
  const steady = Object.assign(
    Object.create(clock) as Clock.Clock, // a class instance, which a spread would lose
    { currentTimeMillisUnsafe: now(clock) }
  )
  return Effect.succeed(Context.add(context, Clock.Clock, steady))
})
