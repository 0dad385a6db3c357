/**
 * What operations gave, kept for the caller who asked and for nobody else.
 *
 * @since 0.1.0
 */
import { Cause, Context, Data, Duration, Effect, Exit, Layer, Option, type Scope } from "effect"
import * as Caller from "./Caller.ts"
import * as Flights from "./internal/operation/flights.ts"
import { encode } from "./internal/operation/key.ts"
import * as Memory from "./internal/operation/memory.ts"

/**
 * What tells one call of an operation from another: its parameters.
 *
 * Parts that differ make different keys: `1`, `1n` and `"1"`, `0` and `-0`, a `Date` and its milliseconds, a property
 * that is `undefined` and none. In which order an object has its properties makes no difference.
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
 * Where a value is kept: text that holds no token. No two callers have the same, and no two calls.
 *
 * @since 0.1.0
 * @category models
 */
export interface Key {
  /** The proven caller; what is the service principal's is no user's, not even with the same id. */
  readonly caller: string
  /** The operation's name and its parameters. */
  readonly operation: string
  /** Both in one. */
  readonly id: string
}

/**
 * Whose entries, of which call, or both; all where it says neither.
 *
 * @since 0.1.0
 * @category models
 */
export type Which = Partial<Pick<Key, "caller" | "operation">>

/**
 * Keeps values, here or elsewhere; what takes them out of the process has to encode them, and tell workspaces apart.
 *
 * Where reading or writing fails, or takes longer than a second, the log has a warning and the call does without.
 *
 * @since 0.1.0
 * @category models
 */
export interface Store {
  readonly get: (key: Key) => Effect.Effect<Option.Option<unknown>, unknown>
  readonly set: (key: Key, value: unknown, timeToLive: Duration.Duration) => Effect.Effect<void, unknown>
  /** Removes every entry that has this caller, this operation, or both. */
  readonly remove: (which: Which) => Effect.Effect<void, unknown>
}

/**
 * A value, and whether the cache had it.
 *
 * @since 0.1.0
 * @category models
 */
export interface Answer<A> {
  readonly value: A
  readonly hit: boolean
}

/**
 * The bounds of the cache in memory; beyond them the least recently used entries are evicted.
 *
 * @since 0.1.0
 * @category models
 */
export interface MemoryOptions {
  /** 1,000 by default. */
  readonly maxEntries?: number | undefined
  /** An estimate of what keys and values take in memory; 64 MiB by default. A value that is larger is not kept. */
  readonly maxBytes?: number | undefined
}

/**
 * A store did not remove what it was told to, and may go on serving it.
 *
 * @since 0.1.0
 * @category errors
 */
export class InvalidationError extends Data.TaggedError("InvalidationError")<{ readonly cause: unknown }> {
  override get message(): string {
    return "The store of the cache did not remove what is out of date: invalidate it again"
  }
}

/**
 * @since 0.1.0
 * @category services
 */
export class OperationCache extends Context.Service<
  OperationCache,
  {
    /**
     * Returns what is kept under this key, or runs `work` and keeps what it succeeds with for `timeToLive`.
     *
     * Callers of the same key share one run of the work, in the context of the first; it is interrupted when the last
     * of them leaves. A failure is shared too, and not kept.
     */
    readonly get: <A, E, R>(
      key: Key,
      timeToLive: Duration.Duration,
      work: Effect.Effect<A, E, R>
    ) => Effect.Effect<Answer<A>, E, R>
    readonly remove: (which: Which) => Effect.Effect<void, InvalidationError>
  }
>()("effect-databricks/OperationCache") {}

/**
 * The key of one call of an operation. Fails the fiber when a parameter is nothing that can tell calls apart, such as
 * an instance of a class.
 *
 * @since 0.1.0
 * @category constructors
 */
export const keyOf = (caller: Caller.Caller, name: string, parameters: ReadonlyArray<KeyPart>): Key => {
  const whose = Caller.key(caller)
  const operation = operationOf(name, parameters)
  // The operation ends with a bracket that is closed: nothing that follows can be taken for a part of it.
  return { caller: whose, operation, id: operation + whose }
}

/**
 * Forgets one call of an operation, for all callers: its parameters are those of the `cache.key` it was kept by.
 *
 * @since 0.1.0
 * @category invalidation
 */
export const invalidate = (
  name: string,
  parameters: ReadonlyArray<KeyPart>
): Effect.Effect<void, InvalidationError, OperationCache> =>
  OperationCache.use(({ remove }) => remove({ operation: operationOf(name, parameters) }))

/**
 * Forgets all that is kept for a caller: `Effect.flatMap(ExecutionContext.current, OperationCache.invalidateCaller)`.
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
      Effect.suspend(() =>
        Effect.flatMapEager(
          answered(() => store.get(key), Option.none(), "read"),
          (kept): Effect.Effect<Answer<A>, E, R> =>
            Option.isSome(kept)
              ? Effect.succeed({ value: kept.value as A, hit: true }) // who has the key has the operation
              : flights.share(key, (flight) =>
                  Effect.flatMap(work, (value) => Effect.as(keep(flight, value, timeToLive), { value, hit: false }))
                )
        )
      ),
    remove: (which) =>
      Effect.suspend(() => {
        // What was asked for before is neither kept nor given to who asks after.
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
 * @since 0.1.0
 * @category layers
 */
export const layer = (options: MemoryOptions = {}): Layer.Layer<OperationCache> =>
  Layer.effect(OperationCache, Effect.map(Memory.make(options), make))

/**
 * Provides a cache over a store of your own.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerStore = <E, R>(
  store: Effect.Effect<Store, E, R>
): Layer.Layer<OperationCache, E, Exclude<R, Scope.Scope>> => Layer.effect(OperationCache, Effect.map(store, make))

const operationOf = (name: string, parameters: ReadonlyArray<KeyPart>) => `${encode(name)}${encode(parameters)}`

const patience = Duration.seconds(1)

/** What a store answers; where it fails, dies or does not answer in time, what a store that has nothing does. */
const answered = <A>(ask: () => Effect.Effect<A, unknown>, nothing: A, what: string): Effect.Effect<A> => {
  const answer: Effect.Effect<A, unknown> | Exit.Exit<A> = asked(ask)
  // What is there already needs no patience, which would cost more than the answer.
  return Exit.isExit(answer) && Exit.isSuccess(answer)
    ? (answer as Exit.Exit<A>) // what has succeeded cannot fail
    : Effect.catchCause(Effect.timeout(answer, patience), (cause) =>
        Effect.as(
          Effect.logWarning(`The store of the cache cannot be ${what}: this call does without it`, cause),
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
