/**
 * A service principal and users for tests without a workspace.
 *
 * @since 0.1.0
 */
import { Context, Effect, Layer, Option, Redacted } from "effect"
import type { Caller } from "../Caller.ts"
import { InvalidRequestError, make as databricksError } from "../DatabricksError.ts"
import { ExecutionContext } from "../ExecutionContext.ts"
import * as IdentityVerifier from "../IdentityVerifier.ts"
import * as Client from "../internal/workspace/client.ts"
import { ServiceContext } from "../ServiceContext.ts"
import { UserContext } from "../UserContext.ts"
import { WorkspaceClient } from "../WorkspaceClient.ts"

/**
 * The options of `layer`.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options {
  /** The SCIM id of the service principal. Defaults to `"service-principal"`. */
  readonly servicePrincipalId?: string | undefined
  /** Defaults to `"1"`. */
  readonly workspaceId?: string | undefined
  /** Defaults to `"test-warehouse"`. */
  readonly warehouseId?: string | undefined
  /** Whether the context behaves as in development. Defaults to `false`. */
  readonly development?: boolean | undefined
}

/**
 * The options of `user`.
 *
 * @since 0.1.0
 * @category models
 */
export interface UserOptions {
  /** The SCIM id. */
  readonly id: string
  /** The SCIM user name. Defaults to `id`. */
  readonly userName?: string | undefined
  /** Defaults to `"1"`. */
  readonly workspaceId?: string | undefined
}

/**
 * Provides a `ServiceContext` without a workspace. Every request to the workspace fails at once with an
 * `InvalidRequestError` that says so.
 *
 * `asUser(request)` trusts the request's headers.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (options: Options = {}): Layer.Layer<ServiceContext | WorkspaceClient> => {
  const principal: Caller = {
    ...makeCaller({ id: options.servicePrincipalId ?? "service-principal", workspaceId: options.workspaceId }),
    context: "service"
  }
  const service: ServiceContext["Service"] = {
    host: "https://workspace.invalid",
    workspaceId: principal.workspaceId,
    warehouseId: Option.some(options.warehouseId ?? "test-warehouse"),
    principal,
    development: options.development ?? false,
    identityVerifier: IdentityVerifier.trustProxy(principal)
  }
  const client = Client.make(service, {
    send: (_caller, request) =>
      Effect.fail(
        databricksError(
          // A ConnectionError would be retried, for which a test with a TestClock would wait forever.
          new InvalidRequestError({
            message: `TestContext has no workspace to send ${request.method} ${request.url} to: use LocalWorkspace, or provide a WorkspaceClient`
          })
        )
      ),
    fetch: () =>
      Effect.die(
        "TestContext has no workspace, and cannot fetch a link: use LocalWorkspace, or provide a WorkspaceClient"
      )
  })
  return Layer.succeedContext(Context.make(ServiceContext, service).pipe(Context.add(WorkspaceClient, client)))
}

/**
 * Runs an effect as this user, without a request or a token. `workspaceId` must be that of `layer`.
 *
 * @since 0.1.0
 * @category layers
 */
export const user = (options: UserOptions): Layer.Layer<UserContext> => {
  const caller = makeCaller(options)
  return Layer.succeedContext(Context.add(Context.make(UserContext, caller), ExecutionContext, caller))
}

const makeCaller = (options: UserOptions): Caller => {
  const userName = options.userName ?? options.id
  return {
    workspaceId: options.workspaceId ?? "1",
    context: "user",
    id: options.id,
    scimId: options.id,
    userName,
    email: userName.includes("@") ? userName : undefined,
    oboDevFallback: false,
    authorization: Effect.succeed(Redacted.make("Bearer test"))
  }
}
