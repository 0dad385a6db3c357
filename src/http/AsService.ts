/**
 * Endpoints that run as the app on purpose; a browser can import this module.
 *
 * @since 0.1.0
 */
import { HttpApiMiddleware } from "effect/http-api"

/**
 * Runs every endpoint of a group, with the streams that it answers, as the service principal, whoever sent the request:
 * `class Totals extends HttpApiGroup.make("totals").add(list).middleware(AsService) {}`.
 *
 * `UserContext` is not provided. The server's span says `execution.context` and `caller.id`: that of an endpoint under
 * neither `AsUser` nor `AsService` says nothing. One under both runs as the user, in whatever order they were added, and
 * does not compile with `RunsAs.checked`.
 *
 * A server provides `Middleware.layerAsService`; for a plain route see `Middleware.asService`.
 *
 * @since 0.1.0
 * @category middleware
 */
export class AsService extends HttpApiMiddleware.Service<AsService>()("effect-databricks/http/AsService") {}
