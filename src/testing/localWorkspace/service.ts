/** The service `LocalWorkspace`: starts a workspace, and finds the principals that a call names. */
import { Effect, Redacted, type Scope } from "effect"
import type {
  LocalWorkspace,
  LocalWorkspaceError,
  Options,
  TokenOptions,
  UnknownUserError,
  UserChange
} from "../LocalWorkspace.ts"
import type { Principal } from "./identity/principals.ts"
import type { PostgresError } from "./postgres/session.ts"
import * as Workspace from "./workspace.ts"

export const make = Effect.fnUntraced(function* (
  options: Options,
  errors: {
    readonly failed: (message: string, cause: unknown) => LocalWorkspaceError
    readonly unknown: (userName: string) => UnknownUserError
  }
): Effect.fn.Return<LocalWorkspace["Service"], LocalWorkspaceError, Scope.Scope> {
  const refused = (cause: PostgresError) => errors.failed(`${cause.message} (SQLSTATE ${cause.code})`, cause)
  const workspace = yield* Effect.mapError(Workspace.start(options), (cause) => errors.failed(cause.message, cause))
  const { directory, postgres } = workspace
  const { clientSecret, principals, service } = directory

  const principalOf = (userName: string): Effect.Effect<Principal, UnknownUserError> =>
    Effect.suspend(() => {
      const principal = principals.get(userName)
      return principal === undefined ? Effect.fail(errors.unknown(userName)) : Effect.succeed(principal)
    })
  const withPrincipal =
    <A>(use: (principal: Principal, options?: TokenOptions) => A) =>
    (userName: string, tokenOptions?: TokenOptions): Effect.Effect<A, UnknownUserError> =>
      Effect.map(principalOf(userName), (principal) => use(principal, tokenOptions))

  return {
    host: workspace.origin,
    workspaceId: workspace.workspaceId,
    warehouseId: workspace.warehouseId,
    warehouses: workspace.warehouses,
    servicePrincipal: { id: service.id, clientId: service.userName, clientSecret },
    users: Array.from(principals.values())
      .filter((principal) => principal !== service)
      .map(({ displayName, userName }) => ({ userName, displayName })),
    postgres: postgres.address,
    endpoint: workspace.endpoint,
    env: workspace.env,
    token: withPrincipal(workspace.token),
    revoke: (token) => Effect.sync(() => directory.revoke(Redacted.value(token))),
    headers: withPrincipal(workspace.headers),
    updateUser: Effect.fnUntraced(function* (userName: string, change: UserChange) {
      const principal = yield* principalOf(userName)
      if (change.userName !== undefined && change.userName !== userName) {
        yield* Effect.mapError(postgres.createRole(change.userName), refused)
      }
      directory.update(principal, change)
    }),
    misbehave: workspace.faults.add,
    administer: (script) => Effect.asVoid(Effect.mapError(postgres.administer(script), refused)),
    postgresServer: { ...postgres.server, freeze: Effect.mapError(postgres.server.freeze, refused) },
    requests: Effect.sync(() => [...workspace.requests]),
    connections: Effect.sync(workspace.accepted)
  }
})
