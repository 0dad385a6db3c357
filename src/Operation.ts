/**
 * The one combinator around every operation: who it ran as, in a span, with cache, retries and timeout where asked for.
 *
 * @since 0.1.0
 */
import {
  Cause,
  Context,
  Duration,
  Effect,
  Exit,
  Metric,
  Predicate,
  Random,
  References,
  Schedule,
  Schema,
  Stream,
  Tracer
} from "effect"
import { dual } from "effect/Function"
import * as Caller from "./Caller.ts"
import * as ExecutionContext from "./ExecutionContext.ts"
import * as OperationCache from "./OperationCache.ts"
import type { ServiceContext } from "./ServiceContext.ts"
import { UserContext } from "./UserContext.ts"

/**
 * The options of `execute`.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options extends Policy, SpanOptions {
  /** Off unless asked for, and never for what writes. */
  readonly cache?: Cache | undefined
}

/**
 * How long a call may take and how often it is tried: the default of a connector, or what one call asks for.
 *
 * @since 0.1.0
 * @category models
 */
export interface Policy {
  /** The time limit of one attempt, which is interrupted when it has passed. */
  readonly timeout?: Duration.Input | undefined
  /** The time limit of all attempts and the waits between them. */
  readonly totalTimeout?: Duration.Input | undefined
  /** Off unless asked for. Only a failure with `isRetryable: true` is retried. */
  readonly retry?: Retry | undefined
}

/**
 * How often a call is retried, and after which delays.
 *
 * @since 0.1.0
 * @category models
 */
export interface Retry {
  /** The number of attempts, the first one included; 3 by default. */
  readonly attempts?: number | undefined
  /** The delay before the second attempt, which doubles with each further one; 1 s by default. */
  readonly delay?: Duration.Input | undefined
  /** The longest delay; 30 s by default. */
  readonly maxDelay?: Duration.Input | undefined
  /** No attempt begins later than this after the first failure; 5 min by default. */
  readonly budget?: Duration.Input | undefined
}

/**
 * What is cached, and for how long.
 *
 * @since 0.1.0
 * @category models
 */
export interface Cache {
  /**
   * The parameters of the call. If you leave one out, different calls share one entry. The operation's name and the
   * caller are always part of the key; what is cached `asService` therefore cannot read `UserContext`, and dies when it
   * does.
   */
  readonly key: ReadonlyArray<OperationCache.KeyPart>
  /** How long a success is kept; 1 hour by default. A failure is not kept. */
  readonly timeToLive?: Duration.Input | undefined
}

/**
 * What the span of an operation says beside its caller.
 *
 * @since 0.1.0
 * @category models
 */
export interface SpanOptions {
  /** The operation's name, for `operation.name`. */
  readonly name: string
  /** Further attributes; `undefined` and `null` are left out. */
  readonly attributes?: Readonly<Record<string, unknown>> | undefined
}

/**
 * An operation took longer than its `timeout` or `totalTimeout`, and was interrupted (504). Retryable.
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
  const { cache, name, retry } = options
  const timeout = durationOf(options.timeout)
  const totalTimeout = durationOf(options.totalTimeout)
  const attempt = timeout === undefined ? effect : timed(effect, name, timeout)
  const attempts = retry === undefined ? attempt : retried(attempt, retry, isRetryable)
  const work = totalTimeout === undefined ? attempts : timed(attempts, name, totalTimeout)
  return Effect.contextWith((context: Context.Context<R | ServiceContext>) => {
    const caller = ExecutionContext.callerOf(context)
    const refused = ExecutionContext.refused(context, caller)
    if (refused !== undefined) return refused
    return Effect.useSpan("plugin.execute", (span) => {
      describe(span, caller, options)
      if (timeout !== undefined) span.attribute("timeout_ms", Duration.toMillis(timeout))
      const inSpan = Effect.updateContext(work, within<R>(span, caller, options))
      return cache === undefined ? inSpan : cached(inSpan, span, caller, context, name, cache)
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
  caller: Caller.Caller,
  options: SpanOptions
): Effect.Effect<A, E, R> =>
  Effect.useSpan("plugin.execute", (span) => {
    describe(span, caller, options)
    return Effect.updateContext(effect, within<R>(span, caller, options))
  })

/**
 * Returns the schedule of a retry: each delay is a random part of an exponential backoff, plus the error's `retryAfter`.
 *
 * It ends after `attempts`, and where the next attempt would begin later than `budget` after the first failure. It takes
 * any error: say with `while` which ones to retry.
 *
 * ```ts
 * import { Effect } from "effect"
 * import { HttpClientRequest } from "effect/http"
 * import { getWorkspaceClient, Operation } from "effect-databricks"
 *
 * export const clusters = Effect.flatMap(getWorkspaceClient, (client) =>
 *   client.request(HttpClientRequest.get("/api/2.1/clusters/list"))
 * ).pipe(
 *   Effect.retry({
 *     schedule: Operation.schedule({ attempts: 5, maxDelay: "10 seconds" }),
 *     while: (error) => error.isRetryable
 *   })
 * )
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const schedule = ({
  attempts = 3,
  budget = 300_000,
  delay = 1_000,
  maxDelay = 30_000
}: Retry = {}): Schedule.Schedule<Duration.Duration> => {
  const [first, longest, end] = [Duration.toMillis(delay), Duration.toMillis(maxDelay), Duration.toMillis(budget)]
  const step = ({ attempt, elapsed, input }: Schedule.InputMetadata<unknown>) =>
    Effect.flatMap(Random.next, (random) => {
      const wait = askedFor(input) + random * Math.min(first * 2 ** (attempt - 1), longest)
      const duration = Duration.millis(wait)
      return attempt < attempts && elapsed + wait < end
        ? Effect.succeed<[Duration.Duration, Duration.Duration]>([duration, duration])
        : Cause.done(duration)
    })
  return Schedule.fromStepWithMetadata(Effect.succeed(step))
}

const askedFor = (error: unknown) =>
  Predicate.hasProperty(error, "retryAfter") && Duration.isDuration(error.retryAfter)
    ? Duration.toMillis(error.retryAfter)
    : 0

/**
 * Returns the policy of a call: each option as the call says it, else as the connector's `defaults` do.
 *
 * @since 0.1.0
 * @category combinators
 */
export const merge = (defaults: Policy, call: Policy): Policy => ({
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
  (options: SpanOptions): <A, E, R>(stream: Stream.Stream<A, E, R>) => Stream.Stream<A, E, R | ServiceContext>
  <A, E, R>(stream: Stream.Stream<A, E, R>, options: SpanOptions): Stream.Stream<A, E, R | ServiceContext>
} = dual(2, <A, E, R>(stream: Stream.Stream<A, E, R>, options: SpanOptions) =>
  Stream.unwrap(
    Effect.contextWith((context: Context.Context<ServiceContext>) => {
      const caller = ExecutionContext.callerOf(context)
      return (
        ExecutionContext.refused(context, caller) ?? Effect.succeed(executeStreamAs(stream, caller, context, options))
      )
    })
  )
)

/**
 * `executeStream` for what knows its caller and the context of the fiber that opens it.
 *
 * @internal
 */
export const executeStreamAs = <A, E, R>(
  stream: Stream.Stream<A, E, R>,
  caller: Caller.Caller,
  context: Context.Context<never>,
  options: SpanOptions
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
export type TimeoutOf<O extends Policy> =
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
  <R>(span: Tracer.Span, caller: Caller.Caller, options: Options) =>
  (context: Context.Context<R>): Context.Context<R> =>
    Context.add(
      Context.add(context, Tracer.ParentSpan, span),
      References.CurrentLogAnnotations,
      logged(context, caller, options)
    )

/** Asks the cache before it runs the work. A call that fails or is interrupted counts as a miss. */
const cached = <A, E, R>(
  work: Effect.Effect<A, E, R>,
  span: Tracer.Span,
  caller: Caller.Caller,
  context: Context.Context<R>,
  name: string,
  { key, timeToLive }: Cache
): Effect.Effect<A, E, R> => {
  const { get } = Context.getUnsafe(context, OperationCache.OperationCache)
  const answer = get(
    OperationCache.keyOf(caller, name, key),
    durationOf(timeToLive) ?? defaultTimeToLive,
    Effect.updateContext(work, cachedFor<R>(caller))
  )
  const counted = Effect.onExitPrimitive(answer, (exit) => {
    const hit = Exit.isSuccess(exit) && exit.value.hit
    span.attribute("cache.hit", hit)
    ;(hit ? hits : misses).updateUnsafe(1, context)
    return undefined
  })
  return Effect.map(counted, ({ value }) => value)
}

/** The context of work whose result is kept for this caller: no other user runs in it, nor does the service read one. */
const cachedFor =
  <R>(caller: Caller.Caller) =>
  (context: Context.Context<R>): Context.Context<R> => {
    const owned = Context.add(context, ExecutionContext.CachedFor, Caller.key(caller))
    return caller.context === "service" && Context.getOrUndefined(context, UserContext)?.context === "user"
      ? (Context.omit(UserContext)(owned) as Context.Context<R>) // asService leaves it there; work that reads it dies
      : owned
  }

const hits = Metric.counter("cache.hit", { description: "Calls answered from the cache", incremental: true })
const misses = Metric.counter("cache.miss", { description: "Calls that the cache had no answer to", incremental: true })

const defaultTimeToLive = Duration.hours(1)

// Text is parsed when the operation is made, not each time it runs.
const durationOf = (input: Duration.Input | undefined) =>
  input === undefined ? undefined : Duration.fromInputUnsafe(input)

/**
 * Fails with `OperationTimeoutError` when an effect takes longer, once it has been interrupted.
 *
 * @internal
 */
export const timed = <A, E, R>(
  effect: Effect.Effect<A, E, R>,
  operation: string,
  duration: Duration.Duration
): Effect.Effect<A, E | OperationTimeoutError, R> =>
  Effect.timeoutOrElse(effect, {
    duration,
    orElse: () => {
      const message = `${operation} took longer than ${Duration.format(duration)}`
      return Effect.fail(new OperationTimeoutError({ operation, message }))
    }
  })

/**
 * Retries an effect while it fails with an error that `again` accepts; the span of the operation counts the attempts.
 *
 * @internal
 */
export const retried = <A, E, R>(
  effect: Effect.Effect<A, E, R>,
  retry: Retry,
  again: (error: E) => boolean
): Effect.Effect<A, E, R> =>
  Effect.retry(Effect.andThen(countAttempt, effect), { schedule: schedule(retry), while: again })

const countAttempt = Effect.flatMap(Schedule.CurrentMetadata, ({ attempt }) =>
  Effect.annotateCurrentSpan("retry.attempts", attempt + 1)
)

const isRetryable = <E>(error: E): boolean => Predicate.hasProperty(error, "isRetryable") && error.isRetryable === true

/** Attributes of the span; the caller last, so that nobody's attribute can claim to be another. */
const describe = (
  span: { readonly attribute: (name: string, value: unknown) => unknown },
  caller: Caller.Caller,
  options: SpanOptions
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

const attributesOf = (caller: Caller.Caller, options: SpanOptions) => {
  const attributes: Record<string, unknown> = {}
  describe({ attribute: (name, value) => (attributes[name] = value) }, caller, options)
  return attributes
}

const logged = (context: Context.Context<never>, caller: Caller.Caller, { name }: SpanOptions) => ({
  ...Context.get(context, References.CurrentLogAnnotations),
  "operation.name": name,
  "execution.context": caller.context,
  "caller.id": caller.id
})
