/** Determines the limit for which a call waits. */
import type { Limits } from "./budget.ts"
import type * as Deadlocks from "./deadlocks.ts"
import * as Limit from "./limit.ts"
import type { Connection, Slot, Waiter } from "./slots.ts"

// The connections reserved for statements, which end by themselves, and for calls that hold one and need another, one
// per level of nesting: otherwise the calls that hold all connections could wait for each other.
const reserveOf = (limit: number) => Math.min(2, Math.floor(limit / 2))

/** The number of connections of a limit that may be held by calls that already hold `depth` others. */
export const keepable = (limit: number, depth: number) => limit - Math.max(0, reserveOf(limit) - depth)

/** One of our limits, or the limit of the server or of this caller's role. */
export interface Reason {
  readonly limit: "perCaller" | "total" | "server" | "role"
  readonly value: number
}

export const reasonOf = <R, E>({ keeps, lane, within }: Waiter<R, E>, limits: Limits, server: Limit.Limit): Reason => {
  const perCaller: Reason = { limit: "perCaller", value: limits.perCaller }
  if (keeps && lane.holds >= keepable(limits.perCaller, within.length)) return perCaller
  // `size` may exceed `allowed` while one more connection is being tried.
  if (Limit.isShort(lane.limit) && lane.size >= lane.limit.allowed) return { limit: "role", value: lane.limit.allowed }
  if (lane.size >= limits.perCaller) return perCaller
  return { limit: Limit.isShort(server) ? "server" : "total", value: server.allowed }
}

/** Returns the holds that must end, at our own limits. */
export const obstacleOf = <R, E>(
  { keeps, lane, within }: Waiter<R, E>,
  limits: Limits,
  slots: Iterable<Slot<R, E>>
): Deadlocks.Obstacle | undefined => {
  const most = (limit: number) => (keeps ? keepable(limit, within.length) : limit)
  const kept = [...slots].flatMap(({ hold, lane }) => (hold === undefined ? [] : [{ hold, lane }]))
  const own = kept.filter((_) => _.lane === lane)
  const isOwnLimit = own.length >= most(limits.perCaller)
  const holds = (isOwnLimit ? own : kept).map((_) => _.hold)
  const needed = 1 + holds.length - most(isOwnLimit ? limits.perCaller : limits.total)
  return needed > 0 ? { holds, needed } : undefined
}

/** The same on a server that has just refused a connection: only another process might release one. */
export const obstacleOfServer = <R, E>(
  { lane }: Waiter<R, E>,
  server: Limit.Limit,
  application: Iterable<Slot<R, E> | Connection<R, E>>
): Deadlocks.Obstacle | undefined => {
  const all = [...application]
  return (
    (Limit.isShort(lane.limit) ? allKept(all.filter((_) => _.lane === lane)) : undefined) ??
    (Limit.isShort(server) ? allKept(all) : undefined)
  )
}

/** Returns the holds of these connections, if all of them are held. */
const allKept = <R, E>(slots: ReadonlyArray<Slot<R, E> | Connection<R, E>>): Deadlocks.Obstacle | undefined => {
  const holds = slots.flatMap((slot) => (slot.hold !== undefined && "resource" in slot ? [slot.hold] : []))
  return holds.length > 0 && holds.length === slots.length ? { holds, needed: 1 } : undefined
}
