/**
 * Gives access to the messages of the server, which the driver does not expose: the state of the transaction, notices,
 * and the types of a statement before it runs. Without the state, its pool lends a connection in the middle of a
 * transaction. It also keeps a prepared statement whose parameters have changed type. Remove when "lends a connection
 * …", "drops notices …" and "keeps a prepared statement …" fail in driver.upstream.test.ts, and test/types/driver.ts
 * does not compile.
 */
import type * as PgConnection from "@effect/sql-pg/PgConnection"
import * as PgProtocol from "@effect/sql-pg/PgProtocol"
import { Effect, Predicate, Result, type Semaphore } from "effect"
import { SqlError } from "effect/sql"

/** Passes every message of this session to `look` before the driver handles it. */
export const watch = (session: PgConnection.PgConnection, look: (message: Message) => void) => {
  const { parser } = internals(session).session
  const { pushEach } = parser
  parser.pushEach = (chunk, onMessage) =>
    pushEach(chunk, (message) => {
      look(message)
      onMessage(message)
    })
}

/** Ends this session. Its statements, listeners and all later requests fail with this error. */
export const end = (session: PgConnection.PgConnection, error: SqlError.SqlError) => internals(session).fatal(error)

/** Drops one prepared statement of this session, so that it is prepared again. */
export const forget = (session: PgConnection.PgConnection, sql: string, parameterTypes: ReadonlyArray<number>) => {
  const { prepared } = internals(session)
  prepared.evict(prepared.get(sql, parameterTypes))
}

/** Drops every prepared statement of this session. */
export const forgetAll = (session: PgConnection.PgConnection) => {
  const { prepared } = internals(session)
  for (const statement of Array.from(prepared.statements.values())) prepared.evict(statement)
}

/** Requests the types of a statement's columns without running it, in one round trip. */
export const describe = (
  session: PgConnection.PgConnection,
  sql: string,
  parameterTypes: ReadonlyArray<number>
): Effect.Effect<ReadonlyArray<number>, SqlError.SqlError> => {
  const connection = internals(session)
  return connection.wire.withPermit(
    Effect.callback((resume) => {
      if (connection.deadWith !== undefined) return resume(Effect.fail(connection.deadWith))
      let described: Effect.Effect<ReadonlyArray<number>, SqlError.SqlError> = Effect.succeed([])
      connection.consumer = {
        onFatal: (error) => resume(Effect.fail(error)),
        onMessage: (message) => {
          if (message._tag === "RowDescription") {
            described = Effect.succeed(message.fields.map((_) => _.dataTypeOid))
          } else if (message._tag === "ErrorResponse") described = Effect.fail(refused(message.fields))
          else if (message._tag === "ReadyForQuery") {
            connection.consumer = undefined
            resume(described)
          }
        }
      }
      connection.session.socket.write(
        Buffer.concat([
          Result.getOrThrow(PgProtocol.encodeParse({ name: "", query: sql, parameterTypes })),
          PgProtocol.encodeDescribe({ target: "statement", name: "" }),
          PgProtocol.encodeSync()
        ])
      )
      return Effect.sync(() => connection.fatal(abandoned))
    })
  )
}

const abandoned = new SqlError.SqlError({
  reason: new SqlError.ConnectionError({
    cause: undefined,
    message: "The connection was closed while a statement was being described",
    operation: "execute"
  })
})

// Classifies like the driver the failures of preparing a statement.
const refused = (fields: PgProtocol.ErrorFields) => {
  const { code = "" } = fields
  const cause = Object.assign(new Error(fields.message), fields)
  const props = { cause, message: "The statement could not be parsed", operation: "execute" }
  if (code === "42501") return new SqlError.SqlError({ reason: new SqlError.AuthorizationError(props) })
  return new SqlError.SqlError({
    reason: code.startsWith("42") ? new SqlError.SqlSyntaxError(props) : new SqlError.UnknownError(props)
  })
}

export type Message = PgProtocol.BackendMessage<unknown>

interface Parser {
  pushEach: PgProtocol.Parser<unknown>["pushEach"]
}

interface Consumer {
  readonly onMessage: (message: Message) => void
  readonly onFatal: (error: SqlError.SqlError) => void
}

interface Internals {
  readonly session: {
    readonly parser: Parser
    /** The TLS socket if the connection is encrypted. */
    readonly socket: { readonly write: (bytes: Uint8Array) => unknown }
  }
  readonly wire: Semaphore.Semaphore
  readonly prepared: {
    readonly statements: ReadonlyMap<string, object>
    readonly get: (sql: string, parameterTypes: ReadonlyArray<number>) => object
    readonly evict: (statement: object) => void
  }
  readonly deadWith: SqlError.SqlError | undefined
  consumer: Consumer | undefined
  readonly fatal: (error: SqlError.SqlError) => void
}

// These members are not in the driver's interface.
export const internals = (session: PgConnection.PgConnection): Internals => {
  const has = Predicate.hasProperty
  if (
    has(session, "session") &&
    has(session.session, "parser") &&
    has(session.session, "socket") &&
    has(session, "wire") &&
    has(session, "consumer") &&
    has(session, "fatal") &&
    has(session, "prepared") &&
    has(session.prepared, "statements") &&
    has(session.prepared, "evict")
  ) {
    return session as PgConnection.PgConnection & Internals
  }
  throw new Error(
    "This version of @effect/sql-pg is not supported, because its internals differ: install the version that effect-databricks depends on"
  )
}
