/** A reserved connection, which the application holds as a value and may pass on. */
import { Effect, type Scope, Stream } from "effect"
import { type SqlConnection, SqlError } from "effect/sql"
import type * as Caller from "../../Caller.ts"
import { ownerIn } from "../owner.ts"

/**
 * Returns the same connection until the scope ends, after which its statements fail. A user's connection works in that
 * user's calls only, like the user's client.
 */
export const make = (
  connection: SqlConnection.Connection,
  caller: Caller.Caller
): Effect.Effect<SqlConnection.Connection, never, Scope.Scope> => {
  let isLent = true
  const checked = <A>(run: Effect.Effect<A, SqlError.SqlError>) =>
    Effect.withFiber<A, SqlError.SqlError>(({ context }) => {
      const owner = caller.context === "user" ? ownerIn(context, caller) : caller
      return Effect.isEffect(owner) ? owner : isLent ? run : Effect.fail(givenBack)
    })
  const lent: SqlConnection.Connection = {
    execute: (...args) => checked(connection.execute(...args)),
    executeRaw: (...args) => checked(connection.executeRaw(...args)),
    executeStream: (...args) => Stream.unwrap(checked(Effect.succeed(connection.executeStream(...args)))),
    executeValues: (...args) => checked(connection.executeValues(...args)),
    executeValuesUnprepared: (...args) => checked(connection.executeValuesUnprepared(...args)),
    executeUnprepared: (...args) => checked(connection.executeUnprepared(...args))
  }
  return Effect.as(
    Effect.addFinalizer(() => Effect.sync(() => (isLent = false))),
    lent
  )
}

const givenBack = new SqlError.SqlError({
  reason: new SqlError.UnknownError({
    cause: new Error("The connection was released"),
    message: "The scope in which this connection was reserved has ended: reserve one in the scope that uses it",
    operation: "execute"
  })
})
