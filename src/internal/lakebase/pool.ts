/**
 * Connections of many callers under one budget. A connection belongs to the caller it was opened for and is never lent
 * to another; at the budget the least recently used idle one gives way, whoever's it is.
 */
import { Clock, Deferred, Duration, Effect, Exit, Scope } from "effect"
import type { Stats } from "../../Lakebase.ts"
import * as Budget from "./budget.ts"

export type { Limits } from "./budget.ts"

export interface Driver<C, R extends object, E> {
  readonly keyOf: (caller: C) => string
  /**
   * Opens a connection for a caller, within what is left of the acquire timeout; its scope closes it, and is closed
   * once the server has let go of it.
   */
  readonly open: (caller: C, within: Duration.Duration) => Effect.Effect<R, E, Scope.Scope>
  /** Whether a connection may be lent again. */
  readonly isUsable: (resource: R) => boolean
  readonly exhausted: E
  readonly closed: E
}

export interface Pool<C, R extends object, E> {
  /** Lends a connection of this caller's for one effect; `depth` tells how many the fiber holds already. */
  readonly use: <A, E2, R2>(
    caller: C,
    depth: number,
    f: (resource: R) => Effect.Effect<A, E2, R2>
  ) => Effect.Effect<A, E | E2, R2>
  /** Lends a connection until the scope closes. */
  readonly lease: (caller: C, depth: number) => Effect.Effect<R, E, Scope.Scope>
  readonly stats: () => Stats
}

/** How often idle connections are looked over. */
const tick = Duration.seconds(1)

type Restore = <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>

export const make = Effect.fnUntraced(function* <C, R extends object, E>(
  limits: Budget.Limits,
  driver: Driver<C, R, E>
): Effect.fn.Return<Pool<C, R, E>, never, Scope.Scope> {
  const clock = yield* Clock.Clock
  const run = Effect.runForkWith(yield* Effect.context<never>())
  const now = () => clock.currentTimeMillisUnsafe()
  const budget = Budget.make<R, E>(limits, {
    now,
    isUsable: driver.isUsable,
    close: ({ ready, scope }) =>
      run(Effect.yieldNow.pipe(Effect.andThen(ready), Effect.andThen(Scope.close(scope, Exit.void))))
  })

  const wait = (waiter: Budget.Waiter<R, E>): Effect.Effect<void, E> =>
    Deferred.await(waiter.granted).pipe(
      // Whoever grants goes on first: thousands who wait would make a deep stack.
      Effect.andThen(Effect.yieldNow),
      Effect.andThen(Effect.suspend(() => waiter.place?.ready ?? Effect.void)),
      Effect.timeoutOrElse({ duration: limits.acquireTimeout, orElse: () => Effect.fail(driver.exhausted) })
    )

  const open = (caller: C, place: Budget.Place<R, E>, since: number): Effect.Effect<R, E> =>
    Effect.suspend(() => {
      if (budget.isClosing()) return Effect.fail(driver.closed)
      const within = Duration.subtract(limits.acquireTimeout, Duration.millis(now() - since))
      return Scope.provide(driver.open(caller, within), place.scope)
    })

  /** Runs at once: what is idle is the caller's before anything else happens. */
  const acquire = (caller: C, depth: number, restore: Restore): Effect.Effect<Budget.Connection<R, E>, E> => {
    if (budget.isClosing()) return Effect.fail(driver.closed)
    const asked = budget.ask(driver.keyOf(caller), depth)
    if ("resource" in asked) return Effect.succeed(asked)
    return restore(wait(asked)).pipe(
      Effect.andThen(
        Effect.suspend(() => {
          const place = asked.place! // who has been waited for is granted one
          if ("resource" in place) return Effect.succeed(place)
          return Effect.map(restore(open(caller, place, asked.since)), (resource) =>
            // Nobody before it is remembered.
            Object.assign(place, { resource, openedAt: now(), idleSince: 0, ready: Effect.void })
          )
        })
      ),
      Effect.onError(() => Effect.sync(() => budget.giveUp(asked)))
    )
  }

  // An interrupt asks the server to cancel, which may come late and hit what the next one does.
  const giveBack = (connection: Budget.Connection<R, E>, exit: Exit.Exit<unknown, unknown>): undefined => {
    budget.release(connection, !Exit.hasInterrupts(exit))
  }

  yield* Effect.forkScoped(Effect.forever(Effect.andThen(Effect.sleep(tick), Effect.sync(budget.sweep))))
  yield* Effect.forkScoped(
    Effect.forever(
      budget.refused.await.pipe(
        Effect.andThen(Effect.sleep(Budget.grace)),
        Effect.andThen(
          Effect.sync(() => {
            budget.refused.closeUnsafe()
            budget.pump()
          })
        )
      )
    )
  )
  yield* Effect.addFinalizer(() =>
    Effect.suspend(() => {
      budget.shutDown(driver.closed)
      const drained = Effect.timeoutOption(budget.drained.await, limits.acquireTimeout)
      // Those who use a connection may finish; it is taken from those who do not.
      return drained.pipe(Effect.andThen(Effect.sync(budget.discardAll)), Effect.andThen(drained))
    })
  )

  return {
    use: (caller, depth, f) =>
      Effect.uninterruptibleMask((restore) =>
        Effect.flatMapEager(acquire(caller, depth, restore), (connection) =>
          Effect.onExitPrimitive(restore(f(connection.resource)), (exit) => giveBack(connection, exit))
        )
      ),
    lease: (caller, depth) =>
      Effect.uninterruptibleMask((restore) =>
        Effect.acquireRelease(
          Effect.suspend(() => acquire(caller, depth, restore)),
          (connection, exit) => Effect.sync(() => giveBack(connection, exit))
        ).pipe(Effect.map((_) => _.resource))
      ),
    stats: budget.stats
  }
})
