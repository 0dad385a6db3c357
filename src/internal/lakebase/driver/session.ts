/**
 * One authenticated connection, with what the pool must know of it. The driver exports neither the `SqlConnection` that
 * it makes of one nor a client of one, and its own pool knows no callers. The adapter goes when test/types/driver.ts
 * does not compile.
 */
import * as PgConnection from "@effect/sql-pg/PgConnection"
import { Effect, type Redacted, type Scope, Stream } from "effect"
import type { SqlConnection, SqlError } from "effect/sql"
import type { Reactivity } from "effect/reactivity"
import type { Socket } from "node:net"
import type { ConnectionOptions } from "node:tls"
import * as Failure from "../failure.ts"
import * as Interruption from "./interruption.ts"
import * as Messages from "./messages.ts"
import * as Sockets from "./socket.ts"
import * as Transaction from "./transaction.ts"
import * as Types from "./types.ts"

export interface Session {
  readonly connection: SqlConnection.Connection
  /** Runs transactions on this connection, nested ones as savepoints. */
  readonly transactions: Transaction.Transactions
  readonly listen: PgConnection.PgConnection["listen"]
  /** Whether another call may have it: it lives, and nothing of the last call is left on it. */
  readonly isUsable: () => boolean
}

export interface Target {
  readonly host: string
  readonly port: number
  readonly database: string
  readonly ssl: boolean | ConnectionOptions
  readonly applicationName: string
}

export interface Login {
  readonly username: string
  readonly password: Redacted.Redacted
}

export const open = Effect.fnUntraced(function* (
  { host, port, ...target }: Target,
  login: Login
): Effect.fn.Return<Session, SqlError.SqlError, Scope.Scope | Reactivity.Reactivity> {
  // The driver asks for the socket of the session first; later ones carry its cancel requests.
  let socket: Socket | undefined
  yield* Effect.addFinalizer(() => (socket === undefined ? Effect.void : Sockets.closed(socket)))
  // As the server says after each statement, however a transaction was begun.
  let inTransaction = false
  const state: Interruption.State = { spoilt: false, stopping: undefined }
  const types = Types.make()
  const session = yield* PgConnection.make({
    ...target,
    ...login,
    host,
    port,
    types: types.registry,
    stream: () => {
      const next = Sockets.connect(host, port)
      socket ??= next
      return next
    }
  })
  Messages.watch(session, (message) => {
    if (message._tag === "RowDescription") types.learn(message)
    else if (message._tag === "ReadyForQuery") inTransaction = message.status !== "I"
  })
  const pinned = yield* session.pin
  // What is still being stopped needs the connection for that.
  yield* Effect.addFinalizer(() => Effect.suspend(() => Effect.ignore(state.stopping ?? Effect.void)))
  const { connection, control } = adapter(Types.checked(pinned, types), state)
  return {
    connection,
    transactions: yield* Transaction.make(control),
    listen: pinned.listen,
    isUsable: () => !state.spoilt && !inTransaction && socket?.readyState === "open"
  }
})

type Transform = Parameters<SqlConnection.Connection["execute"]>[2]

type Query = (sql: string, params: ReadonlyArray<unknown>, prepare?: boolean) => ReturnType<Types.Queries["query"]>

/** The connection for the callers, and the same for what opens and ends their transactions. */
const adapter = (session: Types.Queries, state: Interruption.State) => {
  const through = (query: Query) => {
    const rows = (sql: string, params: ReadonlyArray<unknown>, transform: Transform, prepare: boolean) =>
      Effect.map(query(sql, params, prepare), (result) => (transform ? transform(result.rows) : result.rows))
    const values = (sql: string, params: ReadonlyArray<unknown>, prepare: boolean) =>
      Interruption.stoppable(state, session.queryValues(sql, params, prepare))
    return {
      execute: (sql, params, transform) => rows(sql, params, transform, true),
      executeUnprepared: (sql, params, transform) => rows(sql, params, transform, false),
      executeRaw: (sql, params) => query(sql, params),
      executeValues: (sql, params) => values(sql, params, true),
      executeValuesUnprepared: (sql, params) => values(sql, params, false),
      executeStream: (sql, params, transform) => {
        const stream = Interruption.stoppableStream(state, session.stream(sql, params))
        return transform ? Stream.mapArray(stream, (chunk) => transform(chunk) as typeof chunk) : stream
      }
    } satisfies SqlConnection.Connection
  }
  return {
    connection: through((sql, params, prepare) => Interruption.stoppable(state, session.query(sql, params, prepare))),
    control: through((sql, params, prepare) =>
      Transaction.settled(state, sql, Effect.mapError(session.query(sql, params, prepare), Failure.told))
    )
  }
}
