/** One authenticated connection, with what the pool must know of it. */
import * as PgConnection from "@effect/sql-pg/PgConnection"
import { Context, Duration, Effect, Exit, Fiber, Scope, Stream } from "effect"
import { identity } from "effect/Function"
import { SqlClient, type SqlConnection, SqlError, type Statement } from "effect/sql"
import type { Reactivity } from "effect/reactivity"
import * as Net from "node:net"
import type { ConnectionOptions } from "node:tls"
import * as Failure from "../failure.ts"
import * as Messages from "./messages.ts"
import * as Types from "./types.ts"

export interface Session {
  readonly connection: SqlConnection.Connection
  /** Runs transactions on this connection, nested ones as savepoints. */
  readonly transactions: Pick<SqlClient.SqlClient, "afterCommit" | "withTransaction">
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
  readonly password: NonNullable<PgConnection.Config["password"]>
}

export const open = Effect.fnUntraced(function* (
  target: Target,
  login: Login,
  compiler: Statement.Compiler
): Effect.fn.Return<Session, SqlError.SqlError, Scope.Scope | Reactivity.Reactivity> {
  // The driver asks for the socket of the session first; later ones carry its cancel requests.
  let socket: Net.Socket | undefined
  yield* Effect.addFinalizer(() => (socket === undefined ? Effect.void : gone(socket)))
  const state: State = { spoilt: false, inTransaction: false, stopping: undefined }
  const types = Types.make()
  const session = yield* PgConnection.make({
    ...login,
    types: types.registry,
    host: target.host,
    port: target.port,
    database: target.database,
    ssl: target.ssl,
    applicationName: target.applicationName,
    stream: () => {
      const next = Net.connect({ host: target.host, port: target.port, noDelay: true, keepAlive: true })
      socket ??= next
      return next
    }
  })
  Messages.watch(session, (message) => {
    if (message._tag === "RowDescription") types.learn(message)
    else if (message._tag === "ReadyForQuery") state.inTransaction = message.status !== "I"
  })
  const pinned = yield* session.pin
  // What is still being stopped needs the connection for that.
  yield* Effect.addFinalizer(() => Effect.suspend(() => Effect.ignore(state.stopping ?? Effect.void)))
  const { connection, control } = adapter(Types.checked(pinned, types), state)
  const { afterCommit, withTransaction } = yield* SqlClient.make({
    acquirer: Effect.succeed(control),
    compiler,
    driver: "@effect/sql-pg",
    spanAttributes: [],
    prepareTransactionControls: true,
    releaseSavepoint: (name) => `RELEASE SAVEPOINT ${name}`,
    commit
  })
  return {
    connection,
    transactions: {
      afterCommit,
      withTransaction: (effect) =>
        Effect.uninterruptibleMask((restore) =>
          Effect.provideService(withTransaction(restore(effect)), Interruptibility, restore)
        )
    },
    listen: pinned.listen,
    isUsable: () => !state.spoilt && !state.inTransaction && socket?.readyState === "open"
  }
})

interface State {
  spoilt: boolean
  /** As the server says after each statement, however it was begun. */
  inTransaction: boolean
  /** Ends when the server has stopped what was interrupted, or the driver has given it up after 5 seconds. */
  stopping: Effect.Effect<unknown, SqlError.SqlError> | undefined
}

/** Whether whoever began the transaction may be interrupted: what opens and ends it is sent where nobody may be. */
const Interruptibility = Context.Reference<<A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>>(
  "effect-databricks/Lakebase/Interruptibility",
  { defaultValue: () => identity }
)

/**
 * How long an interrupted caller waits until the server has stopped the statement. One that lives does so within
 * milliseconds; one that hangs shall not hold up a timeout, so after this it is stopped, or given up, behind the scenes.
 */
const patience = Duration.millis(100)

const soon = <A, E>(effect: Effect.Effect<A, E>): Effect.Effect<A | undefined, E> =>
  Effect.raceFirst(Effect.interruptible(effect), Effect.interruptible(Effect.as(Effect.sleep(patience), undefined)))

/** Runs work whose end may take long once it is interrupted; then nobody may have the connection again. */
const stoppable = <A, E>(state: State, work: Effect.Effect<A, E>): Effect.Effect<A, E> =>
  Effect.contextWith((context: Context.Context<never>) =>
    Effect.callback<A, E>((resume) => {
      const fiber = Effect.runForkWith(context)(work)
      fiber.addObserver(resume)
      return Effect.suspend(() => {
        fiber.interruptUnsafe()
        return stop(state, Fiber.await(fiber))
      })
    })
  )

const stop = (state: State, stopped: Effect.Effect<unknown>): Effect.Effect<void> => {
  state.spoilt = true
  state.stopping = stopped
  return Effect.asVoid(soon(stopped))
}

/**
 * Runs what opens or ends a transaction. An interrupt has to wait for it, so that it is known what has become of the
 * transaction, but not on a server that hangs: then the outcome is unknown, and nothing more runs on the connection.
 */
const settled = <A>(state: State, work: Effect.Effect<A, SqlError.SqlError>): Effect.Effect<A, SqlError.SqlError> =>
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

// A server counts a connection until its process has ended, which closes the socket.
const gone = (socket: Net.Socket) =>
  Effect.callback<void>((resume) => {
    if (socket.destroyed) return resume(Effect.void)
    const giveUp = setTimeout(() => socket.destroy(), 2000)
    socket.once("close", () => {
      clearTimeout(giveUp)
      resume(Effect.void)
    })
    // Nobody reads what the server still has to say, and only what is read ends.
    socket.on("error", () => {}).resume()
  })

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

// Postgres rolls back by itself when a connection ends, so one that cannot be asked is ended instead.
const rollBack = <A>(state: State, query: Effect.Effect<A, SqlError.SqlError>, nothing: A): Effect.Effect<A> =>
  Effect.suspend(() => {
    const ended = Effect.sync(() => {
      state.spoilt = true
      return nothing
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

const nothingDone: PgConnection.Result = { command: "ROLLBACK", rowCount: 0, oid: null, rows: [], fields: [] }

type Transform = Parameters<SqlConnection.Connection["execute"]>[2]

type Query = (sql: string, params: ReadonlyArray<unknown>, prepare?: boolean) => ReturnType<Types.Queries["query"]>

/** The connection for the callers, and the same for what opens and ends their transactions. */
const adapter = (session: Types.Queries, state: State) => {
  const watched = <A>(query: Effect.Effect<A, SqlError.SqlError>) => {
    const work = stoppable(state, query)
    return Effect.suspend(() => (state.stopping === undefined ? work : Effect.andThen(state.stopping, work)))
  }
  const through = (query: Query) => {
    const rows = (sql: string, params: ReadonlyArray<unknown>, transform: Transform, prepare: boolean) =>
      Effect.map(query(sql, params, prepare), (result) => (transform ? transform(result.rows) : result.rows))
    return {
      execute: (sql, params, transform) => rows(sql, params, transform, true),
      executeUnprepared: (sql, params, transform) => rows(sql, params, transform, false),
      executeRaw: (sql, params) => query(sql, params),
      executeValues: (sql, params) => watched(session.queryValues(sql, params)),
      executeValuesUnprepared: (sql, params) => watched(session.queryValues(sql, params, false)),
      executeStream: (sql, params, transform) => {
        const stream = streamed(state, session.stream(sql, params))
        return transform ? Stream.mapArray(stream, (chunk) => transform(chunk) as typeof chunk) : stream
      }
    } satisfies SqlConnection.Connection
  }
  return {
    connection: through((sql, params, prepare) => watched(session.query(sql, params, prepare))),
    control: through((sql, params, prepare) => {
      const query = Effect.mapError(session.query(sql, params, prepare), Failure.told)
      return sql === "ROLLBACK" ? rollBack(state, query, nothingDone) : settled(state, query)
    })
  }
}

// A stream that is left early leaves a cancel request behind, which could hit the next statement.
const streamed = <A>(state: State, stream: Stream.Stream<A, SqlError.SqlError>) =>
  Stream.unwrap(
    Effect.gen(function* () {
      const scope = Scope.makeUnsafe()
      let ended = false
      yield* Effect.addFinalizer((exit) => {
        if (ended) return Scope.close(scope, exit)
        return Effect.flatMap(
          Effect.forkDetach(Scope.close(scope, Exit.void), { startImmediately: true, uninterruptible: true }),
          (closing) => stop(state, Fiber.await(closing))
        )
      })
      if (state.stopping !== undefined) yield* state.stopping
      const whole = Stream.onEnd(
        stream,
        Effect.sync(() => {
          ended = true
        })
      )
      return Stream.fromPull(Effect.succeed(yield* Scope.provide(Stream.toPull(whole), scope)))
    })
  )
