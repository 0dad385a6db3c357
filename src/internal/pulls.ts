/** Transformations of a stream's pulls that cost less for each element than those of `Stream`. */
import { type Cause, Clock, Context, Effect, Exit, Fiber, Scope, Stream } from "effect"
import type { NonEmptyReadonlyArray } from "effect/Array"

export interface Mapping<A, B, E, R> {
  readonly map: (element: A) => Effect.Effect<B, E, R>
  /** The size of a result. An array of results ends when it has `maxSize` of it. Defaults to 0. */
  readonly sizeOf?: ((result: B) => number) | undefined
  readonly maxSize?: number | undefined
}

/**
 * `Stream.mapEffect` that keeps elements together which arrive together, while their effects are already successes. The
 * results before a failure leave first.
 */
export const mapTogether = <A, E, R, B, E2, R2>(
  stream: Stream.Stream<A, E, R>,
  { map, maxSize = Infinity, sizeOf = () => 0 }: Mapping<A, B, E2, R2>
): Stream.Stream<B, E | E2, R | R2> =>
  Stream.transformPull(stream, (pull) =>
    Effect.sync(() => {
      let elements: ReadonlyArray<A> = []
      let index = 0
      /** Follows the results that leave first. */
      let next: Effect.Effect<B, E2, R2> | undefined
      const mapped = (): Effect.Effect<NonEmptyReadonlyArray<B>, E2, R2> | undefined => {
        const results: Array<B> = []
        let size = 0
        while (size < maxSize && (next !== undefined || index < elements.length)) {
          const effect = next ?? started(map, elements[index++]!)
          next = undefined
          if (isSuccess(effect)) {
            results.push(effect.value)
            size += sizeOf(effect.value)
          } else if (results.length === 0) {
            return Effect.map(effect, (result) => [result] as const)
          } else {
            next = effect
            break
          }
        }
        const [first, ...others] = results
        return first === undefined ? undefined : Effect.succeed([first, ...others])
      }
      return Effect.suspend(
        () =>
          mapped() ??
          Effect.flatMap(pull, (some) => {
            elements = some
            index = 0
            return mapped() ?? Effect.never // an array of a stream has an element
          })
      )
    })
  )

const isSuccess = <A, E, R>(effect: Effect.Effect<A, E, R> | Exit.Exit<A, E>): effect is Exit.Success<A, E> =>
  Exit.isExit(effect) && Exit.isSuccess(effect)

const started = <A, B, E, R>(map: (element: A) => Effect.Effect<B, E, R>, element: A): Effect.Effect<B, E, R> => {
  try {
    return map(element)
  } catch (defect) {
    return Effect.die(defect)
  }
}

export interface Watch<B, E> {
  /** Milliseconds that the next pull may take. */
  readonly within: () => number
  /** The result of a pull that takes longer. If it succeeds, the next pull goes on waiting. */
  readonly late: Effect.Effect<NonEmptyReadonlyArray<B>, E>
}

/** Gives every pull a time limit, with one timer for many pulls. The reader's own time does not count. */
export const watch = <A, E, R, B, E2>(
  stream: Stream.Stream<A, E, R>,
  { late, within }: Watch<B, E2>
): Stream.Stream<A | B, E | E2, R> =>
  Stream.transformPull(stream, (pull, scope) =>
    Effect.contextWith((own: Context.Context<R>) => {
      type Result = Effect.Effect<NonEmptyReadonlyArray<A | B>, E | E2 | Cause.Done>
      const clock = Context.get(own, Clock.Clock)
      const now = () => Number(clock.monotonicTimeNanosUnsafe()) / 1e6
      let running: Fiber.Fiber<unknown, unknown> | undefined
      let result: Result | undefined
      let resume: ((result: Result) => void) | undefined
      let deadline = Infinity
      let timer: Fiber.Fiber<void> | undefined
      let wakesAt = Infinity

      const deliver = (some: Result) => {
        const waiting = resume
        resume = undefined
        waiting?.(some)
        return waiting !== undefined
      }
      const setTimer = (left: number) => {
        if (deadline >= wakesAt) return
        timer?.interruptUnsafe()
        wakesAt = deadline
        timer = Effect.runForkWith(own)(Effect.flatMap(Effect.sleep(left), () => Effect.sync(wake)))
      }
      const wake = () => {
        timer = undefined
        wakesAt = Infinity
        if (resume === undefined) return
        const left = deadline - now()
        if (left > 0) setTimer(left)
        else deliver(late)
      }
      const start = (context: Context.Context<R>) => {
        const fiber = Effect.runForkWith(context)(pull)
        running = fiber
        fiber.addObserver((exit) => {
          running = undefined
          if (!deliver(exit)) result = exit
        })
      }
      const next = Effect.contextWith((context: Context.Context<R>): Result => {
        if (running === undefined && result === undefined) start(context)
        if (result !== undefined) {
          const done = result
          result = undefined
          return done
        }
        return Effect.callback<NonEmptyReadonlyArray<A | B>, E | E2 | Cause.Done>((waiting) => {
          resume = waiting
          const left = within()
          deadline = now() + left
          setTimer(left)
          return Effect.sync(() => void (resume = undefined))
        })
      })
      const stopped = Effect.suspend(() => Fiber.interruptAll([running, timer].filter((fiber) => fiber !== undefined)))
      return Effect.as(Scope.addFinalizer(scope, stopped), next)
    })
  )
