/** What the types of Queries promise. */
import { Effect, type Layer, Schema, Stream } from "effect"
import {
  asService,
  asUser,
  type OperationCache,
  provideUser,
  Queries,
  type QueryError,
  type ServiceContext as Service,
  SqlParameter,
  SqlWarehouse,
  type UserContext
} from "effect-databricks"
import { typeOf } from "./is.ts"

const Row = Schema.Struct({ id: Schema.Int })
interface Order {
  readonly id: number
}
type Base = Queries.Queries | SqlWarehouse.SqlWarehouse

const mine = Queries.query({
  key: "mine",
  runsAs: "user",
  parameters: Schema.Struct({ day: Schema.String, regions: Schema.optional(Schema.Array(Schema.String)) }),
  rows: Row
})
const ours = Queries.query({ key: "ours", runsAs: "service", rows: Row })

const orders = mine({ day: "2026-01-31" })
typeOf(null as unknown as Effect.Success<typeof orders>).is<ReadonlyArray<Order>>()
typeOf(null as unknown as Effect.Error<typeof orders>).is<
  SqlWarehouse.Failure | SqlWarehouse.RowDecodeError | QueryError.QueryParameterError | QueryError.QueryOutdatedError
>()
typeOf(null as unknown as Effect.Services<typeof orders>).is<Base | UserContext>()
const all = ours()
typeOf(null as unknown as Effect.Services<typeof all>).is<Base>()

const streamed = mine.stream({ day: "2026-01-31", regions: ["EU"] }, { rowLimit: 5 })
typeOf(null as unknown as Stream.Success<typeof streamed>).is<Order>()
typeOf(null as unknown as Stream.Services<typeof streamed>).is<Base | UserContext>()
typeOf(null as unknown as Stream.Services<ReturnType<typeof ours.stream>>).is<Base>()

// A cache is required where a call has one.
const kept = ours({}, { cache: { timeToLive: "1 minute" } })
typeOf(null as unknown as Effect.Services<typeof kept>).is<Base | OperationCache.OperationCache>()
const unkept = ours({}, { timeout: "1 minute" })
typeOf(null as unknown as Effect.Services<typeof unkept>).is<Base>()

declare const Live: Layer.Layer<Base | Service.ServiceContext>

void Effect.runPromise(orders.pipe(Effect.provide(asUser({})), Effect.provide(Live)))
void Effect.runPromise(orders.pipe(provideUser({}), Effect.provide(Live)))
void Effect.runPromise(asService(ours()).pipe(Effect.provide(Live)))
// @ts-expect-error -- a query of the user has no user
void Effect.runPromise(orders.pipe(Effect.provide(Live)))
// @ts-expect-error -- the service principal is not a user
void Effect.runPromise(asService(orders).pipe(Effect.provide(Live)))
// @ts-expect-error -- a stream of the user has no user
void Effect.runPromise(Stream.runDrain(streamed).pipe(Effect.provide(Live)))

// A definition whose identity is not known requires a user.
const either = Queries.query({ key: "either", runsAs: "user" as Queries.RunsAs, rows: Row })
const perhaps = either()
typeOf(null as unknown as Effect.Services<typeof perhaps>).is<Base | UserContext>()

// @ts-expect-error -- a required parameter is missing
void mine()
// @ts-expect-error -- a required parameter is missing
void mine.stream({})
// @ts-expect-error -- the type of a parameter is another
void mine({ day: 31 })
// @ts-expect-error -- the query has no such parameter
void mine({ day: "2026-01-31", days: 1 })
// @ts-expect-error -- a stream is not cached
void mine.stream({ day: "2026-01-31" }, { cache: {} })
// @ts-expect-error -- a query runs as the user or as the service principal
void Queries.query({ key: "x", runsAs: "app", rows: Row })

// By key the user is looked for when the call runs.
const executed = Queries.execute("mine", { day: "2026-01-31" })
typeOf(null as unknown as Effect.Success<typeof executed>).is<SqlWarehouse.Table>()
typeOf(null as unknown as Effect.Error<typeof executed>).is<Queries.Failure>()
typeOf(null as unknown as Effect.Services<typeof executed>).is<Base>()

// Lists have the type of their elements.
void SqlWarehouse.query(Row)`SELECT 1 WHERE 1 IN (${SqlParameter.list(SqlParameter.bigint, [1, 2n])})`
void SqlParameter.list(SqlParameter.timestamp, [new Date(), "2026-01-31T12:00:00Z"])
// @ts-expect-error -- an element has another type
void SqlParameter.list(SqlParameter.date, [1])
// @ts-expect-error -- NOT IN a list with NULL would match no row
void SqlParameter.list(SqlParameter.string, ["EU", null])
