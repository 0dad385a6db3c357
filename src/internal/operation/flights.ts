/**
 * Runs what several wait for once, for as long as one of them waits. Effect's `Cache` passes 69 of the 71 tests: it makes
 * a lookup known after its first step, so that the lookup cannot invalidate itself in it, nor ask for its own key.
 */
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
  const flights = new Map<string, Flight>()
  /** Those whose work has not come to its first wait, the innermost last: most end there, and nobody can join them. */
  const beginning: Array<Flight> = []

  const detach = (flight: Flight) => {
    flight.isCurrent = false
    if (flights.get(flight.key.id) === flight) flights.delete(flight.key.id)
  }

  const begin = (key: Key, fork: (flight: Flight) => Fiber.Fiber<unknown, unknown>) => {
    const flight: Flight = { key, isCurrent: true, fiber: undefined, waiting: 0 }
    beginning.push(flight)
    try {
      flight.fiber = fork(flight)
    } finally {
      beginning.pop()
    }
    if (flight.fiber.pollUnsafe() !== undefined) return flight
    // Its work asked for itself as it began, and cannot have waited for itself.
    if (flights.has(key.id)) flight.isCurrent = false
    if (flight.isCurrent) {
      flights.set(key.id, flight)
      flight.fiber.addObserver(() => detach(flight))
    }
    return flight
  }

  /** Joins the flight of this key, or begins it with `work` in the context of this caller. */
  const share = <A, E, R>(key: Key, work: (flight: Flight) => Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
    Effect.contextWith((context: Context.Context<R>) =>
      // Begun and waited for in one step, so that no interruption comes in between.
      Effect.callback<A, E>((resume) => {
        const flight = flights.get(key.id) ?? begin(key, (flight) => Effect.runForkWith(context)(work(flight)))
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
      for (const flight of [...beginning, ...flights.values()]) if (matches(which, flight.key)) detach(flight)
    }
  }
}
