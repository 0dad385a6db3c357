/**
 * Connections of many callers under one budget. A connection belongs to the caller it was opened for and is never lent
 * to another; at the budget the least recently used idle one gives way, whoever's it is.
 */
import { Clock, Deferred, Duration, Effect, Exit, Fiber, Latch, Scope } from "effect"

export interface Limits {
  /** For all callers together. */
  readonly total: number
  /** For each of them. */
  readonly perCaller: number
  readonly idleTimeout: Duration.Duration
  readonly maxLifetime: Duration.Duration
  /** How long a caller waits for a connection, or for the right to open one. */
  readonly acquireTimeout: Duration.Duration
}

export interface Driver<C, R extends object, E> {
  readonly keyOf: (caller: C) => string
  /** Opens a connection for a caller; its scope closes it, and is closed once the server has let go of it. */
  readonly open: (caller: C) => Effect.Effect<R, E, Scope.Scope>
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

export interface Stats {
  /** Open, opening and closing. */
  readonly total: number
  readonly idle: number
  readonly waiting: number
  readonly evictions: number
}

/** A part of the budget, taken until what opens in it has closed. */
interface Place<R, E> {
  readonly lane: Lane<R, E>
  readonly scope: Scope.Closeable
  /** Ends when whoever had the place before has left it. */
  ready: Effect.Effect<unknown>
}

interface Connection<R, E> extends Place<R, E> {
  readonly resource: R
  readonly openedAt: number
  idleSince: number
}

interface Waiter<R, E> {
  readonly lane: Lane<R, E>
  readonly depth: number
  readonly since: number
  readonly turn: number
  readonly granted: Deferred.Deferred<void, E>
  place: Place<R, E> | Connection<R, E> | undefined
}

/** A caller: how many places they have, their idle connections, and who waits for one, sorted by turn. */
interface Lane<R, E> {
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
const grace = 30

/** The same for those who have a connection already. */
const cold = 1_000

/** How often idle connections are looked over. */
const tick = Duration.seconds(1)

// So many are kept for fibers that hold some and need another, one for each level of nesting:
// else those who hold all of them could wait for each other.
const reserveOf = (total: number) => Math.min(2, Math.floor(total / 2))

// Those who hold connections come before all others, for others may be waiting for them.
const turnOf = (arrival: number, depth: number) => arrival - depth * 2 ** 40

/** Where something of this turn is, or belongs; a queue of thousands is not searched from end to end. */
const positionOf = (sorted: ReadonlyArray<{ readonly turn: number }>, turn: number) => {
  let low = 0
  let high = sorted.length
  while (low < high) {
    const middle = (low + high) >>> 1
    if (sorted[middle]!.turn < turn) low = middle + 1
    else high = middle
  }
  return low
}

export const make = Effect.fnUntraced(function* <C, R extends object, E>(
  limits: Limits,
  driver: Driver<C, R, E>
): Effect.fn.Return<Pool<C, R, E>, never, Scope.Scope> {
  const clock = yield* Clock.Clock
  const run = Effect.runForkWith(yield* Effect.context<never>())
  const now = () => clock.currentTimeMillisUnsafe()
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
  const refused = Latch.makeUnsafe()
  const drained = Latch.makeUnsafe()
  let total = 0
  let arrivals = 0
  let waiting = 0
  let evictions = 0
  let closing = false

  // What counts is how many are in use, for an idle one gives way: else those open for nested use would be taken up too.
  const isAllowed = (depth: number) => places.size - idle.size < limits.total - Math.max(0, reserve - depth)

  const isAlive = ({ openedAt, resource }: Connection<R, E>) => driver.isUsable(resource) && now() - openedAt < lifetime

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
    const turn = lane.waiters[0]?.turn ?? NaN
    if (turn === lane.turn) return
    if (lane.turn >= -Infinity) queue.splice(positionOf(queue, lane.turn), 1)
    lane.turn = turn
    if (turn >= -Infinity) queue.splice(positionOf(queue, turn), 0, lane)
  }

  const enqueue = (waiter: Waiter<R, E>) => {
    const { turn, lane } = waiter
    waiting++
    lane.waiters.splice(positionOf(lane.waiters, turn), 0, waiter)
    requeue(lane)
  }

  const dequeue = (waiter: Waiter<R, E>) => {
    const { turn, lane } = waiter
    const position = positionOf(lane.waiters, turn)
    if (lane.waiters[position] !== waiter) return
    waiting--
    lane.waiters.splice(position, 1)
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

  /** Closes in the background: nobody waits for it who does not need the place. */
  const close = (place: Place<R, E>) => {
    places.delete(place)
    // Never at once, for whoever lets go is in the middle of something.
    return run(Effect.yieldNow.pipe(Effect.andThen(place.ready), Effect.andThen(Scope.close(place.scope, Exit.void))))
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
    own.splice(own.indexOf(connection), 1)
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

  const take = ({ lane, depth, since }: Waiter<R, E>): Place<R, E> | Connection<R, E> | undefined => {
    const own = takeOwn(lane, depth)
    if (own !== undefined || !isAllowed(depth) || lane.size >= limits.perCaller) return own
    if (total < limits.total) {
      total++
      return enter(lane, Effect.void)
    }
    const [victim] = idle
    if (victim === undefined) return undefined
    if (now() - Math.min(victim.idleSince, since) < (lane.size === 0 ? grace : cold)) {
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

  type Restore = <A, E2, R2>(effect: Effect.Effect<A, E2, R2>) => Effect.Effect<A, E2, R2>

  const wait = (waiter: Waiter<R, E>): Effect.Effect<void, E> =>
    Deferred.await(waiter.granted).pipe(
      // Whoever grants goes on first: thousands who wait would make a deep stack.
      Effect.andThen(Effect.yieldNow),
      Effect.andThen(Effect.suspend(() => waiter.place?.ready ?? Effect.void)),
      Effect.timeoutOrElse({ duration: limits.acquireTimeout, orElse: () => Effect.fail(driver.exhausted) })
    )

  const open = (caller: C, place: Place<R, E>): Effect.Effect<R, E> =>
    Effect.suspend(() => (closing ? Effect.fail(driver.closed) : Scope.provide(driver.open(caller), place.scope)))

  const acquire = (caller: C, depth: number, restore: Restore): Effect.Effect<Connection<R, E>, E> =>
    Effect.suspend(() => {
      if (closing) return Effect.fail(driver.closed)
      const lane = laneOf(driver.keyOf(caller))
      const own = takeOwn(lane, depth)
      if (own !== undefined) return Effect.succeed(own)
      const waiter: Waiter<R, E> = {
        lane,
        depth,
        since: now(),
        turn: turnOf(arrivals++, depth),
        granted: Deferred.makeUnsafe(),
        place: undefined
      }
      enqueue(waiter)
      pump()
      return restore(wait(waiter)).pipe(
        Effect.andThen(
          Effect.suspend(() => {
            const place = waiter.place!
            if ("resource" in place) return Effect.succeed(place)
            return Effect.map(restore(open(caller, place)), (resource) =>
              Object.assign(place, { resource, openedAt: now(), idleSince: 0, ready: Effect.void })
            )
          })
        ),
        Effect.onError(() => Effect.sync(() => giveUp(waiter)))
      )
    })

  const giveBack = (connection: Connection<R, E>, exit: Exit.Exit<unknown, unknown>) =>
    Effect.sync(() => release(connection, !Exit.hasInterrupts(exit)))

  // A sleep that nobody needs would be a timer for ever.
  yield* Effect.forkScoped(
    Effect.forever(
      refused.await.pipe(
        Effect.andThen(Effect.sleep(grace)),
        Effect.andThen(
          Effect.sync(() => {
            refused.closeUnsafe()
            pump()
          })
        )
      )
    )
  )
  yield* Effect.forkScoped(
    Effect.forever(
      Effect.andThen(
        Effect.sleep(tick),
        Effect.sync(() => {
          for (const connection of idle) {
            if (!isAlive(connection) || now() - connection.idleSince >= idleFor) discardIdle(connection)
          }
        })
      )
    )
  )
  yield* Effect.addFinalizer(() =>
    Effect.suspend(() => {
      closing = true
      for (const waiter of queue.flatMap((lane) => lane.waiters)) {
        dequeue(waiter)
        Deferred.doneUnsafe(waiter.granted, Exit.fail(driver.closed))
      }
      idle.forEach(discardIdle)
      if (total === 0) drained.openUnsafe()
      const done = Effect.timeoutOption(drained.await, limits.acquireTimeout)
      // Those who use one may finish; it is taken from those who do not.
      return done.pipe(Effect.andThen(Effect.sync(() => places.forEach(discard))), Effect.andThen(done))
    })
  )

  return {
    use: (caller, depth, f) =>
      Effect.uninterruptibleMask((restore) =>
        Effect.flatMap(acquire(caller, depth, restore), (connection) =>
          Effect.onExit(restore(f(connection.resource)), (exit) => giveBack(connection, exit))
        )
      ),
    lease: (caller, depth) =>
      Effect.uninterruptibleMask((restore) =>
        Effect.map(Effect.acquireRelease(acquire(caller, depth, restore), giveBack), (_) => _.resource)
      ),
    stats: () => ({ total, idle: idle.size, waiting, evictions })
  }
})
