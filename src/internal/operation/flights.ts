/**
 * Shares one run of work among concurrent calls, until it ends or no call waits for it. Effect's `Cache` passes 69 of
 * the 71 tests: it registers a lookup after its first step, in which the lookup cannot invalidate itself or request its
 * own key.
 */
import { Context, Effect, Exit, Fiber } from "effect"
import type { Caller } from "../../Caller.ts"
import { ExecutionContext } from "../../ExecutionContext.ts"
import type { Key, Which } from "../../OperationCache.ts"
import * as Refusal from "../workspace/refusal.ts"
import { matches } from "./key.ts"

export interface Flight {
  readonly key: Key
  /** The caller with whose token it runs. */
  readonly caller: Caller | undefined
  /** Whether calls may join it and its result may be cached; `false` once it is invalidated or stops. */
  isCurrent: boolean
  /** `undefined` while it starts. */
  fiber: Fiber.Fiber<unknown, unknown> | undefined
  waiting: number
}

export const make = () => {
  const flights = new Map<string, Flight>()
  /** Flights before the first asynchronous step, the innermost last. Most end there, and no call can join them. */
  const beginning: Array<Flight> = []

  const detach = (flight: Flight) => {
    flight.isCurrent = false
    if (flights.get(flight.key.id) === flight) flights.delete(flight.key.id)
  }

  const begin = (key: Key, caller: Caller | undefined, fork: (flight: Flight) => Fiber.Fiber<unknown, unknown>) => {
    const flight: Flight = { key, caller, isCurrent: true, fiber: undefined, waiting: 0 }
    beginning.push(flight)
    try {
      flight.fiber = fork(flight)
    } finally {
      beginning.pop()
    }
    if (flight.fiber.pollUnsafe() !== undefined) return flight
    // The work requested its own key while it started, for which it cannot wait.
    if (flights.has(key.id)) flight.isCurrent = false
    if (flight.isCurrent) {
      flights.set(key.id, flight)
      flight.fiber.addObserver(() => detach(flight))
    }
    return flight
  }

  /**
   * Joins the flight of this key, or starts one with `work` in the context of this call. If a flight fails because of
   * its token, calls that joined with another token of the same user run again. So do calls that joined a flight which
   * fails because of the connections that its first call holds.
   */
  const share = <A, E, R>(key: Key, work: (flight: Flight) => Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
    Effect.contextWith((context: Context.Context<R>) =>
      // Starts and waits in one step, so that no interruption comes in between.
      Effect.callback<A, E>((resume) => {
        const caller = Context.get(context, ExecutionContext)
        const joined = flights.get(key.id)
        const flight = joined ?? begin(key, caller, (flight) => Effect.runForkWith(context)(work(flight)))
        const fiber = flight.fiber as Fiber.Fiber<A, E> // the key contains the operation, hence its type
        const exit = fiber.pollUnsafe()
        if (exit !== undefined) return resume(exit)
        flight.waiting++
        const again = Effect.suspend(() => Effect.provideContext(share(key, work), context))
        const leave = fiber.addObserver((exit) => {
          if (joined === undefined || Exit.isSuccess(exit)) return resume(exit)
          if (Refusal.isOfHolder(exit.cause)) return resume(again)
          if (!Refusal.isOfToken(exit.cause)) return resume(exit)
          resume(Effect.flatMap(Refusal.differs(joined.caller, caller), (isOther) => (isOther ? again : exit)))
        })
        return Effect.suspend(() => {
          leave()
          if (--flight.waiting > 0) return Effect.void
          // A call that arrives while it stops starts a new flight.
          detach(flight)
          return Fiber.interrupt(fiber)
        })
      })
    )

  return {
    share,
    /** Detaches the selected flights: later calls do not join them. */
    detachAll: (which: Which) => {
      for (const flight of [...beginning, ...flights.values()]) if (matches(which, flight.key)) detach(flight)
    }
  }
}
