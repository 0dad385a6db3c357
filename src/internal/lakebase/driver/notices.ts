/**
 * Logs the notices of the server, which the driver drops. Remove when "drops notices" fails in driver.upstream.test.ts.
 */
import type * as PgProtocol from "@effect/sql-pg/PgProtocol"
import { Effect, type LogLevel } from "effect"
import { withoutBound } from "../../failures/values.ts"

export interface Notices {
  readonly add: (fields: PgProtocol.ErrorFields) => void
  readonly isEmpty: () => boolean
  /** Logs the notices since the last call, in the caller's fiber, without the statement's bound values. */
  readonly log: (values: ReadonlyArray<unknown>) => Effect.Effect<void>
}

/** The most notices of a statement, and the most characters of each. */
const [most, longest] = [100, 1_000]

const levels: Record<string, LogLevel.Severity> = { WARNING: "Warn", NOTICE: "Info", INFO: "Info" }

export const make = (): Notices => {
  let notices: Array<PgProtocol.ErrorFields> = []
  let dropped = 0
  return {
    add: (fields) => void (notices.length < most ? notices.push(fields) : dropped++),
    isEmpty: () => notices.length === 0,
    log: (values) => {
      if (notices.length === 0) return Effect.void
      const [said, more] = [notices, dropped]
      notices = []
      dropped = 0
      // Only the message, because detail, hint and context may quote the statement's values.
      const each = Effect.forEach(
        said,
        ({ code, message = "", severity, severityUnlocalized = severity ?? "" }) =>
          Effect.logWithLevel(levels[severityUnlocalized] ?? "Debug")(
            withoutBound(message.slice(0, longest), values)
          ).pipe(Effect.annotateLogs({ "db.response.status_code": code, "db.severity": severityUnlocalized })),
        { discard: true }
      )
      return more === 0 ? each : Effect.andThen(each, Effect.logWarning(`${more} more notices of the statement`))
    }
  }
}
