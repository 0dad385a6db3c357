import { Schema } from "effect"
import type { DatabricksError } from "../DatabricksError.ts"

/**
 * The application cannot start: a setting is missing or wrong, or the workspace refuses it.
 *
 * @since 0.1.0
 * @category errors
 */
export class ServiceContextError extends Schema.TaggedError<ServiceContextError>(
  "effect-databricks/ServiceContextError"
)("ServiceContextError", { message: Schema.String }) {}

export const failed = (message: string) => new ServiceContextError({ message })

export const startSentence = ({ reason }: DatabricksError): string => {
  switch (reason._tag) {
    case "InvalidCredentialError":
    case "PermissionDeniedError":
      return `${reason.message}. Check DATABRICKS_TOKEN, or DATABRICKS_CLIENT_ID and DATABRICKS_CLIENT_SECRET, or the profile`
    case "NotFoundError":
      return `${reason.message}: is DATABRICKS_HOST a Databricks workspace?`
    default:
      return reason.message
  }
}
