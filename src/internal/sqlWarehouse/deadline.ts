/** The time limit of a query, which does not pass while the warehouse starts. */
import { type Duration, Effect, Option, Stream } from "effect"
import type { Caller } from "../../Caller.ts"
import type { DatabricksError } from "../../DatabricksError.ts"
import * as ExecutionContext from "../../ExecutionContext.ts"
import * as Operation from "../../Operation.ts"
import type { ServiceContext } from "../../ServiceContext.ts"
import { ranAs } from "../workspace/transport.ts"
import * as Warehouses from "./warehouses.ts"

export interface Limit {
  /** The name of the operation. */
  readonly name: string
  readonly duration: Duration.Duration
  readonly warehouseId: string
}

/**
 * Interrupts work that exceeds its limit. If the warehouse is starting then, the limit begins again when the warehouse
 * runs, unless the work has called `ended`: a warehouse that stops after the statement has ended does not matter. If it
 * cannot start, the work fails with the reason.
 */
export const within = <A, E, R>(
  warehouses: Warehouses.Warehouses,
  { duration, name, warehouseId }: Limit,
  work: (ended: () => void) => Effect.Effect<A, E, R>
): Effect.Effect<A, E | DatabricksError | Operation.OperationTimeoutError, R | ServiceContext> =>
  Effect.flatMap(ExecutionContext.current, (caller) => {
    let hasEnded = false
    const started = Effect.suspend(() =>
      hasEnded ? Effect.succeed(false) : hasStarted(warehouses, caller, warehouseId)
    )
    const expired: Effect.Effect<never, DatabricksError | Operation.OperationTimeoutError> = Effect.andThen(
      Effect.sleep(duration),
      Effect.flatMap(started, (again) => (again ? expired : Operation.timedOut(name, duration)))
    )
    return Effect.raceFirst(
      work(() => (hasEnded = true)),
      expired
    )
  })

/** Waits for a warehouse that starts. Returns whether it started meanwhile. Fails with the reason if it cannot. */
const hasStarted = (
  warehouses: Warehouses.Warehouses,
  caller: Caller,
  id: string
): Effect.Effect<boolean, DatabricksError> =>
  Effect.flatMap(warehouses.isStarting(caller, id), (starting) =>
    starting === true
      ? Stream.runDrain(warehouses.untilRunning(caller, id)).pipe(
          // All who wait share the error of the watcher.
          Effect.mapError(ranAs(caller)),
          Effect.timeoutOption(Warehouses.startTimeout),
          Effect.map(Option.isSome)
        )
      : Effect.succeed(false)
  )
