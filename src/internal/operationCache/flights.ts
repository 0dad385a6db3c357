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
  const flights = new Map<string, Flight>()

  const detach = (flight: Flight) => {
    if (flight.isCurrent) flights.delete(flight.key.id)
    flight.isCurrent = false
  }

  /** Joins the flight of this key, or begins it with `work`, in the context of the first. */
  const share = <A, E, R>(key: Key, work: (flight: Flight) => Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
    Effect.uninterruptibleMask((restore) => {
      const join = (flight: Flight, fiber: Fiber.Fiber<unknown, unknown>) => {
        flight.waiting++
        return Effect.onExit(restore(Fiber.join(fiber)), () => {
          if (--flight.waiting > 0 || fiber.pollUnsafe() !== undefined) return Effect.void
          // Who comes while it stops begins anew.
          detach(flight)
          return Fiber.interrupt(fiber)
        }) as Effect.Effect<A, E> // who has the key has the operation
      }
      const under = flights.get(key.id)
      if (under?.fiber !== undefined) return join(under, under.fiber)
      // Work that asks for itself as it begins would wait for itself.
      if (under !== undefined) detach(under)
      const flight: Flight = { key, isCurrent: true, fiber: undefined, waiting: 0 }
      // Before it begins, since what it does first may be an invalidation.
      flights.set(key.id, flight)
      return Effect.contextWith((context: Context.Context<R>) => {
        const fiber = Effect.runForkWith(context)(work(flight))
        flight.fiber = fiber
        fiber.addObserver(() => detach(flight))
        return fiber.pollUnsafe() ?? join(flight, fiber)
      }) as Effect.Effect<A, E, R>
    })

  return {
    share,
    /** Whoever comes from now on joins none of these. */
    detachAll: (which: Which) => {
      for (const flight of flights.values()) if (matches(which, flight.key)) detach(flight)
    }
  }
}
