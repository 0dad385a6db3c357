/**
 * Lakebase, the Postgres of Databricks: each caller on connections of their own, all of them under one budget.
 *
 * @since 0.1.0
 */
import * as PgClient from "@effect/sql-pg/PgClient"
import { type Config, Context, Duration, Effect, Layer, Redacted, type Scope } from "effect"
import { Reactivity } from "effect/reactivity"
import { SqlClient } from "effect/sql"
import type { ConnectionOptions } from "node:tls"
import type { Caller } from "./Caller.ts"
import * as Client from "./internal/lakebase/client.ts"
import * as Environment from "./internal/lakebase/config.ts"
import * as Login from "./internal/lakebase/login.ts"
import * as Sessions from "./internal/lakebase/sessions.ts"
import { ServiceContext } from "./ServiceContext.ts"
import { UserContext } from "./UserContext.ts"
import { WorkspaceClient } from "./WorkspaceClient.ts"

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
} from "./LakebaseError.ts"

/**
 * Where the database is, how the service principal logs in to it, and the limits of the connections.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options {
  readonly host: string
  /** 5432 unless given. */
  readonly port?: number | undefined
  /** `databricks_postgres` unless given. */
  readonly database?: string | undefined
  /** The service principal's role. Its SCIM user name, which is its client id, unless given. */
  readonly user?: string | undefined
  /** The endpoint that mints the tokens: `projects/…/branches/…/endpoints/…`. */
  readonly endpoint?: string | undefined
  /** The service principal's password, for a database that takes no tokens. Ignored where `endpoint` is set. */
  readonly password?: Redacted.Redacted | undefined
  /** `true` verifies the server's certificate, an object says how; `false` is plaintext. `true` unless given. */
  readonly ssl?: boolean | ConnectionOptions | undefined
  /** The name that `pg_stat_activity` shows. `effect-databricks` unless given. */
  readonly applicationName?: string | undefined
  /**
   * The most connections of the application: 50 unless given. At a full budget, transactions of four callers or more
   * inside each other may wait for one another until the acquire timeout.
   */
  readonly maxConnections?: number | undefined
  /** The most connections of one user: 3 unless given. */
  readonly maxConnectionsPerUser?: number | undefined
  /** How many of `maxConnections` only the service principal uses: a fifth unless given. */
  readonly maxConnectionsService?: number | undefined
  /** An idle connection closes after this time: 30 seconds unless given. */
  readonly idleTimeout?: Duration.Input | undefined
  /** Any connection closes after this time, so that a user who has lost access does not stay: 1 hour unless given. */
  readonly maxLifetime?: Duration.Input | undefined
  /** How long a call waits for a connection, its opening included: 10 seconds unless given. */
  readonly acquireTimeout?: Duration.Input | undefined
}

/**
 * The connections of one side, the service principal's or the users', at one moment.
 *
 * @since 0.1.0
 * @category models
 */
export interface Stats {
  /** Connections that are open, opening or closing. */
  readonly total: number
  /** Open connections that no call uses. */
  readonly idle: number
  /** Calls that wait for a connection. */
  readonly waiting: number
  /** Idle connections that were closed for another caller, since the start. */
  readonly evictions: number
}

/**
 * What `pg`, and every library built on it, takes as its configuration.
 *
 * @since 0.1.0
 * @category models
 */
export interface PgConfig {
  readonly host: string
  readonly port: number
  readonly database: string
  /** The service principal's role. */
  readonly user: string
  readonly ssl: boolean | ConnectionOptions
  readonly application_name: string
  /** Returns a token that is good for at least 2 minutes; asked for each connection. Rejects with a `SqlError`. */
  readonly password: () => Promise<string>
}

/**
 * Reads `PGHOST PGPORT PGDATABASE PGUSER PGSSLMODE PGSSLROOTCERT PGAPPNAME`, as Databricks Apps sets them for a database
 * resource, and `LAKEBASE_ENDPOINT`, which `app.yaml` sets.
 *
 * `PGHOST` and `LAKEBASE_ENDPOINT` are required; a local database takes `PGPASSWORD` in place of an endpoint. Without
 * `PGUSER` the service principal's role is `DATABRICKS_CLIENT_ID`, else its SCIM user name. `PGSSLMODE` is `disable`
 * (plaintext) or one of `require`, `verify-ca` and `verify-full`, which all verify certificate and host, as does none;
 * `allow` and `prefer` are refused, because they may send a token in plaintext. `PGSSLROOTCERT` is a file, or `system`.
 *
 * @since 0.1.0
 * @category configuration
 */
export const config: Config.Config<Options> = Environment.make()

/**
 * @since 0.1.0
 * @category services
 */
export class Lakebase extends Context.Service<
  Lakebase,
  {
    /** The client that runs each statement as its caller. */
    readonly client: PgClient.PgClient
    /** Returns a client that runs every statement as this caller. */
    readonly clientOf: (caller: Caller) => PgClient.PgClient
    readonly stats: Effect.Effect<{ readonly service: Stats; readonly users: Stats }>
    /** The configuration of `pg` for the service principal. */
    readonly pgConfig: PgConfig
  }
>()("effect-databricks/Lakebase") {}

/**
 * Returns the user's own client: code that needs it does not compile without `asUser`, and cannot run as the owner of
 * the tables.
 *
 * @since 0.1.0
 * @category accessors
 */
export const user: Effect.Effect<PgClient.PgClient, never, UserContext | Lakebase> = Lakebase.use(({ clientOf }) =>
  Effect.map(UserContext, clientOf)
)

/**
 * Returns a configuration for `pg`, and for libraries built on it, as the service principal.
 *
 * It never follows the caller, and the connections of that driver do not count among `maxConnections`.
 *
 * @since 0.1.0
 * @category accessors
 */
export const pgConfig: Effect.Effect<PgConfig, never, Lakebase> = Lakebase.useSync((_) => _.pgConfig)

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
  const { principal } = yield* ServiceContext
  const { send } = yield* WorkspaceClient
  const { host, port = 5432, database = "databricks_postgres", ssl = true } = options
  const { applicationName = "effect-databricks" } = options
  const acquireTimeout = Duration.fromInputUnsafe(options.acquireTimeout ?? "10 seconds")
  const target = { host, port, database, ssl, applicationName }
  const login = yield* Login.make(target, { ...options, acquireTimeout }, send)
  const sessions = yield* Sessions.make(
    {
      maxConnections: options.maxConnections ?? 50,
      maxConnectionsPerUser: options.maxConnectionsPerUser ?? 3,
      maxConnectionsService: options.maxConnectionsService,
      idleTimeout: Duration.fromInputUnsafe(options.idleTimeout ?? "30 seconds"),
      maxLifetime: Duration.fromInputUnsafe(options.maxLifetime ?? "1 hour"),
      acquireTimeout
    },
    login.open
  )
  const clientOf = yield* Client.make(sessions, target, principal)
  const runPromise = Effect.runPromiseWith(yield* Effect.context<never>())
  return {
    client: clientOf(),
    clientOf,
    stats: sessions.stats,
    pgConfig: {
      host,
      port,
      database,
      ssl,
      application_name: applicationName,
      user: login.roleOf(principal),
      password: () => runPromise(Effect.map(login.passwordOf(principal), Redacted.value))
    }
  }
})

/**
 * Provides `PgClient` and `SqlClient`, which follow the caller, and `Lakebase`, whose `user` is the user's own client.
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
 * Builds `layer` from the environment, as `config` reads it, with `overrides` on top: `layerConfig({ maxConnections: 100 })`.
 *
 * A variable is not read where an override is given in its place, and an override that is `undefined` counts as none.
 * Fails with a `ConfigError` that names the variable which is missing or wrong. Without overrides every call returns
 * the same layer, which a composition builds once.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerConfig = (
  overrides?: Partial<Options>
): Layer.Layer<
  Lakebase | PgClient.PgClient | SqlClient.SqlClient,
  Config.ConfigError,
  ServiceContext | WorkspaceClient
> => (overrides === undefined ? fromEnvironment : Layer.unwrap(Effect.map(Environment.make(overrides), layer)))

const fromEnvironment = Layer.unwrap(Effect.map(config, layer))
