/** What a caller can do about a refusal of the workspace. */
import { DatabricksError, NotFoundError, PermissionDeniedError } from "../../DatabricksError.ts"

/** Adds a sentence to the message of a 403 (`denied`) and of a 404 (`missing`). */
export const advised =
  ({ denied, missing }: { readonly denied: string; readonly missing?: string }) =>
  (error: DatabricksError): DatabricksError => {
    const { context, reason } = error
    const and = (advice: string) => `${reason.message.replace(/\.$/, "")}. ${advice}`
    if (reason._tag === "PermissionDeniedError") {
      return new DatabricksError({ context, reason: new PermissionDeniedError({ ...reason, message: and(denied) }) })
    }
    return reason._tag === "NotFoundError" && missing !== undefined
      ? new DatabricksError({ context, reason: new NotFoundError({ ...reason, message: and(missing) }) })
      : error
  }
