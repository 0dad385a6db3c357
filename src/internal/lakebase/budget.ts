/**
 * Who may have a connection, and who next. All of it happens at once: what takes time is the pool's.
 */
import { Deferred, Duration, Effect, Exit, Fiber, Latch, Scope } from "effect"
import type { Stats } from "../../Lakebase.ts"
import { insert, remove } from "./sorted.ts"

export interface Limits {
  /** For all callers together. */
  readonly total: number
  /** For each of them. */
  readonly perCaller: number
  readonly idleTimeout: Duration.Duration
  readonly maxLifetime: Duration.Duration
  /** How long a caller waits for a connection, its opening included. */
  readonly acquireTimeout: Duration.Duration
}

/** A part of the budget, taken until what opens in it has closed. */
export interface Place<R, E> {
  readonly lane: Lane<R, E>
  readonly scope: Scope.Closeable
  /** Ends when whoever had the place before has left it. */
  ready: Effect.Effect<unknown>
}

export interface Connection<R, E> extends Place<R, E> {
  readonly resource: R
  readonly openedAt: number
  idleSince: number
}

export interface Waiter<R, E> {
  readonly lane: Lane<R, E>
  readonly depth: number
  readonly since: number
  readonly turn: number
  readonly granted: Deferred.Deferred<void, E>
  place: Place<R, E> | Connection<R, E> | undefined
}

/** A caller: how many places they have, their idle connections, and who waits for one, sorted by turn. */
export interface Lane<R, E> {
  readonly key: string
  size: number
  readonly idle: Array<Connection<R, E>>
  readonly waiters: Array<Waiter<R, E>>
  /** That of the first waiter, by which the lane is found in the queue. */
  turn: number
}

/**
 * For so many milliseconds an idle connection is warm, and gives way only to those who have waited as long. Without it,
 * callers who are a few more than the connections take them from each other at every call.
 */
export const grace = 30

/** The same for those who have a connection already. */
const cold = 1_000

// So many are kept for fibers that hold some and need another, one for each level of nesting:
// else those who hold all of them could wait for each other.
const reserveOf = (total: number) => Math.min(2, Math.floor(total / 2))

// Those who hold connections come before all others, for others may be waiting for them.
const turnOf = (arrival: number, depth: number) => arrival - depth * 2 ** 40

export const make = <R extends object, E>(
  limits: Limits,
  options: {
    readonly now: () => number
    readonly isUsable: (resource: R) => boolean
    /** Closes in the background, never at once: whoever lets go is in the middle of something. */
    readonly close: (place: Place<R, E>) => Fiber.Fiber<unknown>
  }
) => {
  const { now } = options
  /** Open when somebody is refused what they will get for having waited. */
  const refused = Latch.makeUnsafe()
  /** Open when all is closed. */
  const drained = Latch.makeUnsafe()
  const lifetime = Duration.toMillis(limits.maxLifetime)
  const idleFor = Duration.toMillis(limits.idleTimeout)
  const reserve = reserveOf(limits.total)
  const lanes = new Map<string, Lane<R, E>>()
  /** Lanes with waiters, sorted by turn. */
  const queue: Array<Lane<R, E>> = []
  /** All but those that are closing. */
  const places = new Set<Place<R, E>>()
  /** Of these the idle connections, the least recently used first. */
  const idle = new Set<Connection<R, E>>()
  let total = 0
  let arrivals = 0
  let waiting = 0
  let evictions = 0
  let closing = false

  // What counts is how many are in use, for an idle one gives way: else those open for nested use would be taken up too.
  const isAllowed = (depth: number) => places.size - idle.size < limits.total - Math.max(0, reserve - depth)

  const isAlive = ({ openedAt, resource }: Connection<R, E>) =>
    options.isUsable(resource) && now() - openedAt < lifetime

  const laneOf = (key: string): Lane<R, E> => {
    let lane = lanes.get(key)
    if (lane === undefined) lanes.set(key, (lane = { key, size: 0, idle: [], waiters: [], turn: NaN }))
    return lane
  }

  const forget = (lane: Lane<R, E>) => {
    if (lane.size === 0 && lane.waiters.length === 0) lanes.delete(lane.key)
  }

  /** Puts a lane where its first waiter belongs. */
  const requeue = (lane: Lane<R, E>) => {
    const [first] = lane.waiters
    if (first?.turn === lane.turn) return
    remove(queue, lane)
    if (first === undefined) return
    lane.turn = first.turn
    insert(queue, lane)
  }

  const dequeue = (waiter: Waiter<R, E>) => {
    const { lane } = waiter
    if (!remove(lane.waiters, waiter)) return
    waiting--
    requeue(lane)
    forget(lane)
  }

  const enter = (lane: Lane<R, E>, ready: Effect.Effect<unknown>): Place<R, E> => {
    const place = { lane, scope: Scope.makeUnsafe(), ready }
    lane.size++
    places.add(place)
    return place
  }

  const leave = (lane: Lane<R, E>) => {
    lane.size--
    forget(lane)
    pump()
  }

  const close = (place: Place<R, E>) => {
    places.delete(place)
    return options.close(place)
  }

  const discard = (place: Place<R, E>) => {
    if (!places.has(place)) return
    close(place).addObserver(() => {
      total--
      if (closing && total === 0) drained.openUnsafe()
      leave(place.lane)
    })
  }

  const unlist = (connection: Connection<R, E>) => {
    idle.delete(connection)
    const own = connection.lane.idle
    // Mostly it is the last, which needs no search and no array of what was taken out.
    if (own.at(-1) === connection) own.pop()
    else own.splice(own.indexOf(connection), 1)
  }

  const discardIdle = (connection: Connection<R, E>) => {
    unlist(connection)
    discard(connection)
  }

  /** The caller's own idle connection, the most recently used. */
  const takeOwn = (lane: Lane<R, E>, depth: number): Connection<R, E> | undefined => {
    if (!isAllowed(depth)) return undefined
    for (let own = lane.idle.at(-1); own !== undefined; own = lane.idle.at(-1)) {
      if (isAlive(own)) {
        unlist(own)
        return own
      }
      discardIdle(own)
    }
    return undefined
  }

  const take = ({ lane, depth }: Waiter<R, E>): Place<R, E> | Connection<R, E> | undefined => {
    const own = takeOwn(lane, depth)
    if (own !== undefined || !isAllowed(depth) || lane.size >= limits.perCaller) return own
    if (total < limits.total) {
      total++
      return enter(lane, Effect.void)
    }
    const [victim] = idle
    if (victim === undefined) return undefined
    // A caller has waited since the earliest of theirs came: who is first, for holding a connection, may have come last.
    const since = lane.waiters.reduce((least, { since }) => Math.min(least, since), victim.idleSince)
    if (now() - since < (lane.size === 0 ? grace : cold)) {
      refused.openUnsafe()
      return undefined
    }
    // The place changes hands, and is never free in between.
    evictions++
    unlist(victim)
    const closed = close(victim)
    closed.addObserver(() => leave(victim.lane))
    return enter(lane, Fiber.await(closed))
  }

  const grant = (waiter: Waiter<R, E>, place: Place<R, E>) => {
    waiter.place = place
    dequeue(waiter)
    Deferred.doneUnsafe(waiter.granted, Exit.void)
  }

  /** Gives what there is to those who wait. */
  const pump = () => {
    for (let i = 0; total < limits.total || idle.size > 0;) {
      const lane = queue[i]
      const waiter = lane?.waiters[0]
      // Whoever comes later is no deeper.
      if (lane === undefined || waiter === undefined || !isAllowed(waiter.depth)) return
      const place = take(waiter)
      if (place !== undefined) grant(waiter, place)
      // Who has nothing and is refused has not waited long enough, nor have those who came later. The others are few:
      // they have connections.
      else if (lane.size === 0 && waiter.depth === 0) return
      else i++
    }
  }

  const release = (place: Place<R, E> | Connection<R, E>, isClean: boolean) => {
    if (closing || !isClean || !("resource" in place) || !isAlive(place)) {
      discard(place)
      // One less is in use, though it is not closed yet.
      return pump()
    }
    const { lane } = place
    place.idleSince = now()
    lane.idle.push(place)
    idle.add(place)
    pump()
    // The first in the queue may have to wait a moment: that keeps nobody from a connection of their own.
    const [next] = lane.waiters
    const own = next && takeOwn(lane, next.depth)
    if (own !== undefined) grant(next!, own)
  }

  const giveUp = (waiter: Waiter<R, E>) => {
    if (waiter.place === undefined) dequeue(waiter)
    else release(waiter.place, true)
  }

  /** A connection of the caller's own, or else a turn. */
  const ask = (key: string, depth: number): Connection<R, E> | Waiter<R, E> => {
    const lane = laneOf(key)
    const own = takeOwn(lane, depth)
    if (own !== undefined) return own
    const turn = turnOf(arrivals++, depth)
    const waiter: Waiter<R, E> = { lane, depth, turn, since: now(), granted: Deferred.makeUnsafe(), place: undefined }
    waiting++
    insert(lane.waiters, waiter)
    requeue(lane)
    pump()
    return waiter
  }

  const sweep = () => {
    for (const connection of idle) {
      if (!isAlive(connection) || now() - connection.idleSince >= idleFor) discardIdle(connection)
    }
  }

  const shutDown = (error: E) => {
    closing = true
    for (const waiter of queue.flatMap((lane) => lane.waiters)) {
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
    pump,
    sweep,
    shutDown,
    refused,
    drained,
    isClosing: () => closing,
    discardAll: () => places.forEach(discard),
    stats: (): Stats => ({ total, idle: idle.size, waiting, evictions })
  }
}
