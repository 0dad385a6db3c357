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
 * Who looks something up: told when it is kept, and asked how to come by it when it is not.
 *
 * @since 0.1.0
 * @category models
 */
export interface Lookup<A, E, R> {
  readonly onHit: () => void
  readonly onMiss: () => Load<A, E, R>
}

/**
 * How to come by what is not kept, and how long to keep it then.
 *
 * @since 0.1.0
 * @category models
 */
export interface Load<A, E, R> {
  readonly work: Effect.Effect<A, E, R>
  readonly context: Context.Context<R>
  readonly timeToLive: Duration.Duration
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
     * What is kept by this key. Where nothing is, runs the work once for all who wait for it, for as long as one of
     * them does, and keeps what it succeeds with.
     */
    readonly get: <A, E, R>(key: Key, lookup: Lookup<A, E, R>) => Effect.Effect<A, E>
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
 * @since 0.1.0
 * @category constructors
 */
export const make = (store: Store): OperationCache["Service"] => {
  const flights = Flights.make()
  const keep = <A>(key: Key, value: A, timeToLive: Duration.Duration, flight: Flights.Flight): Effect.Effect<A> =>
    Effect.flatMapEager(
      answered(() => store.set(key, value, timeToLive), undefined, "written"),
      () =>
        flight.isCurrent
          ? Effect.succeed(value)
          : // It was invalidated while it was written, and there is no telling which came first.
            Effect.as(
              answered(() => store.remove(key), undefined, "written"),
              value
            )
    )
  const load = <A, E, R>(key: Key, { context, timeToLive, work }: Load<A, E, R>) =>
    flights.share(key, context, (flight) =>
      Effect.flatMap(work, (value) =>
        flight.isCurrent && Duration.isPositive(timeToLive)
          ? keep(key, value, timeToLive, flight)
          : Effect.succeed(value)
      )
    )
  return {
    get: <A, E, R>(key: Key, { onHit, onMiss }: Lookup<A, E, R>) =>
      Effect.suspend(() =>
        Effect.flatMapEager(
          answered(() => store.get(key), Option.none(), "read"),
          (found): Effect.Effect<A, E> => {
            if (Option.isNone(found)) return load(key, onMiss())
            onHit()
            return Effect.succeed(found.value as A) // who has the key has the operation
          }
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
 * In memory: the least recently used give way to what is new.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (options: Memory.Options = {}): Layer.Layer<OperationCache> =>
  Layer.effect(OperationCache, Effect.map(Memory.make(options), make))

/**
 * In a store of one's own.
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
