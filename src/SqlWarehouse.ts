/**
 * Queries on a SQL warehouse. The module's functions run as the caller of the fiber, those of `user` always as the
 * user.
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
 * // A result of any size, in bounded memory. Without a Schema each value has the type of its column.
 * export const all = SqlWarehouse.stream()`SELECT * FROM sales`
 * ```
 *
 * @since 0.1.0
 */
import {
  type BigDecimal,
  type Config,
  Context,
  type DateTime,
  type Duration,
  Effect,
  Layer,
  Schema,
  type Scope,
  Stream
} from "effect"
import type { DatabricksError } from "./DatabricksError.ts"
import * as Bounds from "./internal/bounds.ts"
import * as Functions from "./internal/sqlWarehouse/functions.ts"
import * as Query from "./internal/sqlWarehouse/query.ts"
import type { Mismatch } from "./internal/sqlWarehouse/rows.ts"
import * as Values from "./internal/sqlWarehouse/values.ts"
import type * as Operation from "./Operation.ts"
import type { ServiceContext, ServiceContextError } from "./ServiceContext.ts"
import type { Input, SqlParameterError } from "./SqlParameter.ts"
import { UserContext } from "./UserContext.ts"
import type { WorkspaceClient } from "./WorkspaceClient.ts"

/**
 * A statement as text, with its parameters.
 *
 * @since 0.1.0
 * @category models
 */
export interface Statement {
  /** The text, with `:name` markers for its parameters. */
  readonly text: string
  /** The values for the `:name` markers of the text. */
  readonly parameters?: Readonly<Record<string, Input>> | undefined
}

/**
 * The options of a stream.
 *
 * @since 0.1.0
 * @category models
 */
export interface StreamOptions {
  /** The id of the warehouse. Defaults to the warehouse of the `ServiceContext`. */
  readonly warehouseId?: string | undefined
  /** The catalog in which the statement's names are looked up. */
  readonly catalog?: string | undefined
  /** The schema in which the statement's names are looked up. */
  readonly schema?: string | undefined
  /** The most rows to return. `truncated` says whether there were more. */
  readonly rowLimit?: number | undefined
  /**
   * Time limit until the first row is available. Includes retries of a refused start; excludes reading rows. A
   * statement that exceeds it is cancelled and not started again. If the warehouse is starting then, the limit begins
   * again when the warehouse runs, which may take up to 10 minutes.
   */
  readonly timeout?: Duration.Input | undefined
  /**
   * Retries of a start that the workspace refused (429, 503, no connection). Defaults to 3 attempts within 30 seconds;
   * `false` switches them off. A statement that has an id is never started twice. Its polls and chunks are always
   * retried for up to 5 minutes.
   */
  readonly retry?: Operation.Retry | false | undefined
  /** Called after a statement has run for 5 seconds, and then on each change of its state. */
  readonly onProgress?: ((progress: Progress) => Effect.Effect<void>) | undefined
}

/**
 * The options of a query.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options extends StreamOptions {
  /** Time limit for the whole query, from the first start to the last row; otherwise as in `StreamOptions`. */
  readonly timeout?: Duration.Input | undefined
  /** A second time limit for the whole query, which includes the start of the warehouse. */
  readonly totalTimeout?: Duration.Input | undefined
  /**
   * Caches the result in the `OperationCache`, for this caller. Off by default. The key consists of the text with its
   * parameters, `name`, `warehouseId`, `catalog`, `schema` and `rowLimit`.
   *
   * Only a statement that just reads is cached; any other runs each time and logs a warning. A statement just reads if
   * it begins with SELECT, WITH, VALUES, TABLE, FROM, SHOW, DESCRIBE or EXPLAIN. It must not contain a word that writes
   * (INSERT, INTO, UPDATE, DELETE, MERGE, ANALYZE), not even in a string, and may call only built-in functions that
   * compute. Functions of your own may write: cache such a query with `Operation.execute`. The check does not see the
   * functions that a view calls.
   */
  readonly cache?: Cache | undefined
}

/**
 * The options of a cached query.
 *
 * @since 0.1.0
 * @category models
 */
export interface Cache {
  /** The name by which `OperationCache.invalidate` finds the result. Defaults to `sql.query`. */
  readonly name?: string | undefined
  /** The time for which a result is cached. Defaults to 1 hour. */
  readonly timeToLive?: Duration.Input | undefined
}

/**
 * The state of a running statement.
 *
 * @since 0.1.0
 * @category models
 */
export interface Progress {
  /** The statement's id at the warehouse. */
  readonly statementId: string
  /** `STARTING` while the warehouse starts, `PENDING` while the statement waits on a warehouse that runs. */
  readonly state: "STARTING" | "PENDING" | "RUNNING"
}

/**
 * A result as one Arrow IPC stream.
 *
 * @since 0.1.0
 * @category models
 */
export interface Arrow {
  /** The statement's id at the warehouse. */
  readonly statementId: string
  /** The columns, in order. The stream's own schema may call them `col_0`, `col_1`, …. */
  readonly columns: ReadonlyArray<Column>
  /** Whether rows are missing, because of `rowLimit` or a limit of the warehouse. */
  readonly truncated: boolean
  /**
   * The bytes, as the warehouse sends them, in bounded memory. Each run reads the result again, as the caller of the
   * call that returned it, for up to an hour. A missing chunk or row, or a chunk of another schema, fails.
   */
  readonly body: Stream.Stream<Uint8Array, DatabricksError>
}

/**
 * The state of a SQL warehouse that exists.
 *
 * @since 0.1.0
 * @category models
 */
export type WarehouseState = "STOPPED" | "STARTING" | "RUNNING" | "STOPPING"

/**
 * The options of `ready`.
 *
 * @since 0.1.0
 * @category models
 */
export interface ReadyOptions {
  /** The id of the warehouse. Defaults to the warehouse of the `ServiceContext`. */
  readonly warehouseId?: string | undefined
  /** The time limit until the warehouse runs. Defaults to 10 minutes. */
  readonly timeout?: Duration.Input | undefined
}

/**
 * A result, or a part of one. Every value is text, as in the format JSON_ARRAY, or `null` for NULL. `valuesOf` converts
 * it.
 *
 * @since 0.1.0
 * @category models
 */
export interface Table {
  /** The statement's id at the warehouse. */
  readonly statementId: string
  /** The columns, in order. Their names may repeat. */
  readonly columns: ReadonlyArray<Column>
  /** The rows, each with its values in the order of the columns. */
  readonly rows: ReadonlyArray<ReadonlyArray<string | null>>
  /** Whether rows are missing, because of `rowLimit` or a limit of the warehouse. */
  readonly truncated: boolean
}

/**
 * A column of a result.
 *
 * @since 0.1.0
 * @category models
 */
export interface Column {
  /** The column's name. */
  readonly name: string
  /** The SQL type, such as `DECIMAL(10,2)` or `ARRAY<STRING>`. */
  readonly type_text: string
  /** The type's name in the statement API, such as `LONG` for BIGINT, or `DECIMAL`. */
  readonly type_name: string
}

/**
 * A row that is read without a Schema: its values by column name.
 *
 * @since 0.1.0
 * @category models
 */
export interface Row {
  readonly [column: string]: Value
}

/**
 * A value that is read without a Schema, by the type of its column.
 *
 * BIGINT is a bigint; the smaller integers, FLOAT and DOUBLE are numbers; DECIMAL is a `BigDecimal`; BOOLEAN a boolean;
 * BINARY a `Uint8Array`; TIMESTAMP a `DateTime.Utc`, truncated to milliseconds; ARRAY an array; STRUCT an object; MAP a
 * `Map`; VARIANT its JSON; and NULL `null`.
 *
 * All other types are text: STRING, INTERVAL, and in ISO form DATE and TIMESTAMP_NTZ, which have no time zone. A year
 * below 0 or above 9999 has a sign (`+10000-01-01`). A number in a VARIANT that a JavaScript number cannot represent is
 * a bigint or a `BigDecimal`.
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
 * A JSON value.
 *
 * @since 0.1.0
 * @category models
 */
export type Json = null | string | boolean | number | ReadonlyArray<Json> | { readonly [field: string]: Json }

/**
 * A row does not match its Schema or the type of a column, or two columns have the same name.
 *
 * @since 0.1.0
 * @category errors
 */
export class RowDecodeError extends Schema.TaggedError<RowDecodeError>("effect-databricks/RowDecodeError")(
  "RowDecodeError",
  {
    message: Schema.String,
    /** The number of the row, from 1; absent if the error does not concern a single row. */
    row: Schema.optional(Schema.Int),
    /** The column's name, if the error concerns a single column. */
    column: Schema.optional(Schema.String)
  }
) {}

/**
 * The errors of a statement. `OperationTimeoutError` is always one of them, because `layerWith` may set a timeout.
 *
 * @since 0.1.0
 * @category errors
 */
export type Failure = DatabricksError | ServiceContextError | SqlParameterError | Operation.OperationTimeoutError

/**
 * The service that runs SQL statements as the caller of the fiber.
 *
 * @since 0.1.0
 * @category services
 */
export class SqlWarehouse extends Context.Service<
  SqlWarehouse,
  {
    /**
     * Runs a statement and reads its whole result, as the caller of the fiber that runs it.
     *
     * Interruption, also by a timeout, cancels the statement at the warehouse as the same caller. It waits up to 1
     * second until the statement has ended; after that cancelling continues in the background.
     *
     * If a result exceeds 25 MiB, a statement that just reads (as defined by `cache`) runs a second time, once per
     * text. A query that calls other functions runs once, at any size. Any other statement fails above 25 MiB.
     */
    readonly execute: <const O extends Options = {}>(
      statement: Statement,
      options?: O
    ) => Effect.Effect<Table, Failure, Operation.CacheOf<O>>
    /**
     * Streams the result of a statement in parts of a few hundred rows. It reads at most four chunks ahead, so memory
     * is bounded. A result without rows has no parts.
     *
     * Each run of the stream runs the statement once, as the caller that opens the stream. Ending the stream early
     * cancels the statement.
     */
    readonly executeStream: (statement: Statement, options?: StreamOptions) => Stream.Stream<Table, Failure>
    /** Runs a statement and returns its result as one Arrow IPC stream. Interruption cancels the statement. */
    readonly executeArrow: (statement: Statement, options?: StreamOptions) => Effect.Effect<Arrow, Failure>
    /** Starts a stopped warehouse and streams its states until it runs: see `ready` of this module. */
    readonly ready: (options?: ReadyOptions) => Stream.Stream<WarehouseState, Exclude<Failure, SqlParameterError>>
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
 * The query functions: those of this module require `SqlWarehouse`, those of a `Client` nothing.
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
  readonly arrow: (options?: StreamOptions) => Template<Effect.Effect<Arrow, Failure, R>>
  readonly arrowText: (options?: StreamOptions) => Text<Effect.Effect<Arrow, Failure, R>>
}

/**
 * The queries and the service of one user.
 *
 * @since 0.1.0
 * @category models
 */
export interface Client extends Queries<never>, Readonly<SqlWarehouse["Service"]> {}

/**
 * Makes the service for the warehouse of the `ServiceContext`; `defaults` are as in `layerWith`.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (
  defaults: Operation.Policy = {}
): Effect.Effect<SqlWarehouse["Service"], Config.ConfigError, ServiceContext | WorkspaceClient | Scope.Scope> =>
  Effect.andThen(Bounds.checkPolicy("SqlWarehouse", defaults), Query.make(defaults))

/**
 * Provides the service with default time limits and retries, for queries and streams that do not set their own.
 *
 * Fails with a `ConfigError` that names the invalid option.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerWith = (
  defaults: Operation.Policy
): Layer.Layer<SqlWarehouse, Config.ConfigError, ServiceContext | WorkspaceClient> =>
  Layer.effect(SqlWarehouse, make(defaults))

/**
 * Provides the service without default time limits.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer: Layer.Layer<SqlWarehouse, never, ServiceContext | WorkspaceClient> = Layer.effect(
  SqlWarehouse,
  Query.make({})
)

const refused = (mismatch: Mismatch) => new RowDecodeError(mismatch)

const queries = Functions.queries(SqlWarehouse, refused)

/**
 * Runs a statement, a template whose interpolations become parameters, and decodes its rows.
 *
 * An interpolation must stand where SQL allows a value. Inside quotes, backticks or a comment, or directly after a name
 * (`t_${name}`), it fails with `SqlParameterError`. Use `IDENTIFIER(${name})` for a name.
 *
 * The Schema decides the form in which a column's values arrive. A Schema of a number (`Schema.Number`, `Schema.Int`)
 * gets a numeric column as a number; a Schema of a boolean gets a BOOLEAN as a boolean. A Schema of an array or object,
 * and of no text, gets an ARRAY, MAP, STRUCT or VARIANT as JSON, and the same rules apply to the values in it. A MAP
 * decodes with `Schema.Record` or `Schema.ReadonlyMap`. Everything else arrives as text, for `Schema.BigInt`,
 * `Schema.BigDecimal` or `Schema.Date`. NULL is `null`: use `Schema.NullOr`.
 *
 * No value is rounded: a Schema of numbers refuses a BIGINT beyond 2^53, and a DECIMAL with digits that a number would
 * lose. `Schema.NumberFromString` rounds. `Schema.Date` and `Schema.DateTimeUtc` read TIMESTAMP_NTZ, DATE and text
 * without a time zone as UTC, truncated to milliseconds.
 *
 * Without a Schema each value has the type of its column: see `Value`.
 *
 * @since 0.1.0
 * @category queries
 */
export const query: Queries<SqlWarehouse>["query"] = queries.query

/**
 * Runs a statement as text, with `:name` markers for its parameters, and decodes its rows as `query` does.
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
 * Runs a statement, a template as of `query`, and returns its result as one Arrow IPC stream with the columns' names.
 *
 * The effect succeeds when the statement has; interruption before cancels it. Ending `body` early ends the downloads.
 *
 * @since 0.1.0
 * @category queries
 */
export const arrow: Queries<SqlWarehouse>["arrow"] = queries.arrow

/**
 * Runs a statement as text, and returns its result as `arrow` does.
 *
 * @since 0.1.0
 * @category queries
 */
export const arrowText: Queries<SqlWarehouse>["arrowText"] = queries.arrowText

/**
 * Starts the warehouse if it is stopped, and streams each state until it runs. It ends after `RUNNING`.
 *
 * Starts and polls as the caller of the fiber. All calls that wait for one warehouse as one caller share one watcher,
 * which polls every 1 to 10 seconds and ends with the last of them. Leaving does not stop the warehouse.
 *
 * Fails with the reason `UnknownWarehouseError` if the warehouse is deleted or hidden, `PermissionDeniedError` if the
 * caller may not see or start it, and `UnavailableError` if it stops while it starts. Fails with
 * `OperationTimeoutError` after `timeout`.
 *
 * @since 0.1.0
 * @category accessors
 */
export const ready = (
  options?: ReadyOptions
): Stream.Stream<WarehouseState, Exclude<Failure, SqlParameterError>, SqlWarehouse> =>
  Stream.unwrap(SqlWarehouse.useSync((warehouse) => warehouse.ready(options)))

/**
 * Returns the client of the user. Its statements run as that user, also inside `asService`.
 *
 * An effect that uses it compiles only under `asUser`. Use the client only in the call that returned it: outside of
 * that user's calls its statements die. On the development fallback the user is the service principal. A Schema that
 * needs services decodes as the caller of the fiber.
 *
 * @since 0.1.0
 * @category accessors
 */
export const user: Effect.Effect<Client, never, UserContext | SqlWarehouse> = SqlWarehouse.use((warehouse) =>
  Effect.map(UserContext, (caller) => {
    const own = Functions.runAs(warehouse, caller)
    return { ...own, ...Functions.queries(Effect.succeed(own), refused) }
  })
)

/**
 * Converts the values of a result by the types of its columns. Each row is an array in the order of the columns,
 * because their names may repeat.
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
 * Converts a value to JSON. A bigint and a decimal become strings, BINARY base64, a timestamp ISO in UTC, and a MAP a
 * list of pairs. A number that JSON does not have (`NaN`, `Infinity`, `-0`) becomes a string.
 *
 * @since 0.1.0
 * @category conversions
 */
export const toJson: (value: Value) => Json = Values.toJson
