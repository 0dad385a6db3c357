/** Runs what several wait for once, for as long as one of them waits. */
import { type Context, Effect, Fiber } from "effect"
import type { Key, Which } from "../../OperationCache.ts"
import { matches } from "./key.ts"

export interface Flight {
  readonly key: Key
  /** Whether it may be joined, and what it gives be kept: not once it is out of date, or stops. */
  isCurrent: boolean
  /** `undefined` while it begins. */
  fiber: Fiber.Fiber<unknown, unknown> | undefined
  waiting: number
}

export const make = () => {
  let flights = new Map<string, Flight>()

  const detach = (flight: Flight) => {
    if (!flight.isCurrent) return
    flight.isCurrent = false
    // Not its last deletion: a Map chains the tables it outgrows, and the chain keeps what is in them from dying young.
    if (flights.size === 1) flights = new Map()
    else flights.delete(flight.key.id)
  }

  const joinable = (key: Key) => {
    const flight = flights.get(key.id)
    if (flight?.fiber !== undefined) return flight
    // Work that asks for itself as it begins would wait for itself.
    if (flight !== undefined) detach(flight)
    return undefined
  }

  const begin = (key: Key, fork: (flight: Flight) => Fiber.Fiber<unknown, unknown>) => {
    const flight: Flight = { key, isCurrent: true, fiber: undefined, waiting: 0 }
    // Before it begins, since what it does first may be an invalidation.
    flights.set(key.id, flight)
    flight.fiber = fork(flight)
    flight.fiber.addObserver(() => detach(flight))
    return flight
  }

  /** Joins the flight of this key, or begins it with `work`, in the context of the first. */
  const share = <A, E, R>(key: Key, work: (flight: Flight) => Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
    Effect.contextWith((context: Context.Context<R>) =>
      // Begun and waited for in one step, so that no interruption comes in between.
      Effect.callback<A, E>((resume) => {
        const flight = joinable(key) ?? begin(key, (flight) => Effect.runForkWith(context)(work(flight)))
        const fiber = flight.fiber as Fiber.Fiber<A, E> // who has the key has the operation
        const exit = fiber.pollUnsafe()
        if (exit !== undefined) return resume(exit)
        flight.waiting++
        const leave = fiber.addObserver(resume)
        return Effect.suspend(() => {
          leave()
          if (--flight.waiting > 0) return Effect.void
          // Who comes while it stops begins anew.
          detach(flight)
          return Fiber.interrupt(fiber)
        })
      })
    )

  return {
    share,
    /** Whoever comes from now on joins none of these. */
    detachAll: (which: Which) => {
      for (const flight of flights.values()) if (matches(which, flight.key)) detach(flight)
    }
  }
}
