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
  sentences[_tag] ?? (status < 500 || /^[A-Z_]+$/.test(_tag) ? message : "The server could not answer this request")

// By the reasons of a DatabricksError, whose messages quote the workspace.
const sentences: { readonly [tag: string]: string } = {
  InvalidCredentialError: "Databricks did not accept your sign-in: reload the page",
  MissingScopeError: "This app may not do that on your behalf: its owner has to add a scope",
  PermissionDeniedError: "You do not have the permission for this",
  NotFoundError: "This does not exist, or you may not see it",
  InvalidRequestError: "Databricks refused this request",
  RateLimitedError: "Databricks has too many requests: try again soon",
  UnavailableError: "Databricks is not available: try again soon",
  ConnectionError: "Databricks is not available: try again soon",
  OperationTimeoutError: "This took too long: try again",
  StatementFailedError: "The query failed",
  StatementGoneError: "The result of the query has expired: run it again",
  UnknownWarehouseError: "The SQL warehouse of this app is not available"
}
