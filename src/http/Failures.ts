/**
 * The middleware that responds to failures with a status and a JSON body. Browser-safe.
 *
 * @since 0.1.0
 */
import { Schema, SchemaTransformation } from "effect"
import type { HttpServerError } from "effect/http"
import { HttpApiMiddleware, HttpApiSchema } from "effect/http-api"
import type { SqlError } from "effect/sql"
import type { IndexNotReadyError } from "../AiSearch.ts"
import type { DatabricksError } from "../DatabricksError.ts"
import type { DirectoryNotEmptyError, FileExistsError, InvalidPathError, InvalidRangeError } from "../FilesError.ts"
import type { MessageFailedError } from "../GenieMessage.ts"
import {
  AuthenticationError,
  type IdentityError,
  IdentityMismatchError,
  IdentityUnavailableError
} from "../IdentityError.ts"
import type { JobParametersError, RunFailedError } from "../JobRun.ts"
import type { MetricDefinitionError, MetricRequestError, UnknownMetricViewError } from "../MetricViewError.ts"
import type { EndpointNotReadyError, ModelStreamError } from "../ModelServing.ts"
import type { OperationTimeoutError } from "../Operation.ts"
import type { QueryFileError, QueryOutdatedError, QueryParameterError, UnknownQueryError } from "../QueryError.ts"
import type { ServiceContextError } from "../ServiceContext.ts"
import type { SqlParameterError } from "../SqlParameter.ts"
import type { RowDecodeError } from "../SqlWarehouse.ts"
import { Body, HttpFailure } from "./HttpFailure.ts"
import type { StreamGoneError, TooManyStreamsError } from "./ResumeError.ts"

/**
 * The errors that a handler may fail with and need not declare.
 *
 * A client fails with an `IdentityError`, or for all other errors with an `HttpFailure` of the response's status and
 * body.
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
  | InvalidPathError
  | FileExistsError
  | DirectoryNotEmptyError
  | InvalidRangeError
  | JobParametersError
  | RunFailedError
  | MessageFailedError
  | EndpointNotReadyError
  | ModelStreamError
  | IndexNotReadyError
  | QueryFileError
  | UnknownQueryError
  | QueryParameterError
  | QueryOutdatedError
  | MetricDefinitionError
  | UnknownMetricViewError
  | MetricRequestError
  | StreamGoneError
  | TooManyStreamsError
  | SqlError.SqlError
  | HttpServerError.HttpServerError
  | Schema.SchemaError
  | IdentityError
  | HttpFailure

const FailureOf = (status: number) =>
  Body.pipe(
    Schema.decodeTo(
      Schema.declare((error): error is Failure => error instanceof HttpFailure && error.status === status),
      SchemaTransformation.transform({
        decode: (body): Failure => new HttpFailure({ status, body }),
        // Middleware.layerFailures responds to every other failure before it is encoded.
        encode: (failure) => (failure as HttpFailure).body
      })
    ),
    HttpApiSchema.status(status)
  )

/**
 * Lets every handler of an Api fail with the errors of this library, without declaring them:
 * `HttpApi.make("api").add(Orders).middleware(Failures)`.
 *
 * The response to any failure, of a handler or before it runs, has the status of the failure and a body of
 * `{ _tag, message }`. In production (`NODE_ENV` other than `development`) the message of a 5xx is `Server error`.
 * Interruption, the errors that an endpoint declares and `Respondable` errors are left as they are.
 *
 * The server provides `Middleware.layerFailures`.
 *
 * @since 0.1.0
 * @category middleware
 */
export class Failures extends HttpApiMiddleware.Service<Failures>()("effect-databricks/http/Failures", {
  error: [
    // Listed before the failures of the same status, so that a client decodes them as their own classes.
    AuthenticationError,
    IdentityMismatchError,
    IdentityUnavailableError,
    ...[400, 401, 403, 404, 409, 413, 415, 416, 429, 500, 502, 503, 504].map(FailureOf)
  ]
}) {}
