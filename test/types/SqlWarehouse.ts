/** What the types of SqlWarehouse promise. */
import { Effect, type Layer, Schema, type Stream } from "effect"
import {
  asService,
  asUser,
  type OperationCache,
  provideUser,
  type ServiceContext as Service,
  SqlParameter,
  SqlWarehouse,
  type UserContext
} from "effect-databricks"
import type { DatabricksError } from "effect-databricks/DatabricksError"
import type { OperationTimeoutError } from "effect-databricks/Operation"
import type { ServiceContextError } from "effect-databricks/ServiceContext"

type Equal<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false
const isTrue = <T extends true>(): T | void => undefined

const Sale = Schema.Struct({ region: Schema.String, amount: Schema.Number })

// A timeout may come from the layer.
type Expected =
  | DatabricksError
  | ServiceContextError
  | SqlParameter.SqlParameterError
  | SqlWarehouse.RowDecodeError
  | OperationTimeoutError

const sales = SqlWarehouse.query(Sale)`SELECT * FROM sales WHERE day = ${SqlParameter.date("2026-01-31")} LIMIT ${3}`
isTrue<Equal<Effect.Success<typeof sales>, ReadonlyArray<{ readonly region: string; readonly amount: number }>>>()
isTrue<Equal<Effect.Error<typeof sales>, Expected>>()
isTrue<Equal<Effect.Services<typeof sales>, SqlWarehouse.SqlWarehouse>>()

const bounded = SqlWarehouse.query(Sale, { timeout: "1 second", totalTimeout: 5, retry: { attempts: 2 } })`SELECT 1`
isTrue<Equal<Effect.Error<typeof bounded>, Expected>>()
isTrue<Equal<Effect.Services<typeof bounded>, SqlWarehouse.SqlWarehouse>>()

const limited = SqlWarehouse.queryText(Sale, { rowLimit: 3, cache: undefined })("SELECT :a", { a: null })
isTrue<Equal<Effect.Error<typeof limited>, Expected>>()
isTrue<Equal<Effect.Services<typeof limited>, SqlWarehouse.SqlWarehouse>>()

// What is to be kept needs something that keeps it.
const kept = SqlWarehouse.query(Sale, { cache: { timeToLive: "1 minute" } })`SELECT 1`
isTrue<Equal<Effect.Services<typeof kept>, SqlWarehouse.SqlWarehouse | OperationCache.OperationCache>>()

const perhaps = SqlWarehouse.queryText(Sale, {} as SqlWarehouse.Options)("SELECT 1")
isTrue<Equal<Effect.Error<typeof perhaps>, Expected>>()
isTrue<Equal<Effect.Services<typeof perhaps>, SqlWarehouse.SqlWarehouse | OperationCache.OperationCache>>()

declare const warehouse: SqlWarehouse.SqlWarehouse["Service"]
const plain = warehouse.execute({ text: "SELECT 1" })
isTrue<Equal<Effect.Services<typeof plain>, never>>()
const executed = warehouse.execute({ text: "SELECT 1" }, { cache: {} })
isTrue<Equal<Effect.Services<typeof executed>, OperationCache.OperationCache>>()

// @ts-expect-error -- a text put together by hand is no template: its values would be part of the SQL
SqlWarehouse.query(Sale)(`SELECT * FROM sales WHERE region = '${"x"}'`)

// @ts-expect-error -- an object is no SQL value
void SqlWarehouse.query(Sale)`SELECT ${{ a: 1 }}`

// @ts-expect-error -- undefined is no SQL value: NULL is null
void SqlWarehouse.query(Sale)`SELECT ${undefined}`

// @ts-expect-error -- what only looks like a SqlParameter has not been validated
void SqlWarehouse.query(Sale)`SELECT ${{ type: "DATE", value: "x" }}`

// Without a Schema a row has the values of its columns by name.
const typed = SqlWarehouse.query()`SELECT * FROM sales`
isTrue<Equal<Effect.Success<typeof typed>, ReadonlyArray<SqlWarehouse.Row>>>()
isTrue<Equal<Effect.Error<typeof typed>, Expected>>()
isTrue<Equal<Effect.Services<typeof typed>, SqlWarehouse.SqlWarehouse>>()
const typedAndKept = SqlWarehouse.queryText({ cache: {} })("SELECT * FROM sales")
isTrue<Equal<Effect.Services<typeof typedAndKept>, SqlWarehouse.SqlWarehouse | OperationCache.OperationCache>>()

const streamed = SqlWarehouse.stream(Sale, { timeout: "1 minute" })`SELECT * FROM sales LIMIT ${3}`
isTrue<Equal<Stream.Success<typeof streamed>, { readonly region: string; readonly amount: number }>>()
isTrue<Equal<Stream.Error<typeof streamed>, Expected>>()
isTrue<Equal<Stream.Services<typeof streamed>, SqlWarehouse.SqlWarehouse>>()
const streamedText = SqlWarehouse.streamText({ rowLimit: 3 })("SELECT :a", { a: null })
isTrue<Equal<Stream.Success<typeof streamedText>, SqlWarehouse.Row>>()

// @ts-expect-error -- rows of any number are not kept
void SqlWarehouse.stream(Sale, { cache: {} })

// The user's client needs the user once, when it is asked for, and then nothing but what a Schema or a cache needs.
isTrue<
  Equal<typeof SqlWarehouse.user, Effect.Effect<SqlWarehouse.Client, never, UserContext | SqlWarehouse.SqlWarehouse>>
>()
declare const client: SqlWarehouse.Client
const own = client.query(Sale)`SELECT * FROM sales WHERE day = ${SqlParameter.date("2026-01-31")}`
isTrue<Equal<Effect.Success<typeof own>, ReadonlyArray<{ readonly region: string; readonly amount: number }>>>()
isTrue<Equal<Effect.Error<typeof own>, Expected>>()
isTrue<Equal<Effect.Services<typeof own>, never>>()
const ownAndKept = client.queryText({ cache: {} })("SELECT 1")
isTrue<Equal<Effect.Success<typeof ownAndKept>, ReadonlyArray<SqlWarehouse.Row>>>()
isTrue<Equal<Effect.Services<typeof ownAndKept>, OperationCache.OperationCache>>()
declare const Priced: Schema.Codec<number, string, UserContext>
const ownDecoded = client.query(Schema.Struct({ price: Priced }))`SELECT price FROM sales`
isTrue<Equal<Effect.Services<typeof ownDecoded>, UserContext>>()
const ownStream = client.stream(Sale)`SELECT * FROM sales`
isTrue<Equal<Stream.Success<typeof ownStream>, { readonly region: string; readonly amount: number }>>()
isTrue<Equal<Stream.Services<typeof ownStream>, never>>()
const ownText = client.streamText({ rowLimit: 3 })("SELECT 1")
isTrue<Equal<Stream.Error<typeof ownText>, Expected>>()
isTrue<Equal<Stream.Services<typeof ownText>, never>>()
isTrue<Equal<typeof client.execute, typeof warehouse.execute>>()
isTrue<Equal<typeof client.executeStream, typeof warehouse.executeStream>>()

// What the functions are called with and return has names.
isTrue<Equal<typeof own, SqlWarehouse.Rows<{ readonly region: string; readonly amount: number }, {}, never>>>()
isTrue<Equal<typeof ownStream, SqlWarehouse.RowStream<{ readonly region: string; readonly amount: number }, never>>>()
export const template: SqlWarehouse.Template<typeof own> = client.query(Sale)
export const textual: SqlWarehouse.Text<typeof own> = client.queryText(Sale)

const mine = Effect.flatMap(SqlWarehouse.user, (warehouse) => warehouse.query(Sale)`SELECT * FROM sales`)
declare const Live: Layer.Layer<SqlWarehouse.SqlWarehouse | Service.ServiceContext>

void Effect.runPromise(mine.pipe(Effect.provide(asUser({})), Effect.provide(Live)))
void Effect.runPromise(mine.pipe(provideUser({}), Effect.provide(Live)))
void Effect.runPromise(asService(mine).pipe(provideUser({}), Effect.provide(Live)))
// @ts-expect-error -- nobody says who the user is
void Effect.runPromise(mine.pipe(Effect.provide(Live)))
// @ts-expect-error -- the service principal is not a user
void Effect.runPromise(asService(mine).pipe(Effect.provide(Live)))
