/**
 * The workspace's APIs as the caller of the running fiber.
 *
 * @since 0.1.0
 */
import type * as Sdk from "@databricks/sdk-experimental"
import { Context, Effect, type Schema } from "effect"
import type { HttpClientError, HttpClientRequest, HttpClientResponse } from "effect/http"
import type { DatabricksError } from "./DatabricksError.ts"
import { runAs } from "./ExecutionContext.ts"
import type * as Operation from "./Operation.ts"
import { UserContext } from "./UserContext.ts"

/**
 * A client that may be kept: each of its calls runs as the caller of the fiber that makes it. `ServiceContext.layer`
 * provides it.
 *
 * A call has no timeout and is not retried unless its options say so. A retried call may be carried out twice: a lost
 * connection does not tell whether it was. A call that times out is aborted.
 *
 * @since 0.1.0
 * @category services
 */
export class WorkspaceClient extends Context.Service<
  WorkspaceClient,
  {
    /**
     * Sends a request to a path of the workspace; a response outside 2xx fails with `DatabricksError`. Its timeout ends
     * with the response's head.
     */
    readonly request: <const O extends Operation.Policy = {}>(
      request: HttpClientRequest.HttpClientRequest,
      options?: O
    ) => Effect.Effect<HttpClientResponse.HttpClientResponse, DatabricksError | Operation.TimeoutOf<O>>
    /** Sends a request and decodes the JSON of its response, at most 64 MiB. */
    readonly requestJson: <S extends Schema.Constraint, const O extends Operation.Policy = {}>(
      request: HttpClientRequest.HttpClientRequest,
      schema: S,
      options?: O
    ) => Effect.Effect<S["Type"], DatabricksError | Operation.TimeoutOf<O>, S["DecodingServices"]>
    /** Makes any call of the official SDK, with a client for this call alone; interruption aborts it. */
    readonly use: <A, const O extends Operation.Policy = {}>(
      call: (sdk: Sdk.WorkspaceClient) => Promise<A>,
      options?: O
    ) => Effect.Effect<A, DatabricksError | Operation.TimeoutOf<O>>
    /** Sends a request as a part of the operation that is running: with no span, timeout or retry of its own. */
    readonly send: (
      request: HttpClientRequest.HttpClientRequest
    ) => Effect.Effect<HttpClientResponse.HttpClientResponse, DatabricksError>
    /** Sends a request without a credential to a URL that the workspace signed; no span shows it. */
    readonly fetch: (
      request: HttpClientRequest.HttpClientRequest
    ) => Effect.Effect<HttpClientResponse.HttpClientResponse, HttpClientError.HttpClientError>
  }
>()("effect-databricks/WorkspaceClient") {}

/**
 * @since 0.1.0
 * @category accessors
 */
export const getWorkspaceClient: Effect.Effect<WorkspaceClient["Service"], never, WorkspaceClient> =
  WorkspaceClient.use(Effect.succeed)

/**
 * The client of the user in `UserContext`, wherever its calls run: code that needs it does not compile without `asUser`.
 *
 * @since 0.1.0
 * @category accessors
 */
export const user: Effect.Effect<WorkspaceClient["Service"], never, UserContext | WorkspaceClient> =
  WorkspaceClient.use((client) =>
    Effect.map(UserContext, (caller) => ({
      request: (request, options) => runAs(client.request(request, options), caller),
      requestJson: (request, schema, options) => runAs(client.requestJson(request, schema, options), caller),
      use: (call, options) => runAs(client.use(call, options), caller),
      send: (request) => runAs(client.send(request), caller),
      fetch: client.fetch
    }))
  )
