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
 * ```
 *
 * @since 0.1.0
 */
import { Context, type Duration, Effect, Layer, Option, Result, type Schema, type Scope } from "effect"
import type { DatabricksError } from "./DatabricksError.ts"
import * as ExecutionContext from "./ExecutionContext.ts"
import { isReadOnly } from "./internal/readOnly.ts"
import * as Rows from "./internal/rows.ts"
import * as Statements from "./internal/statements.ts"
import { ranAs } from "./internal/workspaceHttp.ts"
import * as Operation from "./Operation.ts"
import { ServiceContext, type ServiceContextError } from "./ServiceContext.ts"
import * as SqlParameter from "./SqlParameter.ts"

export {
  /**
   * @since 0.1.0
   * @category errors
   */
  RowDecodeError
} from "./internal/rows.ts"

/**
 * @since 0.1.0
 * @category models
 */
export interface Statement {
  readonly text: string
  /** The values for the `:name` markers of the text. */
  readonly parameters?: Readonly<Record<string, SqlParameter.Input>> | undefined
}

/**
 * @since 0.1.0
 * @category models
 */
export interface Options extends Operation.Chain {
  /** Another warehouse than that of the `ServiceContext`. */
  readonly warehouseId?: string | undefined
  readonly catalog?: string | undefined
  readonly schema?: string | undefined
  /** At most so many rows; `truncated` tells whether there were more. */
  readonly rowLimit?: number | undefined
  /**
   * For the whole query: starts that were refused, the start of a stopped warehouse and the last of the rows included.
   * Then the statement is cancelled, and not started again.
   */
  readonly timeout?: Duration.Input | undefined
  /** For the whole query too, which is one attempt: the shorter of the two counts. */
  readonly totalTimeout?: Duration.Input | undefined
  /**
   * For a start that the workspace refused for the moment (429, 503, no connection); off unless asked for. What has an
   * id is never started twice: its polls and chunks are asked for again in any case.
   */
  readonly retry?: Operation.Retry | undefined
  /**
   * Keeps the result in the `OperationCache`, for this caller; off unless asked for. The key is all that makes the
   * result: the text with its parameters, `warehouseId`, `catalog`, `schema` and `rowLimit`.
   *
   * Only what just reads is kept: one statement that begins with SELECT, WITH, VALUES, TABLE, FROM, SHOW, DESCRIBE or
   * EXPLAIN, and has no word that writes (INSERT, INTO, UPDATE, DELETE, MERGE, ANALYZE), be it in a string. Any other
   * runs each time, with a warning. What a function does besides cannot be told from the text.
   */
  readonly cache?: Cache | undefined
}

/**
 * @since 0.1.0
 * @category models
 */
export interface Cache {
  /** How long a result is kept; 1 hour by default. */
  readonly timeToLive?: Duration.Input | undefined
}

/**
 * @since 0.1.0
 * @category models
 */
export interface Column {
  readonly name: string
  /** Such as `DECIMAL(10,2)` or `ARRAY<STRING>`. */
  readonly type_text: string
  /** Such as `DECIMAL`, and `LONG` for BIGINT. */
  readonly type_name: string
}

/**
 * A result as the warehouse sent it: every value is text, or null for NULL.
 *
 * @since 0.1.0
 * @category models
 */
export interface Result {
  readonly statementId: string
  readonly columns: ReadonlyArray<Column>
  readonly rows: ReadonlyArray<ReadonlyArray<string | null>>
  /** Whether there were more rows than `rowLimit`. */
  readonly truncated: boolean
}

/**
 * What can become of a statement; it may have a timeout from `layerWith` without asking for one.
 *
 * @since 0.1.0
 * @category errors
 */
export type Failure =
  | DatabricksError
  | ServiceContextError
  | SqlParameter.SqlParameterError
  | Operation.OperationTimeoutError

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
     */
    readonly execute: <const O extends Options = {}>(
      statement: Statement,
      options?: O
    ) => Effect.Effect<Result, Failure, Operation.CacheOf<O>>
  }
>()("effect-databricks/SqlWarehouse") {}

/**
 * @since 0.1.0
 * @category constructors
 */
export const make = Effect.fnUntraced(function* (
  defaults: Operation.Chain = {}
): Effect.fn.Return<SqlWarehouse["Service"], never, ServiceContext | Scope.Scope> {
  const service = yield* ServiceContext
  const statements = yield* Statements.make(service.connection.send)

  const run = Effect.fnUntraced(function* (
    text: string,
    parameters: ReturnType<typeof SqlParameter.bind>,
    options: Options,
    retry: Operation.Retry | undefined
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
    const result = yield* Effect.mapError(statements.run(caller, order, retry), ranAs(caller))
    yield* Effect.annotateCurrentSpan({
      "db.response.returned_rows": result.rows.length,
      "db.response.truncated": result.truncated
    })
    return result
  })

  const execute = ({ parameters, text }: Statement, options: Options = {}) =>
    Effect.suspend(() => {
      const { cache, catalog, rowLimit, schema } = options
      const { retry, timeout, totalTimeout } = Operation.merge(defaults, options)
      const warehouseId = options.warehouseId ?? Option.getOrUndefined(service.warehouseId)
      const bound = SqlParameter.bind(parameters ?? {})
      const work = run(text, bound, options, retry)
      const isKept = cache !== undefined && isReadOnly(text)
      return Operation.execute(cache === undefined || isKept ? work : Effect.andThen(warnOf(text), work), {
        name: "sql.query",
        attributes: { "db.system.name": "databricks", "db.query.text": text, "warehouse.id": warehouseId },
        timeout,
        totalTimeout,
        // Its retries are not the operation's: what has an id is never started twice.
        cache:
          isKept && Result.isSuccess(bound)
            ? { ...cache, key: [warehouseId, catalog, schema, rowLimit, text, bound.success] }
            : undefined
      })
    }).pipe(Effect.provideService(ServiceContext, service))

  // Without `cache` nothing is kept, which the compiler cannot see through the options.
  return { execute: execute as SqlWarehouse["Service"]["execute"] }
})

const warnOf = (text: string) =>
  Effect.annotateLogs(
    Effect.logWarning("This statement may write, so that its result is not cached: leave out `cache`"),
    { "db.query.text": text }
  )

/**
 * With a timeout or retries that a query has unless it says otherwise.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerWith = (defaults: Operation.Chain): Layer.Layer<SqlWarehouse, never, ServiceContext> =>
  Layer.effect(SqlWarehouse, make(defaults))

/**
 * @since 0.1.0
 * @category layers
 */
export const layer: Layer.Layer<SqlWarehouse, never, ServiceContext> = layerWith({})

/**
 * Runs the statement that follows it, a template whose interpolations become parameters, and decodes its rows.
 *
 * An interpolation stands where SQL takes a value, hence never inside quotes; a name goes through `IDENTIFIER(${name})`.
 *
 * The Schema decides what a column becomes. Where it takes a number (`Schema.Number`, `Schema.Int`), a numeric column
 * arrives as one; where it takes a boolean, a BOOLEAN does; anything else arrives as text, from which `Schema.BigInt`,
 * `Schema.BigDecimal`, `Schema.Date` and `Schema.fromJsonString` (for ARRAY, MAP and STRUCT) read their own. NULL is
 * `null`: `Schema.NullOr`. An integer beyond 2^53 is refused by a Schema of numbers, not rounded.
 *
 * @since 0.1.0
 * @category queries
 */
export const query = <S extends Schema.Constraint, const O extends Options = {}>(schema: S, options?: O) => {
  const rowsOf = runner(schema, options)
  return (template: TemplateStringsArray, ...values: ReadonlyArray<SqlParameter.Input>) =>
    rowsOf(fromTemplate(template, values))
}

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
export const queryText = <S extends Schema.Constraint, const O extends Options = {}>(schema: S, options?: O) => {
  const rowsOf = runner(schema, options)
  return (text: string, parameters?: Readonly<Record<string, SqlParameter.Input>>) => rowsOf({ text, parameters })
}

const runner = <S extends Schema.Constraint, const O extends Options = {}>(schema: S, options: O | undefined) => {
  const decode = Rows.decoder(schema)
  return (
    statement: Statement
  ): Effect.Effect<
    ReadonlyArray<S["Type"]>,
    Failure | Rows.RowDecodeError,
    SqlWarehouse | Operation.CacheOf<O> | S["DecodingServices"]
  > =>
    Effect.gen(function* () {
      const { execute } = yield* SqlWarehouse
      const { columns, rows } = yield* execute(statement, options)
      return yield* decode(columns, rows)
    })
}

const fromTemplate = (template: ReadonlyArray<string>, values: ReadonlyArray<SqlParameter.Input>): Statement => {
  // A marker that the template's author wrote must not be bound to an interpolation by chance.
  const written = template.join(" ").toLowerCase()
  let prefix = "p_"
  while (written.includes(prefix)) prefix = `p${prefix}`
  const text = template.reduce((before, after, index) => {
    const marker = `${before}:${prefix}${index}`
    return /^\w/.test(after) ? `${marker} ${after}` : marker + after
  })
  return { text, parameters: Object.fromEntries(values.map((value, index) => [`${prefix}${index + 1}`, value])) }
}
