/** Requests of the Jobs API: exact ids, the service principal's credential, and errors that name the job or the run. */
import { Context, Effect, Record } from "effect"
import { HttpBody, HttpClientRequest, type HttpClientResponse, type UrlParams } from "effect/http"
import { DatabricksError, InvalidRequestError, make as databricksError, NotFoundError } from "../../DatabricksError.ts"
import { asService, ExecutionContext } from "../../ExecutionContext.ts"
import type { WorkspaceClient } from "../../WorkspaceClient.ts"
import { advised } from "../workspace/advice.ts"
import * as ExactJson from "../workspace/exactJson.ts"

/** The job or the run that a request is about, as a field of the request. */
export type Subject = { readonly job_id: string } | { readonly run_id: string }

type Response = Effect.Effect<HttpClientResponse.HttpClientResponse, DatabricksError>

const path = "/api/2.2/jobs"

export const make = (client: WorkspaceClient["Service"]) => {
  const send = (subject: Subject | undefined, request: HttpClientRequest.HttpClientRequest): Response =>
    // The finalizer of a stream may run in a fiber of a user.
    Effect.mapError(asService(client.send(request)), (error) =>
      subject === undefined ? error : explained(subject, error)
    )
  return {
    get: (subject: Subject | undefined, url: string, params?: UrlParams.CoercibleRecord): Response =>
      Effect.flatMap(exact(subject), (ids) =>
        send(subject, HttpClientRequest.get(path + url, { urlParams: { ...params, ...ids } }))
      ),
    /** Sends a body with the id of its subject, as an exact number. */
    post: (subject: Subject, url: string, fields?: object): Response =>
      Effect.flatMap(exact(subject), (ids) => {
        const json = ExactJson.stringify({ ...fields, ...ids }, (_, value) => value)
        return send(subject, HttpClientRequest.post(path + url, { body: HttpBody.text(json, "application/json") }))
      })
  }
}

export const invalid = (message: string): Effect.Effect<never, DatabricksError> =>
  Effect.fail(databricksError(new InvalidRequestError({ message })))

const nameOf = (subject: Subject) => ("job_id" in subject ? `The job ${subject.job_id}` : `The run ${subject.run_id}`)

const exact = (subject: Subject | undefined): Effect.Effect<Readonly<Record<string, bigint>>, DatabricksError> => {
  if (subject === undefined) return Effect.succeed({})
  const ids: Readonly<Record<string, string>> = subject
  return Object.values(ids).every((id) => /^[1-9]\d{0,18}$/.test(id))
    ? Effect.succeed(Record.map(ids, BigInt))
    : invalid(
        `${nameOf(subject).slice(0, 100)} has an id that is not a number of at most 19 digits: no request was sent`
      )
}

/** Returns the error of a missing job or run, which Databricks answers with 400, and adds the missing permission. */
const explained = (subject: Subject, error: DatabricksError): DatabricksError => {
  const { context, reason } = error
  const { errorCode, errorReason, requestId, retryAfter, status } = reason
  const isMissing =
    reason._tag === "InvalidRequestError" &&
    errorCode === "INVALID_PARAMETER_VALUE" &&
    /does not exist/i.test(reason.message)
  if (!isMissing) return denied(error)
  const message = `${nameOf(subject)} does not exist, or the service principal may not see it: check the id. ${grant}`
  const fields = { message, errorCode, errorReason, requestId, retryAfter, status }
  return new DatabricksError({ context, reason: new NotFoundError(fields) })
}

const grant = "Grant the app's service principal CAN MANAGE RUN on the job, by adding the job to the app's resources"

const denied = advised({ denied: grant })

/** Dies in a user's call, whose token no scope opens to jobs: only `Jobs.asService` may take the app's place there. */
export const refused = (context: Context.Context<never>): Effect.Effect<never> | undefined =>
  Context.get(context, ExecutionContext) === undefined
    ? undefined
    : Effect.die(
        new Error(
          "Jobs run as the service principal only, and this is a user's call: check that this user may do it, and use Jobs.asService"
        )
      )
