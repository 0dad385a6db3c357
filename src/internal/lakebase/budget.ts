/**
 * Decides which caller gets a connection, and in what order. All of it is synchronous; the pool does the waiting.
 */
import { Deferred, Duration, Effect, Exit, Fiber, Latch } from "effect"
import type { Stats } from "../../Lakebase.ts"
import type * as Deadlocks from "./deadlocks.ts"
import * as Limit from "./limit.ts"
import * as Slots from "./slots.ts"
import type { Connection, Lane, Slot, Waiter } from "./slots.ts"
import * as Queue from "./queue.ts"
import * as Waits from "./waits.ts"

export interface Limits {
  /** The most connections of all callers together. */
  readonly total: number
  /** The most connections of one caller. */
  readonly perCaller: number
  readonly idleTimeout: Duration.Duration
  readonly maxLifetime: Duration.Duration
  /** The longest time that a caller waits for a connection, including opening it. */
  readonly acquireTimeout: Duration.Duration
}

/**
 * For this many milliseconds an idle connection is evicted only for callers that have waited as long. Without it,
 * slightly more callers than connections would evict each other's connections on every call.
 */
export const grace = 30

/** The same for callers that already have a connection. */
const cold = 1_000

// Calls that hold connections come first, because other calls may be waiting for those connections.
const turnOf = (arrival: number, depth: number) => arrival - depth * 2 ** 40

export const make = <R extends object, E>(
  limits: Limits,
  options: {
    readonly now: () => number
    /** The slots of all pools of the application, which share the server's limit. */
    readonly application: Set<Slot<R, E> | Connection<R, E>>
    readonly isUsable: (resource: R) => boolean
    /** Takes a connection away from its current call. */
    readonly expire: (resource: R) => unknown
    /** Closes in the background, because the caller that releases a slot is still running. */
    readonly close: (slot: Slot<R, E>) => Fiber.Fiber<unknown>
  }
) => {
  const { now } = options
  /** Open when a waiting call is refused a connection that it will get once it has waited long enough. */
  const refused = Latch.makeUnsafe()
  /** Open when all connections are closed. */
  const drained = Latch.makeUnsafe()
  const lifetime = Duration.toMillis(limits.maxLifetime)
  const idleFor = Duration.toMillis(limits.idleTimeout)
  const server = Limit.make(limits.total)
  const lanes = new Map<string, Lane<R, E>>()
  /**
   * Lines of calls that will hold their connection while they request others, and (`others`) of calls that will not.
   */
  const keepers: Array<Queue.Line<Waiter<R, E>>> = []
  const others: Array<Queue.Line<Waiter<R, E>>> = []
  /** All slots except those that are closing. */
  const slots = new Set<Slot<R, E> | Connection<R, E>>()
  /** The idle connections, the least recently used first. */
  const idle = new Set<Connection<R, E>>()
  let total = 0
  let holds = 0
  let arrivals = 0
  let waiting = 0
  let evictions = 0
  /** The number of connections to close when they are released. */
  let surplus = 0
  let closing = false

  const isAlive = ({ openedAt, resource }: Connection<R, E>) =>
    options.isUsable(resource) && now() - openedAt < lifetime

  const laneOf = (key: string): Lane<R, E> => {
    let lane = lanes.get(key)
    if (lane === undefined) lanes.set(key, (lane = Slots.lane(key, limits.perCaller)))
    return lane
  }

  const forget = ({ key, keepers, others, size }: Lane<R, E>) => {
    if (size === 0 && keepers.waiters.length + others.waiters.length === 0) lanes.delete(key)
  }

  const enqueue = (waiter: Waiter<R, E>) => {
    waiting++
    for (const hold of waiter.within) hold.waiting.add(waiter)
    if (waiter.keeps) Queue.add(keepers, waiter.lane.keepers, waiter)
    else Queue.add(others, waiter.lane.others, waiter)
  }

  const dequeue = (waiter: Waiter<R, E>) => {
    const { lane, keeps, within } = waiter
    if (!(keeps ? Queue.leave(keepers, lane.keepers, waiter) : Queue.leave(others, lane.others, waiter))) return
    waiting--
    for (const hold of within) hold.waiting.delete(waiter)
    forget(lane)
  }

  /** Whether a call may hold one more connection, by the caller's limit and by the limit `known` of all callers. */
  const mayKeep = ({ holds: own }: Lane<R, E>, depth: number, known: number) =>
    holds < Waits.keepable(known, depth) && own < Waits.keepable(limits.perCaller, depth)

  const lend = <P extends Slot<R, E> | Connection<R, E>>(slot: P, keeps: Deadlocks.Hold | undefined): P => {
    if ("since" in slot) slot.since = now()
    if (keeps === undefined) return slot
    slot.hold = keeps
    keeps.state = "live"
    slot.lane.holds++
    holds++
    return slot
  }

  const endHold = (slot: Slot<R, E>) => {
    if (slot.hold === undefined) return
    slot.hold.state = "ended"
    slot.hold = undefined
    slot.lane.holds--
    holds--
  }

  const enter = (lane: Lane<R, E>, ready: Effect.Effect<unknown>): Slot<R, E> => {
    const slot = Slots.slot(lane, ready)
    lane.size++
    slots.add(slot)
    options.application.add(slot)
    Limit.take(lane.limit, lane.size, now())
    return slot
  }

  const leave = (lane: Lane<R, E>) => {
    lane.size--
    forget(lane)
    pump()
  }

  const close = (slot: Slot<R, E>) => {
    slots.delete(slot)
    options.application.delete(slot)
    return options.close(slot)
  }

  const discard = (slot: Slot<R, E>) => {
    if (!slots.has(slot)) return
    close(slot).addObserver(() => {
      total--
      if (closing && total === 0) drained.openUnsafe()
      leave(slot.lane)
    })
  }

  const unlist = (connection: Connection<R, E>) => {
    idle.delete(connection)
    const own = connection.lane.idle
    // Usually it is the last, which needs neither a search nor a splice.
    if (own.at(-1) === connection) own.pop()
    else own.splice(own.indexOf(connection), 1)
  }

  const discardIdle = (connection: Connection<R, E>) => {
    unlist(connection)
    discard(connection)
  }

  /** Takes the caller's most recently used idle connection. */
  const takeOwn = (lane: Lane<R, E>): Connection<R, E> | undefined => {
    for (let own = lane.idle.at(-1); own !== undefined; own = lane.idle.at(-1)) {
      if (isAlive(own)) {
        unlist(own)
        return own
      }
      discardIdle(own)
    }
    return undefined
  }

  const take = ({ keeps, lane, within }: Waiter<R, E>): Slot<R, E> | Connection<R, E> | undefined => {
    const depth = within.length
    const isAllowed = keeps === undefined || mayKeep(lane, depth, server.allowed)
    const own = isAllowed ? takeOwn(lane) : undefined
    if (own !== undefined) return own
    if (Limit.isShort(server) || Limit.isShort(lane.limit)) refused.openUnsafe()
    if (!Limit.hasRoom(lane.limit, lane.size, now())) return undefined
    // If the server's limit is the obstacle, one more connection may be tried.
    if (!isAllowed && !(Limit.mayTry(server, now()) && mayKeep(lane, depth, limits.total))) return undefined
    if (Limit.hasRoom(server, total, now())) {
      Limit.take(server, ++total, now())
      return enter(lane, Effect.void)
    }
    const [victim] = idle
    if (victim === undefined || !isAllowed) return undefined
    // A caller has waited since its earliest call: the first in line, by holding a connection, may have come last.
    const since = [...lane.keepers.waiters, ...lane.others.waiters].reduce(
      (least, { since }) => Math.min(least, since),
      victim.since
    )
    if (now() - since < (lane.size === 0 ? grace : cold)) {
      refused.openUnsafe()
      return undefined
    }
    // The slot changes owner without being free in between.
    evictions++
    unlist(victim)
    const closed = close(victim)
    closed.addObserver(() => leave(victim.lane))
    return enter(lane, Fiber.await(closed))
  }

  const grant = (waiter: Waiter<R, E>, slot: Slot<R, E>) => {
    waiter.slot = lend(slot, waiter.keeps)
    dequeue(waiter)
    Deferred.doneUnsafe(waiter.granted, Exit.void)
  }

  /** Grants free slots to waiting calls. */
  const pump = () => {
    for (let [k, o] = [0, 0]; total < limits.total || idle.size > 0;) {
      const [keeper, other] = [keepers[k], others[o]]
      const isKeeper = keeper !== undefined && (other === undefined || keeper.turn < other.turn)
      const waiter = (isKeeper ? keeper : other)?.waiters[0]
      if (waiter === undefined) return
      const slot = take(waiter)
      if (slot !== undefined) {
        grant(waiter, slot)
        continue
      }
      const { lane, within } = waiter
      // Later waiters do not hold more connections.
      if (isKeeper && holds >= Waits.keepable(server.allowed, within.length)) k = keepers.length
      // A caller without connections that is refused has not waited long enough, and neither have later callers. The
      // remaining callers are few, because they have connections.
      else if (lane.size === 0 && within.length === 0 && !Limit.isShort(lane.limit)) return
      else if (isKeeper) k++
      else o++
    }
  }

  const release = (slot: Slot<R, E> | Connection<R, E>, isClean: boolean) => {
    endHold(slot)
    if (closing || !isClean || !("resource" in slot) || !isAlive(slot) || surplus > 0) {
      if (surplus > 0) surplus--
      discard(slot)
      // One fewer is in use, though it is not closed yet.
      return pump()
    }
    const { lane } = slot
    slot.since = now()
    lane.idle.push(slot)
    idle.add(slot)
    pump()
    // The first in the queue may have to wait; other callers can still take their own idle connections.
    const [keeper] = lane.keepers.waiters
    const [other] = lane.others.waiters
    const next = keeper !== undefined && mayKeep(lane, keeper.within.length, server.allowed) ? keeper : other
    const own = next && takeOwn(lane)
    if (own !== undefined) grant(next!, own)
  }

  const giveUp = (waiter: Waiter<R, E>) => {
    if (waiter.slot === undefined) dequeue(waiter)
    else release(waiter.slot, true)
  }

  /** Returns a connection of the caller, or a place in the queue. */
  const ask = (
    key: string,
    within: ReadonlyArray<Deadlocks.Hold>,
    keeps: Deadlocks.Hold | undefined
  ): Connection<R, E> | Waiter<R, E> => {
    const lane = laneOf(key)
    const own = keeps === undefined || mayKeep(lane, within.length, server.allowed) ? takeOwn(lane) : undefined
    if (own !== undefined) return lend(own, keeps)
    const waiter: Waiter<R, E> = {
      lane,
      within,
      keeps,
      turn: turnOf(arrivals++, within.length),
      since: now(),
      granted: Deferred.makeUnsafe(),
      slot: undefined,
      isRefused: false,
      obstacle: (isFull) =>
        Waits.obstacleOf(waiter, limits, slots) ??
        (isFull ? Waits.obstacleOfServer(waiter, server, options.application) : undefined)
    }
    enqueue(waiter)
    pump()
    return waiter
  }

  /** Handles a connection that the server refused: its waiter returns to its place in the queue. */
  const refuse = (waiter: Waiter<R, E>, slot: Slot<R, E>, limit: "server" | "role") => {
    const { lane } = slot
    endHold(slot)
    discard(slot)
    if (limit === "server") Limit.refused(server, slots.size, now())
    else Limit.refused(lane.limit, [...slots].filter((_) => _.lane === lane).length, now())
    waiter.isRefused = true
    waiter.slot = undefined
    waiter.granted = Deferred.makeUnsafe()
    enqueue(waiter)
    pump()
  }

  const opened = (slot: Slot<R, E>, resource: R): Connection<R, E> => {
    Limit.opened(server, slots.size, now())
    Limit.opened(slot.lane.limit, slot.lane.size, now())
    // Drops the reference to the previous user of the slot.
    return Object.assign(slot, { resource, openedAt: now(), since: now(), ready: Effect.void })
  }

  /** Leaves one of the server's connections to another pool. */
  const spare = () => {
    Limit.refused(server, Math.max(0, slots.size - 1), now())
    const [victim] = idle
    if (victim === undefined) surplus = Math.min(surplus + 1, slots.size)
    else discardIdle(victim)
  }

  const sweep = () => {
    for (const slot of slots) {
      const isLent = "resource" in slot && !idle.has(slot)
      if (isLent && now() - slot.since >= lifetime) options.expire(slot.resource)
    }
    Limit.forget(server, now(), idleFor)
    // On a full server, closes the least recently used and all cold connections, for other processes.
    let isSpare = Limit.isShort(server)
    const idleAtMost = isSpare ? Math.min(cold, idleFor) : idleFor
    for (const connection of idle) {
      if (isSpare || !isAlive(connection) || now() - connection.since >= idleAtMost) discardIdle(connection)
      isSpare = false
    }
  }

  const shutDown = (error: E) => {
    closing = true
    for (const waiter of [...keepers, ...others].flatMap((line) => line.waiters)) {
      dequeue(waiter)
      Deferred.doneUnsafe(waiter.granted, Exit.fail(error))
    }
    idle.forEach(discardIdle)
    if (total === 0) drained.openUnsafe()
  }

  return {
    ask,
    giveUp,
    release,
    refuse,
    opened,
    spare,
    reasonOf: (waiter: Waiter<R, E>) => Waits.reasonOf(waiter, limits, server),
    pump,
    sweep,
    shutDown,
    refused,
    drained,
    isClosing: () => closing,
    discardAll: () => slots.forEach(discard),
    stats: (): Stats => ({ total, idle: idle.size, waiting, evictions })
  }
}
