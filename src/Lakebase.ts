/**
 * Lakebase, the Postgres of Databricks: each caller on connections of their own, all of them under one budget.
 *
 * @since 0.1.0
 */
import * as PgClient from "@effect/sql-pg/PgClient"
import { type Config, Context, Duration, Effect, Layer, type Redacted, Schedule, Scope } from "effect"
import { Reactivity } from "effect/reactivity"
import { SqlClient, type SqlError } from "effect/sql"
import type { ConnectionOptions } from "node:tls"
import * as Caller from "./Caller.ts"
import { runAs } from "./ExecutionContext.ts"
import * as Client from "./internal/lakebase/client.ts"
import * as Credentials from "./internal/lakebase/credentials.ts"
import * as Environment from "./internal/lakebase/config.ts"
import * as Failure from "./internal/lakebase/failure.ts"
import * as Metrics from "./internal/lakebase/metrics.ts"
import * as PgConfig from "./internal/lakebase/pgConfig.ts"
import * as Pool from "./internal/lakebase/pool.ts"
import * as Session from "./internal/lakebase/driver/session.ts"
import { failed } from "./internal/workspace/startError.ts"
import { ServiceContext, type ServiceContextError } from "./ServiceContext.ts"
import { UserContext } from "./UserContext.ts"
import { WorkspaceClient } from "./WorkspaceClient.ts"

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
  /**
   * For the whole application: 50 unless given. At a full budget, transactions of four callers or more inside each other
   * may wait for one another until the acquire timeout.
   */
  readonly maxConnections?: number | undefined
  /** For each user: 3 unless given. */
  readonly maxConnectionsPerUser?: number | undefined
  /** Of the whole, what only the service principal may use: a fifth unless given. */
  readonly maxConnectionsService?: number | undefined
  /** 30 seconds unless given. */
  readonly idleTimeout?: Duration.Input | undefined
  /** Whoever has lost their access keeps a connection for so long at the most: 1 hour unless given. */
  readonly maxLifetime?: Duration.Input | undefined
  /** How long a call waits for a connection, its opening included: 10 seconds unless given. */
  readonly acquireTimeout?: Duration.Input | undefined
}

/**
 * `PGHOST PGPORT PGDATABASE PGUSER PGSSLMODE PGSSLROOTCERT PGAPPNAME`, as Databricks Apps sets them for a database
 * resource, and `LAKEBASE_ENDPOINT`, which `app.yaml` sets.
 *
 * `PGHOST` and `LAKEBASE_ENDPOINT` are needed; a local database takes `PGPASSWORD` in place of an endpoint. Without
 * `PGUSER` the service principal's role is `DATABRICKS_CLIENT_ID`, else its SCIM user name. `PGSSLMODE` is `disable`
 * (plaintext) or one of `require`, `verify-ca` and `verify-full`, which all verify certificate and host, as does none;
 * `allow` and `prefer` are refused, because they may send a token in plaintext. `PGSSLROOTCERT` is a file, or `system`.
 *
 * @since 0.1.0
 * @category configuration
 */
export const config: Config.Config<Options> = Environment.config

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
    readonly clientOf: (caller: Caller.Caller) => PgClient.PgClient
    readonly stats: Effect.Effect<{ readonly service: Pool.Stats; readonly users: Pool.Stats }>
    /** What `pgConfig` gives. */
    readonly pgConfig: PgConfig.PgConfig
  }
>()("effect-databricks/Lakebase") {}

/**
 * The user's own client: what needs it does not compile without `asUser`, and cannot run as the owner of the tables.
 *
 * @since 0.1.0
 * @category accessors
 */
export const user: Effect.Effect<PgClient.PgClient, never, UserContext | Lakebase> = Lakebase.use(({ clientOf }) =>
  Effect.map(UserContext, clientOf)
)

/**
 * A configuration for `pg`, and for what is built on it, as the service principal.
 *
 * It never follows the caller, and the connections of that driver do not count among `maxConnections`.
 *
 * @since 0.1.0
 * @category accessors
 */
export const pgConfig: Effect.Effect<PgConfig.PgConfig, never, Lakebase> = Lakebase.useSync((_) => _.pgConfig)

/**
 * @since 0.1.0
 * @category constructors
 */
export const make = Effect.fnUntraced(function* (
  options: Options
): Effect.fn.Return<
  Lakebase["Service"],
  never,
  ServiceContext | WorkspaceClient | Scope.Scope | Reactivity.Reactivity
> {
  const service = yield* ServiceContext
  const client = yield* WorkspaceClient
  const own = yield* Effect.context<Reactivity.Reactivity>()
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
  const acquireTimeout = Duration.fromInputUnsafe(options.acquireTimeout ?? "10 seconds")
  // A little less than for the connection: who waits in vain for a token is told so.
  const patience = Duration.times(acquireTimeout, 0.8)
  const credentials =
    endpoint === undefined
      ? undefined
      : yield* Credentials.make((caller, request) => runAs(client.send(request), caller), endpoint, patience)

  const roleOf = (caller: Caller.Caller) =>
    caller.context === "service" ? (options.user ?? caller.userName) : caller.userName

  const passwordOf = (caller: Caller.Caller): Effect.Effect<Redacted.Redacted, SqlError.SqlError> => {
    if (credentials !== undefined) return Effect.mapError(credentials.token(caller), Failure.noToken)
    return options.password !== undefined && caller.context === "service"
      ? Effect.succeed(options.password)
      : Effect.fail(Failure.nothingToLogInWith)
  }

  // A connection keeps the context that it was opened in, where the asker's has their request, with their token.
  const openSession = (login: Session.Login) =>
    Effect.flatMap(Effect.scope, (scope) =>
      Effect.setContext(Session.open(target, login, Client.compiler), Context.add(own, Scope.Scope, scope))
    )

  const logIn = (caller: Caller.Caller) =>
    Effect.flatMap(passwordOf(caller), (password) =>
      openSession({ username: roleOf(caller), password }).pipe(
        Effect.tapError((error) =>
          credentials !== undefined && Failure.isRefusedLogin(error) ? credentials.drop(caller, password) : Effect.void
        )
      )
    )

  // A connection is opened by whoever needs it, with the token that they have now.
  const open = (caller: Caller.Caller, within: Duration.Duration) =>
    Effect.suspend(() => {
      let last: SqlError.SqlError | undefined
      return logIn(caller).pipe(
        Effect.catchIf(Failure.isRefusedLogin, (error) =>
          credentials === undefined ? Effect.fail(error) : logIn(caller)
        ),
        Effect.tapError((error) => Effect.sync(() => (last = error))),
        // A database that wakes up, restarts or is full for the moment has run nothing yet.
        Effect.retry({ schedule: wakeUp, while: Failure.isPassing }),
        Effect.timeoutOrElse({
          duration: within,
          orElse: () => Effect.fail(Failure.waitedInVain(last, acquireTimeout))
        })
      )
    }).pipe(
      Effect.mapError((error) => Failure.explain(error, roleOf(caller))),
      Effect.withSpan("lakebase.connect", {}, { captureStackTrace: false })
    )

  const limits = {
    idleTimeout: Duration.fromInputUnsafe(options.idleTimeout ?? "30 seconds"),
    maxLifetime: Duration.fromInputUnsafe(options.maxLifetime ?? "1 hour"),
    acquireTimeout
  }
  const poolFor = Effect.fnUntraced(function* (context: Caller.Caller["context"], total: number, perCaller: number) {
    let exhaustions = 0
    const pool = yield* Pool.make<Caller.Caller, Session.Session, SqlError.SqlError>(
      { total, perCaller, ...limits },
      {
        keyOf: Caller.key,
        open,
        isUsable: (session) => session.isUsable(),
        // The pool asks for it when somebody has waited in vain.
        get exhausted() {
          exhaustions++
          return Failure.exhausted(acquireTimeout)
        },
        closed: Failure.closing
      }
    )
    yield* Metrics.observe(context, () => ({ ...pool.stats(), exhaustions }))
    return pool
  })
  // One for each side at least.
  const total = Math.max(2, options.maxConnections ?? 50)
  const share = Math.min(Math.max(1, options.maxConnectionsService ?? Math.floor(total / 5)), total - 1)
  const forService = yield* poolFor("service", share, share)
  const forUsers = yield* poolFor("user", total - share, options.maxConnectionsPerUser ?? 3)
  const poolOf = (caller: Caller.Caller) => (caller.context === "service" ? forService : forUsers)
  const sessions: Client.Sessions = {
    use: (caller, depth, f) => poolOf(caller).use(caller, depth, f),
    lease: (caller, depth) => poolOf(caller).lease(caller, depth)
  }
  const clientOf = yield* Client.make(sessions, {
    principal: service.principal,
    config: { host: target.host, port, database, ssl: target.ssl, applicationName: target.applicationName },
    spanAttributes: [
      ["db.system.name", "postgresql"],
      ["db.namespace", database],
      ["server.address", target.host],
      ["server.port", port]
    ]
  })
  return {
    client: clientOf(),
    clientOf,
    stats: Effect.sync(() => ({ service: forService.stats(), users: forUsers.stats() })),
    pgConfig: PgConfig.make(target, roleOf(service.principal), passwordOf(service.principal), own)
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
): Layer.Layer<Lakebase | PgClient.PgClient | SqlClient.SqlClient, never, ServiceContext | WorkspaceClient> =>
  Layer.effectContext(
    Effect.map(make(options), (lakebase) =>
      Context.make(Lakebase, lakebase).pipe(
        Context.add(PgClient.PgClient, lakebase.client),
        Context.add(SqlClient.SqlClient, lakebase.client)
      )
    )
  ).pipe(Layer.provide(Reactivity.layer))

/**
 * The layer that an application on Databricks Apps wants: `config`, and the limits of `layer` as they are by default.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerConfig: Layer.Layer<
  Lakebase | PgClient.PgClient | SqlClient.SqlClient,
  ServiceContextError,
  ServiceContext | WorkspaceClient
> = Layer.unwrap(
  Effect.map(
    Effect.mapError(config, ({ cause }) => failed(cause.message)),
    layer
  )
)

const wakeUp = Schedule.exponential("50 millis", 1.5).pipe(
  Schedule.jittered,
  Schedule.modifyDelay(({ duration }) => Effect.succeed(Duration.min(duration, Duration.seconds(1))))
)
