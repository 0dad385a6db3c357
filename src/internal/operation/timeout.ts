import { type Context, type Duration, Effect, Fiber } from "effect"

/** `Effect.timeoutOrElse` with one fiber in place of a race of two; a second has the clock, once the effect waits. */
export const timeoutOrFail = <A, E, R, E2>(
  effect: Effect.Effect<A, E, R>,
  duration: Duration.Duration,
  onTimeout: () => E2
): Effect.Effect<A, E | E2, R> =>
  Effect.callback<A, E | E2, R>((resume) => {
    const run = Effect.runForkWith(Fiber.getCurrent()!.context as Context.Context<R>) // of the fiber that runs this
    const work = run(effect)
    const exit = work.pollUnsafe()
    if (exit !== undefined) return resume(exit)
    const clock = run(Effect.sleep(duration))
    work.addObserver((exit) => resume(Effect.andThen(Fiber.interrupt(clock), exit)))
    clock.addObserver((exit) =>
      resume(Effect.andThen(Fiber.interrupt(work), Effect.andThen(exit, Effect.failSync(onTimeout))))
    )
    return Fiber.interruptAll([work, clock])
  })
