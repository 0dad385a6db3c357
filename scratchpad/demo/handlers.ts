import { getCurrentUserId, getWorkspaceId, ServiceContext, SqlWarehouse, UserContext } from "effect-databricks"
import { Effect, Layer, Option } from "effect"
import { HttpApiBuilder } from "effect/http-api"
import { Api, ApiWithDesk, Row } from "./Api.ts"
import { Orders } from "./Orders.ts"

// One statement for both routes, as whom `queries` run.
const greet = <R>(
  queries: Pick<SqlWarehouse.Queries<R>, "query">,
  { greeting = "hello" }: { readonly greeting?: string }
) => Effect.map(queries.query(Row)`SELECT current_user AS caller, upper(${greeting}) AS greeting`, (rows) => ({ rows }))

const User = HttpApiBuilder.group(Api, "user", (handlers) =>
  handlers
    .handle("whoami", () =>
      Effect.gen(function* () {
        const user = yield* UserContext
        const { warehouseId } = yield* ServiceContext.ServiceContext
        return {
          userId: yield* getCurrentUserId,
          email: user.email ?? null,
          context: user.context,
          workspaceId: yield* getWorkspaceId,
          warehouseId: Option.getOrNull(warehouseId)
        }
      })
    )
    .handle("myData", ({ payload }) => Effect.flatMap(SqlWarehouse.user, (queries) => greet(queries, payload)))
)

const System = HttpApiBuilder.group(Api, "system", (handlers) =>
  handlers.handle("systemData", ({ payload }) => greet(SqlWarehouse, payload))
)

const Health = HttpApiBuilder.group(Api, "health", (handlers) =>
  handlers.handle("health", () => Effect.succeed({ status: "ok" as const }))
)

export const Handlers = Layer.mergeAll(User, System, Health)

const Desk = HttpApiBuilder.group(ApiWithDesk, "desk", (handlers) =>
  Effect.map(Orders, ({ add, mine }) =>
    handlers.handle("mine", () => mine).handle("add", ({ payload }) => add(payload))
  )
)

const SystemDesk = HttpApiBuilder.group(ApiWithDesk, "systemDesk", (handlers) =>
  Effect.map(Orders, ({ all }) => handlers.handle("all", () => all))
)

export const HandlersWithDesk = Layer.mergeAll(Handlers, Desk, SystemDesk)
