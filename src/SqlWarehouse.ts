/**
 * Queries on a SQL warehouse, as whoever runs now.
 *
 * ```ts
 * import { Schema } from "effect"
 * import { SqlParameter, SqlWarehouse } from "effect-databricks"
 *
 * const Sale = Schema.Struct({ region: Schema.String, amount: Schema.Number })
 *
 * export const sales = SqlWarehouse.query(Sale)`
 *   SELECT region, amount FROM sales WHERE day = ${SqlParameter.date("2026-01-31")}`
 *
 * // Of any size, in bounded memory; without a Schema each value has the type of its column.
 * export const all = SqlWarehouse.stream()`SELECT * FROM sales`
 * ```
 *
 * @since 0.1.0
 */
import { Context, Duration, Effect, Layer, Option, Result, type Schema, type Scope, Stream } from "effect"
import type { HttpClientRequest } from "effect/http"
import type { Caller } from "./Caller.ts"
import * as ExecutionContext from "./ExecutionContext.ts"
import { isReadOnly } from "./internal/sqlWarehouse/readOnly.ts"
import * as Disposition from "./internal/sqlWarehouse/disposition.ts"
import type { Failure, Options, Result as Table, Statement, StreamOptions } from "./internal/sqlWarehouse/models.ts"
import * as Results from "./internal/sqlWarehouse/results.ts"
import type { RowDecodeError } from "./internal/sqlWarehouse/rowDecodeError.ts"
import * as Rows from "./internal/sqlWarehouse/rows.ts"
import { ofTemplate, ofText, type Template, type Text } from "./internal/sqlWarehouse/template.ts"
import * as Values from "./internal/sqlWarehouse/values.ts"
import * as Statements from "./internal/sqlWarehouse/statements.ts"
import { ranAs } from "./internal/workspace/transport.ts"
import * as Operation from "./Operation.ts"
import type { OperationCache } from "./OperationCache.ts"
import { ServiceContext } from "./ServiceContext.ts"
import * as SqlParameter from "./SqlParameter.ts"
import { WorkspaceClient } from "./WorkspaceClient.ts"

export {
  /**
   * @since 0.1.0
   * @category errors
   */
  RowDecodeError
} from "./internal/sqlWarehouse/rowDecodeError.ts"

export {
  /**
   * A value as JSON can have it: a bigint and a decimal are strings, BINARY is base64, a moment is ISO in UTC, a MAP is
   * a list of its pairs, and what JSON has no number for (`NaN`, `Infinity`, `-0`) is a string.
   *
   * @since 0.1.0
   * @category conversions
   */
  toJson
} from "./internal/sqlWarehouse/values.ts"

export type * from "./internal/sqlWarehouse/models.ts"

/**
 * @since 0.1.0
 * @category services
 */
export class SqlWarehouse extends Context.Service<
  SqlWarehouse,
  {
    /**
     * Runs a statement and reads all of its result, as the caller of the fiber that runs it.
     *
     * Interruption, a timeout included, cancels the statement at the warehouse as the same caller. It waits for the
     * warehouse to say that the statement has ended, for a second at most: the rest goes on in the background.
     *
     * A result of more than 25 MiB costs a second run the first time that its text is seen, if the statement just reads
     * (as `cache` has it), and fails if it does not.
     */
    readonly execute: <const O extends Options = {}>(
      statement: Statement,
      options?: O
    ) => Effect.Effect<Table, Failure, Operation.CacheOf<O>>
    /**
     * The result in parts of a few hundred rows, of any size in bounded memory: a few chunks are fetched ahead, and
     * no more until the rows are taken. None for a result without rows.
     *
     * It runs once for each run of the stream, as who opens it. Whoever stops early leaves no statement running.
     */
    readonly stream: (statement: Statement, options?: StreamOptions) => Stream.Stream<Table, Failure>
  }
>()("effect-databricks/SqlWarehouse") {}

/**
 * @since 0.1.0
 * @category constructors
 */
export const make = Effect.fnUntraced(function* (
  defaults: Operation.Chain = {}
): Effect.fn.Return<SqlWarehouse["Service"], never, ServiceContext | WorkspaceClient | Scope.Scope> {
  const service = yield* ServiceContext
  const { host } = service
  const client = yield* WorkspaceClient
  const connection = {
    send: (caller: Caller, request: HttpClientRequest.HttpClientRequest) =>
      ExecutionContext.runAs(client.send(request), caller),
    fetch: client.fetch
  }
  const statements = yield* Statements.make(connection.send)
  const inlineIfItFits = Disposition.make()

  /** Runs a statement to its end; its result is still to be read. */
  const run = Effect.fnUntraced(function* (
    text: string,
    parameters: ReturnType<typeof SqlParameter.bind>,
    options: StreamOptions,
    start: Pick<Statements.RunOptions, "disposition" | "retry">
  ) {
    const caller = yield* ExecutionContext.current
    const order = {
      statement: text,
      warehouse_id: options.warehouseId ?? (yield* ExecutionContext.getWarehouseId),
      catalog: options.catalog,
      schema: options.schema,
      row_limit: options.rowLimit,
      parameters: yield* Effect.fromResult(parameters)
    }
    const answer = yield* statements
      .run(caller, order, { ...start, onProgress: options.onProgress })
      .pipe(Effect.mapError(ranAs(caller)))
    const { manifest, statement_id: statementId } = answer
    const truncated = manifest?.truncated ?? false
    if (truncated && options.rowLimit === undefined)
      yield* Effect.logWarning(`The warehouse cut the result of the statement ${statementId} short`)
    const ask = (index: number) => statements.chunk(caller, statementId, index)
    const rows = Results.read({ host, fetch: connection.fetch, ask }, answer)
    return {
      statementId,
      columns: manifest?.schema.columns ?? [],
      rows: Stream.mapError(rows, ranAs(caller)),
      truncated
    }
  })

  const attributesOf = (text: string, { warehouseId = Option.getOrUndefined(service.warehouseId) }: StreamOptions) => ({
    "db.system.name": "databricks",
    "db.query.text": text,
    "warehouse.id": warehouseId
  })

  const execute = (
    { parameters, text }: Statement,
    options: Options = {}
  ): Effect.Effect<Table, Failure, OperationCache> =>
    Effect.suspend(() => {
      const { cache, catalog, rowLimit, schema } = options
      const { retry, timeout, totalTimeout } = Operation.merge(defaults, options)
      const bound = SqlParameter.bind(parameters ?? {})
      const attributes = attributesOf(text, options)
      const work = inlineIfItFits(text, (disposition) =>
        run(text, bound, options, { disposition, retry }).pipe(
          Effect.flatMap((result) =>
            Effect.map(Stream.runCollect(result.rows), (parts) => ({ ...result, rows: parts.flat() }))
          ),
          Effect.tap(({ rows, truncated }) => told(rows.length, truncated))
        )
      )
      const isKept = cache !== undefined && isReadOnly(text)
      return Operation.execute(cache === undefined || isKept ? work : Effect.andThen(warnOf(text), work), {
        name: "sql.query",
        attributes,
        timeout,
        totalTimeout,
        // Its retries are not the operation's: what has an id is never started twice.
        cache:
          isKept && Result.isSuccess(bound)
            ? { ...cache, key: [attributes["warehouse.id"], catalog, schema, rowLimit, text, bound.success] }
            : undefined
      })
    }).pipe(Effect.provideService(ServiceContext, service))

  const stream = ({ parameters, text }: Statement, options: StreamOptions = {}) =>
    Stream.suspend(() => {
      const { retry, timeout } = Operation.merge(defaults, options)
      const started = run(text, SqlParameter.bind(parameters ?? {}), options, { disposition: "EXTERNAL_LINKS", retry })
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
              Stream.onEnd(Effect.suspend(() => told(count, result.truncated)))
            )
        )
      ).pipe(Operation.executeStream({ name: "sql.stream", attributes: attributesOf(text, options) }))
    }).pipe(Stream.provideService(ServiceContext, service))

  // Without `cache` nothing is kept, which the compiler cannot see through the options.
  return { execute: execute as SqlWarehouse["Service"]["execute"], stream }
})

const told = (rows: number, truncated: boolean) =>
  Effect.annotateCurrentSpan({ "db.response.returned_rows": rows, "db.response.truncated": truncated })

const warnOf = (text: string) =>
  Effect.annotateLogs(
    Effect.logWarning("This statement may write, so that its result is not cached: leave out `cache`"),
    { "db.query.text": text }
  )

/**
 * With a timeout or retries that a query or stream has unless it says otherwise.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerWith = (
  defaults: Operation.Chain
): Layer.Layer<SqlWarehouse, never, ServiceContext | WorkspaceClient> => Layer.effect(SqlWarehouse, make(defaults))

/**
 * @since 0.1.0
 * @category layers
 */
export const layer: Layer.Layer<SqlWarehouse, never, ServiceContext | WorkspaceClient> = layerWith({})

type RowsOf<A, O extends Options, R = never> = Effect.Effect<
  ReadonlyArray<A>,
  Failure | RowDecodeError,
  SqlWarehouse | Operation.CacheOf<O> | R
>
type StreamOf<A, R = never> = Stream.Stream<A, Failure | RowDecodeError, SqlWarehouse | R>

/**
 * Runs the statement that follows it, a template whose interpolations become parameters, and decodes its rows.
 *
 * An interpolation stands where SQL takes a value, hence never inside quotes; a name goes through `IDENTIFIER(${name})`.
 *
 * The Schema decides what a column becomes. Where it takes a number (`Schema.Number`, `Schema.Int`), a numeric column
 * arrives as one; where it takes a boolean, a BOOLEAN does; where it takes an array or an object, and no text, the JSON
 * of an ARRAY, MAP, STRUCT or VARIANT does. Anything else arrives as text, from which `Schema.BigInt`,
 * `Schema.BigDecimal` and `Schema.Date` read their own. NULL is `null`: `Schema.NullOr`. An integer beyond 2^53 is
 * refused by a Schema of numbers, not rounded.
 *
 * Without a Schema each value has the type of its column: see `Value`.
 *
 * @since 0.1.0
 * @category queries
 */
export const query: {
  <S extends Schema.Constraint, const O extends Options = {}>(
    schema: S,
    options?: O
  ): Template<RowsOf<S["Type"], O, S["DecodingServices"]>>
  <const O extends Options = {}>(options?: O): Template<RowsOf<Rows.TypedRow, O>>
} = (...args: Rows.Asked<Options>) => ofTemplate(collected(args))

/**
 * `query` for a statement that is at hand as text, with `:name` markers for its parameters.
 *
 * ```ts
 * import { Schema } from "effect"
 * import { SqlWarehouse } from "effect-databricks"
 *
 * export const greet = (greeting: string) =>
 *   SqlWarehouse.queryText(Schema.Struct({ greeting: Schema.String }))("SELECT upper(:greeting) AS greeting", { greeting })
 * ```
 *
 * @since 0.1.0
 * @category queries
 */
export const queryText: {
  <S extends Schema.Constraint, const O extends Options = {}>(
    schema: S,
    options?: O
  ): Text<RowsOf<S["Type"], O, S["DecodingServices"]>>
  <const O extends Options = {}>(options?: O): Text<RowsOf<Rows.TypedRow, O>>
} = (...args: Rows.Asked<Options>) => ofText(collected(args))

/**
 * `query` for a result of any size: a stream of its rows, in order, in bounded memory.
 *
 * @since 0.1.0
 * @category queries
 */
export const stream: {
  <S extends Schema.Constraint>(
    schema: S,
    options?: StreamOptions
  ): Template<StreamOf<S["Type"], S["DecodingServices"]>>
  (options?: StreamOptions): Template<StreamOf<Rows.TypedRow>>
} = (...args: Rows.Asked<StreamOptions>) => ofTemplate(streamed(args))

/**
 * `stream` for a statement that is at hand as text.
 *
 * @since 0.1.0
 * @category queries
 */
export const streamText: {
  <S extends Schema.Constraint>(schema: S, options?: StreamOptions): Text<StreamOf<S["Type"], S["DecodingServices"]>>
  (options?: StreamOptions): Text<StreamOf<Rows.TypedRow>>
} = (...args: Rows.Asked<StreamOptions>) => ofText(streamed(args))

/**
 * The values of a result by the types of its columns and in their order, since names of columns may repeat.
 *
 * @since 0.1.0
 * @category conversions
 */
export const valuesOf = ({
  columns,
  rows
}: Pick<Table, "columns" | "rows">): Effect.Effect<ReadonlyArray<ReadonlyArray<Values.Value>>, RowDecodeError> =>
  Effect.suspend(() => Effect.fromResult(Values.valuesOf(columns)(rows, 0)))

const collected = (args: Rows.Asked<Options>) => {
  const [decoder, options] = Rows.asked(args)
  return Effect.fnUntraced(function* (statement: Statement) {
    const { execute } = yield* SqlWarehouse
    // What it needs of a cache the overloads say, too.
    const { columns, rows } = yield* execute(statement, options as {})
    return yield* decoder(columns)(rows, 0)
  })
}

const streamed = (args: Rows.Asked<StreamOptions>) => {
  const [decoder, options] = Rows.asked(args)
  return (statement: Statement) =>
    Stream.unwrap(
      SqlWarehouse.useSync(({ stream }) => {
        let decode: ReturnType<typeof decoder> | undefined
        let count = 0
        const decoded = ({ columns, rows }: Table) => {
          const before = count
          count += rows.length
          return (decode ??= decoder(columns))(rows, before)
        }
        return stream(statement, options).pipe(
          Stream.filter(({ rows }) => rows.length > 0),
          // Not by flatMap: what is kept of the stream of one part would keep the rows of the next ones in the heap.
          Stream.mapArrayEffect(
            (parts) => Effect.map(Effect.forEach(parts, decoded), (rows) => rows.flat() as [never, ...Array<never>]) // no part is empty
          )
        )
      })
    )
}
