/**
 * Every failure of an application as the right status and a JSON body; a browser can import this module.
 *
 * @since 0.1.0
 */
import { Schema, SchemaTransformation } from "effect"
import { HttpApiMiddleware, HttpApiSchema } from "effect/http-api"
import type { SqlError } from "effect/sql"
import type { DatabricksError } from "../DatabricksError.ts"
import {
  AuthenticationError,
  type IdentityError,
  IdentityMismatchError,
  IdentityUnavailableError
} from "../IdentityError.ts"
import type { OperationTimeoutError } from "../Operation.ts"
import type { ServiceContextError } from "../ServiceContext.ts"
import type { SqlParameterError } from "../SqlParameter.ts"
import type { RowDecodeError } from "../SqlWarehouse.ts"
import { Body, HttpFailure } from "./HttpFailure.ts"

/**
 * What a handler may fail with and not declare.
 *
 * A client gets an `IdentityError` or, for all else, an `HttpFailure` with the response's status and body.
 *
 * @since 0.1.0
 * @category models
 */
export type Failure =
  | DatabricksError
  | OperationTimeoutError
  | ServiceContextError
  | SqlParameterError
  | RowDecodeError
  | SqlError.SqlError
  | Schema.SchemaError
  | IdentityError
  | HttpFailure

const FailureOf = (status: number) =>
  Body.pipe(
    Schema.decodeTo(
      Schema.declare((error): error is Failure => error instanceof HttpFailure && error.status === status),
      SchemaTransformation.transform({
        decode: (body): Failure => new HttpFailure({ status, body }),
        // Middleware.layerFailures answers every other failure before it is encoded.
        encode: (failure) => (failure as HttpFailure).body
      })
    ),
    HttpApiSchema.status(status)
  )

/**
 * Lets every handler of an API fail with what this library fails with, and answers whatever goes wrong, in a handler
 * or before one is reached, with its status and `{ _tag, message }`: `HttpApi.make("api").add(Orders).middleware(Failures)`.
 *
 * In production (`NODE_ENV` other than `development`) the message of a 5xx is `Server error`. Interruption, and errors
 * that render themselves (an endpoint's declared ones, a `Respondable`), stay as they are. A server provides
 * `Middleware.layerFailures`.
 *
 * @since 0.1.0
 * @category middleware
 */
export class Failures extends HttpApiMiddleware.Service<Failures>()("effect-databricks/http/Failures", {
  error: [
    // Before those of their status, so that a client gets them as what they are.
    AuthenticationError,
    IdentityMismatchError,
    IdentityUnavailableError,
    ...[400, 401, 403, 404, 409, 413, 415, 429, 500, 502, 503, 504].map(FailureOf)
  ]
}) {}
