/**
 * Ends transactions interruptibly and with typed failures; a transaction that cannot be ended ends with its connection.
 * Effect's `withTransaction` sends COMMIT and ROLLBACK uninterruptibly, waits without limit on a server that hangs, and
 * dies if a ROLLBACK fails. Remove when "waits for a COMMIT …", "waits for a ROLLBACK …" and "makes a defect …" fail in
 * driver.upstream.test.ts. `commit` is a copy of the driver's, which it does not export (test/types/driver.ts).
 */
import * as PgClient from "@effect/sql-pg/PgClient"
import type { Result } from "@effect/sql-pg/PgConnection"
import { Cause, Context, Effect, Fiber } from "effect"
import { identity } from "effect/Function"
import { SqlClient, type SqlConnection, SqlError } from "effect/sql"
import { patience, soon, type State } from "./interruption.ts"

export type Transactions = Pick<SqlClient.SqlClient, "afterCommit" | "withTransaction">

/** Makes transactions, with savepoints for nested ones, on a connection that opens and ends them through `settled`. */
export const make = (control: SqlConnection.Connection) =>
  Effect.map(
    SqlClient.make({
      acquirer: Effect.succeed(control),
      compiler: PgClient.makeCompiler(),
      driver: "@effect/sql-pg",
      spanAttributes: [],
      prepareTransactionControls: true,
      releaseSavepoint: (name) => `RELEASE SAVEPOINT ${name}`,
      commit
    }),
    ({ afterCommit, withTransaction }): Transactions => ({
      afterCommit,
      withTransaction: (effect) =>
        Effect.uninterruptibleMask((restore) =>
          Effect.provideService(typed(withTransaction(restore(effect))), Interruptibility, restore)
        )
    })
  )

/** Whether the code that began the transaction is interruptible. */
const Interruptibility = Context.Reference<<A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>>(
  "effect-databricks/Lakebase/Interruptibility",
  { defaultValue: () => identity }
)

/** Runs a statement that opens or ends a transaction. */
export const settled = (
  state: State,
  sql: string,
  query: Effect.Effect<Result, SqlError.SqlError>
): Effect.Effect<Result, SqlError.SqlError> =>
  sql === "ROLLBACK" ? rollBack(state, query) : outcomeKnown(state, query)

/**
 * Delays an interrupt until the outcome of the transaction is known, but not on a server that hangs: then the outcome
 * is unknown, and the connection is not used again.
 */
const outcomeKnown = <A>(
  state: State,
  work: Effect.Effect<A, SqlError.SqlError>
): Effect.Effect<A, SqlError.SqlError> =>
  Effect.withFiber((caller) => {
    const before = state.stopping
    const fiber = Effect.runForkWith(caller.context)(before === undefined ? work : Effect.andThen(before, work))
    const exit = Fiber.await(fiber)
    return caller
      .getRef(Interruptibility)(exit)
      .pipe(
        Effect.catchCause(() => soon(exit)),
        Effect.flatMap((exit) => {
          if (exit !== undefined) return exit
          fiber.interruptUnsafe()
          state.mustClose = true
          state.stopping = Effect.all([before ?? Effect.void, Fiber.await(fiber), Effect.fail(unsettled)])
          return Effect.interrupt
        })
      )
  })

const unsettled = new SqlError.SqlError({
  reason: new SqlError.ConnectionError({
    cause: undefined,
    message: "The database did not respond in time: the transaction was abandoned, and its connection closed",
    operation: "execute"
  })
})

// If ROLLBACK fails, ends the connection, because Postgres then rolls back by itself.
const rollBack = (state: State, query: Effect.Effect<Result, SqlError.SqlError>): Effect.Effect<Result> =>
  Effect.suspend(() => {
    const ended = Effect.sync(() => {
      state.mustClose = true
      return nothingDone
    })
    if (state.stopping !== undefined) return ended
    return Effect.uninterruptibleMask(() =>
      Effect.flatMap(Effect.forkDetach(query, { startImmediately: true, uninterruptible: false }), (fiber) =>
        Effect.raceFirst(
          Effect.interruptible(Fiber.join(fiber)),
          Effect.interruptible(Effect.andThen(Effect.sleep(patience), ended))
        )
      )
    ).pipe(Effect.catch(() => ended))
  })

const nothingDone: Result = { command: "ROLLBACK", rowCount: 0, oid: null, rows: [], fields: [] }

// COMMIT of a failed transaction succeeds at the server, as ROLLBACK, but must fail here.
const commit = (connection: SqlConnection.Connection): Effect.Effect<void, SqlError.SqlError> =>
  Effect.flatMap(connection.executeRaw("COMMIT", []), (result) =>
    commandOf(result) === "ROLLBACK"
      ? Effect.fail(
          new SqlError.SqlError({
            reason: new SqlError.UnknownError({
              cause: undefined,
              message: "The transaction had failed, and was rolled back instead of committed",
              operation: "commit"
            })
          })
        )
      : Effect.void
  )

const commandOf = (result: unknown) =>
  typeof result === "object" && result !== null && "command" in result ? result.command : undefined

/** Turns the defect that Effect makes of a failure to end a transaction back into a failure. */
const typed = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E | SqlError.SqlError, R> =>
  Effect.catchCause(effect, (cause): Effect.Effect<never, E | SqlError.SqlError> => {
    const died = cause.reasons.find(Cause.isDieReason)
    return died !== undefined && SqlError.isSqlError(died.defect) ? Effect.fail(died.defect) : Effect.failCause(cause)
  })
