/** The parts of a budget: slots, their callers, and waiting calls. */
import { type Deferred, type Effect, Scope } from "effect"
import type * as Deadlocks from "./deadlocks.ts"
import * as Limit from "./limit.ts"
import * as Queue from "./queue.ts"

/** A slot in the budget, which is taken until its connection has closed. */
export interface Slot<R, E> {
  readonly lane: Lane<R, E>
  readonly scope: Scope.Closeable
  /** Ends when the previous connection of the slot has closed. */
  ready: Effect.Effect<unknown>
  /** The hold of the current call, if it holds the slot while it requests others. */
  hold: Deadlocks.Hold | undefined
}

export interface Connection<R, E> extends Slot<R, E> {
  readonly resource: R
  readonly openedAt: number
  /** The time at which it was last lent or released. */
  since: number
}

export interface Waiter<R, E> extends Deadlocks.Waiting {
  readonly lane: Lane<R, E>
  /** The hold for which the call will keep its connection, if it does. */
  readonly keeps: Deadlocks.Hold | undefined
  readonly since: number
  readonly turn: number
  granted: Deferred.Deferred<void, E>
  slot: Slot<R, E> | Connection<R, E> | undefined
  /** Whether the server has refused a connection for it. */
  isRefused: boolean
}

/** A caller's slots, idle connections and waiting calls. */
export interface Lane<R, E> {
  readonly key: string
  readonly limit: Limit.Limit
  size: number
  /** The number of slots that are held. */
  holds: number
  readonly idle: Array<Connection<R, E>>
  readonly keepers: Queue.Line<Waiter<R, E>>
  readonly others: Queue.Line<Waiter<R, E>>
}

export const lane = <R, E>(key: string, perCaller: number): Lane<R, E> => ({
  key,
  limit: Limit.make(perCaller),
  size: 0,
  holds: 0,
  idle: [],
  keepers: Queue.line(),
  others: Queue.line()
})

export const slot = <R, E>(lane: Lane<R, E>, ready: Effect.Effect<unknown>): Slot<R, E> => ({
  lane,
  scope: Scope.makeUnsafe(),
  ready,
  hold: undefined
})
