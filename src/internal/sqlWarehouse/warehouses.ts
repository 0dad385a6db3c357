/** The states of warehouses, and their start. */
import {
  Context,
  Duration,
  Effect,
  Equal,
  Exit,
  Hash,
  Option,
  RcMap,
  Schema,
  Scope,
  Stream,
  SubscriptionRef
} from "effect"
import { HttpClientRequest } from "effect/http"
import * as Caller from "../../Caller.ts"
import {
  DatabricksError,
  make as databricksError,
  UnavailableError,
  UnknownWarehouseError
} from "../../DatabricksError.ts"
import { runAs } from "../../ExecutionContext.ts"
import type { WarehouseState } from "../../SqlWarehouse.ts"
import type { WorkspaceClient } from "../../WorkspaceClient.ts"
import { withoutRetries } from "../operation/retries.ts"
import { absent } from "../workspace/absent.ts"
import { advised } from "../workspace/advice.ts"
import { path } from "../workspace/path.ts"
import { longer, pause } from "../workspace/pause.ts"
import * as Refusal from "../workspace/refusal.ts"
import * as Transport from "../workspace/transport.ts"
import * as Retry from "../workspace/retry.ts"

export interface Warehouses {
  /** Asks once whether a warehouse does not run yet. `undefined` if the caller gets no answer within 2 seconds. */
  readonly isStarting: (caller: Caller.Caller, id: string) => Effect.Effect<boolean | undefined>
  /**
   * Starts a stopped warehouse and emits its states until it runs. All who wait for one warehouse as one caller share one
   * watcher, which ends with the last of them.
   */
  readonly untilRunning: (caller: Caller.Caller, id: string) => Stream.Stream<WarehouseState, DatabricksError>
}

// A question beside a query must not hold it up.
const askTimeout = Duration.seconds(2)

/** The longest time that a warehouse takes to start. */
export const startTimeout = Duration.minutes(10)

const Warehouse = Schema.Struct({
  state: Schema.String,
  health: absent(Schema.Struct({ summary: absent(Schema.String), message: absent(Schema.String) }))
})

const decode = Transport.patientJson(Warehouse)

export const make = Effect.fnUntraced(function* (
  sendAsCurrent: WorkspaceClient["Service"]["send"]
): Effect.fn.Return<Warehouses, never, Scope.Scope> {
  const send = (caller: Caller.Caller, id: string, request: HttpClientRequest.HttpClientRequest) =>
    Effect.mapError(runAs(sendAsCurrent(request), caller), (error) => explained(id, error))

  const read = Effect.fnUntraced(function* (
    caller: Caller.Caller,
    id: string
  ): Effect.fn.Return<{ readonly state: WarehouseState; readonly health: string | undefined }, DatabricksError> {
    const request = HttpClientRequest.get(path`/api/2.0/sql/warehouses/${id}`)
    const { health, state } = yield* Effect.flatMap(send(caller, id, request), decode)
    if (state === "DELETING" || state === "DELETED") return yield* unknown(id, "is deleted")
    const said = health?.summary ?? health?.message ?? undefined
    // A state that the API may add is one before it runs.
    return { state: isState(state) ? state : "STARTING", health: said?.slice(0, 1_000) }
  })

  const start = (caller: Caller.Caller, id: string) =>
    Effect.flatMap(
      send(caller, id, HttpClientRequest.post(path`/api/2.0/sql/warehouses/${id}/start`)),
      Transport.drained
    )

  const polled = (caller: Caller.Caller, id: string) =>
    Stream.suspend(() => {
      let isStarting = false
      return Stream.paginate(0, (wait) =>
        Effect.gen(function* () {
          if (wait > 0) yield* pause(wait)
          const { health, state } = yield* Retry.polled(read(caller, id))
          if (state === "STOPPED") {
            if (isStarting) return yield* notStarted(id, health)
            yield* Retry.polled(start(caller, id))
          }
          isStarting ||= state === "STARTING"
          return [[state], state === "RUNNING" ? Option.none() : Option.some(longer(wait))] as const
        })
      )
    }).pipe(Stream.changes)

  const watch = Effect.fnUntraced(function* (watched: Watched): Effect.fn.Return<Watcher, never, Scope.Scope> {
    const latest = yield* SubscriptionRef.make<Latest>(undefined)
    const told = (state: Latest) => SubscriptionRef.set(latest, state)
    yield* Stream.runForEach(polled(watched.caller, watched.id), (state) => told(Exit.succeed(state))).pipe(
      // Also when the service ends, so that its readers do.
      Effect.onError((cause) => told(Exit.failCause(cause))),
      Effect.ignoreCause,
      // Later calls ask again.
      Effect.andThen(RcMap.invalidate(watchers, watched)),
      Effect.forkScoped
    )
    return { caller: watched.caller, states: SubscriptionRef.changes(latest) }
  })

  const own = yield* Effect.context<never>()
  const watchers: RcMap.RcMap<Watched, Watcher> = yield* RcMap.make({
    lookup: (watched: Watched) =>
      Effect.flatMap(Effect.scope, (scope) =>
        // A lookup has the context of the call that waits first, whose spans and request the watcher must not keep.
        Effect.setContext(watch(watched), Context.add(own, Scope.Scope, scope))
      )
  })

  const untilRunning: Warehouses["untilRunning"] = (caller, id) =>
    Stream.unwrap(
      Effect.map(RcMap.get(watchers, new Watched(caller, id)), (watcher) =>
        watcher.states.pipe(
          Stream.filter((state) => state !== undefined),
          Stream.mapEffect((state) => state),
          Stream.takeUntil((state) => state === "RUNNING"),
          // The watcher's token may have expired where a later one of the same person is valid.
          Stream.catchCause((cause) =>
            Stream.unwrap(
              Effect.map(
                Refusal.isOfToken(cause) ? Refusal.differs(watcher.caller, caller) : Effect.succeed(false),
                (differs) => (differs ? untilRunning(caller, id) : Stream.failCause(cause))
              )
            )
          )
        )
      )
    )

  return {
    isStarting: (caller, id) =>
      withoutRetries(read(caller, id)).pipe(
        Effect.timeout(askTimeout),
        Effect.match({ onFailure: () => undefined, onSuccess: ({ state }) => state !== "RUNNING" })
      ),
    untilRunning
  }
})

/** The latest state, or why there is none any more. */
type Latest = Exit.Exit<WarehouseState, DatabricksError> | undefined

interface Watcher {
  /** Whose credential it uses. */
  readonly caller: Caller.Caller
  readonly states: Stream.Stream<Latest>
}

/** A warehouse as one caller: permissions to see and to start it differ by caller. */
class Watched implements Equal.Equal {
  readonly caller: Caller.Caller
  readonly id: string
  readonly #key: string
  constructor(caller: Caller.Caller, id: string) {
    this.caller = caller
    this.id = id
    this.#key = JSON.stringify([Caller.key(caller), id])
  }
  [Equal.symbol](that: Equal.Equal): boolean {
    return that instanceof Watched && this.#key === that.#key
  }
  [Hash.symbol](): number {
    return Hash.string(this.#key)
  }
}

const states = ["STOPPED", "STARTING", "RUNNING", "STOPPING"] as const

const isState = (state: string): state is WarehouseState => states.some((_) => _ === state)

const unknown = (id: string, what: string) =>
  Effect.fail(
    databricksError(
      new UnknownWarehouseError({
        warehouseId: id,
        message: `The SQL warehouse ${id} ${what}: check DATABRICKS_WAREHOUSE_ID, or the option warehouseId`
      })
    )
  )

const notStarted = (id: string, said = "the workspace gave no reason") =>
  Effect.fail(
    databricksError(new UnavailableError({ message: `The SQL warehouse ${id} stopped while it started: ${said}` }))
  )

const explained = (id: string, error: DatabricksError): DatabricksError => {
  const { context, reason } = error
  if (reason._tag !== "NotFoundError") {
    return advised({ denied: `Grant the caller CAN_USE on the SQL warehouse ${id}` })(error)
  }
  const { errorCode, requestId, status } = reason
  const message = `The SQL warehouse ${id} does not exist, or is hidden from the caller: check DATABRICKS_WAREHOUSE_ID, or the option warehouseId`
  return new DatabricksError({
    context,
    reason: new UnknownWarehouseError({ errorCode, requestId, status, warehouseId: id, message })
  })
}
