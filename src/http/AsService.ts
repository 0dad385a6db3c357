/**
 * The middleware for endpoints that run as the app. Browser-safe.
 *
 * @since 0.1.0
 */
import { HttpApiMiddleware } from "effect/http-api"

/**
 * Runs every endpoint of a group, including the streams of its responses, as the service principal, for every sender:
 * `class Totals extends HttpApiGroup.make("totals").add(list).middleware(AsService) {}`.
 *
 * It does not provide `UserContext`. The server's span has `execution.context`, `caller.id` and `enduser.id`, which it
 * lacks for an endpoint without `AsUser` or `AsService`. An endpoint under both runs as the user, in either order, and
 * does not compile with `RunsAs.checked`. A request that may change something is a 403 if the page of another site sent it.
 *
 * The server provides `Middleware.layerAsService`. For plain routes use `Middleware.asService`.
 *
 * @since 0.1.0
 * @category middleware
 */
export class AsService extends HttpApiMiddleware.Service<AsService>()("effect-databricks/http/AsService") {}
