/** The sentences of a start that fails. */
import type { DatabricksError } from "../../DatabricksError.ts"
import { ServiceContextError } from "../../ServiceContext.ts"

export const failed = (message: string) => new ServiceContextError({ message })

/** What a failed start says; `source` is where the credentials were found. */
export const startSentence = ({ reason }: DatabricksError, host: string, source: string): string => {
  const said = reason.message.replace(/\.$/, "")
  switch (reason._tag) {
    case "InvalidCredentialError":
    case "PermissionDeniedError":
      return `${host} does not accept the service principal's credentials (${said}): check ${source}`
    case "NotFoundError":
    case "InvalidResponseError":
      return `${host} does not answer as a Databricks workspace does (${said}): check DATABRICKS_HOST`
    case "ConnectionError":
      return `${host} cannot be reached (${String(reason.cause ?? "no answer")}): check DATABRICKS_HOST and the network`
    case "MissingScopeError":
      return `The service principal's credentials lack the scope "${reason.scope}": check ${source}`
    default:
      return `${host} has a failure of its own (${said}): try again later`
  }
}
