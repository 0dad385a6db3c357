/** Failures as the hooks of AppKit read them. Their sentences are for end users: Databricks' own stay in the log. */
import { type Cause, Effect } from "effect"
import { HttpServerResponse } from "effect/http"
import type { ErrorCode } from "../../http/ErrorData.ts"
import * as HttpFailure from "../../http/HttpFailure.ts"
import { eventCodeOf } from "../failures/httpStatus.ts"

/** The body of a failed response of a plugin. The data of an error event has it too, with `type: "error"`. */
export interface Body {
  readonly error: string
  readonly code: ErrorCode
  /** One of the codes that front ends branch on, such as `WAREHOUSE_UNAVAILABLE`. */
  readonly errorCode?: string
  readonly plugin: string
}

/** Refuses a request. The message is shown to the end user. */
export const refusal = (status: number, message: string, errorCode = "BadRequest"): HttpFailure.HttpFailure =>
  new HttpFailure.HttpFailure({ status, body: { _tag: errorCode, message } })

/** Logs a cause, and returns what the front end may know of it. */
export const report = (
  plugin: string,
  cause: Cause.Cause<unknown>
): Effect.Effect<{ readonly failure: HttpFailure.HttpFailure; readonly body: Body }> =>
  // Development shows no more: a page that works there must not depend on it.
  Effect.map(HttpFailure.report(cause, { development: true }), (failure) => {
    const { body, isRetryable, status } = failure
    return {
      failure,
      body: {
        error: messageOf(failure),
        code: eventCodeOf(status, isRetryable),
        ...(/^[A-Z_]+$/.test(body._tag) && { errorCode: body._tag }),
        plugin
      }
    }
  })

/** Answers with the failure of a route. */
export const answer =
  (plugin: string) =>
  (cause: Cause.Cause<unknown>): Effect.Effect<HttpServerResponse.HttpServerResponse> =>
    Effect.map(report(plugin, cause), ({ body, failure }) =>
      HttpServerResponse.setBody(HttpFailure.toResponse(failure), HttpServerResponse.jsonUnsafe(body).body)
    )

const messageOf = ({ body: { _tag, message }, status }: HttpFailure.HttpFailure): string =>
  sentences[`${_tag} ${status}`] ??
  sentences[_tag] ??
  (status < 500 || /^[A-Z_]+$/.test(_tag) ? message : "The server could not answer this request")

// Of the errors whose messages quote the workspace or advise the developer, by tag, or by tag and status.
const sentences: { readonly [error: string]: string } = {
  InvalidCredentialError: "Databricks did not accept your sign-in: reload the page",
  MissingScopeError: "This app may not do that on your behalf: its owner has to add a scope",
  PermissionDeniedError: "You do not have the permission for this",
  // Refusals of the service principal, which the user cannot mend.
  "InvalidCredentialError 500": "This app could not sign in to Databricks: tell its owner",
  "MissingScopeError 500": "This app does not have the permission for this: tell its owner",
  "PermissionDeniedError 500": "This app does not have the permission for this: tell its owner",
  NotFoundError: "This does not exist, or you may not see it",
  InvalidRequestError: "Databricks refused this request",
  RateLimitedError: "Databricks has too many requests: try again soon",
  UnavailableError: "Databricks is not available: try again soon",
  ConnectionError: "Databricks is not available: try again soon",
  InvalidResponseError: "Databricks gave an answer that this app cannot read: tell its owner",
  WorkspaceFailedError: "Databricks failed to do this: try again later",
  WorkspaceMismatchError: "This app belongs to another Databricks workspace: tell its owner",
  OperationTimeoutError: "This took too long: try again",
  IdentityUnavailableError: "Your sign-in cannot be checked now: try again soon",
  StreamGoneError: "This answer cannot be continued any more: ask again",
  TooManyStreamsError: "Too many answers are running: try again when one has ended",
  UnknownWarehouseError: "The SQL warehouse of this app is not available",
  StatementFailedError: "The query failed",
  "StatementFailedError 403": "You do not have the permission for this",
  "StatementFailedError 503": "Databricks is not available: try again soon",
  StatementGoneError: "The result of the query has expired: run it again",
  FileExistsError: "A file of this name exists",
  DirectoryNotEmptyError: "The folder is not empty: delete its entries first",
  InvalidRangeError: "The file does not have this range of bytes",
  IndexNotReadyError: "The search index is not ready: try again later",
  EndpointNotReadyError: "The model is not ready: try again later",
  ModelStreamError: "The answer of the model broke off: ask again",
  MessageFailedError: "Genie could not answer this question: ask it in another way"
}
