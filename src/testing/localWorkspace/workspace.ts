/** One local workspace: its principals, Postgres, warehouses and HTTP server. */
import { Clock, Duration, Effect, Redacted, Scope } from "effect"
import * as HttpRouter from "effect/http/HttpRouter"
import type { Options, RecordedRequest, TokenOptions } from "../LocalWorkspace.ts"
import * as FileRoutes from "./files/routes.ts"
import * as GenieRoutes from "./genie/routes.ts"
import * as Faults from "./http/faults.ts"
import { serve } from "./http/server.ts"
import * as Directory from "./identity/directory.ts"
import { allScopes, type Principal } from "./identity/principals.ts"
import * as IdentityRoutes from "./identity/routes.ts"
import * as Kept from "./kept.ts"
import * as JobsRoutes from "./jobs/routes.ts"
import * as Lakebase from "./postgres/lakebase.ts"
import * as SearchRoutes from "./search/routes.ts"
import * as ServingRoutes from "./serving/routes.ts"
import * as ExternalLinks from "./sql/externalLinks.ts"
import * as SqlRoutes from "./sql/routes.ts"
import * as Warehouses from "./sql/warehouses.ts"

const endpoint = "projects/local/branches/production/endpoints/primary"
// The name of the scope for database credentials is inferred.
const credentialScope = "postgres"
const userScopes = [
  "iam.current-user:read",
  "iam.access-control:read",
  "sql",
  credentialScope,
  "files",
  "genie",
  "model-serving",
  "vector-search"
]
const requestsKept = 10_000

/** Starts a local workspace until the scope closes. */
export const start = Effect.fnUntraced(function* (options: Options) {
  const scope = yield* Scope.Scope
  const clock = yield* Clock.Clock
  const now = () => clock.currentTimeMillisUnsafe()
  let origin = ""
  const kept = options.directory === undefined ? undefined : yield* Kept.open(options.directory)
  const { workspaceId = kept?.workspaceId ?? Kept.newWorkspaceId() } = options

  const directory = Directory.make(
    options.users ?? [{ userName: "alice@example.com" }, { userName: "bob@example.com" }],
    now,
    kept?.clientId
  )
  const { service } = directory
  const postgres = yield* Lakebase.start(directory, {
    maxConnections: options.maxConnections ?? 104,
    ssl: options.ssl,
    kept: kept?.data
  })
  const warehouses = Warehouses.makeAll(
    scope,
    options.warehouseStartTime ?? "500 millis",
    options.warehouses ?? [{ name: "Starter Warehouse" }, { name: "Stopped Warehouse", state: "STOPPED" }]
  )
  const faults = Faults.make()

  const router = yield* HttpRouter.make
  yield* IdentityRoutes.addTo(router, {
    directory,
    workspaceId,
    endpoint,
    now,
    origin: () => origin,
    serviceTokenTtl: Duration.fromInputUnsafe(options.serviceTokenTtl ?? "1 hour"),
    credentialScope
  })
  const sql = yield* SqlRoutes.addTo(router, {
    directory,
    warehouses,
    faults,
    limits: { rowsPerChunk: options.rowsPerChunk ?? 10_000, inlineBytes: options.inlineByteLimit ?? 25 * 1024 * 1024 },
    links: ExternalLinks.make({
      origin: () => origin,
      now,
      ttlMillis: Duration.toMillis(options.externalLinkTtl ?? "15 minutes"),
      headers: options.externalLinkHeaders ?? {}
    }),
    metricViews: options.metricViews ?? [],
    scope,
    login: postgres.loginOf
  })
  yield* FileRoutes.addTo(router, { directory, files: options.files ?? {}, kept: kept?.files })
  yield* ServingRoutes.addTo(router, { directory, endpoints: options.serving ?? {} })
  yield* SearchRoutes.addTo(router, { directory, indexes: options.search ?? {}, run: postgres.administer })
  const all = [...warehouses.values()]
  const running = all.find((warehouse) => warehouse.state() === "RUNNING") ?? all[0]
  yield* GenieRoutes.addTo(router, {
    directory,
    now,
    spaces: options.genie ?? [],
    run: (owner, text, rowLimit) =>
      running === undefined
        ? Effect.die(new Error("A Genie space needs a warehouse"))
        : sql.run({
            owner,
            sql: text,
            rowLimit,
            warehouse: running,
            disposition: "INLINE",
            format: "JSON_ARRAY",
            schema: undefined,
            parameters: [],
            byteLimit: undefined
          })
  })
  yield* JobsRoutes.addTo(router, { directory, jobs: options.jobs ?? [], origin: () => origin, scope })
  const requests: Array<RecordedRequest> = []
  const record = (request: RecordedRequest) => {
    if (requests.push(request) > requestsKept) requests.shift()
  }
  const server = yield* serve(options.port ?? 0, directory, faults, router, record)
  origin = server.origin

  const token = (principal: Principal, { scopes, ttl = "1 hour" }: TokenOptions = {}) =>
    directory.mint(
      principal,
      Duration.toMillis(ttl),
      scopes ?? (principal === service ? [allScopes] : (options.userScopes ?? userScopes))
    )
  const headers = (principal: Principal, tokenOptions?: TokenOptions): Record<string, string> => ({
    "x-forwarded-user": `${principal.id}@${workspaceId}`,
    "x-forwarded-email": principal.userName,
    "x-forwarded-preferred-username": principal.displayName,
    "x-forwarded-access-token": Redacted.value(token(principal, tokenOptions))
  })

  const warehouseId = running?.id ?? ""
  return {
    origin,
    workspaceId,
    endpoint,
    directory,
    postgres,
    faults,
    requests,
    accepted: server.accepted,
    warehouseId,
    warehouses: all.map(({ id, name }) => ({ id, name })),
    token,
    headers,
    env: {
      DATABRICKS_HOST: origin,
      DATABRICKS_WORKSPACE_ID: workspaceId,
      DATABRICKS_WAREHOUSE_ID: warehouseId,
      DATABRICKS_CLIENT_ID: service.userName,
      DATABRICKS_CLIENT_SECRET: Redacted.value(directory.clientSecret),
      PGHOST: postgres.address.host,
      PGPORT: String(postgres.address.port),
      PGDATABASE: postgres.address.database,
      PGUSER: service.userName,
      PGSSLMODE: "disable",
      LAKEBASE_ENDPOINT: endpoint
    }
  }
})
