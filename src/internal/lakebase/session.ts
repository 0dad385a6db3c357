/** One authenticated connection, with what the pool must know of it. */
import * as PgConnection from "@effect/sql-pg/PgConnection"
import { Duration, Effect, Exit, Fiber, Scope, Stream } from "effect"
import { SqlClient, type SqlConnection, SqlError, type Statement } from "effect/sql"
import type { Reactivity } from "effect/reactivity"
import * as Net from "node:net"
import type { ConnectionOptions } from "node:tls"
import * as Types from "./types.ts"

export interface Session {
  readonly connection: SqlConnection.Connection
  /** Runs transactions on this connection, nested ones as savepoints. */
  readonly transactions: SqlClient.SqlClient
  readonly listen: PgConnection.PgConnection["listen"]
  /** Whether another call may have it: it lives, and nothing of the last call is left on it. */
  readonly isUsable: () => boolean
  /** Says that nobody may have it again. */
  readonly spoil: () => void
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
  const state: State = { spoilt: false, inTransaction: false, mayStop: false, stopping: undefined }
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
  types.watch(session)
  const pinned = yield* session.pin
  // What is still being stopped needs the connection for that.
  yield* Effect.addFinalizer(() => Effect.suspend(() => state.stopping ?? Effect.void))
  const connection = adapter(Types.checked(pinned, types), state)
  return {
    connection,
    transactions: yield* SqlClient.make({
      // BEGIN is sent where nothing is interruptible, and a server that hangs would hold its caller there.
      acquirer: Effect.withFiber((fiber) => {
        state.mayStop = isInterruptible(fiber)
        return Effect.succeed(connection)
      }),
      compiler,
      driver: "@effect/sql-pg",
      spanAttributes: [],
      prepareTransactionControls: true,
      releaseSavepoint: (name) => `RELEASE SAVEPOINT ${name}`,
      commit
    }),
    listen: pinned.listen,
    isUsable: () => !state.spoilt && !state.inTransaction && socket?.readyState === "open",
    spoil: () => {
      state.spoilt = true
    }
  }
})

interface State {
  spoilt: boolean
  inTransaction: boolean
  /** Whether whoever begins a transaction may be interrupted. */
  mayStop: boolean
  /** Ends when the server has stopped what was interrupted, or the driver has given it up after 5 seconds. */
  stopping: Effect.Effect<unknown> | undefined
}

/**
 * How long an interrupted caller waits until the server has stopped the statement. One that lives does so within
 * milliseconds; one that hangs shall not hold up a timeout, so after this it is stopped, or given up, behind the scenes.
 */
const patience = Duration.millis(100)

/** Runs work whose end may take long once it is interrupted; then nobody may have the connection again. */
const stoppable = <A, E>(state: State, work: Effect.Effect<A, E>): Effect.Effect<A, E> =>
  Effect.uninterruptibleMask((restore) =>
    Effect.flatMap(Effect.forkDetach(work, { startImmediately: true }), (fiber) => {
      const exit = fiber.pollUnsafe()
      if (exit !== undefined) return exit
      return Effect.onInterrupt(restore(Fiber.join(fiber)), () => {
        fiber.interruptUnsafe()
        return stop(state, Fiber.await(fiber))
      })
    })
  )

const stop = (state: State, stopped: Effect.Effect<unknown>): Effect.Effect<void> => {
  state.spoilt = true
  state.stopping = stopped
  return Effect.raceFirst(Effect.interruptible(stopped), Effect.interruptible(Effect.sleep(patience))).pipe(
    Effect.asVoid
  )
}

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

const begins = /^(\s|--[^\n]*\n|\/\*.*?\*\/)*(begin|start\s+transaction)\b/is
const ends = /^(\s|--[^\n]*\n|\/\*.*?\*\/)*(commit|end|abort|rollback(?!\s+(work\s+|transaction\s+)?to\b))\b/is

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

const isInterruptible = (fiber: object) => "interruptible" in fiber && fiber.interruptible === true

const nothingDone: PgConnection.Result = { command: "ROLLBACK", rowCount: 0, oid: null, rows: [], fields: [] }

const adapter = (session: Types.Queries, state: State): SqlConnection.Connection => {
  type Transform = Parameters<SqlConnection.Connection["execute"]>[2]
  const watched = <A>(sql: string, query: Effect.Effect<A, SqlError.SqlError>) => {
    const effect = Effect.suspend(() => {
      const work = stoppable(state, query)
      return state.stopping === undefined ? work : Effect.andThen(state.stopping, work)
    })
    return begins.test(sql) || ends.test(sql)
      ? Effect.tap(effect, () =>
          Effect.sync(() => {
            state.inTransaction = begins.test(sql)
          })
        )
      : effect
  }
  const raw = (sql: string, params: ReadonlyArray<unknown>, prepare?: boolean) => {
    const query = watched(sql, session.query(sql, params, prepare))
    if (state.mayStop && begins.test(sql)) {
      state.mayStop = false
      return Effect.interruptible(query)
    }
    return sql === "ROLLBACK" ? rollBack(state, query, nothingDone) : query
  }
  const rows = (sql: string, params: ReadonlyArray<unknown>, transform: Transform, prepare: boolean) =>
    Effect.map(raw(sql, params, prepare), (result) => (transform ? transform(result.rows) : result.rows))
  return {
    execute: (sql, params, transform) => rows(sql, params, transform, true),
    executeUnprepared: (sql, params, transform) => rows(sql, params, transform, false),
    executeRaw: (sql, params) => raw(sql, params),
    executeValues: (sql, params) => watched(sql, session.queryValues(sql, params)),
    executeValuesUnprepared: (sql, params) => watched(sql, session.queryValues(sql, params, false)),
    executeStream: (sql, params, transform) => {
      const stream = streamed(state, session.stream(sql, params))
      return transform ? Stream.mapArray(stream, (chunk) => transform(chunk) as typeof chunk) : stream
    }
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
