/** The query functions, which decode the rows of a statement, and the warehouse of one user. */
import { Effect, Stream } from "effect"
import type { Caller } from "../../Caller.ts"
import type {
  Options,
  Queries,
  RowDecodeError,
  SqlWarehouse,
  Statement,
  StreamOptions,
  Table,
  Text
} from "../../SqlWarehouse.ts"
import * as Owner from "../owner.ts"
import { failed } from "./query.ts"
import * as Rows from "./rows.ts"
import { ofTemplate } from "./template.ts"

type Service = SqlWarehouse["Service"]

/** The queries on a warehouse; `refused` makes the error for a row that cannot be decoded. */
export const queries = <R>(
  warehouse: Effect.Effect<Service, never, R>,
  refused: (mismatch: Rows.Mismatch) => RowDecodeError
): Queries<R> => {
  const collected = (args: Rows.Asked<Options>) => {
    const [decoder, options] = Rows.asked(args)
    return Effect.fnUntraced(function* (statement: Statement) {
      const { execute } = yield* warehouse
      // The overloads require a cache if the options have one.
      const { columns, rows } = yield* execute(statement, options as {})
      return yield* Effect.catch(decoder(columns)(rows, 0), (mismatch) =>
        unread(refused(mismatch), statement, "sql.query")
      )
    })
  }
  const streamed = (args: Rows.Asked<StreamOptions>) => {
    const [decoder, options] = Rows.asked(args)
    return (statement: Statement) =>
      Stream.unwrap(
        Effect.map(warehouse, ({ executeStream }) => {
          let decode: ReturnType<typeof decoder> | undefined
          let count = 0
          const decoded = ({ columns, rows }: Table) => {
            const before = count
            count += rows.length
            return Effect.catch((decode ??= decoder(columns))(rows, before), (mismatch) =>
              unread(refused(mismatch), statement, "sql.stream")
            )
          }
          return executeStream(statement, options).pipe(
            Stream.filter(({ rows }) => rows.length > 0),
            // With flatMap memory would grow with the size of the result.
            Stream.mapArrayEffect(
              (parts) => Effect.map(Effect.forEach(parts, decoded), (rows) => rows.flat() as [never, ...Array<never>]) // no part is empty
            )
          )
        })
      )
  }
  const opened = (options?: StreamOptions) => (statement: Statement) =>
    Effect.flatMap(warehouse, ({ executeArrow }) => executeArrow(statement, options))
  return {
    query: (...args: Rows.Asked<Options>) => ofTemplate(collected(args)),
    queryText: (...args: Rows.Asked<Options>) => ofText(collected(args)),
    stream: (...args: Rows.Asked<StreamOptions>) => ofTemplate(streamed(args)),
    streamText: (...args: Rows.Asked<StreamOptions>) => ofText(streamed(args)),
    arrow: (options) => ofTemplate(opened(options)),
    arrowText: (options) => ofText(opened(options))
  }
}

/** Returns a warehouse whose statements run as this user, and die outside of that user's calls. */
export const runAs = (warehouse: Service, user: Caller): Service => ({
  execute: (statement, options) => Owner.runAsOwner(warehouse.execute(statement, options), user),
  executeStream: (statement, options) => Owner.streamAsOwner(warehouse.executeStream(statement, options), user),
  executeArrow: (statement, options) => Owner.runAsOwner(warehouse.executeArrow(statement, options), user),
  ready: (options) => Owner.streamAsOwner(warehouse.ready(options), user)
})

// Rows are decoded outside of the operation, whose cache holds the undecoded result.
const unread = (error: RowDecodeError, statement: Statement, operation: string) =>
  Effect.annotateLogs(failed(error, statement), "operation.name", operation)

const ofText =
  <A>(run: (statement: Statement) => A): Text<A> =>
  (text, parameters) =>
    run({ text, parameters })
