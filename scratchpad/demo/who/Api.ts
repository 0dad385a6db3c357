import { AsService } from "effect-databricks/http/AsService"
import { AsUser } from "effect-databricks/http/AsUser"
import { Failures } from "effect-databricks/http/Failures"
import * as RunsAs from "effect-databricks/http/RunsAs"
import { Schema } from "effect"
import { HttpApi, HttpApiEndpoint, HttpApiGroup, OpenApi } from "effect/http-api"

const Greeting = Schema.Struct({
  greeting: Schema.optionalKey(Schema.String.check(Schema.isMaxLength(200)))
}).annotate({ identifier: "Greeting" })

const Row = Schema.Struct({
  caller: Schema.NullOr(Schema.String),
  greeting: Schema.NullOr(Schema.String)
}).annotate({ identifier: "Row" })

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
  .annotate(OpenApi.Description, "Runs as the user of the request.") {}

class System extends HttpApiGroup.make("system")
  .add(HttpApiEndpoint.post("systemData", "/system/data", { payload: Greeting, success: Rows }))
  .middleware(AsService)
  .annotate(OpenApi.Description, "Runs as the app's service principal for every request.") {}

class Health extends HttpApiGroup.make("health").add(
  HttpApiEndpoint.get("health", "/health", { success: Schema.Struct({ status: Schema.Literal("ok") }) })
) {}

// Every endpoint declares its caller, except the health check, which the platform requests without a user.
export class WhoApi extends RunsAs.checked(HttpApi.make("who").add(User, System).middleware(Failures).add(Health), {
  public: ["health.health"]
}) {}
