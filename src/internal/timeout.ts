import { type Context, type Duration, Effect, Fiber } from "effect"

/** `Effect.timeoutOrElse` with one fiber in place of a race of two; a second has the clock, once the effect waits. */
export const timeoutOrElse = <A, E, R, A2, E2, R2>(
  effect: Effect.Effect<A, E, R>,
  { duration, orElse }: { readonly duration: Duration.Duration; readonly orElse: () => Effect.Effect<A2, E2, R2> }
): Effect.Effect<A | A2, E | E2, R | R2> =>
  Effect.contextWith((context: Context.Context<R>) =>
    Effect.callback<A | A2, E | E2, R2>((resume) => {
      const run = Effect.runForkWith(context)
      const work = run(effect)
      const exit = work.pollUnsafe()
      if (exit !== undefined) return resume(exit)
      const clock = run(Effect.sleep(duration))
      work.addObserver((exit) => resume(Effect.andThen(Fiber.interrupt(clock), exit)))
      clock.addObserver((exit) => resume(Effect.andThen(Fiber.interrupt(work), Effect.flatMap(exit, orElse))))
      return Fiber.interruptAll([work, clock])
    })
  )
