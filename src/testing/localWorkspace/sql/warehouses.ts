/** SQL warehouses, which run, or start on demand. */
import { Cause, type Duration, Effect, Latch, type Scope } from "effect"
import { createHash } from "node:crypto"
import type { WarehouseDefinition } from "../../LocalWorkspace.ts"

/** The states of a SQL warehouse. */
export type WarehouseState = "STARTING" | "RUNNING" | "STOPPING" | "STOPPED" | "DELETING" | "DELETED"

/** The kind of a warehouse, which determines its inline format. */
export type WarehouseKind = NonNullable<WarehouseDefinition["kind"]>

/** A SQL warehouse of the local workspace. */
export interface Warehouse {
  readonly id: string
  readonly name: string
  readonly kind: WarehouseKind
  readonly state: () => WarehouseState
  /** Why the last start failed. */
  readonly failure: () => string | undefined
  readonly mayUse: (userName: string) => boolean
  /** Starts a stopped warehouse, and returns before it runs. */
  readonly start: Effect.Effect<void>
  readonly untilRunning: Effect.Effect<void>
}

const make = (scope: Scope.Scope, startTime: Duration.Input, definition: WarehouseDefinition): Warehouse => {
  const { kind = "standard", name, starting = Effect.sleep(startTime), users } = definition
  let state: WarehouseState = definition.state ?? "RUNNING"
  let failure: string | undefined
  const running = Latch.makeUnsafe(state === "RUNNING")
  const become = Effect.sync(() => {
    state = "RUNNING"
    running.openUnsafe()
  })
  const fail = (cause: Cause.Cause<unknown>) =>
    Effect.sync(() => {
      state = "STOPPED"
      failure = Cause.prettyErrors(cause)[0]?.message ?? "It was interrupted."
    })
  return {
    id: createHash("sha256").update(name).digest("hex").slice(0, 16),
    name,
    kind,
    state: () => state,
    failure: () => failure,
    mayUse: (userName) => users === undefined || users.includes(userName),
    start: Effect.suspend(() => {
      if (state !== "STOPPED") return Effect.void
      state = "STARTING"
      failure = undefined
      return starting.pipe(Effect.andThen(become), Effect.catchCause(fail), Effect.forkIn(scope), Effect.asVoid)
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
  enable_serverless_compute: warehouse.kind !== "classic",
  health: healthOf(warehouse)
})

const healthOf = ({ failure, state }: Warehouse) => {
  const summary = failure()
  return summary === undefined
    ? { status: state() === "RUNNING" ? "HEALTHY" : "STATUS_UNSPECIFIED" }
    : { status: "FAILED", summary }
}
