/** The models of `SqlWarehouse`. */
import type { Duration, Effect } from "effect"
import type { DatabricksError } from "../../DatabricksError.ts"
import type { OperationTimeoutError, Retry } from "../../Operation.ts"
import type { ServiceContextError } from "../../ServiceContext.ts"
import type { Input, SqlParameterError } from "../../SqlParameter.ts"
import type { Progress } from "./statements.ts"
import type { Column } from "./wire.ts"

export type {
  /**
   * @since 0.1.0
   * @category models
   */
  Column,
  /**
   * Where a statement is that has not ended: `PENDING` while it waits for its warehouse, which may have to start first.
   *
   * @since 0.1.0
   * @category models
   */
  Progress
}

export type {
  /**
   * A row without a Schema: each value by the name of its column.
   *
   * @since 0.1.0
   * @category models
   */
  TypedRow as Row
} from "./rows.ts"

export type {
  /**
   * @since 0.1.0
   * @category models
   */
  Json,
  /**
   * What a value is without a Schema, by the type of its column: BIGINT is a bigint, the smaller integers, FLOAT and
   * DOUBLE numbers, DECIMAL a `BigDecimal`, BOOLEAN a boolean, BINARY a `Uint8Array`, TIMESTAMP a `DateTime.Utc` (to the
   * millisecond), ARRAY an array, STRUCT an object, MAP a `Map`, VARIANT what its JSON is, and NULL `null`.
   *
   * The others are text: STRING, INTERVAL, and in ISO form DATE and TIMESTAMP_NTZ, which are in no time zone.
   *
   * @since 0.1.0
   * @category models
   */
  Value
} from "./values.ts"

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
  /** Another warehouse than that of the `ServiceContext`. */
  readonly warehouseId?: string | undefined
  readonly catalog?: string | undefined
  readonly schema?: string | undefined
  /** At most so many rows; `truncated` tells whether there were more. */
  readonly rowLimit?: number | undefined
  /**
   * Until there is a first row: refused starts and the start of a stopped warehouse included, and of the rows none. Then
   * the statement is cancelled, and not started again.
   */
  readonly timeout?: Duration.Input | undefined
  /**
   * For a start that the workspace refused for the moment (429, 503, no connection); off unless asked for. What has an
   * id is never started twice: its polls and chunks are asked for again in any case.
   */
  readonly retry?: Retry | undefined
  /** Told where the statement is, at first once it takes longer than 5 seconds, and then when that changes. */
  readonly onProgress?: ((progress: Progress) => Effect.Effect<void>) | undefined
}

/**
 * @since 0.1.0
 * @category models
 */
export interface Options extends StreamOptions {
  /**
   * For the whole query: starts that were refused, the start of a stopped warehouse and the last of the rows included.
   * Then the statement is cancelled, and not started again.
   */
  readonly timeout?: Duration.Input | undefined
  /** For the whole query too, which is one attempt: the shorter of the two counts. */
  readonly totalTimeout?: Duration.Input | undefined
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
 * A result, or a part of one: every value is text as in JSON_ARRAY, or null for NULL. `valuesOf` has its values.
 *
 * @since 0.1.0
 * @category models
 */
export interface Result {
  readonly statementId: string
  readonly columns: ReadonlyArray<Column>
  readonly rows: ReadonlyArray<ReadonlyArray<string | null>>
  /** Whether there were more rows than `rowLimit`, or than the warehouse returns. */
  readonly truncated: boolean
}

/**
 * What can become of a statement; it may have a timeout from `layerWith` without asking for one.
 *
 * @since 0.1.0
 * @category errors
 */
export type Failure = DatabricksError | ServiceContextError | SqlParameterError | OperationTimeoutError
