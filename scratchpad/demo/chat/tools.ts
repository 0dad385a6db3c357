/** The tools of the chat. Their handlers are built once, and run as the user of each call. */
import { Queries, SqlWarehouse, UserContext } from "effect-databricks"
import { Effect, Schema } from "effect"
import { Tool, Toolkit } from "effect/ai"
import { sales } from "../queries.ts"
import { Sale } from "./Api.ts"

const Sales = Tool.make("sales", {
  description: "The user's own sales of at least an amount, the largest first",
  parameters: Schema.Struct({ atLeast: Schema.Int }),
  success: Schema.Array(Sale),
  failure: Schema.Struct({ message: Schema.String }),
  failureMode: "return",
  dependencies: [Queries.Queries, SqlWarehouse.SqlWarehouse, UserContext]
})

export const toolkit = Toolkit.make(Sales)

export type Handled = Effect.Success<typeof toolkit>

export const layer = toolkit.toLayer({
  sales: (parameters) => Effect.mapError(sales(parameters), ({ message }) => ({ message }))
})
