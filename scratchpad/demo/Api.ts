import { AsUser, Failures } from "effect-databricks"
import { Schema } from "effect"
import { HttpApi, HttpApiEndpoint, HttpApiGroup, OpenApi } from "effect/http-api"

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
  .annotate(OpenApi.Description, "Runs as the app's service principal, whoever sent the request.") {}

class Health extends HttpApiGroup.make("health").add(
  HttpApiEndpoint.get("health", "/health", { success: Schema.Struct({ status: Schema.Literal("ok") }) })
) {}

export class Api extends HttpApi.make("effect-databricks-demo")
  .add(User, System)
  .middleware(Failures)
  .add(Health)
  .annotate(OpenApi.Title, "effect-databricks demo") {}
