/** The connections of all callers: one pool for the service principal and one for the users, under one budget. */
import { Effect, type Duration, type Scope } from "effect"
import type { SqlError } from "effect/sql"
import * as Caller from "../../Caller.ts"
import type { Stats } from "../../Lakebase.ts"
import type { Session } from "./driver/session.ts"
import * as Failure from "./failure.ts"
import type { Login } from "./login.ts"
import * as Metrics from "./metrics.ts"
import * as Pool from "./pool.ts"

export interface Sessions {
  /** Lends a connection of this caller's for one effect; `depth` tells how many the fiber holds already. */
  readonly use: <A, E, R>(
    caller: Caller.Caller,
    depth: number,
    f: (session: Session) => Effect.Effect<A, E, R>
  ) => Effect.Effect<A, E | SqlError.SqlError, R>
  /** Lends a connection until the scope closes. */
  readonly lease: (caller: Caller.Caller, depth: number) => Effect.Effect<Session, SqlError.SqlError, Scope.Scope>
  readonly stats: Effect.Effect<{ readonly service: Stats; readonly users: Stats }>
}

export interface Limits {
  readonly maxConnections: number
  readonly maxConnectionsPerUser: number
  /** A fifth of all unless given. */
  readonly maxConnectionsService: number | undefined
  readonly idleTimeout: Duration.Duration
  readonly maxLifetime: Duration.Duration
  readonly acquireTimeout: Duration.Duration
}

export const make = Effect.fnUntraced(function* (
  limits: Limits,
  open: Login["open"]
): Effect.fn.Return<Sessions, never, Scope.Scope> {
  const poolFor = Effect.fnUntraced(function* (context: Caller.Caller["context"], total: number, perCaller: number) {
    let exhaustions = 0
    const pool = yield* Pool.make<Caller.Caller, Session, SqlError.SqlError>(
      { ...limits, total, perCaller },
      {
        keyOf: Caller.key,
        open,
        isUsable: (session) => session.isUsable(),
        // The pool asks for it when somebody has waited in vain.
        get exhausted() {
          exhaustions++
          return Failure.exhausted(limits.acquireTimeout)
        },
        closed: Failure.closing
      }
    )
    yield* Metrics.observe(context, () => ({ ...pool.stats(), exhaustions }))
    return pool
  })
  // One for each side at least.
  const total = Math.max(2, limits.maxConnections)
  const share = Math.min(Math.max(1, limits.maxConnectionsService ?? Math.floor(total / 5)), total - 1)
  const service = yield* poolFor("service", share, share)
  const users = yield* poolFor("user", total - share, limits.maxConnectionsPerUser)
  const poolOf = (caller: Caller.Caller) => (caller.context === "service" ? service : users)
  return {
    use: (caller, depth, f) => poolOf(caller).use(caller, depth, f),
    lease: (caller, depth) => poolOf(caller).lease(caller, depth),
    stats: Effect.sync(() => ({ service: service.stats(), users: users.stats() }))
  }
})
