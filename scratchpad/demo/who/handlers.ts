import { getCurrentUserId, getWorkspaceId, ServiceContext, UserContext } from "effect-databricks"
import { Effect, Layer, Option } from "effect"
import { HttpApiBuilder } from "effect/http-api"
import { myData, systemData } from "../queries.ts"
import { WhoApi } from "./Api.ts"

const User = HttpApiBuilder.group(WhoApi, "user", (handlers) =>
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
    .handle("myData", ({ payload }) => Effect.map(myData(payload), (rows) => ({ rows })))
)

const System = HttpApiBuilder.group(WhoApi, "system", (handlers) =>
  handlers.handle("systemData", ({ payload }) => Effect.map(systemData(payload), (rows) => ({ rows })))
)

const Health = HttpApiBuilder.group(WhoApi, "health", (handlers) =>
  handlers.handle("health", () => Effect.succeed({ status: "ok" as const }))
)

export const WhoLive = Layer.mergeAll(User, System, Health)
