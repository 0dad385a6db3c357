/**
 * Calls the workspace's APIs as the caller of the running fiber.
 *
 * @since 0.1.0
 */
import type * as Sdk from "@databricks/sdk-experimental"
import { Context, Effect, type Schema } from "effect"
import type { HttpClientError, HttpClientRequest, HttpClientResponse } from "effect/http"
import type { DatabricksError } from "./DatabricksError.ts"
import { ownedBy } from "./internal/owner.ts"
import type * as Operation from "./Operation.ts"
import { UserContext } from "./UserContext.ts"

/**
 * The client of the workspace. Each call runs as the caller of the fiber that makes it. `ServiceContext.layer` provides
 * it.
 *
 * A request that the workspace refused before it ran (429, 503, no connection) is sent up to 3 times within 30 seconds,
 * and not before its `Retry-After`; a request whose body is a stream is sent once. The `retry` of a call, or of an
 * `Operation` around it, replaces that. Its retries include lost connections, after which a request may run twice.
 * `retry: false` sends each request once.
 *
 * If the service principal's token is refused, the request is sent once more with a new token. A call has no `timeout`
 * by default; one that exceeds it is aborted. A response that sends nothing for 6 minutes fails with `ConnectionError`;
 * its start has no limit if the request has a stream or more than 16 MiB.
 *
 * @since 0.1.0
 * @category services
 */
export class WorkspaceClient extends Context.Service<
  WorkspaceClient,
  {
    /**
     * Sends a request to a path of the workspace. Fails with `DatabricksError` if the response is not a 2xx.
     *
     * The timeout covers the request up to the response's head, not its body. In the `json` of the response, numbers
     * that JavaScript would round are text.
     */
    readonly request: <const O extends Operation.Policy = {}>(
      request: HttpClientRequest.HttpClientRequest,
      options?: O
    ) => Effect.Effect<HttpClientResponse.HttpClientResponse, DatabricksError | Operation.TimeoutOf<O>>
    /**
     * Sends a request and decodes the JSON of its response. The response may have at most 64 MiB.
     *
     * Numbers are exact with a Schema that decodes text: use `Schema.BigInt`, `Schema.String` or `Schema.BigDecimal`
     * for ids. `Schema.Number` refuses a number that it would round, such as an integer beyond 2^53.
     * `Schema.NumberFromString` rounds it.
     */
    readonly requestJson: <S extends Schema.Constraint, const O extends Operation.Policy = {}>(
      request: HttpClientRequest.HttpClientRequest,
      schema: S,
      options?: O
    ) => Effect.Effect<S["Type"], DatabricksError | Operation.TimeoutOf<O>, S["DecodingServices"]>
    /**
     * Calls the official SDK, with a client for this call only. Interruption aborts the call.
     *
     * The SDK represents every number as a JavaScript number. A response with a number that it would round, such as an
     * id beyond 2^53, fails with `InvalidResponseError`; such a request fails with `InvalidRequestError`. A bigint is
     * sent as an exact number.
     */
    readonly use: <A, const O extends Operation.Policy = {}>(
      call: (sdk: Sdk.WorkspaceClient) => Promise<A>,
      options?: O
    ) => Effect.Effect<A, DatabricksError | Operation.TimeoutOf<O>>
    /** Sends a request as a part of the running operation, without a span, timeout or `retry` of its own. */
    readonly send: (
      request: HttpClientRequest.HttpClientRequest
    ) => Effect.Effect<HttpClientResponse.HttpClientResponse, DatabricksError>
    /** Sends a request without a credential to a URL that the workspace signed. It is not traced. */
    readonly fetch: (
      request: HttpClientRequest.HttpClientRequest
    ) => Effect.Effect<HttpClientResponse.HttpClientResponse, HttpClientError.HttpClientError>
  }
>()("effect-databricks/WorkspaceClient") {}

/**
 * Returns the `WorkspaceClient`.
 *
 * @since 0.1.0
 * @category accessors
 */
export const getWorkspaceClient: Effect.Effect<WorkspaceClient["Service"], never, WorkspaceClient> =
  WorkspaceClient.use(Effect.succeed)

/**
 * Returns the client of the user in `UserContext`. Its calls run as that user, also inside `asService`.
 *
 * An effect that uses it compiles only under `asUser`. Use the client only in the call that returned it: outside of
 * that user's calls its requests die.
 *
 * @since 0.1.0
 * @category accessors
 */
export const user: Effect.Effect<WorkspaceClient["Service"], never, UserContext | WorkspaceClient> =
  // The address of a `fetch` is its only credential.
  WorkspaceClient.use((client) => Effect.map(UserContext, (caller) => ownedBy(client, caller, { fetch: client.fetch })))
