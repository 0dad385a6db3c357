/** The connections of all callers: one pool for the service principal and one for the users, under one budget. */
import { Effect, type Duration, type Scope } from "effect"
import type { SqlError } from "effect/sql"
import type * as Caller from "../../Caller.ts"
import type { Stats } from "../../Lakebase.ts"
import type { Session } from "./driver/session.ts"
import * as Exhaustion from "./exhaustion.ts"
import * as Failure from "./failure.ts"
import { keyOf } from "./key.ts"
import type { Login } from "./login.ts"
import * as Metrics from "./metrics.ts"
import type { Slot } from "./slots.ts"
import * as Pool from "./pool.ts"

export interface Sessions extends Pick<Pool.Pool<Caller.Caller, Session, SqlError.SqlError>, "use" | "keep" | "lease"> {
  readonly stats: Effect.Effect<{ readonly service: Stats; readonly users: Stats }>
}

export interface Limits {
  readonly maxConnections: number
  readonly maxConnectionsPerUser: number
  /** Defaults to a fifth of all. */
  readonly maxConnectionsService: number | undefined
  readonly idleTimeout: Duration.Duration
  readonly maxLifetime: Duration.Duration
  readonly acquireTimeout: Duration.Duration
}

type Side = Caller.Caller["context"]

export const make = Effect.fnUntraced(function* (
  limits: Limits,
  open: Login["open"]
): Effect.fn.Return<Sessions, never, Scope.Scope> {
  const { acquireTimeout, maxConnections, maxLifetime } = limits
  // At least one for each side.
  const total = Math.max(2, maxConnections)
  const share = Math.min(Math.max(1, limits.maxConnectionsService ?? Math.floor(total / 5)), total - 1)
  const application = new Set<Slot<Session, SqlError.SqlError>>()
  const expired = Exhaustion.expired(maxLifetime)

  const poolFor = Effect.fnUntraced(function* (side: Side, own: number, perCaller: number, onFull: () => void) {
    let exhaustions = 0
    const told = ({ limit, value }: Pool.Reason): Exhaustion.Limit =>
      limit === "server" || limit === "role"
        ? { name: limit, value }
        : side === "service"
          ? { name: "maxConnectionsService", value }
          : limit === "perCaller"
            ? { name: "maxConnectionsPerUser", value }
            : { name: "maxConnections", value: total }
    const pool = yield* Pool.make<Caller.Caller, Session, SqlError.SqlError>(
      { ...limits, total: own, perCaller },
      {
        keyOf,
        open,
        refusedBy: (error) => {
          const by = Exhaustion.refusedBy(error)
          if (by === "server") onFull()
          return by
        },
        isUsable: (session) => session.isUsable(),
        expire: (session) => session.end(expired),
        exhausted: (reason) => {
          exhaustions++
          return Exhaustion.timedOut(acquireTimeout, told(reason))
        },
        stuck: (reason) => {
          exhaustions++
          return Exhaustion.stuck(told(reason))
        },
        closed: Failure.closing,
        application
      }
    )
    yield* Metrics.observe(side, () => ({ ...pool.stats(), exhaustions }))
    return pool
  })

  /** If the server allows fewer connections than the budget, gives one to the side that has less than its share. */
  const balance = (side: Side) => {
    const counts = { service: service.stats().total, user: users.stats().total }
    const all = counts.service + counts.user - 1 // without the refused one
    const parts = { service: Math.max(1, Math.floor((all * share) / total)), user: 0 }
    parts.user = Math.max(1, all - parts.service)
    if (counts[side] <= parts[side]) (side === "service" ? users : service).spare()
  }

  const service: Pool.Pool<Caller.Caller, Session, SqlError.SqlError> = yield* poolFor("service", share, share, () =>
    balance("service")
  )
  const users: Pool.Pool<Caller.Caller, Session, SqlError.SqlError> = yield* poolFor(
    "user",
    total - share,
    limits.maxConnectionsPerUser,
    () => balance("user")
  )
  const poolOf = (caller: Caller.Caller) => (caller.context === "service" ? service : users)
  return {
    use: (caller, within, f) => poolOf(caller).use(caller, within, f),
    keep: (caller, within, keeps, f) => poolOf(caller).keep(caller, within, keeps, f),
    lease: (caller, within, keeps) => poolOf(caller).lease(caller, within, keeps),
    stats: Effect.sync(() => ({ service: service.stats(), users: users.stats() }))
  }
})
