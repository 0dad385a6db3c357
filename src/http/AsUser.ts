/**
 * Endpoints that run as the person who sent the request; a browser can import this module.
 *
 * @since 0.1.0
 */
import { HttpApiMiddleware } from "effect/http-api"
import { AuthenticationError, IdentityMismatchError, IdentityUnavailableError } from "../IdentityError.ts"
import type { UserContext } from "../UserContext.ts"

/**
 * Runs every endpoint of a group, with the streams that it answers, as `asUser(request)`:
 * `class Orders extends HttpApiGroup.make("orders").add(list).middleware(AsUser) {}`.
 *
 * A request whose sender is not proven gets a 401, 403 or 503, the last with `Retry-After`, and a body of `_tag` and
 * `message`. The server's span says `execution.context` and `caller.id`. A server provides `Middleware.layerAsUser`; for a plain route see `Middleware.asUser`.
 *
 * @since 0.1.0
 * @category middleware
 */
export class AsUser extends HttpApiMiddleware.Service<AsUser, { provides: UserContext }>()(
  "effect-databricks/http/AsUser",
  { error: [AuthenticationError, IdentityMismatchError, IdentityUnavailableError] }
) {}
