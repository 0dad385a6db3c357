/**
 * Caches the results of operations, separately for each caller.
 *
 * @since 0.1.0
 */
import { Cause, type Config, Context, Data, Duration, Effect, Exit, Layer, Option, type Scope } from "effect"
import * as Caller from "./Caller.ts"
import * as Bounds from "./internal/bounds.ts"
import * as Flights from "./internal/operation/flights.ts"
import { encode } from "./internal/operation/key.ts"
import * as Memory from "./internal/operation/memory.ts"
import * as Transaction from "./internal/sql/transaction.ts"

/**
 * A parameter of an operation, as a part of the cache key.
 *
 * Different values make different keys: `1`, `1n` and `"1"`; `0` and `-0`; a `Date` and its milliseconds; a property
 * that is `undefined` and an absent one. The order of an object's properties does not matter.
 *
 * @since 0.1.0
 * @category models
 */
export type KeyPart =
  | string
  | number
  | bigint
  | boolean
  | null
  | undefined
  | Date
  | ReadonlyArray<KeyPart>
  | { readonly [name: string]: KeyPart }

/**
 * The key of one call by one caller. Keys of different callers, or of different calls, always differ.
 *
 * @since 0.1.0
 * @category models
 */
export interface Key {
  /** The `Caller.key` of the caller, which contains no token. */
  readonly caller: string
  /** The name of the operation, or that of its `cache`. */
  readonly name: string
  /** The name and the parameters. */
  readonly operation: string
  /** Caller and operation as one text. */
  readonly id: string
}

/**
 * Selects the entries that have all of these: a caller, a name, an operation. Without any it selects all entries.
 *
 * @since 0.1.0
 * @category models
 */
export type Which = Partial<Pick<Key, "caller" | "name" | "operation">>

/**
 * A store of cached values, in memory or outside of the process. A store outside of the process has to encode the
 * values.
 *
 * If a read or write fails or takes longer than 1 second, the call proceeds without the cache and logs a warning.
 *
 * @since 0.1.0
 * @category models
 */
export interface Store {
  /** Returns the value of a key, or `None` if it has none or has expired. */
  readonly get: (key: Key) => Effect.Effect<Option.Option<unknown>, unknown>
  /** Stores a value until `timeToLive` has passed. */
  readonly set: (key: Key, value: unknown, timeToLive: Duration.Duration) => Effect.Effect<void, unknown>
  /** Removes the selected entries. */
  readonly remove: (which: Which) => Effect.Effect<void, unknown>
}

/**
 * A value, and whether it came from the cache.
 *
 * @since 0.1.0
 * @category models
 */
export interface Answer<A> {
  readonly value: A
  readonly hit: boolean
}

/**
 * The bounds of the cache in memory. Above them the least recently used entries are evicted.
 *
 * @since 0.1.0
 * @category models
 */
export interface MemoryOptions {
  /** The most entries. Defaults to 1,000. */
  readonly maxEntries?: number | undefined
  /** The most memory for keys and values, as estimated. Defaults to 64 MiB. A larger value is not cached. */
  readonly maxBytes?: number | undefined
}

/**
 * The store failed to remove entries, and may still return them.
 *
 * @since 0.1.0
 * @category errors
 */
export class InvalidationError extends Data.TaggedError("InvalidationError")<{ readonly cause: unknown }> {
  override get message(): string {
    return "The store of the OperationCache failed to remove entries, and may still return them: invalidate again"
  }
}

/**
 * The cache of operations.
 *
 * @since 0.1.0
 * @category services
 */
export class OperationCache extends Context.Service<
  OperationCache,
  {
    /**
     * Returns the cached value of a key, or runs `work` and caches its success for `timeToLive`.
     *
     * Concurrent calls with the same key share one run of the work. It runs in the context of the first call, in a
     * `Scope` of its own that closes when the run ends, and is interrupted when the last call is interrupted. A failure
     * is shared but not cached; a failure of authentication is shared only by calls with the same token.
     *
     * Inside a database transaction the cache is neither read nor written: the work runs in the transaction.
     */
    readonly get: <A, E, R>(
      key: Key,
      timeToLive: Duration.Duration,
      work: Effect.Effect<A, E, R>
    ) => Effect.Effect<Answer<A>, E, R>
    /** Removes the selected entries. Runs that are in flight are no longer shared with later calls, or cached. */
    readonly remove: (which: Which) => Effect.Effect<void, InvalidationError>
  }
>()("effect-databricks/OperationCache") {}

/**
 * Makes the key of one call of an operation.
 *
 * Throws if a parameter is not a `KeyPart`, such as an instance of a class.
 *
 * @since 0.1.0
 * @category constructors
 */
export const keyOf = (caller: Caller.Caller, name: string, parameters: ReadonlyArray<KeyPart>): Key => {
  const whose = Caller.key(caller)
  const operation = operationOf(name, parameters)
  // The operation ends with a closing bracket, so the caller cannot be read as a part of it.
  return { caller: whose, name, operation, id: operation + whose }
}

/**
 * Removes the entries of a name, for all callers: that of an operation, or of its `cache`.
 *
 * With `parameters`, those of its `cache.key`, it removes the entries of one call.
 *
 * @since 0.1.0
 * @category invalidation
 */
export const invalidate = (
  name: string,
  parameters?: ReadonlyArray<KeyPart>
): Effect.Effect<void, InvalidationError, OperationCache> =>
  OperationCache.use(({ remove }) =>
    remove(parameters === undefined ? { name } : { operation: operationOf(name, parameters) })
  )

/**
 * Removes all entries of a caller: `Effect.flatMap(ExecutionContext.current, OperationCache.invalidateCaller)`.
 *
 * @since 0.1.0
 * @category invalidation
 */
export const invalidateCaller = (caller: Caller.Caller): Effect.Effect<void, InvalidationError, OperationCache> =>
  OperationCache.use(({ remove }) => remove({ caller: Caller.key(caller) }))

/**
 * Makes a cache over a store.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (store: Store): OperationCache["Service"] => {
  const flights = Flights.make()

  const keep = (flight: Flights.Flight, value: unknown, timeToLive: Duration.Duration): Effect.Effect<void> =>
    flight.isCurrent && Duration.isPositive(timeToLive)
      ? Effect.flatMapEager(
          answered(() => store.set(flight.key, value, timeToLive), undefined, "written"),
          // An invalidation during the write may have reached the store before it.
          () => (flight.isCurrent ? Effect.void : answered(() => store.remove(flight.key), undefined, "written"))
        )
      : Effect.void

  return {
    get: <A, E, R>(key: Key, timeToLive: Duration.Duration, work: Effect.Effect<A, E, R>) =>
      Effect.contextWith((context: Context.Context<R>): Effect.Effect<Answer<A>, E, R> => {
        // Work in a transaction may read rows that are rolled back, and ends with the connection of its caller.
        if (Transaction.isIn(context)) return Effect.map(work, miss)
        return Effect.flatMapEager(
          answered(() => store.get(key), Option.none(), "read"),
          (kept): Effect.Effect<Answer<A>, E, R> =>
            Option.isSome(kept)
              ? Effect.succeed({ value: kept.value as A, hit: true }) // the key contains the operation, hence its type
              : flights.share(key, (flight) =>
                  // Its resources must not close when the first call is interrupted.
                  Effect.flatMap(Effect.scoped(work), (value) =>
                    Effect.as(keep(flight, value, timeToLive), miss(value))
                  )
                )
        )
      }),
    remove: (which) =>
      Effect.suspend(() => {
        // Runs that began earlier are neither cached nor shared with later calls.
        flights.detachAll(which)
        return Effect.catchCause(
          asked(() => store.remove(which)),
          (cause) => Effect.fail(new InvalidationError({ cause: Cause.squash(cause) }))
        )
      })
  }
}

/**
 * Provides a cache in memory, bounded by entries and bytes.
 *
 * Fails with a `ConfigError` if a bound is not an integer of 0 or more.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (options: MemoryOptions = {}): Layer.Layer<OperationCache, Config.ConfigError> =>
  Layer.effect(
    OperationCache,
    Effect.andThen(
      Bounds.check("OperationCache", options, { maxEntries: Bounds.integer(0), maxBytes: Bounds.integer(0) }),
      Effect.map(Memory.make(options), make)
    )
  )

/**
 * Provides a cache over a store of your own.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerStore = <E, R>(
  store: Effect.Effect<Store, E, R>
): Layer.Layer<OperationCache, E, Exclude<R, Scope.Scope>> => Layer.effect(OperationCache, Effect.map(store, make))

const miss = <A>(value: A): Answer<A> => ({ value, hit: false })

const operationOf = (name: string, parameters: ReadonlyArray<KeyPart>) => `${encode(name)}${encode(parameters)}`

const patience = Duration.seconds(1)

/** Asks the store, and returns `nothing` if it fails, dies or does not respond in time. */
const answered = <A>(ask: () => Effect.Effect<A, unknown>, nothing: A, what: string): Effect.Effect<A> => {
  const answer: Effect.Effect<A, unknown> | Exit.Exit<A> = asked(ask)
  // A result that is already there skips the timeout, which would cost more than the lookup.
  return Exit.isExit(answer) && Exit.isSuccess(answer)
    ? (answer as Exit.Exit<A>) // a success cannot fail
    : Effect.catchCause(Effect.timeout(answer, patience), (cause) =>
        Effect.as(
          Effect.logWarning(
            `The store of the OperationCache could not be ${what}: the call proceeds without the cache`,
            cause
          ),
          nothing
        )
      )
}

const asked = <A>(ask: () => Effect.Effect<A, unknown>): Effect.Effect<A, unknown> => {
  try {
    return ask()
  } catch (defect) {
    return Effect.die(defect)
  }
}
