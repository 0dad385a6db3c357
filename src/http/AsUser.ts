/**
 * The middleware for endpoints that run as the sender of the request. Browser-safe.
 *
 * @since 0.1.0
 */
import { HttpApiMiddleware } from "effect/http-api"
import { AuthenticationError, IdentityMismatchError, IdentityUnavailableError } from "../IdentityError.ts"
import type { UserContext } from "../UserContext.ts"

/**
 * Runs every endpoint of a group, including the streams of its responses, as `asUser(request)`:
 * `class Orders extends HttpApiGroup.make("orders").add(list).middleware(AsUser) {}`.
 *
 * Every response, also an error, has `Cache-Control: private, no-store` unless the handler sets another value. A request
 * that may change something, or a WebSocket upgrade, is a 403 if the page of another site sent it.
 *
 * If the sender cannot be verified, the response is a 401, 403 or 503 (with `Retry-After`) with `_tag` and `message`.
 * The server's span has `execution.context`, `caller.id` and `enduser.id`.
 *
 * The server provides `Middleware.layerAsUser`. For plain routes use `Middleware.asUser`.
 *
 * @since 0.1.0
 * @category middleware
 */
export class AsUser extends HttpApiMiddleware.Service<AsUser, { provides: UserContext }>()(
  "effect-databricks/http/AsUser",
  { error: [AuthenticationError, IdentityMismatchError, IdentityUnavailableError] }
) {}
