/**
 * Every failure of an application as the right status and a JSON body.
 *
 * @since 0.1.0
 */
import { Cause, Effect, Layer, Schema, SchemaTransformation } from "effect"
import { HttpBody, HttpRouter, HttpServerResponse } from "effect/http"
import { HttpApiMiddleware, HttpApiSchema } from "effect/http-api"
import { SqlError } from "effect/sql"
import { DatabricksError } from "../DatabricksError.ts"
import { AuthenticationError, IdentityMismatchError, IdentityUnavailableError } from "../IdentityError.ts"
import { OperationTimeoutError } from "../Operation.ts"
import { ServiceContext, ServiceContextError } from "../ServiceContext.ts"
import { SqlParameterError } from "../SqlParameter.ts"
import { RowDecodeError } from "../SqlWarehouse.ts"
import * as HttpFailure from "./HttpFailure.ts"

const errors = [
  DatabricksError,
  OperationTimeoutError,
  ServiceContextError,
  SqlParameterError,
  RowDecodeError,
  SqlError.SqlError,
  AuthenticationError,
  IdentityMismatchError,
  IdentityUnavailableError,
  HttpFailure.HttpFailure
] as const

/**
 * What a handler may fail with and not declare.
 *
 * @since 0.1.0
 * @category models
 */
export type Failure = InstanceType<(typeof errors)[number]>

const isFailure = (error: unknown): error is Failure => errors.some((_) => error instanceof _)

const FailureOf = (status: number) =>
  HttpFailure.Body.pipe(
    Schema.decodeTo(
      Schema.declare(isFailure),
      SchemaTransformation.transform({
        decode: (body): Failure => new HttpFailure.HttpFailure({ status, body }),
        encode: (error) => HttpFailure.fromError(error, { development: false }).body
      })
    ),
    HttpApiSchema.status(status)
  )

/**
 * Lets every handler of an API fail with what this library fails with, and answers whatever goes wrong, in a handler
 * or before one is reached, with its status and `{ _tag, message }`: `HttpApi.make("api").add(Orders).middleware(Failures)`.
 *
 * In production (`NODE_ENV` other than `development`) the message of a 5xx is `Server error`. Interruption, and errors
 * that render themselves (an endpoint's declared ones, a `Respondable`), stay as they are.
 *
 * @since 0.1.0
 * @category middleware
 */
export class Failures extends HttpApiMiddleware.Service<Failures>()("effect-databricks/http/Failures", {
  error: [400, 401, 403, 404, 409, 413, 415, 429, 500, 502, 503, 504].map(FailureOf)
}) {
  /**
   * The middleware, and its other half around the whole router.
   *
   * @since 0.1.0
   */
  static readonly layer = Layer.merge(
    Layer.effect(
      this,
      Effect.map(
        ServiceContext,
        (service) => (handler) =>
          Effect.catchIf(handler, isFailure, (error) =>
            Effect.provideService(HttpFailure.respond(Cause.fail(error)), ServiceContext, service)
          )
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
              (cause) => Effect.provideService(HttpFailure.respond(cause), ServiceContext, service)
            )
          )
      ),
      { global: true }
    )
  )
}

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
