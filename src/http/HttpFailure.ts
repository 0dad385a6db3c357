/**
 * Converts any failure to an HTTP response: a status, and a body of `_tag` and one sentence. Browser-safe.
 *
 * @since 0.1.0
 */
import { Cause, Data, Duration, Effect, Predicate, Schema, SchemaIssue } from "effect"
import { HttpServerError, HttpServerRespondable, HttpServerResponse, Multipart } from "effect/http"
import { HttpApiError } from "effect/http-api"
import { SqlError } from "effect/sql"
import { DatabricksError } from "../DatabricksError.ts"
import { foundBusy, reasons } from "../internal/failures/httpStatus.ts"
import { type Row, rowOf, rowOfReason } from "../internal/failures/sqlState.ts"
import * as Statement from "../internal/failures/statement.ts"
import * as Undeclared from "../internal/failures/undeclared.ts"
import * as Line from "../internal/logs/line.ts"

/**
 * The body of a failed response.
 *
 * @since 0.1.0
 * @category models
 */
export const Body = Schema.Struct({ _tag: Schema.String, message: Schema.String })

/**
 * A failure as the client sees it. A handler may also fail with one of its own.
 *
 * @since 0.1.0
 * @category models
 */
export class HttpFailure extends Data.TaggedError("HttpFailure")<{
  /** The HTTP status of the response. */
  readonly status: number
  /** The JSON body of the response. */
  readonly body: typeof Body.Type
  /** The delay for the response's `Retry-After`. */
  readonly retryAfter?: Duration.Duration | undefined
  /** Whether the same request may succeed later. It decides the code of a stream's `error` event. */
  readonly isRetryable?: boolean | undefined
}> {
  override get message(): string {
    return this.body.message
  }
}

/**
 * The options of a conversion. A `ServiceContext` is one.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options {
  /** Whether to show the message of a 5xx, which is masked as `Server error` otherwise. */
  readonly development: boolean
}

/**
 * Converts an error to an `HttpFailure`. An unknown error is a 500, unless its schema has an `httpApiStatus`.
 *
 * @since 0.1.0
 * @category conversions
 */
export const fromError = (error: unknown, options: Options): HttpFailure => mask(ofError(error), options)

/**
 * Converts a cause to an `HttpFailure`: that of its error, or a 500 for a defect.
 *
 * @since 0.1.0
 * @category conversions
 */
export const fromCause = (cause: Cause.Cause<unknown>, options: Options): HttpFailure => mask(ofCause(cause), options)

/**
 * Converts an `HttpFailure` to a response.
 *
 * @since 0.1.0
 * @category conversions
 */
export const toResponse = ({ body, retryAfter, status }: HttpFailure): HttpServerResponse.HttpServerResponse =>
  HttpServerResponse.jsonUnsafe(body, {
    status,
    ...(retryAfter && { headers: { "retry-after": String(Math.max(1, Math.ceil(Duration.toSeconds(retryAfter)))) } })
  })

/**
 * Converts a cause to an `HttpFailure` and logs it: a 5xx as an error with the cause, any other status at debug. Where there
 * are `Logs`, the line of the request has it.
 *
 * @internal
 */
export const report = (cause: Cause.Cause<unknown>, options: Options): Effect.Effect<HttpFailure> =>
  Effect.withFiber(({ context }) => {
    const found = ofCause(cause)
    const undeclared = Undeclared.restored(context, cause)
    const failure = undeclared === undefined ? found : view(found.status, found.body._tag, undeclared.message)
    const { body, status } = failure
    return Effect.as(
      Line.failed({
        status,
        tag: body._tag,
        message: body.message,
        brokeOff: false,
        cause: undeclared?.cause ?? cause,
        annotations: Statement.annotationsOf(undeclared?.cause ?? cause)
      }),
      mask(failure, options)
    )
  })

/**
 * Logs the cause that ended the body of a response early, after its status was sent.
 *
 * @internal
 */
export const reportBroken = (cause: Cause.Cause<unknown>): Effect.Effect<void> => {
  const { body, status } = ofCause(cause)
  return Line.failed({
    status,
    tag: body._tag,
    message: body.message,
    brokeOff: true,
    cause,
    annotations: Statement.annotationsOf(cause)
  })
}

/**
 * Turns the `SchemaError` of decoding a request into a 400 that names the field, for plain routes:
 * `HttpServerRequest.schemaBodyJson(Order).pipe(HttpFailure.orBadRequest)`.
 *
 * An `HttpApi` does this by itself. Any other `SchemaError` is a mistake of the application (500).
 *
 * @since 0.1.0
 * @category combinators
 */
export const orBadRequest = <A, E, R>(
  effect: Effect.Effect<A, E, R>
): Effect.Effect<A, Exclude<E, Schema.SchemaError> | HttpFailure, R> =>
  Effect.mapError(effect, (error) =>
    // Exclude does not narrow a type parameter.
    Schema.isSchemaError(error) ? badRequest("", error) : (error as Exclude<E, Schema.SchemaError>)
  )

/**
 * Whether a cause has a response of its own, or is an interruption, whose client has left.
 *
 * @internal
 */
export const answersItself = (cause: Cause.Cause<unknown>): boolean => {
  if (Cause.hasInterruptsOnly(cause)) return true
  if (cause.reasons.some((_) => _._tag === "Die" && HttpServerResponse.isHttpServerResponse(_.defect))) return true
  const error = Cause.squash(cause)
  return HttpServerRespondable.isRespondable(error) && !(ofHttp(error) ?? ofAnnotated(error))
}

const mask = (failure: HttpFailure, { development }: Options): HttpFailure =>
  failure.status < 500 || development
    ? failure
    : new HttpFailure({ ...failure, body: { ...failure.body, message: "Server error" } })

const view = (status: number, _tag: string, message: string, retryAfter?: Duration.Duration): HttpFailure =>
  new HttpFailure({ status, body: { _tag, message: sentence(message) }, retryAfter })

// Further lines, such as the statement with a caret under it or a stack, are for developers.
const sentence = (message: string): string => {
  // A pattern for blanks before a line end would backtrack over as many blanks as the request sends.
  const line = message
    .trimStart()
    .split(/[\r\n]/, 1)[0]!
    .trimEnd()
  return line === "" ? "The request failed" : line.length > 500 ? `${line.slice(0, 500)}…` : line
}

const ofCause = (cause: Cause.Cause<unknown>): HttpFailure => {
  if (Cause.hasInterruptsOnly(cause)) return view(503, "Interrupted", "The request was interrupted")
  const error = Cause.squash(cause)
  if (Cause.hasFails(cause)) return ofError(error)
  return ofHttp(error) ?? view(500, "InternalServerError", error instanceof Error ? error.message : String(error))
}

const ofError = (error: unknown): HttpFailure => {
  if (error instanceof HttpFailure) return error
  if (error instanceof DatabricksError) return ofDatabricks(error)
  if (SqlError.isSqlError(error)) return ofSql(error)
  return (
    ofHttp(error) ??
    ofAnnotated(error) ??
    ofAi(error) ??
    view(500, tagOf(error) ?? "InternalServerError", error instanceof Error ? error.message : "The request failed")
  )
}

const ofDatabricks = (error: DatabricksError): HttpFailure => {
  const { context, reason } = error
  const row =
    reason._tag !== "StatementFailedError"
      ? reasons[reason._tag]
      : foundBusy(reason)
        ? reasons.UnavailableError
        : reason.sqlState === undefined
          ? reasons.StatementFailedError
          : rowOf(reason.sqlState, Statement.of(error)?.bound)
  // A 401 or 403 would ask the user to sign in, which does not help the service principal.
  const isOwn = context === "service" && (row.status === 401 || row.status === 403)
  return viewOf(isOwn ? { ...row, status: 500 } : row, reason._tag, reason.message, reason.retryAfter)
}

// Our own errors, such as a refused login, are the cause of a SqlError; any other cause is the database's.
const ofSql = (error: SqlError.SqlError): HttpFailure => {
  const { message, reason } = error
  const { cause } = reason
  if (cause instanceof DatabricksError) return ofDatabricks(cause)
  const ours = ofAnnotated(cause)
  if (ours !== undefined) return ours
  // The driver's message is only that the query failed; the database's gives the reason.
  const said = cause instanceof Error && cause.message !== "" ? cause.message : message
  return viewOf(rowOfReason(reason, Statement.of(error)?.bound), reason._tag, said)
}

// A failed request to a model has our error as the cause of its reason. Reading it loads nothing of `effect/ai`.
const ofAi = (error: unknown): HttpFailure | undefined => {
  const reason =
    Predicate.isTagged(error, "AiError") && Predicate.hasProperty(error, "reason") ? error.reason : undefined
  const cause = Predicate.hasProperty(reason, "cause") ? reason.cause : undefined
  return cause instanceof DatabricksError ? ofDatabricks(cause) : ofAnnotated(cause)
}

const viewOf = (
  { isRetryable, status }: Pick<Row, "isRetryable" | "status">,
  _tag: string,
  message: string,
  retryAfter?: Duration.Duration
): HttpFailure =>
  new HttpFailure({
    ...view(status, _tag, message, retryAfter ?? (status === 429 || status === 503 ? soon : undefined)),
    isRetryable
  })

// The Retry-After of a 429 or 503 that has none.
const soon = Duration.seconds(1)

// Effect raises these itself, most of them as defects.
const ofHttp = (error: unknown): HttpFailure | undefined => {
  if (HttpServerError.isHttpServerError(error)) {
    const { reason } = error
    if (reason._tag === "RouteNotFound") return view(404, "RouteNotFound", `There is no ${reason.methodAndUrl}`)
    if (reason._tag !== "RequestParseError") return view(500, reason._tag, reason.message)
    if (reason.description === "not an upgradeable ServerRequest") {
      return view(426, "UpgradeRequired", "This route needs a connection upgrade")
    }
    return reason.reason === "BodyTooLarge" ? tooLarge() : view(400, "BadRequest", "The request body cannot be read")
  }
  if (HttpApiError.HttpApiSchemaError.is(error)) {
    const slot = slots[error.kind]
    return slot === undefined
      ? view(500, "InvalidAnswer", `The handler's response does not match its schema: ${error.cause.message}`)
      : badRequest(slot, error.cause)
  }
  if (HttpApiError.HttpApiPayloadTooLarge.is(error)) return tooLarge()
  if (error instanceof Multipart.MultipartError) {
    const { _tag } = error.reason
    if (_tag === "InternalError") return view(500, error._tag, error.message)
    return _tag === "Parse" ? view(400, "BadRequest", "The request body is not a valid multipart form") : tooLarge()
  }
  return undefined
}

const tooLarge = () => view(413, "PayloadTooLarge", "The request body is larger than this server accepts")

const slots = {
  Params: "path",
  Headers: "headers",
  Query: "query",
  Payload: "body",
  Body: undefined,
  ResponseHeaders: undefined
}

const badRequest = (slot: string, { issue }: Schema.SchemaError): HttpFailure => {
  const issues = SchemaIssue.makeFormatterStandardSchemaV1()(issue).issues.map(({ message, path = [] }) => {
    const at = [slot, ...path.map((_) => String(Predicate.isObject(_) && "key" in _ ? _.key : _))].filter(
      (_) => _ !== ""
    )
    return at.length === 0 ? message : `${at.join(".")}: ${message}`
  })
  return view(400, "BadRequest", issues.join("; "))
}

const ofAnnotated = (error: unknown): HttpFailure | undefined => {
  if (!(error instanceof Error) || !Schema.isSchema(error.constructor)) return undefined
  const status = Schema.resolveAnnotations(error.constructor)?.["httpApiStatus"]
  if (typeof status !== "number" || isMisplaced(error)) return undefined
  const isRetryable = Predicate.hasProperty(error, "isRetryable") && error.isRetryable === true
  return new HttpFailure({
    ...view(status, tagOf(error) ?? error.name, error.message, retryAfterOf(error)),
    isRetryable
  })
}

// A misplaced parameter is a mistake of the application, not of the request.
const isMisplaced = (error: Error) =>
  identifierOf(error) === "effect-databricks/SqlParameterError" &&
  Predicate.hasProperty(error, "misplaced") &&
  error.misplaced === true

/**
 * The identifier of an error's schema. It recognizes this library's errors without loading their modules.
 *
 * @internal
 */
export const identifierOf = (error: unknown): string =>
  error instanceof Error && Predicate.hasProperty(error.constructor, "identifier")
    ? String(error.constructor.identifier)
    : ""

const retryAfterOf = (error: Error): Duration.Duration | undefined => {
  switch (identifierOf(error)) {
    case "effect-databricks/IdentityUnavailableError":
    case "effect-databricks/TooManyStreamsError":
      return Duration.seconds(5)
    case "effect-databricks/PoolExhaustedError":
      return Duration.seconds(1)
    default:
      return undefined
  }
}

const tagOf = (error: unknown): string | undefined =>
  Predicate.hasProperty(error, "_tag") && Predicate.isString(error._tag) ? error._tag : undefined
