/**
 * What a server provides for `AsUser`, `AsService` and `Failures`, and the same for routes that are not of an `HttpApi`.
 *
 * @since 0.1.0
 */
import { Cause, Context, Effect, Layer, Option, Schema } from "effect"
import { HttpBody, HttpRouter, HttpServerRequest, HttpServerResponse } from "effect/http"
import { SqlError } from "effect/sql"
import type { Caller } from "../Caller.ts"
import * as ExecutionContext from "../ExecutionContext.ts"
import {
  AuthenticationError,
  type IdentityError,
  IdentityMismatchError,
  IdentityUnavailableError
} from "../IdentityError.ts"
import { pulledIn } from "../internal/http/pulled.ts"
import { ServiceContext } from "../ServiceContext.ts"
import { UserContext } from "../UserContext.ts"
import { AsService } from "./AsService.ts"
import { AsUser } from "./AsUser.ts"
import { type Failure, Failures } from "./Failures.ts"
import * as HttpFailure from "./HttpFailure.ts"

type Handler<E, R> = Effect.Effect<HttpServerResponse.HttpServerResponse, E, R>

const runAsUser = <E, R>(service: ServiceContext["Service"], handler: Handler<E, R>) =>
  Effect.flatMap(HttpServerRequest.HttpServerRequest, (request) =>
    ExecutionContext.provideUser(asCaller(service, handler), request)
  ).pipe(
    Effect.catchIf(isIdentityError, (error) => answer(Cause.fail(error), service)),
    Effect.provideService(ServiceContext, service)
  )

const isIdentityError = (error: unknown): error is IdentityError =>
  error instanceof AuthenticationError ||
  error instanceof IdentityMismatchError ||
  error instanceof IdentityUnavailableError

const runAsService = <E, R>(service: ServiceContext["Service"], handler: Handler<E, R>): Handler<E, R> =>
  Effect.contextWith((context: Context.Context<R>) =>
    // Under AsUser too it runs as the user, whichever of the two is outside.
    Option.isSome(Context.getOption(context, UserContext))
      ? handler
      : ExecutionContext.asService(asCaller(service, handler))
  )

/** Writes who runs into the server's span, and lets the streams of the response run as they do. */
const asCaller = <E, R>(service: ServiceContext["Service"], handler: Handler<E, R>): Handler<E, R> =>
  Effect.flatMap(ExecutionContext.ExecutionContext, (user) =>
    Effect.andThen(
      describe(user ?? service.principal),
      Effect.map(handler, (response) => {
        const { body } = response
        if (body._tag !== "Stream") return response
        // The server opens and pulls it after the handler has returned, and would no longer know for whom.
        const stream = pulledIn(body.stream, (puller: Context.Context<never>) =>
          ExecutionContext.runningAs(puller, user)
        )
        return HttpServerResponse.setBody(response, HttpBody.stream(stream, body.contentType, body.contentLength)).pipe(
          HttpServerResponse.setHeaders(response.headers)
        )
      })
    )
  )

const describe = ({ context, id, oboDevFallback }: Caller) =>
  Effect.annotateCurrentSpan({
    "execution.context": context,
    "caller.id": id,
    ...(oboDevFallback && { "execution.obo_dev_fallback": true })
  })

/**
 * Runs plain routes as the person who sent the request: `HttpRouter.add(…).pipe(Layer.provide(Middleware.asUser.layer))`.
 *
 * The server's span says `execution.context` and `caller.id`, as that of an operation does.
 *
 * @since 0.1.0
 * @category router middleware
 */
export const asUser = HttpRouter.middleware<{ provides: UserContext }>()(
  Effect.map(ServiceContext, (service) => (route) => runAsUser(service, route))
)

/**
 * Runs plain routes as the service principal, on purpose: `HttpRouter.add(…).pipe(Layer.provide(Middleware.asService.layer))`.
 *
 * The server's span says `execution.context` and `caller.id`: that of a route without a middleware says neither. A route
 * that is under `asUser` too runs as the user.
 *
 * @since 0.1.0
 * @category router middleware
 */
export const asService = HttpRouter.middleware(
  Effect.map(ServiceContext, (service) => (route) => runAsService(service, route))
)

/**
 * @since 0.1.0
 * @category layers
 */
export const layerAsUser: Layer.Layer<AsUser, never, ServiceContext> = Layer.effect(
  AsUser,
  Effect.map(ServiceContext, (service) => (handler) => runAsUser(service, handler))
)

/**
 * @since 0.1.0
 * @category layers
 */
export const layerAsService: Layer.Layer<AsService, never, ServiceContext> = Layer.effect(
  AsService,
  Effect.map(ServiceContext, (service) => (handler) => runAsService(service, handler))
)

/**
 * The middleware, and its other half around the whole router.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerFailures = Layer.merge(
  Layer.effect(
    Failures,
    Effect.map(
      ServiceContext,
      (service) => (handler) => Effect.catchIf(handler, isFailure, (error) => answer(Cause.fail(error), service))
    )
  ),
  HttpRouter.middleware<{ handles: Failure }>()(
    Effect.map(
      ServiceContext,
      (service) => (routes) =>
        routes.pipe(
          Effect.map(withBody),
          Effect.catchCauseIf(
            (cause) => !HttpFailure.answersItself(cause),
            (cause) => answer(cause, service)
          )
        )
    ),
    { global: true }
  )
)

/**
 * All three: what a server provides, whichever of them its Api uses.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = Layer.mergeAll(layerAsUser, layerAsService, layerFailures)

/**
 * Failures | HttpRouter.Request.From<"Error", Failure> for a cause as `Failures` does, and logs it: a 5xx as an error with the cause, anything else at debug.
 *
 * @since 0.1.0
 * @category conversions
 */
export const respond = (
  cause: Cause.Cause<unknown>
): Effect.Effect<HttpServerResponse.HttpServerResponse, never, ServiceContext> =>
  Effect.flatMap(ServiceContext, (service) => answer(cause, service))

const answer = (cause: Cause.Cause<unknown>, options: HttpFailure.Options) =>
  Effect.map(HttpFailure.report(cause, options), HttpFailure.toResponse)

// A type and an identifier for the errors of modules that a route may not need, and should not load.
const isFailure = (error: unknown): error is Failure =>
  error instanceof HttpFailure.HttpFailure ||
  HttpFailure.identifierOf(error).startsWith("effect-databricks/") ||
  SqlError.isSqlError(error) ||
  Schema.isSchemaError(error)

// HttpApi answers these by itself, with nothing or plain text.
const withBody = (response: HttpServerResponse.HttpServerResponse) => {
  const body = bodies[response.status]
  return body === undefined || (response.body._tag !== "Empty" && response.status !== 415)
    ? response
    : HttpServerResponse.setBody(response, HttpBody.jsonUnsafe(body))
}

const bodies: { readonly [status: number]: typeof HttpFailure.Body.Type } = {
  413: { _tag: "PayloadTooLarge", message: "The request body is larger than this server accepts" },
  415: { _tag: "UnsupportedMediaType", message: "This route does not read a body of that content type" },
  426: { _tag: "UpgradeRequired", message: "This route needs a connection upgrade" }
}
