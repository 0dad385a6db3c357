/** The messages of a start that fails. */
import type { DatabricksError } from "../../DatabricksError.ts"
import { ServiceContextError } from "../../ServiceContext.ts"
import { advice } from "../unreachable.ts"

export const failed = (message: string) => new ServiceContextError({ message })

/** Returns the message of a failed start; `source` names the variables or profile of the credentials. */
export const startSentence = ({ reason }: DatabricksError, host: string, source: string): string => {
  const said = reason.message.replace(/\.$/, "")
  const refusal = refusals.find(({ is }) => is.test(said))
  if (refusal !== undefined) return `${host} ${refusal.what} (${said}): ${refusal.check}`
  switch (reason._tag) {
    case "InvalidCredentialError":
    case "PermissionDeniedError":
      return `${host} does not accept the service principal's credentials (${said}): check ${source}`
    case "InvalidRequestError":
      return `${host} refuses the request (${said}): check DATABRICKS_HOST and ${source}`
    case "NotFoundError":
    case "InvalidResponseError":
      return `${host} does not answer as a Databricks workspace does (${said}): check DATABRICKS_HOST`
    case "ConnectionError": {
      const code = typeof reason.cause === "string" ? reason.cause : undefined
      return `${host} cannot be reached (${code ?? "no response"}): ${advice(code, "check DATABRICKS_HOST and the network")}`
    }
    case "MissingScopeError":
      return `The service principal's credentials lack the scope "${reason.scope}": check ${source}`
    default:
      return `${host} failed (${said}): try again later`
  }
}

/** Refusals that only the message distinguishes, because the status has other meanings too. */
const refusals = [
  {
    is: /\bscopes?\b.*\bnot assigned\b|\binvalid_scope\b/i,
    what: "does not grant the service principal these scopes",
    check: "set DATABRICKS_SCOPES, or the option scopes, to scopes of its secret"
  },
  {
    is: /\bOAuth Config\b/i,
    what: "does not know which of its workspaces is meant",
    check: "add ?o=<workspace id> to DATABRICKS_HOST, or set DATABRICKS_WORKSPACE_ID"
  },
  {
    is: /\bIP ACL\b|\bIP access list|\bsource IP\b|\b(public|network) access\b|\bprivate link\b/i,
    what: "does not allow access from this network",
    check: "add the address of this machine to the workspace's IP access list"
  }
]
