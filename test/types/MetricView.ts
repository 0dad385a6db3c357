/** What the types of MetricView promise. */
import { Effect, type Layer, Schema, Stream } from "effect"
import {
  asService,
  asUser,
  type MetricRequest,
  MetricView,
  type MetricViewError,
  type OperationCache,
  type ServiceContext as Service,
  type SqlWarehouse,
  type UserContext
} from "effect-databricks"
import { typeOf } from "./is.ts"

const columns = {
  measures: { revenue: Schema.NullOr(Schema.Number), orders: Schema.Int },
  dimensions: { region: Schema.String, day: Schema.DateTimeUtcFromString }
} as const
const mine = MetricView.view({ source: "main.shop.sales", executor: "user", ...columns })
const ours = MetricView.view({ source: "main.shop.sales", ...columns })

// The row has the chosen columns.
const chosen = mine({ measures: ["revenue"], dimensions: ["region"] })
typeOf(null as unknown as Effect.Success<typeof chosen>).is<
  ReadonlyArray<{ readonly revenue: number | null; readonly region: string }>
>()
typeOf(null as unknown as Effect.Error<typeof chosen>).is<
  SqlWarehouse.Failure | SqlWarehouse.RowDecodeError | MetricViewError.MetricRequestError
>()
typeOf(null as unknown as Effect.Services<typeof chosen>).is<SqlWarehouse.SqlWarehouse | UserContext>()
const total = ours({ measures: ["orders"] })
typeOf(null as unknown as Effect.Success<typeof total>).is<ReadonlyArray<{ readonly orders: number }>>()
typeOf(null as unknown as Effect.Services<typeof total>).is<SqlWarehouse.SqlWarehouse>()
const streamed = mine.stream({ measures: ["orders", "revenue"] }, { rowLimit: 5 })
typeOf(null as unknown as Stream.Success<typeof streamed>).is<{
  readonly orders: number
  readonly revenue: number | null
}>()
typeOf(null as unknown as Stream.Services<typeof streamed>).is<SqlWarehouse.SqlWarehouse | UserContext>()

// Columns that the types do not know to be chosen may be absent.
declare const request: typeof ours.request.Type
typeOf(request).is<MetricRequest.MetricRequest<"revenue" | "orders", "region" | "day">>()
const any = ours(request)
type Any = Effect.Success<typeof any>[number]
typeOf(null as unknown as Any["orders"]).is<number | undefined>()
typeOf(null as unknown as Any["region"]).is<string | undefined>()
const either = ours({ measures: ["revenue" as "revenue" | "orders"] })
typeOf(null as unknown as Effect.Success<typeof either>[number]["revenue"]).is<number | null | undefined>()

// A cache is required where a call has one.
const kept = ours({ measures: ["orders"] }, { cache: { timeToLive: "1 minute" } })
typeOf(null as unknown as Effect.Services<typeof kept>).is<SqlWarehouse.SqlWarehouse | OperationCache.OperationCache>()

declare const Live: Layer.Layer<SqlWarehouse.SqlWarehouse | Service.ServiceContext>

void Effect.runPromise(chosen.pipe(Effect.provide(asUser({})), Effect.provide(Live)))
void Effect.runPromise(asService(total).pipe(Effect.provide(Live)))
// @ts-expect-error -- a view of the user has no user
void Effect.runPromise(chosen.pipe(Effect.provide(Live)))
// @ts-expect-error -- the service principal is not a user
void Effect.runPromise(asService(chosen).pipe(Effect.provide(Live)))
// @ts-expect-error -- a stream of the user has no user
void Effect.runPromise(Stream.runDrain(streamed).pipe(Effect.provide(Live)))

// An executor that is not known requires a user.
const perhaps = MetricView.view({ source: "a.b.c", executor: "user" as MetricView.Executor, ...columns })
const asked = perhaps({ measures: ["orders"] })
typeOf(null as unknown as Effect.Services<typeof asked>).is<SqlWarehouse.SqlWarehouse | UserContext>()

// @ts-expect-error -- the view has no such measure
void ours({ measures: ["profit"] })
// @ts-expect-error -- a dimension is not a measure
void ours({ measures: ["region"] })
// @ts-expect-error -- the view has no such dimension
void ours({ measures: ["orders"], dimensions: ["country"] })
// @ts-expect-error -- a filter is on dimensions
void ours({ measures: ["orders"], filter: { member: "revenue", operator: "gt", values: [1] } })
// @ts-expect-error -- the operator is unknown
void ours({ measures: ["orders"], filter: { and: [{ member: "region", operator: "like", values: ["x"] }] } })
// @ts-expect-error -- the column of the order is not chosen
void ours({ measures: ["orders"], orderBy: [{ field: "revenue" }] })
// @ts-expect-error -- the time dimension is not chosen
void ours({ measures: ["orders"], dimensions: ["region"], timeDimension: "day", timeGrain: "month" })
// @ts-expect-error -- a request has measures
void ours({ dimensions: ["region"] })
// @ts-expect-error -- a stream is not cached
void ours.stream({ measures: ["orders"] }, { cache: {} })
// @ts-expect-error -- the source has three parts
void MetricView.view({ source: "sales", ...columns })
// @ts-expect-error -- the executor is unknown
void MetricView.view({ source: "a.b.c", executor: "obo", ...columns })

// By key the user is looked for when the call runs.
const executed = MetricView.execute("sales", { measures: ["orders"] })
typeOf(null as unknown as Effect.Success<typeof executed>).is<MetricView.Table>()
typeOf(null as unknown as Effect.Error<typeof executed>).is<MetricView.Failure>()
typeOf(null as unknown as Effect.Services<typeof executed>).is<MetricView.MetricView>()
