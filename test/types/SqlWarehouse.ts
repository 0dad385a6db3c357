import type { Effect, Stream } from "effect"
import { Schema } from "effect"
import { type OperationCache, SqlParameter, SqlWarehouse } from "effect-databricks"
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
