/**
 * Clients of Lakebase, the Postgres of Databricks. Each caller has connections of its own, under one common limit.
 *
 * @since 0.1.0
 */
import * as PgClient from "@effect/sql-pg/PgClient"
import { type Config, Context, type Duration, Effect, type FileSystem, Layer, type Redacted, type Scope } from "effect"
import { Reactivity } from "effect/reactivity"
import { type Migrator, SqlClient, type SqlError } from "effect/sql"
import type { ConnectionOptions } from "node:tls"
import type { Caller } from "./Caller.ts"
import * as Environment from "./internal/lakebase/config.ts"
import * as Migrate from "./internal/lakebase/migrations/migrate.ts"
import * as Service from "./internal/lakebase/service.ts"
import type { ServiceContext } from "./ServiceContext.ts"
import { UserContext } from "./UserContext.ts"
import type { WorkspaceClient } from "./WorkspaceClient.ts"

export {
  /**
   * The database refused the caller's login (401).
   *
   * @since 0.1.0
   * @category errors
   */
  LoginError,
  /**
   * The database has no role for the caller (403).
   *
   * @since 0.1.0
   * @category errors
   */
  MissingRoleError,
  /**
   * No connection is available (503). The message names the limit.
   *
   * @since 0.1.0
   * @category errors
   */
  PoolExhaustedError
} from "./LakebaseError.ts"

/**
 * The database, the login of the service principal, and the limits of the connections.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options {
  /** The host name of the database. */
  readonly host: string
  /** Defaults to 5432. */
  readonly port?: number | undefined
  /** The name of the database. Defaults to `databricks_postgres`. */
  readonly database?: string | undefined
  /** The service principal's role. Defaults to its SCIM user name, which is its client id. */
  readonly user?: string | undefined
  /** The Lakebase endpoint that issues the tokens: `projects/…/branches/…/endpoints/…`. */
  readonly endpoint?: string | undefined
  /** The service principal's password, for a database without tokens. Ignored if `endpoint` is set. */
  readonly password?: Redacted.Redacted | undefined
  /** `true` verifies the server's certificate, an object sets TLS options, `false` disables TLS. Defaults to `true`. */
  readonly ssl?: boolean | ConnectionOptions | undefined
  /** The application's name in `pg_stat_activity`. Defaults to `effect-databricks`. */
  readonly applicationName?: string | undefined
  /**
   * The most connections of the application. Defaults to 50. If the database allows fewer, the pool shrinks, and grows
   * again when the database has room. A call that could only get a connection after its own end fails at once.
   */
  readonly maxConnections?: number | undefined
  /**
   * The most connections of one user. Defaults to 3. One of 2 or 3 connections, and two of 4 or more, are reserved for
   * single statements and for calls inside the user's transactions and streams.
   */
  readonly maxConnectionsPerUser?: number | undefined
  /** The number of `maxConnections` that is reserved for the service principal. Defaults to a fifth. */
  readonly maxConnectionsService?: number | undefined
  /** The time after which an idle connection closes; 1 second if the database is full. Defaults to 30 seconds. */
  readonly idleTimeout?: Duration.Input | undefined
  /**
   * The longest age at which a connection is still given to a call, and the longest time that a call may hold it.
   * Defaults to 1 hour. A statement, stream, transaction, listener or reserved connection that lasts longer fails with
   * a retryable error. The connections of a user whose access was revoked are therefore closed after at most twice this
   * time.
   */
  readonly maxLifetime?: Duration.Input | undefined
  /** The longest time that a call waits for a connection, including opening it. Defaults to 10 seconds. */
  readonly acquireTimeout?: Duration.Input | undefined
}

/**
 * The current connections of the service principal, or of all users.
 *
 * @since 0.1.0
 * @category models
 */
export interface Stats {
  /** Connections that are open, opening or closing. */
  readonly total: number
  /** Open connections that are not in use. */
  readonly idle: number
  /** Calls waiting for a connection. */
  readonly waiting: number
  /** Idle connections that were closed since the start to make room for another caller. */
  readonly evictions: number
}

/**
 * The configuration of `pg`, and of libraries built on it.
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
  /** Session settings, as `-c TimeZone=UTC`, which take precedence over those of the role. */
  readonly options: string
  /** Returns a token that is valid for at least 2 minutes. Called for each connection. Rejects with a `SqlError`. */
  readonly password: () => Promise<string>
}

/**
 * Reads `PGHOST PGPORT PGDATABASE PGUSER PGSSLMODE PGSSLROOTCERT PGAPPNAME`, as Databricks Apps sets them for a
 * database resource, and `LAKEBASE_ENDPOINT`, which `app.yaml` sets.
 *
 * `PGHOST` and `LAKEBASE_ENDPOINT` are required. A local database uses `PGPASSWORD` in place of an endpoint. `PGUSER`
 * defaults to `DATABRICKS_CLIENT_ID`, else to the service principal's SCIM user name. `PGSSLMODE` is `disable`
 * (plaintext) or one of `require`, `verify-ca` and `verify-full`; these three verify certificate and host, and so does
 * the default. `allow` and `prefer` are refused, because they may send a token in plaintext. `PGSSLROOTCERT` is a file,
 * or `system`.
 *
 * @since 0.1.0
 * @category configuration
 */
export const config: Config.Config<Options> = Environment.make()

/**
 * The clients of the database.
 *
 * @since 0.1.0
 * @category services
 */
export class Lakebase extends Context.Service<
  Lakebase,
  {
    /** The client that runs each statement as the caller of the fiber. */
    readonly client: PgClient.PgClient
    /** Returns the client of one user. Its statements run as that user, and die outside of that user's calls. */
    readonly clientOf: (caller: Caller) => PgClient.PgClient
    /** Returns the current numbers of connections. */
    readonly stats: Effect.Effect<{ readonly service: Stats; readonly users: Stats }>
    /** The configuration of `pg` for the service principal. */
    readonly pgConfig: PgConfig
  }
>()("effect-databricks/Lakebase") {}

/**
 * Returns the client of the user. Its statements run as that user, and never as the service principal that owns the
 * tables.
 *
 * An effect that uses it compiles only under `asUser`. Use the client only in the call that returned it: outside of
 * that user's calls its statements die.
 *
 * @since 0.1.0
 * @category accessors
 */
export const user: Effect.Effect<PgClient.PgClient, never, UserContext | Lakebase> = Lakebase.use(({ clientOf }) =>
  Effect.map(UserContext, clientOf)
)

/**
 * Returns a configuration for `pg`, and for libraries built on it, that logs in as the service principal.
 *
 * It never runs as a user, and its connections do not count towards `maxConnections`.
 *
 * @since 0.1.0
 * @category accessors
 */
export const pgConfig: Effect.Effect<PgConfig, never, Lakebase> = Lakebase.useSync((_) => _.pgConfig)

/**
 * Runs the SQL scripts that have not run yet, in the order of their numbers, and returns them. Always runs as the service
 * principal.
 *
 * - `schema` is the application's own schema. It is created if it is missing, is the `search_path` of every script, and
 *   holds the table of the migrations.
 * - `directory` is read through Effect's `FileSystem`, which `App.layerHttpServer` provides.
 * - `scripts` has the texts by name, for a bundled application.
 *
 * The name of a script is a number and a name: `0001_orders.sql`. A script may have several statements, and runs in one
 * transaction with its record. Concurrent processes wait for each other, so each script runs once.
 *
 * Fails with a `MigrationError` that names the file, line, statement and role, or the invalid name. A script that has
 * changed since it ran is refused.
 *
 * ```ts
 * import { Effect, Layer } from "effect"
 * import { Lakebase } from "effect-databricks"
 *
 * export const Tables = Layer.effectDiscard(Lakebase.migrate({ schema: "app", directory: "migrations" }))
 * ```
 *
 * @since 0.1.0
 * @category migrations
 */
export function migrate(options: {
  readonly schema: string
  readonly directory: string
}): Effect.Effect<Migrations, MigrateError, Lakebase | FileSystem.FileSystem>
export function migrate(options: {
  readonly schema: string
  readonly scripts: Readonly<Record<string, string>>
}): Effect.Effect<Migrations, MigrateError, Lakebase>
export function migrate(
  options: Migrate.Options
): Effect.Effect<Migrations, MigrateError, Lakebase | FileSystem.FileSystem> {
  return Lakebase.use((lakebase) => Migrate.migrate(lakebase, options))
}

/**
 * The number and name of each migration of this run.
 *
 * @since 0.1.0
 * @category migrations
 */
export type Migrations = ReadonlyArray<readonly [id: number, name: string]>

/**
 * A script is invalid or failed, the database cannot be reached, or an option is invalid.
 *
 * @since 0.1.0
 * @category migrations
 */
export type MigrateError = Migrator.MigrationError | SqlError.SqlError | Config.ConfigError

/**
 * Makes the service. Fails with a `ConfigError` that names the invalid option.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make: (
  options: Options
) => Effect.Effect<
  Lakebase["Service"],
  Config.ConfigError,
  ServiceContext | WorkspaceClient | Scope.Scope | Reactivity.Reactivity
> = Service.make

/**
 * Provides `PgClient` and `SqlClient`, which run each statement as the caller of the fiber, and `Lakebase`.
 *
 * Fails with a `ConfigError` that names the invalid option.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (
  options: Options
): Layer.Layer<
  Lakebase | PgClient.PgClient | SqlClient.SqlClient,
  Config.ConfigError,
  ServiceContext | WorkspaceClient
> =>
  Layer.effectContext(
    Effect.map(make(options), (lakebase) =>
      Context.make(Lakebase, lakebase).pipe(
        Context.add(PgClient.PgClient, lakebase.client),
        Context.add(SqlClient.SqlClient, lakebase.client)
      )
    )
  ).pipe(Layer.provide(Reactivity.layer))

/**
 * Provides `layer` from the environment, as `config` reads it, with `overrides` on top: `layerConfig({ maxConnections:
 * 100 })`.
 *
 * An override replaces its variable, which is then not read; an override of `undefined` counts as absent. Fails with a
 * `ConfigError` that names the missing or wrong variable. Without overrides every call returns the same layer, which a
 * composition builds once.
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
