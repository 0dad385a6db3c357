/**
 * One authenticated connection, with its state for the pool. The driver exports neither its `SqlConnection` nor its
 * client of a single connection, and its own pool has no callers. Remove the adapter when test/types/driver.ts does not
 * compile.
 */
import * as PgConnection from "@effect/sql-pg/PgConnection"
import { Effect, type Redacted, type Scope, Stream } from "effect"
import type { SqlConnection, SqlError } from "effect/sql"
import type { Reactivity } from "effect/reactivity"
import type { Socket } from "node:net"
import type { ConnectionOptions } from "node:tls"
import { isFatal } from "../../failures/sqlState.ts"
import { maxMessage } from "../failure.ts"
import * as Copy from "./copy.ts"
import * as Interruption from "./interruption.ts"
import * as Messages from "./messages.ts"
import * as Notices from "./notices.ts"
import * as Prepared from "./prepared.ts"
import * as Queries from "./queries.ts"
import * as SessionState from "./sessionState.ts"
import * as Sockets from "./socket.ts"
import * as Streams from "./streams.ts"
import * as Failures from "./failures.ts"
import * as Transaction from "./transaction.ts"
import * as Types from "./types.ts"

export interface Session {
  readonly connection: SqlConnection.Connection
  /** Runs transactions on this connection, nested ones as savepoints. */
  readonly transactions: Transaction.Transactions
  readonly listen: PgConnection.PgConnection["listen"]
  /** Whether it may be lent to another call: it is open, and nothing of the last call is left on it. */
  readonly isUsable: () => boolean
  /** Ends it. Its statements, listeners and all later requests fail with this error. */
  readonly end: (error: SqlError.SqlError) => Effect.Effect<void>
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
  login: Login,
  definitions: Prepared.Definitions
): Effect.fn.Return<Session, SqlError.SqlError, Scope.Scope | Reactivity.Reactivity> {
  // The first socket that the driver requests is the session's; later ones are for cancel requests.
  let socket: Socket | undefined
  yield* Effect.addFinalizer(() => (socket === undefined ? Effect.void : Sockets.closed(socket)))
  // Reported by the server after each statement, for a transaction begun in any way.
  const transaction: Streams.Transaction = { isOpen: false, ended: 0 }
  const state: Interruption.State = { mustClose: false, stopping: undefined }
  const fatal: Failures.FatalError = { fields: undefined }
  const types = Types.make()
  const notices = Notices.make()
  const session = yield* PgConnection.make({
    ...target,
    ...login,
    host,
    port,
    startupParameters: settings,
    types: types.registry,
    maxMessageSize: maxMessage,
    stream: () => {
      const next = Sockets.connect(host, port)
      socket ??= next
      return next
    }
  })
  const prepared = Prepared.make(session, definitions)
  Messages.watch(session, (message) => {
    switch (message._tag) {
      case "RowDescription":
        return types.expect(message.fields.map((_) => _.dataTypeOid))
      case "NoticeResponse":
        return notices.add(message.fields)
      case "ErrorResponse":
        if (isFatal(message.fields)) fatal.fields = message.fields
        return
      case "CommandComplete":
        return prepared.completed(message.commandTag)
      case "ReadyForQuery":
        Streams.note(transaction, message.status !== "I")
        prepared.ready(message.status)
    }
  })
  Copy.refuse(session)
  const pinned = yield* session.pin
  // Work that is still being stopped needs the connection.
  yield* Effect.addFinalizer(() => Effect.suspend(() => Effect.ignore(state.stopping ?? Effect.void)))
  const failures = Failures.make(state, fatal)
  const queries = failures.queries(Queries.make(session, pinned, types, notices, prepared))
  const { connection, control } = adapter(
    Streams.shared(SessionState.tracked(queries, state), state, transaction),
    state
  )
  return {
    connection,
    transactions: yield* Transaction.make(control),
    listen: failures.listen(pinned.listen),
    isUsable: () => !state.mustClose && !transaction.isOpen && socket?.readyState === "open",
    end: (error) =>
      // Sends a cancel request without waiting for it, because the server would continue the statement.
      Effect.andThen(
        Effect.forkDetach(session.interrupt, { startImmediately: true }),
        Effect.sync(() => Messages.end(session, error))
      )
  }
})

/** Fixed, because each user's role may set them differently, and values would then differ between users. */
export const settings = {
  client_encoding: "UTF8",
  TimeZone: "UTC",
  DateStyle: "ISO,MDY",
  IntervalStyle: "postgres",
  extra_float_digits: "1",
  bytea_output: "hex",
  array_nulls: "on",
  standard_conforming_strings: "on"
}

type Transform = Parameters<SqlConnection.Connection["execute"]>[2]

type Query = (sql: string, params: ReadonlyArray<unknown>, prepare?: boolean) => ReturnType<Queries.Queries["query"]>

/** Returns the connection for statements, and the one for opening and ending transactions. */
const adapter = (session: Queries.Queries, state: Interruption.State) => {
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
        const stream = session.stream(sql, params)
        return transform ? Stream.mapArray(stream, (chunk) => transform(chunk) as typeof chunk) : stream
      }
    } satisfies SqlConnection.Connection
  }
  return {
    connection: through((sql, params, prepare) => Interruption.stoppable(state, session.query(sql, params, prepare))),
    control: through((sql, params, prepare) => Transaction.settled(state, sql, session.query(sql, params, prepare)))
  }
}
