/** One local workspace: its people, its Postgres, its warehouses, and the HTTP server in front of them. */
import { Clock, Duration, Effect, Redacted, Scope } from "effect"
import * as HttpRouter from "effect/http/HttpRouter"
import type { Options, RecordedRequest, TokenOptions } from "../LocalWorkspace.ts"
import * as Faults from "./http/faults.ts"
import { serve } from "./http/server.ts"
import * as Directory from "./identity/directory.ts"
import { allScopes, type Principal } from "./identity/principals.ts"
import * as IdentityRoutes from "./identity/routes.ts"
import * as Lakebase from "./postgres/lakebase.ts"
import * as ExternalLinks from "./sql/externalLinks.ts"
import * as SqlRoutes from "./sql/routes.ts"
import * as Warehouses from "./sql/warehouses.ts"

const endpoint = "projects/local/branches/production/endpoints/primary"
// The name of the scope for database credentials is inferred.
const credentialScope = "postgres"
const userScopes = ["iam.current-user:read", "iam.access-control:read", "sql", credentialScope]
const requestsKept = 10_000

/** Starts it, until the scope closes. */
export const start = Effect.fnUntraced(function* (options: Options) {
  const scope = yield* Scope.Scope
  const clock = yield* Clock.Clock
  const now = () => clock.currentTimeMillisUnsafe()
  let origin = ""
  const { workspaceId = "7405612890431178" } = options

  const directory = Directory.make(
    options.users ?? [{ userName: "alice@example.com" }, { userName: "bob@example.com" }],
    now
  )
  const { service } = directory
  const postgres = yield* Lakebase.start(directory, { maxConnections: options.maxConnections ?? 104, ssl: options.ssl })
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
  yield* SqlRoutes.addTo(router, {
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
    scope,
    login: postgres.loginOf
  })
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
    "x-forwarded-user": `${principal.forwardedId}@${workspaceId}`,
    "x-forwarded-email": principal.userName,
    "x-forwarded-preferred-username": principal.displayName,
    "x-forwarded-access-token": Redacted.value(token(principal, tokenOptions))
  })

  const all = [...warehouses.values()]
  const warehouseId = (all.find((warehouse) => warehouse.state() === "RUNNING") ?? all[0])?.id ?? ""
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
