/** Runs what several wait for once, for as long as one of them waits. */
import { Effect, Fiber } from "effect"

interface Flight {
  readonly fiber: Fiber.Fiber<unknown, unknown>
  waiting: number
}

export const make = () => {
  const flights = new Map<string, Flight>()

  const end = (id: string, flight: Flight) => {
    if (flights.get(id) === flight) flights.delete(id)
  }

  /** Joins the flight of this id, or begins it with `work`, in the context of the first. */
  const share = <A, E, R>(id: string, work: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
    Effect.uninterruptibleMask((restore) => {
      const join = (flight: Flight) => {
        flight.waiting++
        return Effect.onExit(restore(Fiber.join(flight.fiber)), () => {
          if (--flight.waiting > 0 || flight.fiber.pollUnsafe() !== undefined) return Effect.void
          // Who comes while it stops begins anew.
          end(id, flight)
          return Fiber.interrupt(flight.fiber)
        }) as Effect.Effect<A, E> // who has the id has the operation
      }
      const under = flights.get(id)
      if (under !== undefined) return join(under)
      return Effect.flatMap(Effect.forkDetach(work, { startImmediately: true }), (fiber) => {
        const exit = fiber.pollUnsafe()
        if (exit !== undefined) return exit
        const flight = { fiber, waiting: 0 }
        flights.set(id, flight)
        fiber.addObserver(() => end(id, flight))
        return join(flight)
      })
    })

  return {
    share,
    /** Whoever comes from now on joins none of those that are under way. */
    detachAll: () => flights.clear()
  }
}
