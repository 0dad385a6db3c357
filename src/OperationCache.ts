/**
 * What operations gave, kept for the caller who asked and for nobody else.
 *
 * @since 0.1.0
 */
import { Cache, Context, Data, Duration, Effect, Exit, Layer, Metric, Option, type Scope } from "effect"
import type { Caller } from "./Caller.ts"
import { encode } from "./internal/operationCache/key.ts"
import * as Memory from "./internal/operationCache/memory.ts"

/**
 * What tells one call of an operation from another: its parameters.
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
 * Where a value is kept. Both are text that holds no token, and no two callers or calls share one.
 *
 * @since 0.1.0
 * @category models
 */
export interface Key {
  /** The proven caller; the service principal's entries serve the service principal only. */
  readonly caller: string
  /** The operation's name and its parameters. */
  readonly operation: string
}

/**
 * Keeps values, here or elsewhere; what takes it out of the process has to encode them.
 *
 * Reading and writing may fail, or take longer than a second: both cost a warning, and the value is asked for again.
 *
 * @since 0.1.0
 * @category models
 */
export interface Store {
  readonly get: (key: Key) => Effect.Effect<Option.Option<unknown>, unknown>
  readonly set: (key: Key, value: unknown, timeToLive: Duration.Duration) => Effect.Effect<void, unknown>
  /** Removes every entry that has the caller, the operation, or both. */
  readonly remove: (which: Partial<Key>) => Effect.Effect<void, unknown>
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
    readonly get: (key: Key) => Effect.Effect<Option.Option<unknown>>
    /** Runs the work once for all who wait for it, for as long as one of them does, and keeps what it succeeds with. */
    readonly load: <A, E, R>(
      key: Key,
      timeToLive: Duration.Duration,
      work: Effect.Effect<A, E, R>
    ) => Effect.Effect<A, E, R>
    readonly remove: (which: Partial<Key>) => Effect.Effect<void, InvalidationError>
  }
>()("effect-databricks/OperationCache") {}

/**
 * The key of one call of an operation. Fails the fiber when a parameter is nothing that can tell calls apart, such as
 * an instance of a class.
 *
 * @since 0.1.0
 * @category constructors
 */
export const keyOf = (caller: Caller, name: string, parameters: ReadonlyArray<KeyPart>): Key => ({
  caller: caller.context === "service" ? "service" : `user:${caller.scimId}`,
  operation: encode([name, ...parameters])
})

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
  OperationCache.use(({ remove }) => remove({ operation: encode([name, ...parameters]) }))

/**
 * Forgets all that is kept for a caller: `Effect.flatMap(ExecutionContext.current, OperationCache.invalidateCaller)`.
 *
 * @since 0.1.0
 * @category invalidation
 */
export const invalidateCaller = (caller: Caller): Effect.Effect<void, InvalidationError, OperationCache> =>
  OperationCache.use(({ remove }) => remove({ caller: keyOf(caller, "", []).caller }))

/**
 * @since 0.1.0
 * @category constructors
 */
export const make = Effect.fnUntraced(function* (store: Store): Effect.fn.Return<OperationCache["Service"]> {
  // Nothing is kept here: an entry is gone when its work has ended.
  const flights = yield* Cache.makeWith(
    Effect.fnUntraced(function* (_id: string) {
      return yield* yield* Work
    }),
    { capacity: Infinity, timeToLive: () => Duration.zero, requireServicesAt: "lookup" }
  )
  // What was asked for before an invalidation is neither kept after it nor given to those who ask after it.
  let generation = 0
  return {
    get: (key) =>
      Effect.flatMap(
        answered(() => store.get(key), "read"),
        (found) => {
          const value = Option.flatten(found)
          return Effect.as(Metric.update(Option.isSome(value) ? hits : misses, 1), value)
        }
      ),
    load: <A, E, R>(key: Key, timeToLive: Duration.Duration, work: Effect.Effect<A, E, R>) =>
      Effect.suspend(() => {
        const asked = generation
        const kept = Effect.tap(work, (value) =>
          asked === generation && Duration.isPositive(timeToLive)
            ? answered(() => store.set(key, value, timeToLive), "written")
            : Effect.void
        )
        return Cache.get(flights, `${asked}${key.operation}${key.caller}`).pipe(
          Effect.provideService(Work, kept as Effect.Effect<unknown, unknown>)
        ) as Effect.Effect<A, E, R> // the flight runs in the context of whoever is the first to wait for it
      }),
    remove: (which) =>
      Effect.suspend(() => {
        generation++
        return Effect.mapError(store.remove(which), (cause) => new InvalidationError({ cause }))
      })
  }
})

/**
 * In memory: the least recently used give way to what is new.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (options: Memory.Options = {}): Layer.Layer<OperationCache> =>
  Layer.effect(OperationCache, Effect.flatMap(Memory.make(options), make))

/**
 * In a store of one's own.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerStore = <E, R>(
  store: Effect.Effect<Store, E, R>
): Layer.Layer<OperationCache, E, Exclude<R, Scope.Scope>> => Layer.effect(OperationCache, Effect.flatMap(store, make))

class Work extends Context.Service<Work, Effect.Effect<unknown, unknown>>()("effect-databricks/OperationCache/Work") {}

const patience = Duration.seconds(1)

/** What a store answers, or nothing where it fails, dies or does not answer in time. */
const answered = <A>(ask: () => Effect.Effect<A, unknown>, what: string): Effect.Effect<Option.Option<A>> =>
  Effect.suspend(() => {
    const answer = ask()
    // What is there already needs no patience, which would cost more than the answer.
    return Exit.isExit(answer) ? answer : Effect.timeout(answer, patience)
  }).pipe(
    Effect.asSome,
    Effect.catchCause((cause) =>
      Effect.as(
        Effect.logWarning(`The store of the cache cannot be ${what}: this call does without it`, cause),
        Option.none()
      )
    )
  )

const hits = Metric.counter("cache.hit", { description: "Calls that were answered from the cache", incremental: true })
const misses = Metric.counter("cache.miss", { description: "Calls that were not", incremental: true })
