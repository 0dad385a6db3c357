/** The cached result of an operation. */
import { Context, Duration, Effect, Exit, Metric, type Tracer } from "effect"
import * as Caller from "../../Caller.ts"
import * as ExecutionContext from "../../ExecutionContext.ts"
import type { Cache } from "../../Operation.ts"
import * as OperationCache from "../../OperationCache.ts"
import { UserContext } from "../../UserContext.ts"
import * as Transaction from "../sql/transaction.ts"

/**
 * Reads the cache before it runs the work. A call that fails or is interrupted counts as a miss; a call inside a
 * transaction counts neither as a hit nor as a miss.
 */
export const cached = <A, E, R>(
  work: Effect.Effect<A, E, R>,
  span: Tracer.Span,
  caller: Caller.Caller,
  context: Context.Context<R>,
  operation: string,
  { key, name = operation, timeToLive = defaultTimeToLive }: Cache
): Effect.Effect<A, E, R> => {
  const { get } = Context.getUnsafe(context, OperationCache.OperationCache)
  const answer = get(
    OperationCache.keyOf(caller, name, key),
    Duration.fromInputUnsafe(timeToLive),
    Effect.updateContext(work, cachedFor<R>(caller))
  )
  const counted = Effect.onExitPrimitive(answer, (exit) => {
    const hit = Exit.isSuccess(exit) && exit.value.hit
    span.attribute("cache.hit", hit)
    if (!hit && Transaction.isIn(context)) span.attribute("cache.bypass", "transaction")
    else (hit ? hits : misses).updateUnsafe(1, context)
    return undefined
  })
  return Effect.map(counted, ({ value }) => value)
}

/**
 * The context of work whose result is cached for this caller: no other user may run in it, and the service reads none.
 */
const cachedFor =
  <R>(caller: Caller.Caller) =>
  (context: Context.Context<R>): Context.Context<R> => {
    const owned = Context.add(context, ExecutionContext.CachedFor, Caller.key(caller))
    return caller.context === "service" && Context.getOrUndefined(context, UserContext)?.context === "user"
      ? (Context.omit(UserContext)(owned) as Context.Context<R>) // asService leaves UserContext in place; cached work that reads it dies
      : owned
  }

const hits = Metric.counter("cache.hit", { description: "Calls answered from the cache", incremental: true })
const misses = Metric.counter("cache.miss", { description: "Calls that were not in the cache", incremental: true })

const defaultTimeToLive = Duration.hours(1)
