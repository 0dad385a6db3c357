import { AsService } from "effect-databricks/http/AsService"
import { AsUser } from "effect-databricks/http/AsUser"
import { Failures } from "effect-databricks/http/Failures"
import * as RunsAs from "effect-databricks/http/RunsAs"
import { Schema } from "effect"
import { HttpApi, HttpApiEndpoint, HttpApiGroup, HttpApiSchema, OpenApi } from "effect/http-api"

export const Order = Schema.Struct({
  id: Schema.String,
  owner: Schema.String,
  item: Schema.String,
  amount: Schema.Int,
  createdAt: Schema.Date
}).annotate({ identifier: "Order" })

export const NewOrder = Schema.Struct({
  item: Schema.Trim.check(Schema.isMinLength(1), Schema.isMaxLength(200)),
  amount: Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 2 ** 31 - 1 }))
}).annotate({ identifier: "NewOrder" })

class Desk extends HttpApiGroup.make("desk")
  .add(
    HttpApiEndpoint.get("mine", "/api/orders", { success: Schema.Array(Order) }),
    HttpApiEndpoint.post("add", "/api/orders", { payload: NewOrder, success: Order.pipe(HttpApiSchema.status(201)) })
  )
  .middleware(AsUser)
  .annotate(OpenApi.Description, "Orders of the user of the request, by row-level security.") {}

class SystemDesk extends HttpApiGroup.make("systemDesk")
  .add(HttpApiEndpoint.get("all", "/api/system/orders", { success: Schema.Array(Order) }))
  .middleware(AsService)
  .annotate(OpenApi.Description, "Orders of all users, as the app's service principal, which owns the table.") {}

export class OrdersApi extends RunsAs.checked(HttpApi.make("orders").add(Desk, SystemDesk).middleware(Failures)) {}
