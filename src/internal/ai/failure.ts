/** The `AiError` of a failed request. Its reason has our error as `cause`, with everything that it knows. */
import { Duration } from "effect"
import * as AiError from "effect/ai/AiError"
import type { DatabricksError } from "../../DatabricksError.ts"
import type { ModelStreamError } from "../../ModelServing.ts"
import type { OperationTimeoutError } from "../../Operation.ts"
import { tagOf } from "../failures/httpStatus.ts"

export type Failure = DatabricksError | ModelStreamError | OperationTimeoutError

export interface Place {
  readonly module: string
  readonly method: string
  readonly endpoint: string
}

/** Returns the error of a reason. */
export const make = ({ method, module }: Place, reason: AiError.AiErrorReason): AiError.AiError =>
  AiError.make({ module, method, reason })

/** Returns the error of a request. With `begun` the model's output has reached the reader, so it is never retryable. */
export const of = (error: Failure, place: Place, begun = false): AiError.AiError =>
  make(place, Object.assign(reasonOf(error, place.endpoint, begun), { cause: error }))

const reasonOf = (error: Failure, endpoint: string, begun: boolean): AiError.AiErrorReason => {
  const description = error.message
  if (error._tag === "OperationTimeoutError") {
    return begun ? new AiError.UnknownError({ description }) : new AiError.InternalProviderError({ description })
  }
  const http = httpOf(error)
  const tag =
    error._tag === "DatabricksError"
      ? error.reason._tag
      : {
          failed: tagOf(error.status ?? 500),
          cut: "ConnectionError" as const,
          invalid: "InvalidResponseError" as const
        }[error.kind]
  const code = error._tag === "DatabricksError" ? error.reason.errorCode : error.errorCode
  const isRequest = tag === "InvalidRequestError" || error._tag === "ModelStreamError"
  if (isRequest && refusedContent.test(`${code ?? ""} ${description}`)) {
    return new AiError.ContentPolicyError({ description, http })
  }
  if (tag === "InvalidResponseError") return new AiError.InvalidResponseError({ description, http })
  if (begun) return new AiError.UnknownError({ description, http })
  switch (tag) {
    case "RateLimitedError":
      return new AiError.RateLimitError({ retryAfter: error.retryAfter, http })
    case "InvalidCredentialError":
      return new AiError.AuthenticationError({ kind: "InvalidKey", description, http })
    case "MissingScopeError":
    case "PermissionDeniedError":
      return new AiError.AuthenticationError({ kind: "InsufficientPermissions", description, http })
    case "NotFoundError":
    case "InvalidRequestError":
      return new AiError.InvalidRequestError({ description, http })
    case "UnavailableError":
    case "WorkspaceFailedError":
      return new AiError.InternalProviderError({ description, http })
    case "ConnectionError":
      return new AiError.NetworkError({
        reason: "TransportError",
        method: "POST",
        url: `/serving-endpoints/${endpoint}/invocations`,
        description
      })
    default:
      return new AiError.UnknownError({ description, http })
  }
}

// Azure OpenAI's filter has a code; guardrails of the AI Gateway have only words.
const refusedContent = /content[_ ]?(filter|policy|management)|guardrail/i

const httpOf = ({ requestId, retryAfter, status }: DatabricksError | ModelStreamError) =>
  status === undefined
    ? undefined
    : {
        response: {
          status,
          headers: {
            ...(requestId !== undefined && { "x-request-id": requestId }),
            ...(retryAfter !== undefined && { "retry-after": String(Duration.toSeconds(retryAfter)) })
          }
        }
      }
