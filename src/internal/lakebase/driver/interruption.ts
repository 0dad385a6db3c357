/**
 * Limits the time that an interrupted call waits for the server to stop its statement or stream to 100 ms; the rest
 * happens in the background. The driver would wait up to 5 seconds on a server that hangs. Remove when "holds up an
 * interrupt …" fails in driver.upstream.test.ts.
 */
import { type Context, Duration, Effect, Exit, Fiber, Scope, Stream } from "effect"
import type { SqlError } from "effect/sql"
import { isPostgresError } from "../../failures/sqlState.ts"

export interface State {
  /** Whether the connection must not be lent again. */
  mustClose: boolean
  /** Ends when the server has stopped the interrupted work, or the driver has given up after 5 seconds. */
  stopping: Effect.Effect<unknown, SqlError.SqlError> | undefined
}

/** The longest wait of an interrupted call. A healthy server stops a statement within milliseconds. */
export const patience = Duration.millis(100)

export const soon = <A, E>(effect: Effect.Effect<A, E>): Effect.Effect<A | undefined, E> =>
  Effect.raceFirst(Effect.interruptible(effect), Effect.interruptible(Effect.as(Effect.sleep(patience), undefined)))

/** Runs work that may end slowly after an interrupt, in which case the connection is not lent again. */
export const stoppable = <A>(
  state: State,
  work: Effect.Effect<A, SqlError.SqlError>
): Effect.Effect<A, SqlError.SqlError> =>
  Effect.contextWith((context: Context.Context<never>) => {
    const watched = Effect.callback<A, SqlError.SqlError>((resume) => {
      const fiber = Effect.runForkWith(context)(work)
      fiber.addObserver(resume)
      return Effect.suspend(() => {
        fiber.interruptUnsafe()
        return stop(state, Fiber.await(fiber))
      })
    })
    return state.stopping === undefined ? watched : Effect.andThen(state.stopping, watched)
  })

const stop = (state: State, stopped: Effect.Effect<unknown>): Effect.Effect<void> => {
  state.mustClose = true
  state.stopping = stopped
  return Effect.asVoid(soon(stopped))
}

/** The same for a stream. Leaving it early sends a cancel request, which could hit the next statement. */
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
      const end = Effect.sync(() => {
        ended = true
      })
      // A stream that the server refuses has ended on the connection too.
      const whole = Stream.tapError(Stream.onEnd(stream, end), ({ reason }) =>
        isPostgresError(reason.cause) ? end : Effect.void
      )
      return Stream.fromPull(Effect.succeed(yield* Scope.provide(Stream.toPull(whole), scope)))
    })
  )
