/** Checks that the SQL warehouse exists and that the service principal may use it, and reports its state. */
import { Effect, Option, Schema } from "effect"
import { HttpClientRequest } from "effect/http"
import { messageOf } from "../../internal/message.ts"
import { ServiceContext } from "../../ServiceContext.ts"
import * as SqlWarehouse from "../../SqlWarehouse.ts"
import { WorkspaceClient } from "../../WorkspaceClient.ts"
import type { Checked } from "./examine.ts"
import { failed, ok, skipped } from "./finding.ts"

const Warehouse = Schema.Struct({ name: Schema.String, state: Schema.String })

const check = "warehouse"

export const examine: Checked = Effect.gen(function* () {
  const { principal, warehouseId } = yield* ServiceContext
  if (Option.isNone(warehouseId)) {
    return skipped(check, "DATABRICKS_WAREHOUSE_ID is not set: set it if the application queries a SQL warehouse")
  }
  const id = warehouseId.value
  const { requestJson } = yield* WorkspaceClient
  const { name, state } = yield* requestJson(
    HttpClientRequest.get(`/api/2.0/sql/warehouses/${encodeURIComponent(id)}`),
    Warehouse,
    { totalTimeout: "20 seconds" }
  ).pipe(
    Effect.mapError((error) => {
      const reason = error._tag === "DatabricksError" ? error.reason._tag : undefined
      return reason === "NotFoundError" || reason === "InvalidRequestError"
        ? `There is no SQL warehouse ${id}: check DATABRICKS_WAREHOUSE_ID (${error.message})`
        : reason === "PermissionDeniedError"
          ? `${principal.userName} may not see the SQL warehouse ${id}: give it CAN USE (${error.message})`
          : error.message
    })
  )
  const called = `"${name}" (${id})`
  if (state.startsWith("DELET"))
    return failed(check, `${called} is ${state}: set DATABRICKS_WAREHOUSE_ID to another one`)
  // A query would start it, which costs money.
  if (state !== "RUNNING") return ok(check, `${called} is ${state}: a query starts it`)
  yield* SqlWarehouse.query()`SELECT 1`.pipe(
    Effect.timeout("20 seconds"),
    Effect.mapError(
      (error) =>
        `${called} is RUNNING and refuses a query of ${principal.userName}: ${messageOf(error)}. Give it CAN USE`
    )
  )
  return ok(check, `${called} is RUNNING and answers`)
}).pipe(
  Effect.provide(SqlWarehouse.layer),
  Effect.catch((says) => Effect.succeed(failed(check, says)))
)
