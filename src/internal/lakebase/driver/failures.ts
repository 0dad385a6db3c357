/**
 * Classifies each failure of a session by the table, without values and with its statement; a session whose connection
 * ends is not used again. The driver classifies few codes, and passes the server's messages on with the values in them.
 * Remove when "hands on values …" fails in driver.upstream.test.ts.
 */
import type * as PgConnection from "@effect/sql-pg/PgConnection"
import type * as PgProtocol from "@effect/sql-pg/PgProtocol"
import { Cause, Effect, Exit, Queue, Stream } from "effect"
import { SqlError } from "effect/sql"
import { isPostgresError, rowOfReason } from "../../failures/sqlState.ts"
import * as Statement from "../../failures/statement.ts"
import { sanitized } from "../failure.ts"
import type { State } from "./interruption.ts"
import type { Queries } from "./queries.ts"

/** The last error of the server, for which the driver would report a closed connection. */
export interface FatalError {
  fields: PgProtocol.ErrorFields | undefined
}

const none: ReadonlyArray<unknown> = []

export const make = (state: State, fatal: FatalError) => {
  const fail = (error: SqlError.SqlError, sql: string, params = none) => {
    const { fields } = fatal
    const known =
      fields !== undefined && error.reason._tag === "ConnectionError" && !isPostgresError(error.reason.cause)
        ? ofServer(fields, error.reason)
        : error
    if (!rowOfReason(known.reason).keepsConnection) state.mustClose = true
    return Statement.failed(sanitized(known, params), sql, params.length)
  }
  return {
    queries: (session: Queries): Queries => ({
      query: (sql, params, prepare) =>
        Effect.catch(session.query(sql, params, prepare), (error) => fail(error, sql, params)),
      queryValues: (sql, params, prepare) =>
        Effect.catch(session.queryValues(sql, params, prepare), (error) => fail(error, sql, params)),
      stream: (sql, params) =>
        Stream.catch(session.stream(sql, params), (error) => Stream.fromEffect(fail(error, sql, params)))
    }),
    /** Fails the queue of a listener like a statement. */
    listen: (listen: PgConnection.PgConnection["listen"]): PgConnection.PgConnection["listen"] =>
      Effect.fnUntraced(function* (channel) {
        const failed = (error: SqlError.SqlError) => fail(error, "LISTEN")
        const heard = yield* Effect.catch(listen(channel), failed)
        const queue = yield* Queue.unbounded<PgConnection.Notification, SqlError.SqlError>()
        yield* Queue.takeAll(heard).pipe(
          Effect.map((notifications) => Queue.offerAllUnsafe(queue, notifications)),
          Effect.forever,
          Effect.catch(failed),
          Effect.onExit((exit) =>
            Exit.isFailure(exit) && !Cause.hasInterruptsOnly(exit.cause)
              ? Queue.failCause(queue, exit.cause)
              : Queue.shutdown(queue)
          ),
          Effect.forkScoped
        )
        return queue
      })
  }
}

const ofServer = (fields: PgProtocol.ErrorFields, { message, operation }: SqlError.SqlErrorReason) =>
  new SqlError.SqlError({
    reason: new SqlError.UnknownError({
      cause: Object.assign(new Error(fields.message ?? message), fields),
      message,
      operation: operation ?? "query"
    })
  })
