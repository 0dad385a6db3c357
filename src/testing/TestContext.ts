/**
 * A service principal and users for tests that need no workspace.
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
 * @since 0.1.0
 * @category models
 */
export interface Options {
  readonly servicePrincipalId?: string | undefined
  readonly workspaceId?: string | undefined
  readonly warehouseId?: string | undefined
  readonly development?: boolean | undefined
}

/**
 * A `ServiceContext` without a workspace: whatever would leave for one fails at once with a sentence that says so.
 *
 * `asUser(request)` believes the request's headers here.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (options: Options = {}): Layer.Layer<ServiceContext | WorkspaceClient> => {
  const service: ServiceContext["Service"] = {
    host: "https://workspace.invalid",
    workspaceId: options.workspaceId ?? "1",
    warehouseId: Option.some(options.warehouseId ?? "test-warehouse"),
    principal: { ...makeCaller({ id: options.servicePrincipalId ?? "service-principal" }), context: "service" },
    development: options.development ?? false,
    identityVerifier: IdentityVerifier.trustProxy
  }
  const client = Client.make(service, {
    send: (_caller, request) =>
      Effect.fail(
        databricksError(
          // Not a ConnectionError: that would be tried again, and a test would wait for its clock.
          new InvalidRequestError({
            message: `TestContext has no workspace to send ${request.method} ${request.url} to: use LocalWorkspace, or provide a WorkspaceClient`
          })
        )
      ),
    fetch: () => Effect.die("TestContext has no workspace, and so nothing that it has linked to")
  })
  return Layer.succeedContext(Context.make(ServiceContext, service).pipe(Context.add(WorkspaceClient, client)))
}

/**
 * Runs an effect as this user, with no request and no token.
 *
 * @since 0.1.0
 * @category layers
 */
export const user = (options: {
  readonly id: string
  readonly userName?: string | undefined
}): Layer.Layer<UserContext> => {
  const caller = makeCaller(options)
  return Layer.succeedContext(Context.add(Context.make(UserContext, caller), ExecutionContext, caller))
}

const makeCaller = (options: { readonly id: string; readonly userName?: string | undefined }): Caller => {
  const userName = options.userName ?? options.id
  return {
    context: "user",
    id: options.id,
    scimId: options.id,
    userName,
    email: userName.includes("@") ? userName : undefined,
    oboDevFallback: false,
    authorization: Effect.succeed(Redacted.make("Bearer test"))
  }
}
