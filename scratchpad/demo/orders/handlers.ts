import { Effect, Layer } from "effect"
import { HttpApiBuilder } from "effect/http-api"
import { OrdersApi } from "./Api.ts"
import { Orders } from "./Orders.ts"

const Desk = HttpApiBuilder.group(OrdersApi, "desk", (handlers) =>
  Effect.map(Orders, ({ add, mine }) =>
    handlers.handle("mine", () => mine).handle("add", ({ payload }) => add(payload))
  )
)

const SystemDesk = HttpApiBuilder.group(OrdersApi, "systemDesk", (handlers) =>
  Effect.map(Orders, ({ all }) => handlers.handle("all", () => all))
)

export const OrdersLive = Layer.merge(Desk, SystemDesk).pipe(Layer.provide(Orders.layer))
