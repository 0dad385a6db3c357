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

export interface Driver<C, R, E> {
  readonly keyOf: (caller: C) => string
  /** Opens a connection for a caller; its scope closes it, and is closed once the server has let go of it. */
  readonly open: (caller: C) => Effect.Effect<R, E, Scope.Scope>
  /** Whether a connection may be lent again. */
  readonly isUsable: (resource: R) => boolean
  readonly exhausted: E
  readonly closed: E
}

export interface Pool<C, R, E> {
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
  readonly total: number
  readonly idle: number
  readonly waiting: number
  readonly evictions: number
}

interface Connection<R> {
  readonly resource: R
  readonly lane: Lane<R>
  readonly scope: Scope.Closeable
  readonly openedAt: number
  idleSince: number
}

/** A connection, or the right to open one when `after` is done. */
type Grant<R> = { readonly connection: Connection<R> } | { readonly after: Effect.Effect<unknown> }

interface Waiter<R> {
  readonly lane: Lane<R>
  readonly depth: number
  readonly since: number
  readonly woken: Deferred.Deferred<void>
  grant: Grant<R> | undefined
}

/** A caller: how many connections it has, open and opening, those that are idle, and who waits for one. */
interface Lane<R> {
  readonly key: string
  size: number
  readonly idle: Array<Connection<R>>
  readonly waiters: Set<Waiter<R>>
}

/**
 * For so many milliseconds an idle connection is warm, and gives way only to those who have waited as long. Without it,
 * callers who are a few more than the connections take them from each other at every call.
 */
const grace = 30

/** A caller who has a connection gets another's only when that has been idle for so many milliseconds. */
const cold = 1_000

/** How often idle connections are looked over. */
const tick = Duration.seconds(1)

// So many connections are kept for fibers that hold some and need another, one for each level of nesting:
// else those who hold all of them could wait for each other.
const reserveOf = (total: number) => Math.min(2, Math.floor(total / 4))

export const make = Effect.fnUntraced(function* <C, R, E>(
  limits: Limits,
  driver: Driver<C, R, E>
): Effect.fn.Return<Pool<C, R, E>, never, Scope.Scope> {
  const clock = yield* Clock.Clock
  const run = Effect.runForkWith(yield* Effect.context<never>())
  const now = () => clock.currentTimeMillisUnsafe()
  const lifetime = Duration.toMillis(limits.maxLifetime)
  const idleFor = Duration.toMillis(limits.idleTimeout)
  const reserve = reserveOf(limits.total)
  const lanes = new Map<string, Lane<R>>()
  const connections = new Set<Connection<R>>()
  /** Idle connections, the least recently used first. */
  const idle = new Set<Connection<R>>()
  /** Callers who wait and may have another connection, first come first served. */
  const ring = new Set<Lane<R>>()
  const drained = Latch.makeUnsafe()
  let total = 0
  let waiting = 0
  let evictions = 0
  let closing = false
  let pumpPlanned = false

  const limitAt = (depth: number) => Math.max(1, limits.total - Math.max(0, reserve - depth))

  const laneOf = (key: string): Lane<R> => {
    let lane = lanes.get(key)
    if (lane === undefined) lanes.set(key, (lane = { key, size: 0, idle: [], waiters: new Set() }))
    return lane
  }

  /** Keeps the ring and the lanes true to what a lane has become. */
  const settle = (lane: Lane<R>) => {
    if (lane.waiters.size === 0 || lane.size >= limits.perCaller) ring.delete(lane)
    else ring.add(lane)
    if (lane.size === 0 && lane.waiters.size === 0) lanes.delete(lane.key)
  }

  const serve = (waiter: Waiter<R>, grant: Grant<R>) => {
    const { lane } = waiter
    waiting--
    lane.waiters.delete(waiter)
    // Whoever has just been served goes behind those who have not.
    ring.delete(lane)
    settle(lane)
    waiter.grant = grant
    Deferred.doneUnsafe(waiter.woken, Exit.void)
  }

  const allowOpening = (waiter: Waiter<R>, after: Effect.Effect<unknown>) => {
    total++
    waiter.lane.size++
    serve(waiter, { after })
  }

  /** Gives back the right to have a connection. */
  const free = (lane: Lane<R>) => {
    total--
    lane.size--
    settle(lane)
    if (closing && total === 0) drained.openUnsafe()
    pump()
  }

  const close = (connection: Connection<R>) => {
    connections.delete(connection)
    return run(Scope.close(connection.scope, Exit.void))
  }

  const discard = (connection: Connection<R>) => {
    close(connection).addObserver(() => free(connection.lane))
  }

  const unlist = (connection: Connection<R>) => {
    idle.delete(connection)
    const { idle: own } = connection.lane
    own.splice(own.indexOf(connection), 1)
  }

  /** Takes a connection from its caller; who opens another in its place waits until the server has let go of it. */
  const evict = (connection: Connection<R>): Effect.Effect<unknown> => {
    evictions++
    total--
    connection.lane.size--
    settle(connection.lane)
    return Fiber.await(close(connection))
  }

  const mayTake = (victim: Connection<R>, { lane, since }: Waiter<R>) =>
    lane.size === 0 ? now() - Math.min(victim.idleSince, since) >= grace : now() - victim.idleSince >= cold

  const first = <A>(set: Iterable<A>, suits: (a: A) => boolean): A | undefined => {
    for (const a of set) if (suits(a)) return a
    return undefined
  }

  const pump = () => {
    if (closing) return
    let refused = false
    for (const lane of ring) {
      const waiter = first(lane.waiters, (_) => total < limitAt(_.depth) || idle.size > 0)
      if (waiter === undefined) continue
      if (total < limitAt(waiter.depth)) {
        allowOpening(waiter, Effect.void)
        continue
      }
      const victim = first(idle, (_) => _.lane !== lane)
      if (victim === undefined) continue
      if (mayTake(victim, waiter)) {
        unlist(victim)
        allowOpening(waiter, evict(victim))
      } else {
        refused = true
      }
    }
    if (refused && !pumpPlanned) {
      pumpPlanned = true
      run(
        Effect.andThen(
          Effect.sleep(grace),
          Effect.sync(() => {
            pumpPlanned = false
            pump()
          })
        )
      )
    }
  }

  const release = (connection: Connection<R>, clean: boolean) => {
    const { lane } = connection
    const time = now()
    connection.idleSince = time
    if (closing || !clean || !driver.isUsable(connection.resource) || time - connection.openedAt >= lifetime) {
      return discard(connection)
    }
    const [mine] = lane.waiters
    if (mine === undefined) {
      lane.idle.push(connection)
      idle.add(connection)
      if (ring.size > 0) pump()
      return
    }
    const other = first(ring, (_) => _ !== lane)
    const [theirs] = other?.waiters ?? []
    if (theirs !== undefined && theirs.since < mine.since && idle.size === 0 && mayTake(connection, theirs)) {
      allowOpening(theirs, evict(connection))
    } else {
      serve(mine, { connection })
    }
  }

  const idleOf = (lane: Lane<R>): Connection<R> | undefined => {
    const time = now()
    for (let connection = lane.idle.at(-1); connection !== undefined; connection = lane.idle.at(-1)) {
      unlist(connection)
      if (driver.isUsable(connection.resource) && time - connection.openedAt < lifetime) return connection
      discard(connection)
    }
    return undefined
  }

  const giveBack = (waiter: Waiter<R>) => {
    const { grant, lane } = waiter
    if (grant === undefined) {
      if (!lane.waiters.delete(waiter)) return
      waiting--
      settle(lane)
    } else if ("connection" in grant) {
      release(grant.connection, true)
    } else {
      run(grant.after).addObserver(() => free(lane))
    }
  }

  type Restore = <A, E2, R2>(effect: Effect.Effect<A, E2, R2>) => Effect.Effect<A, E2, R2>

  const open = (caller: C, lane: Lane<R>, after: Effect.Effect<unknown>, restore: Restore) =>
    Effect.suspend(() => {
      const scope = Scope.makeUnsafe()
      return Effect.andThen(after, restore(Scope.provide(driver.open(caller), scope))).pipe(
        Effect.map((resource) => {
          const connection: Connection<R> = { resource, lane, scope, openedAt: now(), idleSince: 0 }
          connections.add(connection)
          return connection
        }),
        Effect.onError((cause) =>
          Effect.andThen(
            Scope.close(scope, Exit.failCause(cause)),
            Effect.sync(() => free(lane))
          )
        )
      )
    })

  const acquire = (caller: C, depth: number, restore: Restore): Effect.Effect<Connection<R>, E> =>
    Effect.suspend(() => {
      if (closing) return Effect.fail(driver.closed)
      const lane = laneOf(driver.keyOf(caller))
      const connection = idleOf(lane)
      if (connection !== undefined) return Effect.succeed(connection)
      const waiter: Waiter<R> = { lane, depth, since: now(), woken: Deferred.makeUnsafe(), grant: undefined }
      waiting++
      lane.waiters.add(waiter)
      settle(lane)
      pump()
      const woken =
        waiter.grant === undefined
          ? restore(Deferred.await(waiter.woken)).pipe(
              Effect.timeoutOrElse({ duration: limits.acquireTimeout, orElse: () => Effect.fail(driver.exhausted) }),
              Effect.onError(() => Effect.sync(() => giveBack(waiter)))
            )
          : Effect.void
      return Effect.flatMap(woken, () => {
        const { grant } = waiter
        if (grant === undefined) return Effect.fail(driver.closed)
        return "connection" in grant ? Effect.succeed(grant.connection) : open(caller, lane, grant.after, restore)
      })
    })

  const isClean = (exit: Exit.Exit<unknown, unknown>) => !Exit.hasInterrupts(exit)

  yield* Effect.forkScoped(
    Effect.forever(
      Effect.andThen(
        Effect.sleep(tick),
        Effect.sync(() => {
          const time = now()
          for (const connection of idle) {
            if (
              !driver.isUsable(connection.resource) ||
              time - connection.idleSince >= idleFor ||
              time - connection.openedAt >= lifetime
            ) {
              unlist(connection)
              discard(connection)
            }
          }
        })
      )
    )
  )
  yield* Effect.addFinalizer(() =>
    Effect.suspend(() => {
      closing = true
      for (const lane of lanes.values()) {
        for (const waiter of lane.waiters) Deferred.doneUnsafe(waiter.woken, Exit.void)
      }
      for (const connection of idle) {
        unlist(connection)
        discard(connection)
      }
      if (total === 0) return Effect.void
      return Effect.andThen(
        Effect.timeoutOption(drained.await, limits.acquireTimeout),
        Effect.sync(() => connections.forEach(close))
      )
    })
  )

  return {
    use: (caller, depth, f) =>
      Effect.uninterruptibleMask((restore) =>
        Effect.flatMap(acquire(caller, depth, restore), (connection) =>
          Effect.onExit(restore(f(connection.resource)), (exit) =>
            Effect.sync(() => release(connection, isClean(exit)))
          )
        )
      ),
    lease: (caller, depth) =>
      Effect.uninterruptibleMask((restore) =>
        Effect.map(
          Effect.acquireRelease(acquire(caller, depth, restore), (connection, exit) =>
            Effect.sync(() => release(connection, isClean(exit)))
          ),
          (_) => _.resource
        )
      ),
    stats: () => ({ total, idle: idle.size, waiting, evictions })
  }
})
