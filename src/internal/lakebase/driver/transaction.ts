/**
 * Effect's `withTransaction` sends what ends a transaction where nobody may be interrupted, waits for it however long the
 * server hangs, and makes a defect of a ROLLBACK that fails. Here an interrupt is heard, a failure is typed, and a
 * transaction that cannot be ended ends with its connection. Goes when "waits for a COMMIT …", "waits for a ROLLBACK …"
 * and "makes a defect …" fail in driver.upstream.test.ts. `commit` is the driver's own, which test/types/driver.ts says
 * it does not export.
 */
import * as PgClient from "@effect/sql-pg/PgClient"
import type { Result } from "@effect/sql-pg/PgConnection"
import { Cause, Context, Effect, Fiber } from "effect"
import { identity } from "effect/Function"
import { SqlClient, type SqlConnection, SqlError } from "effect/sql"
import { patience, soon, type State } from "./interruption.ts"

export type Transactions = Pick<SqlClient.SqlClient, "afterCommit" | "withTransaction">

/** Transactions, nested ones as savepoints, on a connection that runs what opens and ends them through `settled`. */
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

/** Whether whoever began the transaction may be interrupted. */
const Interruptibility = Context.Reference<<A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>>(
  "effect-databricks/Lakebase/Interruptibility",
  { defaultValue: () => identity }
)

/** Runs what opens or ends a transaction. */
export const settled = (
  state: State,
  sql: string,
  query: Effect.Effect<Result, SqlError.SqlError>
): Effect.Effect<Result, SqlError.SqlError> =>
  sql === "ROLLBACK" ? rollBack(state, query) : outcomeKnown(state, query)

/**
 * An interrupt has to wait, so that it is known what has become of the transaction, but not on a server that hangs: then
 * the outcome is unknown, and nothing more runs on the connection.
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
          state.spoilt = true
          state.stopping = Effect.all([before ?? Effect.void, Fiber.await(fiber), Effect.fail(unsettled)])
          return Effect.interrupt
        })
      )
  })

const unsettled = new SqlError.SqlError({
  reason: new SqlError.ConnectionError({
    cause: undefined,
    message: "The server did not answer in time, and the transaction is given up with its connection",
    operation: "execute"
  })
})

// Postgres rolls back by itself when a connection ends, so one that cannot be asked is ended instead.
const rollBack = (state: State, query: Effect.Effect<Result, SqlError.SqlError>): Effect.Effect<Result> =>
  Effect.suspend(() => {
    const ended = Effect.sync(() => {
      state.spoilt = true
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

// Server and client part ways here: COMMIT of a transaction that has failed succeeds as ROLLBACK.
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

/** The failure of what ends a transaction is a defect to Effect: to whoever called it is a failure like others. */
const typed = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E | SqlError.SqlError, R> =>
  Effect.catchCause(effect, (cause): Effect.Effect<never, E | SqlError.SqlError> => {
    const died = cause.reasons.find(Cause.isDieReason)
    return died !== undefined && SqlError.isSqlError(died.defect) ? Effect.fail(died.defect) : Effect.failCause(cause)
  })
