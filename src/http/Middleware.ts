/**
 * The server's layers for `AsUser`, `AsService` and `Failures`, and the same middleware for plain routes.
 *
 * @since 0.1.0
 */
import { Cause, Context, Effect, type Fiber, Layer, Option, References, Result, Schema, Stream } from "effect"
import { HttpBody, HttpEffect, HttpRouter, HttpServerError, HttpServerRequest, HttpServerResponse } from "effect/http"
import type { HttpApiEndpoint } from "effect/http-api"
import { SqlError } from "effect/sql"
import * as Caller from "../Caller.ts"
import * as ExecutionContext from "../ExecutionContext.ts"
import {
  AuthenticationError,
  type IdentityError,
  IdentityMismatchError,
  IdentityUnavailableError
} from "../IdentityError.ts"
import * as Statement from "../internal/failures/statement.ts"
import * as Undeclared from "../internal/failures/undeclared.ts"
import * as ClientAbort from "../internal/http/clientAbort.ts"
import * as Origin from "../internal/http/origin.ts"
import * as PreResponse from "../internal/http/preResponse.ts"
import { withContext } from "../internal/streamContext.ts"
import * as Token from "../internal/http/token.ts"
import * as Line from "../internal/logs/line.ts"
import { ServiceContext } from "../ServiceContext.ts"
import { UserContext } from "../UserContext.ts"
import { AsService } from "./AsService.ts"
import { AsUser } from "./AsUser.ts"
import { type Failure, Failures } from "./Failures.ts"
import * as HttpFailure from "./HttpFailure.ts"

type Handler<E, R> = Effect.Effect<HttpServerResponse.HttpServerResponse, E, R>

/** Answers a failure of the middleware itself. */
type Answer = (cause: Cause.Cause<unknown>) => Effect.Effect<HttpServerResponse.HttpServerResponse>

const runAsUser = <E, R>(
  service: ServiceContext["Service"],
  handler: Handler<E, R>,
  respond: Answer = (cause) => answer(cause, service)
) => {
  const route = asCaller(service, handler)
  return Effect.withFiber((fiber) => {
    const request = Context.getUnsafe(fiber.context, HttpServerRequest.HttpServerRequest)
    HttpEffect.appendPreResponseHandlerUnsafe(fiber.context, ofOnePerson)
    if (Origin.isForeign(request)) return respond(foreignOrigin)
    return Effect.flatMapEager(ExecutionContext.identifyIn(fiber.context, service, request), (user) => {
      Token.hide(request)
      return Effect.updateContext(route, (context: Context.Context<Exclude<R, UserContext>>) => {
        const own = ExecutionContext.withCaller(Context.add(context, ServiceContext, service), user)
        // As in provideUser: R has its UserContext again.
        return PreResponse.following(named(fiber, own, user)) as Context.Context<R>
      })
    })
  }).pipe(Effect.catchIf(isIdentityError, (error) => respond(Cause.fail(error))))
}

/** Keeps one person's responses, also failures, out of shared caches. */
const ofOnePerson = (
  _: HttpServerRequest.HttpServerRequest,
  response: HttpServerResponse.HttpServerResponse
): Effect.Effect<HttpServerResponse.HttpServerResponse> =>
  Effect.succeed(
    response.headers["cache-control"] === undefined
      ? HttpServerResponse.setHeader(response, "cache-control", "private, no-store")
      : response
  )

/** The refusal of what a page of another site makes the browser of a signed-in user send. */
const foreignOrigin = Cause.fail(
  new HttpFailure.HttpFailure({
    status: 403,
    body: { _tag: "ForeignOrigin", message: "A page of another site may not send this request to this site" }
  })
)

const isIdentityError = (error: unknown): error is IdentityError =>
  error instanceof AuthenticationError ||
  error instanceof IdentityMismatchError ||
  error instanceof IdentityUnavailableError

const runAsService = <E, R>(
  service: ServiceContext["Service"],
  handler: Handler<E, R>,
  respond: Answer = (cause) => answer(cause, service)
) => {
  const route = asCaller(service, handler)
  return Effect.withFiber((fiber) => {
    if (Origin.isForeign(Context.getUnsafe(fiber.context, HttpServerRequest.HttpServerRequest))) {
      return respond(foreignOrigin)
    }
    // Under both middlewares a handler runs as the user, in either order.
    if (Context.getOrUndefined(fiber.context, UserContext) !== undefined) return handler
    return Effect.updateContext(route, (context: Context.Context<R>) =>
      named(fiber, ExecutionContext.runningAs(context, undefined), service.principal)
    )
  })
}

/**
 * Runs a handler as the user (`user`), or as the service principal if the request has no token (`either`). All its
 * failures get this answer.
 *
 * @internal
 */
export const handle = <E, R>({
  answer,
  handler,
  runsAs,
  service
}: {
  readonly service: ServiceContext["Service"]
  readonly handler: Handler<E, R>
  readonly runsAs: "user" | "either"
  readonly answer: Answer
}) => {
  const answered = Effect.catchCause(handler, (cause) =>
    HttpFailure.answersItself(cause)
      ? Effect.failCause(cause as Cause.Cause<never>) // an interruption or a response
      : answer(cause)
  )
  const asUser = runAsUser(service, answered, answer)
  // Such a handler requires no user. The proxy may name one nevertheless.
  const withoutUser = HttpEffect.withPreResponseHandler(
    runAsService(service, answered, answer),
    ofOnePerson
  ) as typeof asUser
  // Without a token, `AsUser` is a 401, or the development fallback with its warning.
  return runsAs === "user" || service.development
    ? asUser
    : Effect.flatMap(HttpServerRequest.HttpServerRequest, ({ headers }) =>
        headers["x-forwarded-access-token"] === undefined ? withoutUser : asUser
      )
}

/** Adds the caller to the server's span, to the line of the request, and to the log lines of its handler. */
const named = <R>(
  fiber: Fiber.Fiber<unknown, unknown>,
  context: Context.Context<R>,
  caller: Caller.Caller
): Context.Context<R> => {
  const attributes = Caller.attributes(caller)
  Line.ranAs(context, attributes)
  const { span } = fiber.cache
  if (span?._tag === "Span") for (const name in attributes) span.attribute(name, attributes[name])
  const annotations = { ...fiber.getRef(References.CurrentLogAnnotations), ...attributes }
  return Context.add(context, References.CurrentLogAnnotations, annotations)
}

/** Runs a handler, and the stream of its response, as the caller of the context. */
const asCaller = <E, R>(service: ServiceContext["Service"], handler: Handler<E, R>): Handler<E, R> =>
  Effect.flatMap(Statement.noted(handler), (response) =>
    response.body._tag !== "Stream"
      ? Effect.succeed(response)
      : Effect.contextWith((context) => {
          const caller = ExecutionContext.callerIn(context, service.principal)
          // The server pulls the stream after the handler has returned, outside of the caller's context.
          const following = withStream(response, (stream) =>
            withContext(broken(stream, caller), (puller: Context.Context<never>) =>
              ExecutionContext.runningLike(puller, context)
            )
          )
          return Effect.succeed(following)
        })
  )

const withStream = (
  response: HttpServerResponse.HttpServerResponse,
  f: (stream: HttpBody.Stream["stream"]) => HttpBody.Stream["stream"]
) => {
  const { body } = response
  if (body._tag !== "Stream") return response
  const stream = f(body.stream)
  reported.add(stream)
  return HttpServerResponse.setBody(response, HttpBody.stream(stream, body.contentType, body.contentLength)).pipe(
    HttpServerResponse.setHeaders(response.headers)
  )
}

/** The bodies whose failures are logged already. */
const reported = new WeakSet<HttpBody.Stream["stream"]>()

/** Logs the failure of a body: the client only sees that the body ends early. */
const broken = (stream: HttpBody.Stream["stream"], caller?: Caller.Caller) =>
  Stream.tapCause(stream, (cause) =>
    ClientAbort.isIn(cause)
      ? Effect.void
      : Effect.annotateLogs(HttpFailure.reportBroken(cause), caller === undefined ? {} : Caller.attributes(caller))
  )

/**
 * Runs plain routes as the sender of the request: `HttpRouter.add(…).pipe(Layer.provide(Middleware.asUser.layer))`.
 *
 * The server's span has `execution.context`, `caller.id` and `enduser.id`, like the span of an operation.
 *
 * @since 0.1.0
 * @category router middleware
 */
export const asUser = HttpRouter.middleware<{ provides: UserContext }>()(
  Effect.map(ServiceContext, (service) => (route) => runAsUser(service, route))
)

/**
 * Runs plain routes as the service principal: `HttpRouter.add(…).pipe(Layer.provide(Middleware.asService.layer))`.
 *
 * The server's span has `execution.context`, `caller.id` and `enduser.id`, which it lacks for a route without a
 * middleware. A route that is under `asUser` too runs as the user.
 *
 * @since 0.1.0
 * @category router middleware
 */
export const asService = HttpRouter.middleware(
  Effect.map(ServiceContext, (service) => (route) => runAsService(service, route))
)

/**
 * Provides `AsUser`.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerAsUser: Layer.Layer<AsUser, never, ServiceContext> = Layer.effect(
  AsUser,
  Effect.map(ServiceContext, (service) => (handler) => runAsUser(service, handler))
)

/**
 * Provides `AsService`.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerAsService: Layer.Layer<AsService, never, ServiceContext> = Layer.effect(
  AsService,
  Effect.map(ServiceContext, (service) => (handler) => runAsService(service, handler))
)

/**
 * Provides `Failures`, and the same conversion of failures for all other routes of the router.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerFailures = Layer.merge(
  Layer.effect(
    Failures,
    Effect.map(
      ServiceContext,
      (service) =>
        (handler, { endpoint }) =>
          // The caller is a part of the cause.
          Effect.catchCauseFilter(Effect.tapCause(handler, keep), failureIn(endpoint), (_, cause) =>
            answer(cause, service)
          )
    )
  ),
  HttpRouter.middleware<{ handles: Failure }>()(
    Effect.map(
      ServiceContext,
      (service) => (routes) =>
        routes.pipe(
          Effect.flatMap(withBody),
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
 * Provides `AsUser`, `AsService` and `Failures`.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = Layer.mergeAll(layerAsUser, layerAsService, layerFailures)

/**
 * Responds to a cause as `Failures` does, and logs it: a 5xx as an error with the cause, any other status at debug.
 *
 * @since 0.1.0
 * @category conversions
 */
export const respond = (
  cause: Cause.Cause<unknown>
): Effect.Effect<HttpServerResponse.HttpServerResponse, never, ServiceContext> =>
  Effect.flatMap(ServiceContext, (service) => answer(cause, service))

const keep = (cause: Cause.Cause<unknown>) =>
  Effect.withFiber(({ context }) => {
    Undeclared.keep(context, cause)
    return Effect.void
  })

const answer = (cause: Cause.Cause<unknown>, options: HttpFailure.Options) =>
  Effect.map(HttpFailure.report(cause, options), HttpFailure.toResponse)

// Recognized by identifier where the module of an error should not be loaded for it.
const isFailure = (error: unknown): error is Failure =>
  error instanceof HttpFailure.HttpFailure ||
  HttpFailure.identifierOf(error).startsWith("effect-databricks/") ||
  SqlError.isSqlError(error) ||
  HttpServerError.isHttpServerError(error) ||
  Schema.isSchemaError(error)

const failureIn =
  (endpoint: HttpApiEndpoint.Top) =>
  <E>(cause: Cause.Cause<E>): Result.Result<Failure, Cause.Cause<Exclude<E, Failure>>> => {
    const error = Cause.findErrorOption(cause)
    return Option.isSome(error) && isFailure(error.value) && !declares(endpoint, error.value)
      ? Result.succeed(error.value)
      : Result.fail(cause as Cause.Cause<Exclude<E, Failure>>) // its error is not a Failure
  }

// A client gets an error that the endpoint declares as its own class, with all its fields.
const declares = ({ error }: HttpApiEndpoint.Top, value: unknown) =>
  Array.from(error).some((schema) => Schema.is(schema)(value))

// HttpApi sends some responses itself, without a body or with plain text.
const withBody = (response: HttpServerResponse.HttpServerResponse) => {
  const { body, status } = response
  if (body._tag === "Stream" && !reported.has(body.stream)) return Effect.succeed(withStream(response, broken))
  const own = bodies[status]
  if (own === undefined || (body._tag !== "Empty" && status !== 415)) return Effect.succeed(response)
  return Effect.as(
    Line.failed({
      status,
      tag: own._tag,
      message: own.message,
      brokeOff: false,
      cause: Cause.empty,
      annotations: {}
    }),
    HttpServerResponse.setBody(response, HttpBody.jsonUnsafe(own))
  )
}

const bodies: { readonly [status: number]: typeof HttpFailure.Body.Type } = {
  413: { _tag: "PayloadTooLarge", message: "The request body is larger than this server accepts" },
  415: { _tag: "UnsupportedMediaType", message: "This route does not accept a body of that content type" },
  426: { _tag: "UpgradeRequired", message: "This route needs a connection upgrade" }
}
