/**
 * Connections of many callers under one budget. A connection belongs to the caller for which it was opened, and is
 * never lent to another. When the budget is full, the least recently used idle connection of any caller is closed.
 */
import { Clock, Deferred, Duration, Effect, Exit, Scope } from "effect"
import type { Stats } from "../../Lakebase.ts"
import * as SteadyClock from "../steadyClock.ts"
import * as Budget from "./budget.ts"
import * as Deadlocks from "./deadlocks.ts"
import type { Hold } from "./deadlocks.ts"
import type { Connection, Slot, Waiter } from "./slots.ts"
import type { Reason } from "./waits.ts"

export type { Limits } from "./budget.ts"
export type { Hold } from "./deadlocks.ts"
export type { Reason } from "./waits.ts"

export interface Driver<C, R extends object, E> {
  readonly keyOf: (caller: C) => string
  /**
   * Opens a connection for a caller, within the rest of the acquire timeout. Closing its scope closes it, and ends when
   * the server has ended the session. `refused` is the failure if the server has refused the caller before and does not
   * respond now.
   */
  readonly open: (
    caller: C,
    within: Duration.Duration,
    refused: Effect.Effect<never, E> | undefined
  ) => Effect.Effect<R, E, Scope.Scope>
  /** The limit of the server, or of this caller's role, that a failure to open shows. */
  readonly refusedBy: (error: E) => "server" | "role" | undefined
  /** Whether a connection may be lent again. */
  readonly isUsable: (resource: R) => boolean
  /** Fails the current and all later uses of a connection. */
  readonly expire: (resource: R) => Effect.Effect<void>
  /** The failure of a call that has waited for the acquire timeout. */
  readonly exhausted: (reason: Reason) => E
  /** The failure of a call in a deadlock. */
  readonly stuck: (reason: Reason) => E
  readonly closed: E
  /** Shared by the pools of one application. */
  readonly application?: Set<Slot<R, E> | Connection<R, E>> | undefined
}

export interface Pool<C, R extends object, E> {
  /**
   * Lends a connection of this caller for one effect that requests no other; `within` lists the connections it holds.
   */
  readonly use: <A, E2, R2>(
    caller: C,
    within: ReadonlyArray<Hold>,
    f: (resource: R) => Effect.Effect<A, E2, R2>
  ) => Effect.Effect<A, E | E2, R2>
  /** The same for an effect that may request others, which are then within `keeps`. */
  readonly keep: <A, E2, R2>(
    caller: C,
    within: ReadonlyArray<Hold>,
    keeps: Hold,
    f: (resource: R) => Effect.Effect<A, E2, R2>
  ) => Effect.Effect<A, E | E2, R2>
  /** The same, until the scope closes. */
  readonly lease: (caller: C, within: ReadonlyArray<Hold>, keeps: Hold) => Effect.Effect<R, E, Scope.Scope>
  /** Leaves one of the server's connections to another pool. */
  readonly spare: () => void
  readonly stats: () => Stats
}

/** The interval at which idle connections are checked. */
const tick = Duration.seconds(1)

/** The time, in milliseconds, for which a deadlocked call retries on a full server. */
const patience = 1_000

type Restore = <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>

export const make = Effect.fnUntraced(function* <C, R extends object, E>(
  limits: Budget.Limits,
  driver: Driver<C, R, E>
): Effect.fn.Return<Pool<C, R, E>, never, Scope.Scope> {
  const now = SteadyClock.now(yield* Clock.Clock)
  const run = Effect.runForkWith(yield* Effect.context<never>())
  const budget = Budget.make<R, E>(limits, {
    now,
    application: driver.application ?? new Set(),
    isUsable: driver.isUsable,
    expire: (resource) => run(driver.expire(resource)),
    close: ({ ready, scope }) =>
      run(Effect.yieldNow.pipe(Effect.andThen(ready), Effect.andThen(Scope.close(scope, Exit.void))))
  })

  const left = ({ since }: Waiter<R, E>) => Duration.subtract(limits.acquireTimeout, Duration.millis(now() - since))

  const inVain = (waiter: Waiter<R, E>) => Effect.suspend(() => Effect.fail(driver.exhausted(budget.reasonOf(waiter))))

  const wait = (waiter: Waiter<R, E>): Effect.Effect<void, E> =>
    Effect.suspend(() =>
      Deferred.await(waiter.granted).pipe(
        // The granting fiber continues first: thousands of waiting calls would make a deep stack.
        Effect.andThen(Effect.yieldNow),
        Effect.andThen(Effect.suspend(() => waiter.slot?.ready ?? Effect.void)),
        Effect.timeoutOrElse({ duration: left(waiter), orElse: () => inVain(waiter) })
      )
    )

  const isDeadlocked = (waiter: Waiter<R, E>, isFull: boolean) =>
    waiter.slot === undefined && waiter.within.length > 0 && Deadlocks.isDeadlocked(waiter, isFull)

  const giveUp = (waiter: Waiter<R, E>) => {
    budget.giveUp(waiter)
    return Effect.fail(driver.stuck(budget.reasonOf(waiter)))
  }

  const open = (
    caller: C,
    waiter: Waiter<R, E>,
    slot: Slot<R, E>,
    restore: Restore
  ): Effect.Effect<Connection<R, E>, E> =>
    Effect.suspend(() => {
      if (budget.isClosing()) return Effect.fail(driver.closed)
      const refused = waiter.isRefused ? inVain(waiter) : undefined
      return restore(Scope.provide(driver.open(caller, left(waiter), refused), slot.scope)).pipe(
        Effect.map((resource) => budget.opened(slot, resource)),
        Effect.catch((error) => {
          const limit = driver.refusedBy(error)
          if (limit === undefined || budget.isClosing()) return Effect.fail(error)
          budget.refuse(waiter, slot, limit)
          if (now() - waiter.since >= patience && isDeadlocked(waiter, true)) return giveUp(waiter)
          return granted(caller, waiter, restore)
        })
      )
    })

  const granted = (caller: C, waiter: Waiter<R, E>, restore: Restore): Effect.Effect<Connection<R, E>, E> =>
    Effect.flatMap(restore(wait(waiter)), () => {
      const slot = waiter.slot! // a waiter that resumes has a slot
      return "resource" in slot ? Effect.succeed(slot) : open(caller, waiter, slot, restore)
    })

  /** Takes an idle connection synchronously, before any other call can. */
  const acquire = (
    caller: C,
    within: ReadonlyArray<Hold>,
    keeps: Hold | undefined,
    restore: Restore
  ): Effect.Effect<Connection<R, E>, E> => {
    if (budget.isClosing()) return Effect.fail(driver.closed)
    const asked = budget.ask(
      driver.keyOf(caller),
      within.length === 0 ? within : within.filter(Deadlocks.isLive),
      keeps
    )
    if ("resource" in asked) return Effect.succeed(asked)
    if (isDeadlocked(asked, false)) return giveUp(asked)
    return Effect.onError(granted(caller, asked, restore), () => Effect.sync(() => budget.giveUp(asked)))
  }

  // An interrupt sends a cancel request, which may arrive late and hit the next statement.
  const giveBack = (connection: Connection<R, E>, exit: Exit.Exit<unknown, unknown>): undefined => {
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
      // Connections in use may finish within the acquire timeout; then they are closed.
      return drained.pipe(Effect.andThen(Effect.sync(budget.discardAll)), Effect.andThen(drained))
    })
  )

  const lend = <A, E2, R2>(
    caller: C,
    within: ReadonlyArray<Hold>,
    keeps: Hold | undefined,
    f: (resource: R) => Effect.Effect<A, E2, R2>
  ) =>
    Effect.uninterruptibleMask((restore) =>
      Effect.flatMapEager(acquire(caller, within, keeps, restore), (connection) =>
        Effect.onExitPrimitive(restore(f(connection.resource)), (exit) => giveBack(connection, exit))
      )
    )

  return {
    use: (caller, within, f) => lend(caller, within, undefined, f),
    keep: lend,
    lease: (caller, within, keeps) =>
      Effect.uninterruptibleMask((restore) =>
        Effect.acquireRelease(
          Effect.suspend(() => acquire(caller, within, keeps, restore)),
          (connection, exit) => Effect.sync(() => giveBack(connection, exit))
        ).pipe(Effect.map((_) => _.resource))
      ),
    spare: budget.spare,
    stats: budget.stats
  }
})
