/**
 * Runs the statements of one session: binds values, looks types up, logs notices, and prepares stale statements again.
 */
import type * as PgConnection from "@effect/sql-pg/PgConnection"
import * as PgTypes from "@effect/sql-pg/PgTypes"
import { Cause, Effect, Option, Result, Stream } from "effect"
import { identity } from "effect/Function"
import { SqlError } from "effect/sql"
import * as Catalogue from "./catalogue.ts"
import * as Messages from "./messages.ts"
import type * as Notices from "./notices.ts"
import * as Parameters from "./parameters.ts"
import type * as Prepared from "./prepared.ts"
import * as Types from "./types.ts"

export type Queries = Pick<PgConnection.PgConnection, "query" | "queryValues" | "stream">

type Rows = ReadonlyArray<object>

type Query<A> = (sql: string, params?: ReadonlyArray<unknown>, prepare?: boolean) => Effect.Effect<A, SqlError.SqlError>

export const make = (
  session: PgConnection.PgConnection,
  pinned: Queries,
  types: Types.Types,
  notices: Notices.Notices,
  prepared: Prepared.Prepared
): Queries => {
  const lookUp = (oids: ReadonlyArray<number>) =>
    Effect.map(Catalogue.lookUp(pinned.query, oids), (found) => types.define(found))

  /** Decodes the values that were not decoded on arrival, and looks types up if the session is free for that. */
  const settle = (rows: Rows, isFree: boolean): Effect.Effect<void, SqlError.SqlError> =>
    Effect.suspend(() => {
      const unknown = new Set<number>()
      let failure: SqlError.SqlError | undefined
      for (const row of rows as ReadonlyArray<Record<string, unknown>>) {
        for (const column of Object.keys(row)) {
          const value = row[column]
          if (!(value instanceof Types.Unread)) continue
          const read = types.read(value)
          if (Result.isSuccess(read)) {
            row[column] = read.success
            continue
          }
          if (read.failure.name === "") unknown.add(read.failure.oid)
          failure ??= undecodable(Array.isArray(row) ? Number(column) + 1 : column, read.failure)
        }
      }
      if (failure === undefined) return Effect.void
      if (!isFree || unknown.size === 0) return Effect.fail(failure)
      return Effect.flatMap(lookUp(Array.from(unknown)), () =>
        settle(rows, types.unknown(Array.from(unknown)).length < unknown.size)
      )
    })

  const running =
    <A>(query: Query<A>, rowsOf: (result: A) => Rows): Query<A> =>
    (sql, params = [], prepare = true) =>
      Effect.suspend(() => {
        const bound = bind(params)
        if (Result.isFailure(bound)) return Effect.fail(bound.failure)
        const named = prepared.allows(sql, params.length) && prepare
        const before = types.unread()
        return Effect.matchCauseEffect(query(sql, bound.success, named), {
          onSuccess: (result) => {
            if (types.unread() === before && notices.isEmpty()) return Effect.succeed(result)
            return Effect.as(Effect.andThen(notices.log(params), settle(rowsOf(result), true)), result)
          },
          onFailure: (cause) => {
            const error = Cause.findErrorOption(cause)
            if (named && Option.isSome(error)) prepared.failed(error.value, sql, oidsOf(bound.success))
            return Effect.andThen(notices.log(params), Effect.failCause(cause))
          }
        })
      })

  // A stream holds the connection, so its types must be known before the first row. Once per text.
  const described = new Set<string>()
  const prepareStream = Effect.fnUntraced(function* (sql: string, bound: ReadonlyArray<Parameters.Parameter>) {
    const oids = oidsOf(bound)
    const key = `${sql}\0${oids.join()}`
    if (described.has(key)) return
    const unknown = types.unknown(yield* Messages.describe(session, sql, oids))
    if (unknown.length > 0) yield* lookUp(unknown)
    if (described.size >= maxDescribed) described.clear()
    if (key.length <= maxKey) described.add(key)
  })

  return {
    query: running(pinned.query, ({ rows }) => rows),
    queryValues: running(pinned.queryValues, identity),
    stream: (sql, params = []) =>
      Stream.unwrap(
        Effect.gen(function* () {
          const bound = yield* Effect.fromResult(bind(params))
          yield* prepareStream(sql, bound)
          const before = types.unread()
          return pinned.stream(sql, bound).pipe(
            Stream.mapArrayEffect((rows) => {
              if (types.unread() === before && notices.isEmpty()) return Effect.succeed(rows)
              return Effect.as(Effect.andThen(notices.log(params), settle(rows, false)), rows).pipe(
                // The type of a column may have changed.
                Effect.tapError(() => Effect.sync(() => described.clear()))
              )
            }),
            Stream.ensuring(Effect.suspend(() => notices.log(params)))
          )
        })
      )
  }
}

const [maxDescribed, maxKey] = [200, 10_000]

const oidsOf = (parameters: ReadonlyArray<Parameters.Parameter>) => parameters.map(({ oid }) => oid)

const bind = (
  params: ReadonlyArray<unknown>
): Result.Result<ReadonlyArray<Parameters.Parameter>, SqlError.SqlError> => {
  try {
    return Result.succeed(Parameters.bind(params))
  } catch (cause) {
    if (!(cause instanceof Parameters.ParameterError)) throw cause
    return Result.fail(unknownError(cause, cause.message))
  }
}

const undecodable = (column: string | number, { name, oid }: Types.NoReader) => {
  const message = `Column ${typeof column === "number" ? column : `"${column}"`} has a value of type ${name || `OID ${oid}`}, which cannot be decoded: cast it to text`
  return unknownError(new PgTypes.CodecError({ message }), message)
}

const unknownError = (cause: unknown, message: string) =>
  new SqlError.SqlError({ reason: new SqlError.UnknownError({ cause, message, operation: "execute" }) })
