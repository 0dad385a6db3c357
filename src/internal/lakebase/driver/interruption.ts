/**
 * The driver holds an interrupted caller up until the server has stopped their statement or stream: on a server that
 * hangs for 5 s. Here the caller waits 100 ms, and the rest happens behind the scenes. Goes when "holds up an
 * interrupt …" fails in driver.upstream.test.ts.
 */
import { type Context, Duration, Effect, Exit, Fiber, Scope, Stream } from "effect"
import type { SqlError } from "effect/sql"

export interface State {
  /** Nobody may have the connection again. */
  spoilt: boolean
  /** Ends when the server has stopped what was interrupted, or the driver has given it up after 5 seconds. */
  stopping: Effect.Effect<unknown, SqlError.SqlError> | undefined
}

/** How long an interrupted caller waits. A server that lives stops a statement within milliseconds. */
export const patience = Duration.millis(100)

export const soon = <A, E>(effect: Effect.Effect<A, E>): Effect.Effect<A | undefined, E> =>
  Effect.raceFirst(Effect.interruptible(effect), Effect.interruptible(Effect.as(Effect.sleep(patience), undefined)))

/** Runs work whose end may take long once it is interrupted; then nobody may have the connection again. */
export const stoppable = <A>(
  state: State,
  work: Effect.Effect<A, SqlError.SqlError>
): Effect.Effect<A, SqlError.SqlError> => {
  const watched = Effect.contextWith((context: Context.Context<never>) =>
    Effect.callback<A, SqlError.SqlError>((resume) => {
      const fiber = Effect.runForkWith(context)(work)
      fiber.addObserver(resume)
      return Effect.suspend(() => {
        fiber.interruptUnsafe()
        return stop(state, Fiber.await(fiber))
      })
    })
  )
  return Effect.suspend(() => (state.stopping === undefined ? watched : Effect.andThen(state.stopping, watched)))
}

const stop = (state: State, stopped: Effect.Effect<unknown>): Effect.Effect<void> => {
  state.spoilt = true
  state.stopping = stopped
  return Effect.asVoid(soon(stopped))
}

/** The same for a stream: one that is left early leaves a cancel request behind, which could hit the next statement. */
export const stoppableStream = <A>(state: State, stream: Stream.Stream<A, SqlError.SqlError>) =>
  Stream.unwrap(
    Effect.gen(function* () {
      const scope = Scope.makeUnsafe()
      let ended = false
      yield* Effect.addFinalizer((exit) => {
        if (ended) return Scope.close(scope, exit)
        return Effect.flatMap(
          Effect.forkDetach(Scope.close(scope, Exit.void), { startImmediately: true, uninterruptible: true }),
          (closing) => stop(state, Fiber.await(closing))
        )
      })
      if (state.stopping !== undefined) yield* state.stopping
      const whole = Stream.onEnd(
        stream,
        Effect.sync(() => {
          ended = true
        })
      )
      return Stream.fromPull(Effect.succeed(yield* Scope.provide(Stream.toPull(whole), scope)))
    })
  )
