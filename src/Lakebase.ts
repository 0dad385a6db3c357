/**
 * Lakebase, the Postgres of Databricks: each caller on connections of their own, all of them under one budget.
 *
 * @since 0.1.0
 */
import { PgClient } from "@effect/sql-pg"
import { Context, Duration, Effect, Layer, type Redacted, Schedule, type Scope } from "effect"
import { Reactivity } from "effect/reactivity"
import { SqlClient, SqlError } from "effect/sql"
import type { ConnectionOptions } from "node:tls"
import type { Caller } from "./Caller.ts"
import { UserContext } from "./ExecutionContext.ts"
import * as Client from "./internal/lakebase/client.ts"
import * as Credentials from "./internal/lakebase/credentials.ts"
import * as Pool from "./internal/lakebase/pool.ts"
import * as Failure from "./internal/lakebase/failure.ts"
import * as Session from "./internal/lakebase/session.ts"
import { ServiceContext } from "./ServiceContext.ts"

/**
 * @since 0.1.0
 * @category models
 */
export interface Options {
  readonly host: string
  /** 5432 unless given. */
  readonly port?: number | undefined
  /** `databricks_postgres` unless given. */
  readonly database?: string | undefined
  /** The service principal's role: its client id, which is its SCIM user name, unless given. */
  readonly user?: string | undefined
  /** The endpoint that mints the tokens: `projects/…/branches/…/endpoints/…`. */
  readonly endpoint?: string | undefined
  /** For a database that takes no tokens; the service principal's only. */
  readonly password?: Redacted.Redacted | undefined
  /** `true` verifies the server's certificate, an object says how; `false` is plaintext. `true` unless given. */
  readonly ssl?: boolean | ConnectionOptions | undefined
  readonly applicationName?: string | undefined
  /** For the whole application: 50 unless given. */
  readonly maxConnections?: number | undefined
  /** For each user: 3 unless given. */
  readonly maxConnectionsPerUser?: number | undefined
  /** Of the whole, what only the service principal may use: 10 unless given. */
  readonly maxConnectionsService?: number | undefined
  /** 30 seconds unless given. */
  readonly idleTimeout?: Duration.Input | undefined
  /** Whoever has lost their access keeps a connection for so long at the most: 1 hour unless given. */
  readonly maxLifetime?: Duration.Input | undefined
  /** How long a call waits for a connection: 10 seconds unless given. */
  readonly acquireTimeout?: Duration.Input | undefined
}

export {
  /**
   * @since 0.1.0
   * @category errors
   */
  LoginError,
  /**
   * @since 0.1.0
   * @category errors
   */
  MissingRoleError,
  /**
   * @since 0.1.0
   * @category errors
   */
  PoolExhaustedError
} from "./internal/lakebase/failure.ts"

/**
 * @since 0.1.0
 * @category services
 */
export class Lakebase extends Context.Service<
  Lakebase,
  {
    /** The client that runs as whoever runs. */
    readonly client: PgClient.PgClient
    /** A client that runs as this caller, whoever runs. */
    readonly clientOf: (caller: Caller) => Effect.Effect<PgClient.PgClient>
    readonly stats: Effect.Effect<{ readonly service: Pool.Stats; readonly users: Pool.Stats }>
  }
>()("effect-databricks/Lakebase") {}

/**
 * The user's own client: what needs it does not compile without `asUser`, and cannot run as the owner of the tables.
 *
 * @since 0.1.0
 * @category accessors
 */
export const user: Effect.Effect<PgClient.PgClient, never, UserContext | Lakebase> = Effect.gen(function* () {
  const { clientOf } = yield* Lakebase
  return yield* clientOf(yield* UserContext)
})

/**
 * @since 0.1.0
 * @category constructors
 */
export const make = Effect.fnUntraced(function* (
  options: Options
): Effect.fn.Return<Lakebase["Service"], never, ServiceContext | Scope.Scope | Reactivity.Reactivity> {
  const service = yield* ServiceContext
  const reactivity = yield* Reactivity.Reactivity
  const port = options.port ?? 5432
  const database = options.database ?? "databricks_postgres"
  const target: Session.Target = {
    host: options.host,
    port,
    database,
    ssl: options.ssl ?? true,
    applicationName: options.applicationName ?? "effect-databricks"
  }
  const { endpoint } = options
  const credentials = endpoint === undefined ? undefined : yield* Credentials.make(service.connection.send, endpoint)
  const acquireTimeout = Duration.fromInputUnsafe(options.acquireTimeout ?? "10 seconds")

  const roleOf = (caller: Caller) =>
    caller.context === "service" ? (options.user ?? caller.userName) : caller.userName

  const passwordOf = (caller: Caller): Effect.Effect<Redacted.Redacted, SqlError.SqlError> => {
    if (credentials !== undefined) return Effect.mapError(credentials.token(caller), Failure.noToken)
    return options.password !== undefined && caller.context === "service"
      ? Effect.succeed(options.password)
      : Effect.fail(Failure.nothingToLogInWith)
  }

  const logIn = (caller: Caller) =>
    Effect.flatMap(passwordOf(caller), (password) =>
      Session.open(target, { username: roleOf(caller), password }, Client.compiler)
    )

  // A connection is opened by whoever needs it, with the token that they have now.
  const open = (caller: Caller) =>
    logIn(caller).pipe(
      Effect.catchIf(Failure.isRefusedLogin, (error) =>
        credentials === undefined ? Effect.fail(error) : Effect.andThen(credentials.drop(caller), logIn(caller))
      ),
      // A database that wakes up, restarts or is full for the moment has run nothing yet.
      Effect.retry({ schedule: wakeUp, while: Failure.isPassing }),
      Effect.timeoutOrElse({ duration: acquireTimeout, orElse: () => Effect.fail(Failure.exhausted(acquireTimeout)) }),
      Effect.mapError((error) => Failure.explain(error, roleOf(caller))),
      Effect.withSpan("lakebase.connect"),
      Effect.provideService(Reactivity.Reactivity, reactivity)
    )

  const limits = {
    idleTimeout: Duration.fromInputUnsafe(options.idleTimeout ?? "30 seconds"),
    maxLifetime: Duration.fromInputUnsafe(options.maxLifetime ?? "1 hour"),
    acquireTimeout
  }
  const driver: Pool.Driver<Caller, Session.Session, SqlError.SqlError> = {
    keyOf: (caller) => caller.scimId,
    open,
    isUsable: (session) => session.isUsable(),
    exhausted: Failure.exhausted(acquireTimeout),
    closed: Failure.closing
  }
  const total = options.maxConnections ?? 50
  const share = Math.min(options.maxConnectionsService ?? 10, total - 1)
  const forService = yield* Pool.make({ total: share, perCaller: share, ...limits }, driver)
  const forUsers = yield* Pool.make(
    { total: total - share, perCaller: options.maxConnectionsPerUser ?? 3, ...limits },
    driver
  )
  const poolOf = (caller: Caller) => (caller.context === "service" ? forService : forUsers)
  const sessions: Client.Sessions = {
    use: (caller, depth, f) => poolOf(caller).use(caller, depth, f),
    lease: (caller, depth) => poolOf(caller).lease(caller, depth)
  }
  const clientOptions = {
    service,
    config: { host: target.host, port, database, ssl: target.ssl, applicationName: target.applicationName },
    spanAttributes: [
      ["db.system.name", "postgresql"],
      ["db.namespace", database],
      ["server.address", target.host],
      ["server.port", port]
    ] as const
  }
  const clientOf = (caller?: Caller) =>
    Effect.provideService(Client.make(sessions, clientOptions, caller), Reactivity.Reactivity, reactivity)
  return {
    client: yield* clientOf(),
    clientOf,
    stats: Effect.sync(() => ({ service: forService.stats(), users: forUsers.stats() }))
  }
})

/**
 * `PgClient` and `SqlClient` follow the caller; `Lakebase.user` is the user's.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (
  options: Options
): Layer.Layer<Lakebase | PgClient.PgClient | SqlClient.SqlClient, never, ServiceContext> =>
  Layer.effectContext(
    Effect.map(make(options), (lakebase) =>
      Context.make(Lakebase, lakebase).pipe(
        Context.add(PgClient.PgClient, lakebase.client),
        Context.add(SqlClient.SqlClient, lakebase.client)
      )
    )
  ).pipe(Layer.provide(Reactivity.layer))

const wakeUp = Schedule.exponential("50 millis", 1.5).pipe(
  Schedule.jittered,
  Schedule.modifyDelay(({ duration }) => Effect.succeed(Duration.min(duration, Duration.seconds(1))))
)
