/**
 * Reads the stream of a query in a transaction through a cursor, so that other statements run between its batches. A
 * statement inside of any other stream fails at once. The driver streams on the session itself, where a statement of
 * the same transaction waits for the end of the stream, and so forever inside of it. Remove when "hangs a statement
 * inside the stream …" fails in driver.upstream.test.ts.
 */
import { Effect, Fiber, Option, Stream } from "effect"
import type { SqlError } from "effect/sql"
import { refused } from "../failure.ts"
import * as Interruption from "./interruption.ts"
import type { Queries } from "./queries.ts"

/** The transaction of a session; the number of ended ones distinguishes it from the next. */
export interface Transaction {
  isOpen: boolean
  ended: number
}

export const note = (transaction: Transaction, isOpen: boolean) => {
  if (transaction.isOpen && !isOpen) transaction.ended++
  transaction.isOpen = isOpen
}

/** The number of rows of one FETCH. */
const batch = 128

/** Returns a session whose statements run beside the streams of a transaction, and never wait for a stream to end. */
export const shared = (queries: Queries, state: Interruption.State, transaction: Transaction): Queries => {
  let streaming = 0
  let cursors = 0
  const now = <A>(work: Effect.Effect<A, SqlError.SqlError>) =>
    Effect.suspend(() => (streaming > 0 ? Effect.fail(busy) : work))

  const query: Queries["query"] = (sql, params, prepare) => now(queries.query(sql, params, prepare))

  const onSession: Queries["stream"] = (sql, params) =>
    Stream.unwrap(
      Effect.gen(function* () {
        if (streaming > 0) return yield* Effect.fail(busy)
        streaming++
        yield* Effect.addFinalizer(() => Effect.sync(() => streaming--))
        return Interruption.stoppableStream(state, queries.stream(sql, params))
      })
    )

  const withCursor: Queries["stream"] = (sql, params) =>
    Stream.unwrap(
      Effect.gen(function* () {
        const { ended } = transaction
        const run: typeof query = (sql, params) => Interruption.stoppable(state, query(sql, params, false))
        const cursor = `effect_databricks_${++cursors}`
        yield* Effect.addFinalizer(() =>
          transaction.ended === ended && state.stopping === undefined
            ? close(state, run(`CLOSE ${cursor}`))
            : Effect.void
        )
        yield* run(`DECLARE ${cursor} NO SCROLL CURSOR FOR ${sql}`, params)
        return Stream.paginate(undefined, () =>
          Effect.suspend(() =>
            transaction.ended === ended
              ? Effect.map(run(`FETCH ${batch} FROM ${cursor}`), ({ rows }) => [
                  rows,
                  rows.length < batch ? Option.none() : Option.some(undefined)
                ])
              : Effect.fail(over)
          )
        )
      })
    )

  return {
    query,
    queryValues: (sql, params, prepare) => now(queries.queryValues(sql, params, prepare)),
    stream: (sql, params) =>
      Stream.suspend(() => (transaction.isOpen && isQuery(sql) ? withCursor : onSession)(sql, params))
  }
}

/** Closes a cursor, with a limited wait. */
const close = (state: Interruption.State, closing: Effect.Effect<unknown, SqlError.SqlError>) =>
  Effect.flatMap(Effect.forkDetach(closing, { startImmediately: true, uninterruptible: true }), (fiber) => {
    const closed = Fiber.await(fiber)
    return Effect.map(Interruption.soon(closed), (exit) => {
      if (exit !== undefined) return
      state.mustClose = true
      state.stopping = closed
    })
  })

/** Whether a cursor can be declared for a statement: it only reads, and returns rows. */
export const isQuery = (sql: string) => {
  const text = sql.replace(/^(?:[\s(]|--[^\n]*\n|\/\*(?:[^*]|\*(?!\/))*\*\/)+/, "")
  return (
    /^(?:select|values|table|with)\b/i.test(text) &&
    !/\binto\b/i.test(text) &&
    (!/^with\b/i.test(text) || !/\b(?:insert|delete|merge|(?<!\bfor\s+(?:no\s+key\s+)?)update)\b/i.test(text))
  )
}

const busy = refused(
  "A stream is open on the connection of this statement, which would wait for it: read the stream to its end first, or stream a SELECT inside a transaction",
  "execute"
)

const over = refused(
  "The transaction of this stream has ended: read the stream to its end inside the transaction",
  "execute"
)
