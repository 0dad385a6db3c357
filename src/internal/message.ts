/** The message of an error, for the log of a start. */
import { Config, Formatter, Predicate } from "effect"
import * as SqlError from "effect/sql/SqlError"

// The message of a cause may have more detail: a database driver's own message says only that it could not connect.
export const messageOf = (error: unknown): string => {
  if (SqlError.isSqlError(error) && error.reason.cause instanceof Error) {
    const said = messageOf(error.reason.cause)
    return error.message.includes(said) ? said : `${error.message}: ${said}`
  }
  if (error instanceof Config.ConfigError) return error.cause.message
  if (!(error instanceof Error)) {
    // Formatter keeps redacted values redacted.
    return typeof error === "string"
      ? error
      : Predicate.hasProperty(error, "message") && Predicate.isString(error.message)
        ? error.message
        : Formatter.format(error)
  }
  return error.message || (error.cause === undefined ? error.name : messageOf(error.cause))
}
