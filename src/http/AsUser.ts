/**
 * A group of routes that run as the person who sent the request.
 *
 * @since 0.1.0
 */
import { Cause, Effect, Layer, Stream } from "effect"
import { HttpBody, HttpRouter, HttpServerRequest, HttpServerResponse } from "effect/http"
import { HttpApiMiddleware } from "effect/http-api"
import { ExecutionContext, provideUser } from "../ExecutionContext.ts"
import {
  AuthenticationError,
  type IdentityError,
  IdentityMismatchError,
  IdentityUnavailableError
} from "../IdentityError.ts"
import { ServiceContext } from "../ServiceContext.ts"
import type { UserContext } from "../UserContext.ts"
import * as HttpFailure from "./HttpFailure.ts"

const errors = [AuthenticationError, IdentityMismatchError, IdentityUnavailableError] as const

/**
 * Runs every endpoint of a group, with the streams that it answers, as `asUser(request)`:
 * `class Orders extends HttpApiGroup.make("orders").add(list).middleware(AsUser) {}`.
 *
 * Who is not proven is answered with 401, 403 or 503, the last with `Retry-After`, and a body of `_tag` and `message`.
 *
 * @since 0.1.0
 * @category middleware
 */
export class AsUser extends HttpApiMiddleware.Service<AsUser, { provides: UserContext }>()(
  "effect-databricks/http/AsUser",
  { error: errors }
) {
  /**
   * @since 0.1.0
   */
  static readonly layer: Layer.Layer<AsUser, never, ServiceContext> = Layer.effect(
    this,
    Effect.map(ServiceContext, (service) => (handler) => runAsUser(service, handler))
  )

  /**
   * The same for routes that are not of an `HttpApi`: `HttpRouter.add(…).pipe(Layer.provide(AsUser.router.layer))`.
   *
   * @since 0.1.0
   */
  static readonly router = HttpRouter.middleware<{ provides: UserContext }>()(
    Effect.map(ServiceContext, (service) => (route) => runAsUser(service, route))
  )
}

const runAsUser = <E, R>(
  service: ServiceContext["Service"],
  handler: Effect.Effect<HttpServerResponse.HttpServerResponse, E, R>
) =>
  Effect.flatMap(HttpServerRequest.HttpServerRequest, (request) => provideUser(withStreams(handler), request)).pipe(
    Effect.catchIf(isIdentityError, (error) => HttpFailure.respond(Cause.fail(error))),
    Effect.provideService(ServiceContext, service)
  )

const isIdentityError = (error: unknown): error is IdentityError => errors.some((_) => error instanceof _)

// A body is pulled after the handler has returned, and would no longer know for whom.
const withStreams = <E, R>(handler: Effect.Effect<HttpServerResponse.HttpServerResponse, E, R>) =>
  Effect.flatMap(ExecutionContext, (caller) =>
    Effect.map(handler, (response) => {
      const { body } = response
      if (body._tag !== "Stream") return response
      const stream = Stream.provideService(body.stream, ExecutionContext, caller)
      return HttpServerResponse.setBody(response, HttpBody.stream(stream, body.contentType, body.contentLength)).pipe(
        HttpServerResponse.setHeaders(response.headers)
      )
    })
  )
