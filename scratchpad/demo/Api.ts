/** What the server serves and what a browser calls: both import this module. */
import { AsService } from "effect-databricks/http/AsService"
import { AsUser } from "effect-databricks/http/AsUser"
import { Failures } from "effect-databricks/http/Failures"
import * as RunsAs from "effect-databricks/http/RunsAs"
import { Schema } from "effect"
import { HttpApi, HttpApiEndpoint, HttpApiGroup, HttpApiSchema, OpenApi } from "effect/http-api"
import manifest from "../../package.json" with { type: "json" }

const Greeting = Schema.Struct({
  greeting: Schema.optionalKey(Schema.String.check(Schema.isMaxLength(200)))
}).annotate({ identifier: "Greeting" })

export const Row = Schema.Struct({ caller: Schema.String, greeting: Schema.String }).annotate({ identifier: "Row" })

const Rows = Schema.Struct({ rows: Schema.Array(Row) }).annotate({ identifier: "Rows" })

const Whoami = Schema.Struct({
  userId: Schema.String,
  email: Schema.NullOr(Schema.String),
  context: Schema.Literals(["user", "service"]),
  workspaceId: Schema.String,
  warehouseId: Schema.NullOr(Schema.String)
}).annotate({ identifier: "Whoami" })

class User extends HttpApiGroup.make("user")
  .add(
    HttpApiEndpoint.get("whoami", "/api/whoami", { success: Whoami }),
    HttpApiEndpoint.post("myData", "/users/me/data", { payload: Greeting, success: Rows })
  )
  .middleware(AsUser)
  .annotate(OpenApi.Description, "Runs as the person who sent the request.") {}

class System extends HttpApiGroup.make("system")
  .add(HttpApiEndpoint.post("systemData", "/system/data", { payload: Greeting, success: Rows }))
  .middleware(AsService)
  .annotate(OpenApi.Description, "Runs as the app's service principal, whoever sent the request.") {}

class Health extends HttpApiGroup.make("health").add(
  HttpApiEndpoint.get("health", "/health", { success: Schema.Struct({ status: Schema.Literal("ok") }) })
) {}

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
  .annotate(OpenApi.Description, "Orders, as the person who sent the request: row-level security shows them theirs.") {}

class SystemDesk extends HttpApiGroup.make("systemDesk")
  .add(HttpApiEndpoint.get("all", "/api/system/orders", { success: Schema.Array(Order) }))
  .middleware(AsService)
  .annotate(OpenApi.Description, "Orders of everybody, as the app's service principal, which owns the table.") {}

const api = HttpApi.make("effect-databricks-demo")
  .add(User, System)
  .middleware(Failures)
  .add(Health)
  .annotate(OpenApi.Title, "effect-databricks demo")
  .annotate(OpenApi.Version, manifest.version)
  // The proxy says who calls, so there is nothing to sign in to: for an empty list of schemes Swagger shows a button.
  .annotate(OpenApi.Transform, ({ components, ...spec }) => ({
    ...spec,
    components: { schemas: components.schemas }
  }))

// Every endpoint says whom it runs as; the platform asks for health, and nobody is there to run it as.
export class Api extends RunsAs.checked(api, { public: ["health.health"] }) {}

const desk = HttpApi.make("orders-desk").add(Desk, SystemDesk).middleware(Failures)

/** With the orders desk, where there is a Lakebase. */
export class ApiWithDesk extends RunsAs.checked(api.addHttpApi(desk), { public: ["health.health"] }) {}
