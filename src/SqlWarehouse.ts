/**
 * Queries on a SQL warehouse: those of the module run as the caller of the fiber, those of `user` always as the user.
 *
 * ```ts
 * import { Effect, Schema } from "effect"
 * import { SqlParameter, SqlWarehouse } from "effect-databricks"
 *
 * const Sale = Schema.Struct({ region: Schema.String, amount: Schema.Number })
 *
 * export const sales = SqlWarehouse.query(Sale)`
 *   SELECT region, amount FROM sales WHERE day = ${SqlParameter.date("2026-01-31")}`
 *
 * // As the user: without `asUser` it does not compile.
 * export const mine = Effect.gen(function* () {
 *   const warehouse = yield* SqlWarehouse.user
 *   return yield* warehouse.query(Sale)`SELECT region, amount FROM sales`
 * })
 *
 * // Of any size, in bounded memory. Without a Schema each value has the type of its column.
 * export const all = SqlWarehouse.stream()`SELECT * FROM sales`
 * ```
 *
 * @since 0.1.0
 */
import {
  type BigDecimal,
  Context,
  type DateTime,
  type Duration,
  Effect,
  Layer,
  Schema,
  type Scope,
  type Stream
} from "effect"
import type { DatabricksError } from "./DatabricksError.ts"
import * as Query from "./internal/sqlWarehouse/query.ts"
import type { Mismatch } from "./internal/sqlWarehouse/rows.ts"
import * as Values from "./internal/sqlWarehouse/values.ts"
import type * as Operation from "./Operation.ts"
import { ServiceContext, type ServiceContextError } from "./ServiceContext.ts"
import type { Input, SqlParameterError } from "./SqlParameter.ts"
import { UserContext } from "./UserContext.ts"
import { WorkspaceClient } from "./WorkspaceClient.ts"

/**
 * @since 0.1.0
 * @category models
 */
export interface Statement {
  readonly text: string
  /** The values for the `:name` markers of the text. */
  readonly parameters?: Readonly<Record<string, Input>> | undefined
}

/**
 * @since 0.1.0
 * @category models
 */
export interface StreamOptions {
  /** Used in place of the warehouse of the `ServiceContext`. */
  readonly warehouseId?: string | undefined
  readonly catalog?: string | undefined
  readonly schema?: string | undefined
  /** The most rows to return; `truncated` tells whether there were more. */
  readonly rowLimit?: number | undefined
  /**
   * Time limit until the first row is available. Includes retries of a refused start and warehouse start-up; excludes
   * reading rows. When it has passed, the statement is cancelled and not started again.
   */
  readonly timeout?: Duration.Input | undefined
  /**
   * Retries a start that the workspace refused for the moment (429, 503, no connection); off unless given. A statement
   * that has an id is never started twice: its polls and chunks are retried with and without this option.
   */
  readonly retry?: Operation.Retry | undefined
  /** Called when a statement has run for 5 seconds, and then whenever its state changes. */
  readonly onProgress?: ((progress: Progress) => Effect.Effect<void>) | undefined
}

/**
 * @since 0.1.0
 * @category models
 */
export interface Options extends StreamOptions {
  /**
   * Time limit for the whole query, from the first start to the last row. Includes retries of a refused start and
   * warehouse start-up. When it has passed, the statement is cancelled and not started again.
   */
  readonly timeout?: Duration.Input | undefined
  /** A second time limit for the whole query, which is one attempt: the shorter of the two counts. */
  readonly totalTimeout?: Duration.Input | undefined
  /**
   * Keeps the result in the `OperationCache`, for this caller; off unless given. The key is everything that decides the
   * result: the text with its parameters, `warehouseId`, `catalog`, `schema` and `rowLimit`.
   *
   * Only a statement that just reads is cached: one that begins with SELECT, WITH, VALUES, TABLE, FROM, SHOW, DESCRIBE
   * or EXPLAIN, and has no word that writes (INSERT, INTO, UPDATE, DELETE, MERGE, ANALYZE), not even in a string. Any
   * other runs each time, with a warning. The text does not show whether a function that it calls writes.
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
 * The state of a statement that has not ended.
 *
 * @since 0.1.0
 * @category models
 */
export interface Progress {
  readonly statementId: string
  /** `PENDING` while the statement waits for its warehouse, which may have to start first. */
  readonly state: "PENDING" | "RUNNING"
}

/**
 * A result, or a part of one. Every value is text as in JSON_ARRAY, or `null` for NULL; `valuesOf` returns its values.
 *
 * @since 0.1.0
 * @category models
 */
export interface Table {
  readonly statementId: string
  readonly columns: ReadonlyArray<Column>
  readonly rows: ReadonlyArray<ReadonlyArray<string | null>>
  /** Whether there were more rows than `rowLimit`, or than the warehouse returns. */
  readonly truncated: boolean
}

/**
 * @since 0.1.0
 * @category models
 */
export interface Column {
  readonly name: string
  /** Such as `DECIMAL(10,2)` or `ARRAY<STRING>`. */
  readonly type_text: string
  /** Such as `LONG` for BIGINT, and `DECIMAL`. */
  readonly type_name: string
}

/**
 * A row without a Schema: each value by the name of its column.
 *
 * @since 0.1.0
 * @category models
 */
export interface Row {
  readonly [column: string]: Value
}

/**
 * A value without a Schema, by the type of its column: BIGINT is a bigint, the smaller integers, FLOAT and DOUBLE are
 * numbers, DECIMAL a `BigDecimal`, BOOLEAN a boolean, BINARY a `Uint8Array`, TIMESTAMP a `DateTime.Utc` (the digits
 * beyond milliseconds are cut off), ARRAY an array, STRUCT an object, MAP a `Map`, VARIANT its JSON, and NULL `null`.
 *
 * The others are text: STRING, INTERVAL, and in ISO form DATE and TIMESTAMP_NTZ, which have no time zone.
 *
 * @since 0.1.0
 * @category models
 */
export type Value =
  | null
  | string
  | boolean
  | number
  | bigint
  | BigDecimal.BigDecimal
  | DateTime.Utc
  | Uint8Array
  | ReadonlyArray<Value>
  | ReadonlyMap<Value, Value>
  | { readonly [field: string]: Value }

/**
 * @since 0.1.0
 * @category models
 */
export type Json = null | string | boolean | number | ReadonlyArray<Json> | { readonly [field: string]: Json }

/**
 * A row does not match the Schema or the type of its column, or two columns have the same name.
 *
 * @since 0.1.0
 * @category errors
 */
export class RowDecodeError extends Schema.TaggedError<RowDecodeError>("effect-databricks/RowDecodeError")(
  "RowDecodeError",
  {
    message: Schema.String,
    /** Counts from 1; absent where the error is not about one row. */
    row: Schema.optional(Schema.Int),
    column: Schema.optional(Schema.String)
  }
) {}

/**
 * What a statement fails with. `OperationTimeoutError` is always one of them, because `layerWith` may set a timeout.
 *
 * @since 0.1.0
 * @category errors
 */
export type Failure = DatabricksError | ServiceContextError | SqlParameterError | Operation.OperationTimeoutError

/**
 * @since 0.1.0
 * @category services
 */
export class SqlWarehouse extends Context.Service<
  SqlWarehouse,
  {
    /**
     * Runs a statement and reads its whole result, as the caller of the fiber that runs it.
     *
     * Interruption, a timeout included, cancels the statement at the warehouse as the same caller. It waits until the
     * statement has ended, for at most a second; after that the cancelling goes on in the background.
     *
     * A result of more than 25 MiB takes a second run the first time its text is seen if the statement just reads (as
     * `cache` defines it), and fails otherwise.
     */
    readonly execute: <const O extends Options = {}>(
      statement: Statement,
      options?: O
    ) => Effect.Effect<Table, Failure, Operation.CacheOf<O>>
    /**
     * Streams the result of a statement in parts of a few hundred rows, in bounded memory: at most four chunks are
     * fetched ahead. A result without rows has no parts.
     *
     * Each run of the stream runs the statement once, as the caller that opens the stream. Ending it early leaves no
     * statement running.
     */
    readonly executeStream: (statement: Statement, options?: StreamOptions) => Stream.Stream<Table, Failure>
  }
>()("effect-databricks/SqlWarehouse") {}

/**
 * A statement as a tagged template, whose interpolations become parameters.
 *
 * @since 0.1.0
 * @category models
 */
export type Template<A> = (template: TemplateStringsArray, ...values: ReadonlyArray<Input>) => A

/**
 * A statement as text, with `:name` markers for its parameters.
 *
 * @since 0.1.0
 * @category models
 */
export type Text<A> = (text: string, parameters?: Readonly<Record<string, Input>>) => A

/**
 * The rows of a query.
 *
 * @since 0.1.0
 * @category models
 */
export type Rows<A, O extends Options, R> = Effect.Effect<
  ReadonlyArray<A>,
  Failure | RowDecodeError,
  R | Operation.CacheOf<O>
>

/**
 * The rows of a stream.
 *
 * @since 0.1.0
 * @category models
 */
export type RowStream<A, R> = Stream.Stream<A, Failure | RowDecodeError, R>

/**
 * The four queries: with `R = SqlWarehouse` those of this module, with `R = never` those of a `Client`.
 *
 * @since 0.1.0
 * @category models
 */
export interface Queries<R> {
  readonly query: {
    <S extends Schema.Constraint, const O extends Options = {}>(
      schema: S,
      options?: O
    ): Template<Rows<S["Type"], O, R | S["DecodingServices"]>>
    <const O extends Options = {}>(options?: O): Template<Rows<Row, O, R>>
  }
  readonly queryText: {
    <S extends Schema.Constraint, const O extends Options = {}>(
      schema: S,
      options?: O
    ): Text<Rows<S["Type"], O, R | S["DecodingServices"]>>
    <const O extends Options = {}>(options?: O): Text<Rows<Row, O, R>>
  }
  readonly stream: {
    <S extends Schema.Constraint>(
      schema: S,
      options?: StreamOptions
    ): Template<RowStream<S["Type"], R | S["DecodingServices"]>>
    (options?: StreamOptions): Template<RowStream<Row, R>>
  }
  readonly streamText: {
    <S extends Schema.Constraint>(
      schema: S,
      options?: StreamOptions
    ): Text<RowStream<S["Type"], R | S["DecodingServices"]>>
    (options?: StreamOptions): Text<RowStream<Row, R>>
  }
}

/**
 * The queries and the service of one user.
 *
 * @since 0.1.0
 * @category models
 */
export interface Client extends Queries<never> {
  readonly execute: SqlWarehouse["Service"]["execute"]
  readonly executeStream: SqlWarehouse["Service"]["executeStream"]
}

/**
 * Makes the service for the warehouse of the `ServiceContext`; `defaults` are as in `layerWith`.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (
  defaults: Operation.Policy = {}
): Effect.Effect<SqlWarehouse["Service"], never, ServiceContext | WorkspaceClient | Scope.Scope> =>
  Effect.flatMap(Effect.all([ServiceContext, WorkspaceClient]), ([service, client]) =>
    Query.make(service, client, defaults)
  )

/**
 * Provides a warehouse with a timeout or retries for every query and stream that does not set its own.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerWith = (
  defaults: Operation.Policy
): Layer.Layer<SqlWarehouse, never, ServiceContext | WorkspaceClient> => Layer.effect(SqlWarehouse, make(defaults))

/**
 * @since 0.1.0
 * @category layers
 */
export const layer: Layer.Layer<SqlWarehouse, never, ServiceContext | WorkspaceClient> = layerWith({})

const refused = (mismatch: Mismatch) => new RowDecodeError(mismatch)

const queries = Query.queries(SqlWarehouse, refused)

/**
 * Runs a statement, a template whose interpolations become parameters, and decodes its rows.
 *
 * An interpolation stands where SQL takes a value, hence never inside quotes; a name goes through `IDENTIFIER(${name})`.
 *
 * The Schema decides what a column becomes. If it takes a number (`Schema.Number`, `Schema.Int`), a numeric column
 * arrives as one; if it takes a boolean, a BOOLEAN does; if it takes an array or an object and no text, the JSON of an
 * ARRAY, MAP, STRUCT or VARIANT does. Everything else arrives as text, which `Schema.BigInt`, `Schema.BigDecimal` and
 * `Schema.Date` decode. NULL is `null`: `Schema.NullOr`. A Schema of numbers refuses an integer beyond 2^53, so that
 * none is rounded.
 *
 * Without a Schema each value has the type of its column: see `Value`.
 *
 * @since 0.1.0
 * @category queries
 */
export const query: Queries<SqlWarehouse>["query"] = queries.query

/**
 * Runs `query` for a statement as text, with `:name` markers for its parameters.
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
export const queryText: Queries<SqlWarehouse>["queryText"] = queries.queryText

/**
 * Streams the rows of a result of any size, in order and in bounded memory.
 *
 * @since 0.1.0
 * @category queries
 */
export const stream: Queries<SqlWarehouse>["stream"] = queries.stream

/**
 * Streams the rows of a statement as text.
 *
 * @since 0.1.0
 * @category queries
 */
export const streamText: Queries<SqlWarehouse>["streamText"] = queries.streamText

/**
 * Returns the client of the user: its statements run as that user, also inside `asService` and in another's call.
 *
 * An effect that uses it does not compile without `asUser`. On the development fallback the user is the service
 * principal. A Schema that needs services decodes as the caller of the fiber.
 *
 * @since 0.1.0
 * @category accessors
 */
export const user: Effect.Effect<Client, never, UserContext | SqlWarehouse> = SqlWarehouse.use((warehouse) =>
  Effect.map(UserContext, (caller) => {
    const own = Query.runAs(warehouse, caller)
    return { ...own, ...Query.queries(Effect.succeed(own), refused) }
  })
)

/**
 * Returns the values of a result by the types of its columns. They are in the order of the columns, because the names
 * of columns may repeat.
 *
 * @since 0.1.0
 * @category conversions
 */
export const valuesOf = ({
  columns,
  rows
}: Pick<Table, "columns" | "rows">): Effect.Effect<ReadonlyArray<ReadonlyArray<Value>>, RowDecodeError> =>
  Effect.suspend(() => Effect.mapError(Effect.fromResult(Values.valuesOf(columns)(rows, 0)), refused))

/**
 * Returns a value as JSON: a bigint and a decimal are strings, BINARY is base64, a timestamp is ISO in UTC, a MAP is a
 * list of its pairs, and a number that JSON does not have (`NaN`, `Infinity`, `-0`) is a string.
 *
 * @since 0.1.0
 * @category conversions
 */
export const toJson: (value: Value) => Json = Values.toJson
