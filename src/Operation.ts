/**
 * The one combinator around every operation: who it ran as, in a span, with cache, retries and timeout where asked for.
 *
 * @since 0.1.0
 */
import { Context, Duration, Effect, Metric, Predicate, References, Schema, Stream, Tracer } from "effect"
import { dual } from "effect/Function"
import type { Caller } from "./Caller.ts"
import * as ExecutionContext from "./ExecutionContext.ts"
import type { Cache, Chain, Options, StreamOptions } from "./internal/operation/models.ts"
import { retried } from "./internal/operation/retry.ts"
import { timeoutOrFail } from "./internal/operation/timeout.ts"
import * as OperationCache from "./OperationCache.ts"
import type { ServiceContext } from "./ServiceContext.ts"
import { UserContext } from "./UserContext.ts"

export type * from "./internal/operation/models.ts"

/**
 * An operation took longer than its `timeout`, and was interrupted (504). Retryable, as the next attempt starts afresh.
 *
 * @since 0.1.0
 * @category errors
 */
export class OperationTimeoutError extends Schema.TaggedError<OperationTimeoutError>(
  "effect-databricks/OperationTimeoutError"
)("OperationTimeoutError", { message: Schema.String, operation: Schema.String }, { httpApiStatus: 504 }) {
  get isRetryable(): boolean {
    return true
  }
}

/**
 * Runs an effect as one operation, in a span `plugin.execute`: cache around retries around timeout around the work.
 *
 * The span tells `execution.context` (`"user"` or `"service"`), `caller.id`, `operation.name` and, only when the
 * development fallback applied, `execution.obo_dev_fallback`; log lines inside it carry the first three too. Where they
 * are asked for it tells `cache.hit`, `retry.attempts` and `timeout_ms`.
 *
 * @since 0.1.0
 * @category combinators
 */
export const execute: {
  <const O extends Options>(
    options: O
  ): <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E | TimeoutOf<O>, R | ServiceContext | CacheOf<O>>
  <A, E, R, const O extends Options>(
    effect: Effect.Effect<A, E, R>,
    options: O
  ): Effect.Effect<A, E | TimeoutOf<O>, R | ServiceContext | CacheOf<O>>
} = dual(2, <A, E, R>(effect: Effect.Effect<A, E, R>, options: Options) => {
  const { name, retry } = options
  const timeout = durationOf(options.timeout)
  const totalTimeout = durationOf(options.totalTimeout)
  const attempt = timeout === undefined ? effect : timed(effect, name, timeout)
  const attempts = retry === undefined ? attempt : retried(attempt, retry, isRetryable)
  const work = totalTimeout === undefined ? attempts : timed(attempts, name, totalTimeout)
  return Effect.contextWith((context: Context.Context<R | ServiceContext>) => {
    const caller = ExecutionContext.callerOf(context)
    return Effect.useSpan("plugin.execute", (span) => {
      describe(span, caller, options)
      if (timeout !== undefined) span.attribute("timeout_ms", Duration.toMillis(timeout))
      return isCached(options)
        ? cached(work, span, caller, options, context)
        : Effect.updateContext(work, within<R>(span, caller, options))
    })
  })
})

/**
 * `execute` for what knows its caller, whoever runs, and asks for no more than the span.
 *
 * @internal
 */
export const executeAs = <A, E, R>(
  effect: Effect.Effect<A, E, R>,
  caller: Caller,
  options: StreamOptions
): Effect.Effect<A, E, R> =>
  Effect.useSpan("plugin.execute", (span) => {
    describe(span, caller, options)
    return Effect.updateContext(effect, within<R>(span, caller, options))
  })

/**
 * What a connector has by default, with what a call says otherwise.
 *
 * @since 0.1.0
 * @category combinators
 */
export const merge = (defaults: Chain, call: Chain): Chain => ({
  timeout: call.timeout ?? defaults.timeout,
  totalTimeout: call.totalTimeout ?? defaults.totalTimeout,
  retry:
    call.retry === undefined || defaults.retry === undefined
      ? (call.retry ?? defaults.retry)
      : {
          attempts: call.retry.attempts ?? defaults.retry.attempts,
          delay: call.retry.delay ?? defaults.retry.delay,
          maxDelay: call.retry.maxDelay ?? defaults.retry.maxDelay,
          budget: call.retry.budget ?? defaults.retry.budget
        }
})

/**
 * `execute` for a stream: one operation from its first pull to its end, as its caller throughout.
 *
 * @since 0.1.0
 * @category combinators
 */
export const executeStream: {
  (options: StreamOptions): <A, E, R>(stream: Stream.Stream<A, E, R>) => Stream.Stream<A, E, R | ServiceContext>
  <A, E, R>(stream: Stream.Stream<A, E, R>, options: StreamOptions): Stream.Stream<A, E, R | ServiceContext>
} = dual(2, <A, E, R>(stream: Stream.Stream<A, E, R>, options: StreamOptions) =>
  Stream.unwrap(
    Effect.contextWith((context: Context.Context<ServiceContext>) =>
      Effect.map(ExecutionContext.current, (caller) => executeStreamAs(stream, caller, context, options))
    )
  )
)

/**
 * `executeStream` for what knows its caller and the context of the fiber that opens it.
 *
 * @internal
 */
export const executeStreamAs = <A, E, R>(
  stream: Stream.Stream<A, E, R>,
  caller: Caller,
  context: Context.Context<never>,
  options: StreamOptions
): Stream.Stream<A, E, R> => {
  const opener = Context.get(context, ExecutionContext.ExecutionContext)
  // Any fiber may pull: whoever it runs as, the stream goes on as the caller who opened it.
  const asOpener = Stream.transformPull(stream, (pull) =>
    Effect.succeed(
      Effect.updateContext(pull, (puller: Context.Context<R>) => ExecutionContext.runningAs(puller, opener))
    )
  )
  return asOpener.pipe(
    Stream.provideService(References.CurrentLogAnnotations, logged(context, caller, options)),
    Stream.withSpan("plugin.execute", { attributes: attributesOf(caller, options), captureStackTrace: false })
  ) as Stream.Stream<A, E, R> // transformPull takes the mark of a stream's end out of E, where it never was
}

/**
 * The timeout error, for options that have a timeout or may have one.
 *
 * @since 0.1.0
 * @category models
 */
export type TimeoutOf<O extends Chain> =
  Pick<O, keyof O & ("timeout" | "totalTimeout")> extends {
    readonly timeout?: undefined
    readonly totalTimeout?: undefined
  }
    ? never
    : OperationTimeoutError

/**
 * The cache, for options that ask for one or may.
 *
 * @since 0.1.0
 * @category models
 */
export type CacheOf<O extends { readonly cache?: unknown }> =
  Pick<O, keyof O & "cache"> extends { readonly cache?: undefined } ? never : OperationCache.OperationCache

/** The context of the work, which begins in it. */
const within =
  <R>(span: Tracer.Span, caller: Caller, options: Options) =>
  (context: Context.Context<R>): Context.Context<R> => {
    if (options.retry !== undefined) span.attribute("retry.attempts", 1)
    return Context.add(
      Context.add(context, Tracer.ParentSpan, span),
      References.CurrentLogAnnotations,
      logged(context, caller, options)
    )
  }

const isCached = (options: Options): options is Options & { readonly cache: Cache } => options.cache !== undefined

const cached = <A, E, R>(
  work: Effect.Effect<A, E, R>,
  span: Tracer.Span,
  caller: Caller,
  options: Options & { readonly cache: Cache },
  context: Context.Context<R>
): Effect.Effect<A, E> => {
  const cache = Context.getUnsafe(context, OperationCache.OperationCache)
  const { key, timeToLive } = options.cache
  const told = (isHit: boolean) => {
    span.attribute("cache.hit", isHit)
    ;(isHit ? hits : misses).updateUnsafe(1, context)
  }
  return cache.get(OperationCache.keyOf(caller, options.name, key), {
    onHit: () => told(true),
    onMiss: () => {
      told(false)
      const own = caller.context === "service" ? withoutUser(context) : context
      return {
        work,
        context: within<R>(span, caller, options)(own),
        timeToLive: durationOf(timeToLive) ?? defaultTimeToLive
      }
    }
  })
}

// asService leaves the UserContext of whose call it is in: what is kept for the service must not be made of that.
const withoutUser = <R>(context: Context.Context<R>): Context.Context<R> =>
  Context.getOrUndefined(context, UserContext)?.context === "user"
    ? (Context.omit(UserContext)(context) as Context.Context<R>) // who reads it anyway dies
    : context

const hits = Metric.counter("cache.hit", { description: "Calls answered from the cache", incremental: true })
const misses = Metric.counter("cache.miss", { description: "Calls that the cache had no answer to", incremental: true })

const defaultTimeToLive = Duration.hours(1)

// Text takes longer to read than an answer that is there takes to come.
const durationOf = (input: Duration.Input | undefined) =>
  input === undefined ? undefined : Duration.fromInputUnsafe(input)

/**
 * Interrupts what takes longer.
 *
 * @internal
 */
export const timed = <A, E, R>(
  effect: Effect.Effect<A, E, R>,
  operation: string,
  duration: Duration.Duration
): Effect.Effect<A, E | OperationTimeoutError, R> =>
  timeoutOrFail(effect, duration, () => {
    const message = `${operation} took longer than ${Duration.format(duration)}`
    return new OperationTimeoutError({ operation, message })
  })

const isRetryable = <E>(error: E): boolean => Predicate.hasProperty(error, "isRetryable") && error.isRetryable === true

/** Attributes of the span; the caller last, so that nobody's attribute can claim to be another. */
const describe = (
  span: { readonly attribute: (name: string, value: unknown) => unknown },
  caller: Caller,
  options: StreamOptions
) => {
  for (const name in options.attributes) {
    const value = options.attributes[name]
    if (Predicate.isNotNullish(value) && name !== "execution.obo_dev_fallback") span.attribute(name, value)
  }
  span.attribute("operation.name", options.name)
  span.attribute("execution.context", caller.context)
  span.attribute("caller.id", caller.id)
  if (caller.oboDevFallback) span.attribute("execution.obo_dev_fallback", true)
}

const attributesOf = (caller: Caller, options: StreamOptions) => {
  const attributes: Record<string, unknown> = {}
  describe({ attribute: (name, value) => (attributes[name] = value) }, caller, options)
  return attributes
}

const logged = (context: Context.Context<never>, caller: Caller, { name }: StreamOptions) => ({
  ...Context.get(context, References.CurrentLogAnnotations),
  "operation.name": name,
  "execution.context": caller.context,
  "caller.id": caller.id
})
