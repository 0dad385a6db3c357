/** The Api that the server implements and the page calls: definitions only, so a browser can load it. */
import { Schema } from "effect"
import { HttpApi, HttpApiEndpoint, HttpApiGroup, HttpApiSchema } from "effect/http-api"
import { AsService } from "effect-databricks/http/AsService"
import { AsUser } from "effect-databricks/http/AsUser"
import { Failures } from "effect-databricks/http/Failures"
import * as RunsAs from "effect-databricks/http/RunsAs"

export const Category = Schema.Literals(["travel", "food", "equipment", "other"])

export const NewExpense = Schema.Struct({
  category: Category,
  description: Schema.Trim.check(Schema.isMinLength(1), Schema.isMaxLength(100)),
  cents: Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 100_000_000 }))
})

export const Expense = Schema.Struct({ id: Schema.String, ...NewExpense.fields, createdAt: Schema.Date })
export type Expense = typeof Expense.Type

export const Total = Schema.Struct({ category: Category, people: Schema.Int, cents: Schema.Int })

/** A warehouse describes no column as never NULL. */
export const Fare = Schema.Struct({
  miles: Schema.NullOr(Schema.Int),
  trips: Schema.NullOr(Schema.Int),
  average: Schema.NullOr(Schema.Number)
})

/** Runs as the user of the request. */
class Mine extends HttpApiGroup.make("mine")
  .add(
    HttpApiEndpoint.get("me", "/api/me", { success: Schema.Struct({ userName: Schema.String }) }),
    HttpApiEndpoint.get("expenses", "/api/expenses", { success: Schema.Array(Expense) }),
    HttpApiEndpoint.post("add", "/api/expenses", {
      payload: NewExpense,
      success: Expense.pipe(HttpApiSchema.status(201))
    }),
    HttpApiEndpoint.get("fares", "/api/fares", { success: Schema.Array(Fare) })
  )
  .middleware(AsUser) {}

/** Runs as the app: every user gets the same answer, which contains no single row. */
class Everyone extends HttpApiGroup.make("everyone")
  .add(HttpApiEndpoint.get("totals", "/api/totals", { success: Schema.Array(Total) }))
  .middleware(AsService) {}

class System extends HttpApiGroup.make("system").add(
  HttpApiEndpoint.get("health", "/api/health", { success: Schema.Literal("ok") })
) {}

const api = HttpApi.make("expenses").add(Mine, Everyone, System).middleware(Failures)

/** An endpoint under neither `AsUser` nor `AsService` does not compile unless it is listed here. */
export class Api extends RunsAs.checked(api, { public: ["system.health"] }) {}
