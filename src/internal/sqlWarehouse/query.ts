/** A query from top to bottom: ask (and decode what comes back) → bind → choose the disposition → run → read. */
import { Duration, Effect, Option, Result, type Scope, Stream } from "effect"
import type { Caller } from "../../Caller.ts"
import { DatabricksError, make as databricksError, StatementFailedError } from "../../DatabricksError.ts"
import * as ExecutionContext from "../../ExecutionContext.ts"
import * as Operation from "../../Operation.ts"
import { ServiceContext } from "../../ServiceContext.ts"
import * as SqlParameter from "../../SqlParameter.ts"
import type {
  Options,
  Queries,
  RowDecodeError,
  SqlWarehouse,
  Statement,
  StreamOptions,
  Table,
  Template,
  Text
} from "../../SqlWarehouse.ts"
import type { WorkspaceClient } from "../../WorkspaceClient.ts"
import { ranAs } from "../workspace/transport.ts"
import { isReadOnly } from "./readOnly.ts"
import * as Results from "./results.ts"
import * as Rows from "./rows.ts"
import * as Statements from "./statements.ts"
import type { Disposition } from "./wire.ts"

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
      // The overloads say what it needs of a cache.
      const { columns, rows } = yield* execute(statement, options as {})
      return yield* Effect.mapError(decoder(columns)(rows, 0), refused)
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
            return Effect.mapError((decode ??= decoder(columns))(rows, before), refused)
          }
          return executeStream(statement, options).pipe(
            Stream.filter(({ rows }) => rows.length > 0),
            // Not by flatMap, with which memory grows with the size of the result.
            Stream.mapArrayEffect(
              (parts) => Effect.map(Effect.forEach(parts, decoded), (rows) => rows.flat() as [never, ...Array<never>]) // no part is empty
            )
          )
        })
      )
  }
  return {
    query: (...args: Rows.Asked<Options>) => ofTemplate(collected(args)),
    queryText: (...args: Rows.Asked<Options>) => ofText(collected(args)),
    stream: (...args: Rows.Asked<StreamOptions>) => ofTemplate(streamed(args)),
    streamText: (...args: Rows.Asked<StreamOptions>) => ofText(streamed(args))
  }
}

/** A warehouse on which every statement runs as this user. */
export const runAs = (warehouse: Service, user: Caller): Service => ({
  execute: (statement, options) => ExecutionContext.runAs(warehouse.execute(statement, options), user),
  executeStream: (statement, options) =>
    Stream.provideService(warehouse.executeStream(statement, options), ExecutionContext.ExecutionContext, user)
})

const ofText =
  <A>(run: (statement: Statement) => A): Text<A> =>
  (text, parameters) =>
    run({ text, parameters })

/** Makes the interpolations of a template parameters. */
const ofTemplate =
  <A>(run: (statement: Statement) => A): Template<A> =>
  (template, ...values) => {
    // A marker that the template's author wrote must not be bound to an interpolation by chance.
    const written = template.join(" ").toLowerCase()
    let prefix = "p_"
    while (written.includes(prefix)) prefix = `p${prefix}`
    const text = template.reduce((before, after, index) => {
      const marker = `${before}:${prefix}${index}`
      return /^\w/.test(after) ? `${marker} ${after}` : marker + after
    })
    return run({ text, parameters: Object.fromEntries(values.map((value, index) => [`${prefix}${index + 1}`, value])) })
  }

/** Runs statements, as the caller of the fiber. */
export const make = Effect.fnUntraced(function* (
  service: ServiceContext["Service"],
  client: WorkspaceClient["Service"],
  defaults: Operation.Policy
): Effect.fn.Return<Service, never, Scope.Scope> {
  const statements = yield* Statements.make(client.send)
  const large = makeLarge()

  const execute = ({ parameters, text }: Statement, options: Options = {}) =>
    Effect.suspend(() => {
      const { cache, catalog, rowLimit, schema } = options
      const { retry, timeout, totalTimeout } = Operation.merge(defaults, options)
      const bound = SqlParameter.bind(parameters ?? {})
      const attributes = attributesOf(text, options)
      const collect = (disposition: Disposition) =>
        run(text, bound, options, { disposition, retry }).pipe(
          Effect.flatMap((result) =>
            Effect.map(Stream.runCollect(result.rows), (parts): Table => ({ ...result, rows: parts.flat() }))
          ),
          Effect.tap(({ rows, truncated }) => tell(rows.length, truncated))
        )
      // Inline takes the fewest round trips. A result that is too large for that ran for nothing, once for each text.
      const work = large.has(text)
        ? collect("EXTERNAL_LINKS")
        : Effect.catchIf(collect("INLINE"), isTooLarge, (error) => {
            if (!isReadOnly(text)) return Effect.fail(notAgain(error))
            large.add(text)
            return collect("EXTERNAL_LINKS")
          })
      const isKept = cache !== undefined && isReadOnly(text)
      return Operation.execute(cache === undefined || isKept ? work : Effect.andThen(warnOf(text), work), {
        name: "sql.query",
        attributes,
        timeout,
        totalTimeout,
        // Its retries are not the operation's: a statement that has an id is never started twice.
        cache:
          isKept && Result.isSuccess(bound)
            ? { ...cache, key: [attributes["warehouse.id"], catalog, schema, rowLimit, text, bound.success] }
            : undefined
      })
    }).pipe(Effect.provideService(ServiceContext, service))

  const executeStream: Service["executeStream"] = ({ parameters, text }, options = {}) =>
    Stream.suspend(() => {
      const { retry, timeout } = Operation.merge(defaults, options)
      const bound = SqlParameter.bind(parameters ?? {})
      const started = run(text, bound, options, { disposition: "EXTERNAL_LINKS", retry })
      let count = 0
      return Stream.unwrap(
        Effect.map(
          timeout === undefined ? started : Operation.timed(started, "sql.stream", Duration.fromInputUnsafe(timeout)),
          ({ rows, ...result }) =>
            rows.pipe(
              Stream.map((rows) => {
                count += rows.length
                return { ...result, rows }
              }),
              Stream.onEnd(Effect.suspend(() => tell(count, result.truncated)))
            )
        )
      ).pipe(Operation.executeStream({ name: "sql.stream", attributes: attributesOf(text, options) }))
    }).pipe(Stream.provideService(ServiceContext, service))

  /** Runs a statement to its end; `rows` reads its result. */
  const run = Effect.fnUntraced(function* (
    text: string,
    bound: ReturnType<typeof SqlParameter.bind>,
    { catalog, onProgress, rowLimit, schema, warehouseId }: StreamOptions,
    start: Pick<Statements.RunOptions, "disposition" | "retry">
  ) {
    const caller = yield* ExecutionContext.current
    const order = {
      statement: text,
      warehouse_id: warehouseId ?? (yield* ExecutionContext.getWarehouseId),
      catalog,
      schema,
      row_limit: rowLimit,
      parameters: yield* Effect.fromResult(bound)
    }
    const answer = yield* Effect.mapError(statements.run(caller, order, { ...start, onProgress }), ranAs(caller))
    const { manifest, statement_id: statementId } = answer
    const truncated = manifest?.truncated ?? false
    if (truncated && rowLimit === undefined)
      yield* Effect.logWarning(`The warehouse cut the result of the statement ${statementId} short`)
    const ask = (index: number) => statements.chunk(caller, statementId, index)
    const rows = Stream.mapError(Results.read({ host: service.host, fetch: client.fetch, ask }, answer), ranAs(caller))
    return { statementId, columns: manifest?.schema.columns ?? [], rows, truncated }
  })

  const attributesOf = (text: string, { warehouseId = Option.getOrUndefined(service.warehouseId) }: StreamOptions) => ({
    "db.system.name": "databricks",
    "db.query.text": text,
    "warehouse.id": warehouseId
  })

  // Without `cache` nothing is kept, which the compiler cannot see through the options.
  return { execute: execute as Service["execute"], executeStream }
})

const tell = (rows: number, truncated: boolean) =>
  Effect.annotateCurrentSpan({ "db.response.returned_rows": rows, "db.response.truncated": truncated })

const warnOf = (text: string) =>
  Effect.annotateLogs(
    Effect.logWarning("This statement may write, so that its result is not cached: leave out `cache`"),
    { "db.query.text": text }
  )

/** The last 256 texts whose result was too large to come inline. */
const makeLarge = () => {
  const texts = new Set<string>()
  return {
    has: (text: string) => texts.has(text),
    add: (text: string) => {
      texts.add(text)
      const [oldest] = texts
      if (texts.size > 256 && oldest !== undefined) texts.delete(oldest)
    }
  }
}

interface TooLarge extends DatabricksError {
  readonly reason: StatementFailedError
}

const isTooLarge = (error: unknown): error is TooLarge =>
  error instanceof DatabricksError &&
  error.reason._tag === "StatementFailedError" &&
  error.reason.message.includes("Inline byte limit exceeded")

const notAgain = ({ reason }: TooLarge) =>
  databricksError(
    new StatementFailedError({
      ...reason,
      message: `${reason.message} It ran, and may have written, so that it is not run again: for such a result use SqlWarehouse.stream`
    })
  )
