/** SQL warehouses: they run, or start when they are needed. */
import { type Duration, Effect, Latch, type Scope } from "effect"
import { createHash } from "node:crypto"
import type { WarehouseDefinition } from "../../LocalWorkspace.ts"

/** The states of a SQL warehouse. */
export type WarehouseState = "STARTING" | "RUNNING" | "STOPPING" | "STOPPED" | "DELETING" | "DELETED"

/** What kind of warehouse it is, which decides what it answers inline. */
export type WarehouseKind = NonNullable<WarehouseDefinition["kind"]>

/** A SQL warehouse of the local workspace. */
export interface Warehouse {
  readonly id: string
  readonly name: string
  readonly kind: WarehouseKind
  readonly state: () => WarehouseState
  /** Begins to start a stopped warehouse; returns before it runs. */
  readonly start: Effect.Effect<void>
  readonly untilRunning: Effect.Effect<void>
}

const make = (scope: Scope.Scope, startTime: Duration.Input, definition: WarehouseDefinition): Warehouse => {
  let state: WarehouseState = definition.state ?? "RUNNING"
  const running = Latch.makeUnsafe(state === "RUNNING")
  const become = Effect.sync(() => {
    state = "RUNNING"
    running.openUnsafe()
  })
  return {
    id: createHash("sha256").update(definition.name).digest("hex").slice(0, 16),
    name: definition.name,
    kind: definition.kind ?? "standard",
    state: () => state,
    start: Effect.suspend(() => {
      if (state !== "STOPPED") return Effect.void
      state = "STARTING"
      return Effect.sleep(startTime).pipe(Effect.andThen(become), Effect.forkIn(scope), Effect.asVoid)
    }),
    untilRunning: running.await
  }
}

export type Warehouses = ReadonlyMap<string, Warehouse>

export const makeAll = (
  scope: Scope.Scope,
  startTime: Duration.Input,
  definitions: ReadonlyArray<WarehouseDefinition>
): Warehouses =>
  new Map(
    definitions.map((definition) => {
      const warehouse = make(scope, startTime, definition)
      return [warehouse.id, warehouse]
    })
  )

export const toJson = (warehouse: Warehouse) => ({
  id: warehouse.id,
  name: warehouse.name,
  state: warehouse.state(),
  size: "SMALL",
  cluster_size: "Small",
  min_num_clusters: 1,
  max_num_clusters: 1,
  num_clusters: warehouse.state() === "RUNNING" ? 1 : 0,
  auto_stop_mins: "10",
  creator_name: "admin@example.com",
  warehouse_type: warehouse.kind === "classic" ? "CLASSIC" : "PRO",
  enable_serverless_compute: warehouse.kind !== "classic"
})
