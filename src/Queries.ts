/**
 * Named queries: SQL statements in files, with typed parameters. `key.sql` runs as the service principal, also in a
 * user's call; `key.obo.sql` runs as the user.
 *
 * ```sql
 * -- config/queries/orders_by_day.obo.sql
 * -- @param day DATE
 * -- @param regions STRING[] DEFAULT ('EMEA')
 * SELECT id, amount FROM orders WHERE day = :day AND region IN (:regions)
 * ```
 *
 * ```ts
 * import { Schema } from "effect"
 * import { Queries } from "effect-databricks"
 *
 * export const ordersByDay = Queries.query({
 *   key: "orders_by_day",
 *   runsAs: "user",
 *   parameters: Schema.Struct({ day: Schema.String, regions: Schema.optional(Schema.Array(Schema.String)) }),
 *   rows: Schema.Struct({ id: Schema.String, amount: Schema.Number })
 * })
 *
 * // As the user: without `asUser` it does not compile.
 * export const orders = ordersByDay({ day: "2026-01-31" })
 *
 * export const QueriesLive = Queries.layer({ directory: "config/queries" })
 * ```
 *
 * @since 0.1.0
 */
import { Context, Effect, type FileSystem, Layer, type Schema, Stream } from "effect"
import type { AuthenticationError } from "./IdentityError.ts"
import * as Bind from "./internal/queries/bind.ts"
import * as Files from "./internal/queries/files.ts"
import * as Code from "./internal/queries/query.ts"
import * as Run from "./internal/queries/run.ts"
import type * as Operation from "./Operation.ts"
import type { QueryFileError, QueryOutdatedError, QueryParameterError, UnknownQueryError } from "./QueryError.ts"
import { ServiceContext } from "./ServiceContext.ts"
import type { SqlParameter } from "./SqlParameter.ts"
import * as SqlWarehouse from "./SqlWarehouse.ts"
import type { UserContext } from "./UserContext.ts"

/**
 * A query, as its file declares it.
 *
 * @since 0.1.0
 * @category models
 */
export interface Definition {
  /** The name of the file without `.sql` or `.obo.sql`: letters, digits, `_` and `-`. */
  readonly key: string
  /** `"user"` for `key.obo.sql`, `"service"` for `key.sql`. */
  readonly runsAs: RunsAs
  /** The parameters in the order of their lines. The provided `:workspaceId` is not one of them. */
  readonly parameters: ReadonlyArray<Parameter>
  /** The statement with its markers. Blanks stand in the place of comments, and a last `;` is removed. */
  readonly statement: string
  /** The path of the file, or its key in the record. */
  readonly path: string
}

/**
 * The identity of a query.
 *
 * @since 0.1.0
 * @category models
 */
export type RunsAs = "user" | "service"

/**
 * A parameter of a query: its line `-- @param name TYPE`.
 *
 * @since 0.1.0
 * @category models
 */
export interface Parameter {
  /** The name of its markers, without the colon. */
  readonly name: string
  /** The SQL type, such as `DATE` or `DECIMAL(10,2)`; that of the elements of a list. */
  readonly type: string
  /** Whether it is a list (`TYPE[]`), which stands only as `IN (:name)`. */
  readonly isList: boolean
  /** The value in place of an absent one (`DEFAULT value`); NULL for `DEFAULT NULL`. Without it the parameter is required. */
  readonly default: SqlParameter | undefined
  /** A value for asking the warehouse for the columns of the query (`= value`). No call uses it. */
  readonly sample: SqlParameter | undefined
}

/**
 * A problem in a file.
 *
 * @since 0.1.0
 * @category models
 */
export type Problem = QueryFileError["problems"][number]

/**
 * The values of parameters by name, which may come from a request. An absent one, `undefined` and `null` are the same.
 *
 * Each value is that of its type, or its text: `5` or `"5"` for an INT, a Date or `"2026-01-31T12:00:00Z"` for a
 * TIMESTAMP, bytes or hexadecimal digits for a BINARY, and an array for a list. A DECIMAL accepts a number, bigint or
 * text.
 *
 * @since 0.1.0
 * @category models
 */
export type Parameters = Readonly<Record<string, unknown>>

/**
 * A query whose parameters are bound.
 *
 * @since 0.1.0
 * @category models
 */
export interface Bound {
  readonly definition: Definition
  readonly statement: SqlWarehouse.Statement
}

/**
 * The errors of a query in a file.
 *
 * @since 0.1.0
 * @category errors
 */
export type Failure = SqlWarehouse.Failure | UnknownQueryError | QueryParameterError | AuthenticationError

/**
 * The errors of a query in code.
 *
 * @since 0.1.0
 * @category errors
 */
export type QueryFailure = SqlWarehouse.Failure | SqlWarehouse.RowDecodeError | QueryParameterError | QueryOutdatedError

/**
 * The queries of the application.
 *
 * @since 0.1.0
 * @category services
 */
export class Queries extends Context.Service<
  Queries,
  {
    /** The queries by key. */
    readonly definitions: ReadonlyMap<string, Definition>
    /** Binds the parameters of a query, and runs nothing. */
    readonly bind: (
      key: string,
      parameters: Parameters
    ) => Effect.Effect<Bound, UnknownQueryError | QueryParameterError>
  }
>()("effect-databricks/Queries") {}

/**
 * Reads the `.sql` files of a directory once, and provides their queries.
 *
 * The directory is read through Effect's `FileSystem`, which `App.layerHttpServer` provides. Subdirectories, hidden
 * files and other extensions are ignored. Fails with a `QueryFileError` that names each problem with file and line, or
 * if there is no `.sql` file.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (options: {
  /** A relative path starts at the working directory of the process. */
  readonly directory: string
}): Layer.Layer<Queries, QueryFileError, ServiceContext | FileSystem.FileSystem> =>
  Layer.effect(Queries, Effect.flatMap(Files.read(options.directory), make))

/**
 * Provides the queries of texts by file name or path, for a bundled application: `{ "orders.sql": "SELECT …" }`.
 *
 * With Vite: `import.meta.glob("./queries/*.sql", { query: "?raw", import: "default", eager: true })`.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerRecord = (
  texts: Readonly<Record<string, string>>
): Layer.Layer<Queries, QueryFileError, ServiceContext> => Layer.effect(Queries, make(texts))

const make = (texts: Readonly<Record<string, string>>) =>
  Effect.map(Effect.all([Files.definitionsOf(texts), ServiceContext]), ([definitions, { workspaceId }]) =>
    Queries.of({ definitions, bind: Bind.make(definitions, workspaceId) })
  )

/**
 * Runs a query by its key and reads its whole result as text, for routes whose requests name the query.
 * `SqlWarehouse.valuesOf` converts the values.
 *
 * A query of the user runs as the user of the call; without one it fails with `AuthenticationError` (401). The cache's
 * name is the key of the query: `OperationCache.invalidate(key)`.
 *
 * @since 0.1.0
 * @category queries
 */
export const execute = <const O extends SqlWarehouse.Options = {}>(
  key: string,
  parameters: Parameters = {},
  options?: O
): Effect.Effect<SqlWarehouse.Table, Failure, Queries | SqlWarehouse.SqlWarehouse | Operation.CacheOf<O>> =>
  Effect.flatMap(bound(key, parameters), ({ statement, warehouse }) => warehouse.execute(statement, options))

/**
 * Streams the result of a query by its key, in parts of a few hundred rows, as `SqlWarehouse.executeStream` does.
 *
 * @since 0.1.0
 * @category queries
 */
export const executeStream = (
  key: string,
  parameters: Parameters = {},
  options?: SqlWarehouse.StreamOptions
): Stream.Stream<SqlWarehouse.Table, Failure, Queries | SqlWarehouse.SqlWarehouse> =>
  Stream.unwrap(
    Effect.map(bound(key, parameters), ({ statement, warehouse }) => warehouse.executeStream(statement, options))
  )

/**
 * Runs a query by its key and returns its result as one Arrow IPC stream, as `SqlWarehouse.arrow` does.
 *
 * The body is read as the identity of the query, in any call.
 *
 * @since 0.1.0
 * @category queries
 */
export const executeArrow = (
  key: string,
  parameters: Parameters = {},
  options?: SqlWarehouse.StreamOptions
): Effect.Effect<SqlWarehouse.Arrow, Failure, Queries | SqlWarehouse.SqlWarehouse> =>
  Effect.flatMap(bound(key, parameters), ({ statement, warehouse }) => warehouse.executeArrow(statement, options))

/**
 * Binds the parameters of a query, and returns the warehouse that runs its statement as its identity.
 *
 * @internal
 */
export const bound = Effect.fnUntraced(function* (key: string, parameters: Parameters) {
  const { bind } = yield* Queries
  const warehouse = yield* SqlWarehouse.SqlWarehouse
  const { definition, statement } = yield* bind(key, parameters)
  const user = definition.runsAs === "user" ? yield* Run.userOf(`query ${key}`) : undefined
  return { statement, warehouse: Run.warehouseAs(warehouse, key, user) }
})

/**
 * A query in code. It runs as a user only where the types of its call say so.
 *
 * @since 0.1.0
 * @category models
 */
export interface Query<W extends RunsAs, P extends ParametersSchema, S extends Schema.Constraint> {
  /** Runs the query and decodes its rows. The cache's name is the key: `OperationCache.invalidate(query.key)`. */
  <const O extends SqlWarehouse.Options = {}>(
    ...args: Arguments<P["Type"], O>
  ): Effect.Effect<ReadonlyArray<S["Type"]>, QueryFailure, Requirements<W, S> | Operation.CacheOf<O>>
  /** Streams the rows of a result of any size, in order and in bounded memory. */
  readonly stream: (
    ...args: Arguments<P["Type"], SqlWarehouse.StreamOptions>
  ) => Stream.Stream<S["Type"], QueryFailure, Requirements<W, S>>
  readonly key: string
  readonly runsAs: W
  /** The Schema of the parameters, also for the payload of an endpoint. */
  readonly parameters: P
  /** The Schema of a row, also for the response of an endpoint. */
  readonly rows: S
}

/**
 * A Schema of parameters: an object with values that `Parameters` describes.
 *
 * @since 0.1.0
 * @category models
 */
export type ParametersSchema = Schema.Constraint & { readonly Type: object }

/**
 * The arguments of a query: its parameters, which may be omitted if none is required, and options.
 *
 * @since 0.1.0
 * @category models
 */
export type Arguments<P, O> = {} extends P
  ? readonly [parameters?: P, options?: O]
  : readonly [parameters: P, options?: O]

/**
 * The services that a query requires: `UserContext` if it runs as the user.
 *
 * @since 0.1.0
 * @category models
 */
export type Requirements<W extends RunsAs, S extends Schema.Constraint> =
  | Queries
  | SqlWarehouse.SqlWarehouse
  | S["DecodingServices"]
  | (W extends "user" ? UserContext : never)

/**
 * Makes the function of a query in a file: typed parameters and rows by a Schema, as `SqlWarehouse.query` decodes them.
 *
 * A call fails with `QueryOutdatedError`, and runs nothing, if the file is missing, has another identity, or has other
 * parameters.
 *
 * @since 0.1.0
 * @category constructors
 */
export const query = <
  const W extends RunsAs,
  S extends Schema.Constraint,
  P extends ParametersSchema = Schema.Struct<{}>
>(definition: {
  readonly key: string
  readonly runsAs: W
  /** Defaults to no parameters. */
  readonly parameters?: P
  readonly rows: S
}): Query<W, P, S> => Code.make(Queries, definition)
