/**
 * Metric views of Unity Catalog: measures and dimensions that a request chooses, as the user or as the service principal.
 *
 * ```ts
 * import { Schema } from "effect"
 * import { MetricView } from "effect-databricks"
 *
 * export const sales = MetricView.view({
 *   source: "main.shop.sales",
 *   executor: "user",
 *   measures: { revenue: Schema.NullOr(Schema.Number), orders: Schema.Int },
 *   dimensions: { region: Schema.String, day: Schema.DateTimeUtcFromString }
 * })
 *
 * // The rows are `{ revenue, region }`. As the user: without `asUser` it does not compile.
 * export const best = sales({
 *   measures: ["revenue"],
 *   dimensions: ["region"],
 *   filter: { member: "day", operator: "gte", values: ["2026-01-01"] },
 *   orderBy: [{ field: "revenue", direction: "DESC" }],
 *   limit: 10
 * })
 * ```
 *
 * @since 0.1.0
 */
import {
  type Config,
  Context,
  type Duration,
  Effect,
  type FileSystem,
  Layer,
  Result,
  type Schema,
  type Stream,
  type Types
} from "effect"
import type { AuthenticationError } from "./IdentityError.ts"
import * as Bounds from "./internal/bounds.ts"
import * as Definitions from "./internal/metricView/definitions.ts"
import * as Run from "./internal/metricView/run.ts"
import * as Statement from "./internal/metricView/statement.ts"
import * as Code from "./internal/metricView/view.ts"
import * as MetricRequest from "./MetricRequest.ts"
import type { MetricDefinitionError, MetricRequestError, UnknownMetricViewError } from "./MetricViewError.ts"
import type * as Operation from "./Operation.ts"
import * as OperationCache from "./OperationCache.ts"
import { ServiceContext } from "./ServiceContext.ts"
import * as SqlWarehouse from "./SqlWarehouse.ts"
import type { UserContext } from "./UserContext.ts"

/**
 * The identity of a metric view's requests, as AppKit names it.
 *
 * @since 0.1.0
 * @category models
 */
export type Executor = "user" | "app_service_principal"

/**
 * The name of a metric view: `catalog.schema.view`.
 *
 * @since 0.1.0
 * @category models
 */
export type Source = `${string}.${string}.${string}`

/**
 * A metric view of the application.
 *
 * @since 0.1.0
 * @category models
 */
export interface Definition {
  readonly key: string
  /** The name `catalog.schema.view`. */
  readonly source: string
  readonly executor: Executor
}

/**
 * The measures and dimensions of a metric view by name, as the warehouse describes them.
 *
 * @since 0.1.0
 * @category models
 */
export interface Description {
  readonly measures: Readonly<Record<string, MetricRequest.Column>>
  readonly dimensions: Readonly<Record<string, MetricRequest.Column>>
}

/**
 * The result of a request, and the columns that it has by name.
 *
 * @since 0.1.0
 * @category models
 */
export interface Table extends SqlWarehouse.Table {
  readonly metadata: Readonly<Record<string, MetricRequest.Column>>
}

/**
 * The errors of a metric view that a request names by its key.
 *
 * @since 0.1.0
 * @category errors
 */
export type Failure =
  | SqlWarehouse.Failure
  | SqlWarehouse.RowDecodeError
  | UnknownMetricViewError
  | MetricRequestError
  | AuthenticationError

/**
 * The errors of a metric view in code.
 *
 * @since 0.1.0
 * @category errors
 */
export type ViewFailure = SqlWarehouse.Failure | SqlWarehouse.RowDecodeError | MetricRequestError

/**
 * The metric views of the application, for routes whose requests name the view.
 *
 * @since 0.1.0
 * @category services
 */
export class MetricView extends Context.Service<
  MetricView,
  {
    /** The metric views by key. */
    readonly definitions: ReadonlyMap<string, Definition>
    /**
     * Returns the measures and dimensions of a view, as its executor sees them. They are cached for each caller.
     *
     * A view of the user fails with `AuthenticationError` (401) in a call without one.
     */
    readonly describe: (key: string) => Effect.Effect<Description, Failure>
    /**
     * Runs a request and reads its result as text, at most 100,000 rows. `SqlWarehouse.valuesOf` converts the values.
     *
     * A name that the view does not have is refused with `MetricRequestError` (400), also in the filter. Names are
     * compared with their case.
     */
    readonly execute: <const O extends SqlWarehouse.Options = {}>(
      key: string,
      request: MetricRequest.MetricRequest,
      options?: O
    ) => Effect.Effect<Table, Failure, Operation.CacheOf<O>>
  }
>()("effect-databricks/MetricView") {}

/**
 * The options of the layers.
 *
 * @since 0.1.0
 * @category models
 */
export interface LayerOptions {
  /** The time for which a view's description is cached for each caller. Defaults to 10 minutes. */
  readonly timeToLive?: Duration.Input | undefined
}

/**
 * Reads the definitions of a file once: `config/metric-views/definitions.json`, in the form of AppKit.
 *
 * The form is `{ metricViews: { [key]: { source: "catalog.schema.view", executor?: "user" | "app_service_principal" } } }`.
 * The executor defaults to the service principal. Fails with a `MetricDefinitionError` that names the file and the
 * problem. It reads through Effect's `FileSystem`, which `App.layerHttpServer` provides.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (
  options: LayerOptions & {
    /** A relative path starts at the working directory of the process. */
    readonly file: string
  }
): Layer.Layer<
  MetricView,
  MetricDefinitionError | Config.ConfigError,
  SqlWarehouse.SqlWarehouse | ServiceContext | FileSystem.FileSystem
> => layerOf(Definitions.read(options.file), options)

/**
 * Provides metric views that are defined in code, for a bundled application.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerRecord = (
  metricViews: Readonly<Record<string, { readonly source: Source; readonly executor?: Executor | undefined }>>,
  options: LayerOptions = {}
): Layer.Layer<MetricView, MetricDefinitionError | Config.ConfigError, SqlWarehouse.SqlWarehouse | ServiceContext> =>
  layerOf(Definitions.decode({ metricViews }, "The record of the metric views"), options)

const layerOf = <E, R>(definitions: Effect.Effect<ReadonlyMap<string, Definition>, E, R>, options: LayerOptions) =>
  Layer.effect(
    MetricView,
    Effect.gen(function* () {
      const { timeToLive = "10 minutes" } = options
      yield* Bounds.check("MetricView", { timeToLive }, { timeToLive: Bounds.duration("moment") })
      return Run.make(yield* definitions, {
        cache: yield* OperationCache.OperationCache,
        service: yield* ServiceContext,
        timeToLive,
        warehouse: yield* SqlWarehouse.SqlWarehouse
      })
    })
    // A cache of its own, so that an application needs none.
  ).pipe(Layer.provide(OperationCache.layer()))

/**
 * Schemas of columns by name.
 *
 * @since 0.1.0
 * @category models
 */
export type Columns = Readonly<Record<string, Schema.Constraint>>

/**
 * A metric view in code. A request of it compiles with the names of its columns only, and runs as a user only where the
 * types of its call say so.
 *
 * @since 0.1.0
 * @category models
 */
export interface View<E extends Executor, M extends Columns, D extends Columns> {
  /** Runs a request and decodes its rows. The cache's name is the source: `OperationCache.invalidate(view.source)`. */
  <
    const Ms extends ReadonlyArray<NameOf<M>>,
    const Ds extends ReadonlyArray<NameOf<D>> = readonly [],
    const O extends SqlWarehouse.Options = {}
  >(
    request: Request<Ms, Ds, NameOf<D>>,
    options?: O
  ): Effect.Effect<ReadonlyArray<Row<M, D, Ms, Ds>>, ViewFailure, Requirements<E, M, D> | Operation.CacheOf<O>>
  /** Streams the rows of a result of any size, in order and in bounded memory. */
  readonly stream: <const Ms extends ReadonlyArray<NameOf<M>>, const Ds extends ReadonlyArray<NameOf<D>> = readonly []>(
    request: Request<Ms, Ds, NameOf<D>>,
    options?: SqlWarehouse.StreamOptions
  ) => Stream.Stream<Row<M, D, Ms, Ds>, ViewFailure, Requirements<E, M, D>>
  readonly source: string
  readonly executor: E
  /** The Schema of its requests, also for the payload of an endpoint. */
  readonly request: Schema.Codec<MetricRequest.MetricRequest<NameOf<M>, NameOf<D>>>
}

/**
 * The names of columns.
 *
 * @since 0.1.0
 * @category models
 */
export type NameOf<C extends Columns> = Extract<keyof C, string>

/**
 * A request with these measures and dimensions.
 *
 * @since 0.1.0
 * @category models
 */
export interface Request<
  Ms extends ReadonlyArray<string>,
  Ds extends ReadonlyArray<string>,
  D extends string
> extends Omit<MetricRequest.MetricRequest, "measures" | "dimensions" | "filter" | "timeDimension" | "orderBy"> {
  readonly measures: Ms
  readonly dimensions?: Ds | undefined
  readonly filter?: MetricRequest.Filter<NoInfer<D>> | undefined
  readonly timeDimension?: NoInfer<Ds[number]> | undefined
  readonly orderBy?: ReadonlyArray<MetricRequest.Order<NoInfer<Ms[number] | Ds[number]>>> | undefined
}

/**
 * The row of a request: its measures and dimensions. A column that the types do not know to be chosen may be absent.
 *
 * @since 0.1.0
 * @category models
 */
export type Row<
  M extends Columns,
  D extends Columns,
  Ms extends ReadonlyArray<string>,
  Ds extends ReadonlyArray<string>
> = Types.Simplify<Chosen<M, Ms> & Chosen<D, Ds>>

/**
 * The chosen columns: those of a tuple are there, those of a list of any length may be.
 *
 * @since 0.1.0
 * @category models
 */
export type Chosen<C extends Columns, N extends ReadonlyArray<string>> = N extends readonly [
  infer Name extends string,
  ...infer Rest extends ReadonlyArray<string>
]
  ? (Types.IsUnion<Name> extends true ? Possible<C, Name> : { readonly [K in Name & keyof C]: C[K]["Type"] }) &
      Chosen<C, Rest>
  : N extends readonly []
    ? {}
    : Possible<C, N[number]>

/**
 * Columns that may be absent.
 *
 * @since 0.1.0
 * @category models
 */
export type Possible<C extends Columns, N extends string> = { readonly [K in N & keyof C]?: C[K]["Type"] }

/**
 * The services that a view requires: `UserContext` if it runs as the user.
 *
 * @since 0.1.0
 * @category models
 */
export type Requirements<E extends Executor, M extends Columns, D extends Columns> =
  | SqlWarehouse.SqlWarehouse
  | (M[keyof M] | D[keyof D])["DecodingServices"]
  | ("user" extends E ? UserContext : never)

/**
 * Makes the function of a metric view whose columns have these Schemas, as `SqlWarehouse.query` decodes them.
 *
 * A dimension with a `timeGrain` becomes a TIMESTAMP: give it a Schema such as `Schema.DateTimeUtcFromString`, which
 * reads a DATE too. A measure over no rows may be NULL: use `Schema.NullOr`.
 *
 * @since 0.1.0
 * @category constructors
 */
export const view = <
  const M extends Columns,
  const D extends Columns = {},
  const E extends Executor = "app_service_principal"
>(definition: {
  readonly source: Source
  /** Defaults to `"app_service_principal"`. */
  readonly executor?: E
  readonly measures: M
  readonly dimensions?: D
}): View<E, M, D> => Code.make(definition)

/**
 * Runs a request of a metric view by its key. See the service.
 *
 * @since 0.1.0
 * @category requests
 */
export const execute = <const O extends SqlWarehouse.Options = {}>(
  key: string,
  request: MetricRequest.MetricRequest,
  options?: O
): Effect.Effect<Table, Failure, MetricView | Operation.CacheOf<O>> =>
  Effect.flatMap(MetricView, (views) => views.execute(key, request, options))

/**
 * Returns the measures and dimensions of a metric view by its key. See the service.
 *
 * @since 0.1.0
 * @category requests
 */
export const describe = (key: string): Effect.Effect<Description, Failure, MetricView> =>
  Effect.flatMap(MetricView, (views) => views.describe(key))

/**
 * Builds the statement of a request, and runs nothing. Names become quoted identifiers, and values bound parameters.
 *
 * @since 0.1.0
 * @category requests
 */
export const statement = (
  source: Source,
  request: MetricRequest.MetricRequest
): Result.Result<SqlWarehouse.Statement, MetricRequestError> =>
  Result.map(parse(source, request), (request) => Statement.statementOf(source, request))

const parse = Statement.parser(MetricRequest.MetricRequest)
