/**
 * How any failure looks over HTTP: a status, and a body of a `_tag` and one sentence; a browser can import this module.
 *
 * @since 0.1.0
 */
import { Cause, Data, Duration, Effect, Predicate, Schema, SchemaIssue } from "effect"
import { HttpServerError, HttpServerRespondable, HttpServerResponse, Multipart } from "effect/http"
import { HttpApiError } from "effect/http-api"
import { SqlError } from "effect/sql"
import { DatabricksError, type Reason } from "../DatabricksError.ts"

/**
 * @since 0.1.0
 * @category models
 */
export const Body = Schema.Struct({ _tag: Schema.String, message: Schema.String })

/**
 * A failure as the client is told of it; a handler may fail with one of its own making.
 *
 * @since 0.1.0
 * @category models
 */
export class HttpFailure extends Data.TaggedError("HttpFailure")<{
  readonly status: number
  readonly body: typeof Body.Type
  /** When the client may come back. */
  readonly retryAfter?: Duration.Duration | undefined
}> {
  override get message(): string {
    return this.body.message
  }
}

/**
 * @since 0.1.0
 * @category models
 */
export interface Options {
  /** Shows the sentence of a 5xx too, which production masks as `Server error`. */
  readonly development: boolean
}

/**
 * The HTTP view of an error; one that is not known is a 500, unless its schema has an `httpApiStatus`.
 *
 * @since 0.1.0
 * @category conversions
 */
export const fromError = (error: unknown, options: Options): HttpFailure => mask(ofError(error), options)

/**
 * The HTTP view of whatever ended a request: its error, or a 500 for a defect.
 *
 * @since 0.1.0
 * @category conversions
 */
export const fromCause = (cause: Cause.Cause<unknown>, options: Options): HttpFailure => mask(ofCause(cause), options)

/**
 * @since 0.1.0
 * @category conversions
 */
export const toResponse = ({ body, retryAfter, status }: HttpFailure): HttpServerResponse.HttpServerResponse =>
  HttpServerResponse.jsonUnsafe(body, {
    status,
    ...(retryAfter && { headers: { "retry-after": String(Math.max(1, Math.ceil(Duration.toSeconds(retryAfter)))) } })
  })

/**
 * The HTTP view of a cause, which it logs: a 5xx as an error with the cause, anything else at debug.
 *
 * @internal
 */
export const report = (cause: Cause.Cause<unknown>, options: Options): Effect.Effect<HttpFailure> => {
  const failure = ofCause(cause)
  const line = `${failure.status} ${failure.body._tag}: ${failure.body.message}`
  return Effect.as(failure.status >= 500 ? Effect.logError(line, cause) : Effect.logDebug(line), mask(failure, options))
}

/**
 * Turns the `SchemaError` of reading a request into a 400 that names the field, for a route that decodes its own:
 * `HttpServerRequest.schemaBodyJson(Order).pipe(HttpFailure.orBadRequest)`.
 *
 * An `HttpApi` does this by itself. Any other `SchemaError` is a mistake of the application, and a 500.
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
 * Whether a cause knows its own response, or is an interruption that no answer will reach.
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

// What follows the first line is for a developer at a console: the statement with a caret under it, a stack.
const sentence = (message: string): string => {
  // No pattern that takes the blanks before the end of the line: a request chooses how many there are to try.
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
  if (error instanceof DatabricksError) {
    const { reason } = error
    return view(statusOf(error), reason._tag, reason.message, reason.retryAfter)
  }
  if (SqlError.isSqlError(error)) return ofSql(error)
  return (
    ofHttp(error) ??
    ofAnnotated(error) ??
    view(500, tagOf(error) ?? "InternalServerError", error instanceof Error ? error.message : "The request failed")
  )
}

const statuses: { readonly [Tag in Reason["_tag"]]: number } = {
  InvalidCredentialError: 401,
  MissingScopeError: 403,
  PermissionDeniedError: 403,
  NotFoundError: 404,
  InvalidRequestError: 400,
  RateLimitedError: 429,
  UnavailableError: 503,
  ConnectionError: 503,
  InvalidResponseError: 502,
  WorkspaceFailedError: 502,
  UnknownWarehouseError: 500,
  StatementFailedError: 500,
  StatementGoneError: 409
}

const statusOf = (error: DatabricksError): number => {
  const status = ofReason(error.reason)
  // Nobody who signs in again helps the service principal.
  return error.context === "service" && (status === 401 || status === 403) ? 500 : status
}

const ofReason = (reason: Reason): number => {
  if (reason._tag !== "StatementFailedError") return statuses[reason._tag]
  const sqlState = reason.sqlState ?? ""
  if (sqlState === "42501") return 403
  // Data exceptions, and statements that make no sense here: what was sent in is wrong.
  return /^(22|42)/.test(sqlState) ? 400 : statuses[reason._tag]
}

// What kept the caller from the database is its cause, and an error of ours; else the database itself has spoken.
const ofSql = ({ message, reason }: SqlError.SqlError): HttpFailure => {
  const { cause } = reason
  if (cause instanceof DatabricksError) return ofError(cause)
  const ours = ofAnnotated(cause)
  if (ours !== undefined) return ours
  // The driver says only that the query failed, and the database why.
  const said = cause instanceof Error && cause.message !== "" ? cause.message : message
  switch (reason._tag) {
    case "AuthorizationError":
      return view(403, reason._tag, said)
    case "UniqueViolation":
      return view(409, reason._tag, said)
    case "ConstraintError":
      // A foreign key and an exclusion conflict with other rows; the rest is about the row alone.
      return view(/^23(503|P01)$/.test(sqlStateOf(cause)) ? 409 : 400, reason._tag, said)
    case "SerializationError":
    case "DeadlockError":
    case "LockTimeoutError":
      return view(409, reason._tag, said)
    case "ConnectionError":
      return view(503, reason._tag, said, Duration.seconds(1))
    default:
      // Data exceptions: what was sent in is wrong. A statement that does not parse is the application's own mistake.
      return view(
        sqlStateOf(cause).startsWith("22") ? 400 : passing.has(sqlStateOf(cause)) ? 503 : 500,
        reason._tag,
        said
      )
  }
}

// The server is full, stops or starts; the driver has no reason for these.
const passing = new Set(["53300", "57P01", "57P02", "57P03"])

const sqlStateOf = (cause: unknown): string =>
  Predicate.hasProperty(cause, "code") && Predicate.isString(cause.code) ? cause.code : ""

// Effect raises these itself, most of them as defects.
const ofHttp = (error: unknown): HttpFailure | undefined => {
  if (HttpServerError.isHttpServerError(error)) {
    const { reason } = error
    if (reason._tag === "RouteNotFound") return view(404, "RouteNotFound", `There is no ${reason.methodAndUrl}`)
    if (reason._tag !== "RequestParseError") return view(500, reason._tag, reason.message)
    return reason.reason === "BodyTooLarge" ? tooLarge() : view(400, "BadRequest", "The request body cannot be read")
  }
  if (HttpApiError.HttpApiSchemaError.is(error)) {
    const slot = slots[error.kind]
    return slot === undefined
      ? view(500, "InvalidAnswer", `The handler's answer does not fit its schema: ${error.cause.message}`)
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
  return typeof status === "number"
    ? view(status, tagOf(error) ?? error.name, error.message, retryAfterOf(error))
    : undefined
}

/**
 * The identifier of an error's schema, by which those of this library are known without loading their modules.
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
      return Duration.seconds(5)
    case "effect-databricks/PoolExhaustedError":
      return Duration.seconds(1)
    default:
      return undefined
  }
}

const tagOf = (error: unknown): string | undefined =>
  Predicate.hasProperty(error, "_tag") && Predicate.isString(error._tag) ? error._tag : undefined
