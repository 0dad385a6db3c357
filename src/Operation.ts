/**
 * Wraps an operation in a span that names its caller, and adds cache, retries and timeout by option.
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
import * as Statement from "./internal/failures/statement.ts"
import * as Transaction from "./internal/sql/transaction.ts"
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
  /** Caches the result. Off by default; never use it for an operation that writes. */
  readonly cache?: Cache | undefined
}

/**
 * The time limits and retries of a call, or the defaults of a connector.
 *
 * @since 0.1.0
 * @category models
 */
export interface Policy {
  /** The time limit of one attempt. An attempt that exceeds it is interrupted. */
  readonly timeout?: Duration.Input | undefined
  /** The time limit of all attempts and the waits between them. */
  readonly totalTimeout?: Duration.Input | undefined
  /**
   * Retries every failure with `isRetryable: true`, even if the work may have run. Off by default.
   *
   * By default only a request that the workspace refused before it ran (429, 503, no connection) is retried, up to 3
   * attempts within 30 seconds. This option replaces those retries; `false` switches them off.
   */
  readonly retry?: Retry | false | undefined
}

/**
 * The number of attempts, and the delays between them.
 *
 * @since 0.1.0
 * @category models
 */
export interface Retry {
  /** The number of attempts, the first one included. Defaults to 3. */
  readonly attempts?: number | undefined
  /** The longest delay before the second attempt; it doubles with each further attempt. Defaults to 1 second. */
  readonly delay?: Duration.Input | undefined
  /** The longest delay. Defaults to 30 seconds. */
  readonly maxDelay?: Duration.Input | undefined
  /** The time after the first failure in which further attempts may begin. Defaults to 5 minutes. */
  readonly budget?: Duration.Input | undefined
}

/**
 * The key and the time to live of a cached result. Inside a database transaction the cache is neither read nor written.
 *
 * @since 0.1.0
 * @category models
 */
export interface Cache {
  /**
   * The parameters of the call. If you leave one out, different calls share one entry. The name and the caller are
   * always part of the key. Work that is cached under `asService` dies if it reads `UserContext`.
   */
  readonly key: ReadonlyArray<OperationCache.KeyPart>
  /** The name by which `OperationCache.invalidate` finds the entry. Defaults to the operation's name. */
  readonly name?: string | undefined
  /** The time for which a success is cached. Defaults to 1 hour. Failures are not cached. */
  readonly timeToLive?: Duration.Input | undefined
}

/**
 * The name and attributes of an operation's span.
 *
 * @since 0.1.0
 * @category models
 */
export interface SpanOptions {
  /** The operation's name, which is the span's `operation.name`. */
  readonly name: string
  /** Further attributes of the span; `undefined` and `null` are omitted. */
  readonly attributes?: Readonly<Record<string, unknown>> | undefined
}

/**
 * An operation exceeded its `timeout` or `totalTimeout` and was interrupted (504). Retryable.
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
 * Runs an effect as one operation, in a span `plugin.execute`: the cache is outermost, then retries, then the timeout.
 *
 * The span and the log lines inside it have `operation.name`, `execution.context` (`"user"` or `"service"`),
 * `caller.id`, `enduser.id` (the verified SCIM id) and, on the development fallback only, `execution.obo_dev_fallback`.
 * With the options concerned the span also has `cache.hit`, `cache.bypass` (`"transaction"`), `retry.attempts` and
 * `timeout_ms`.
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
  const attempts = retrying(attempt, retry, isRetryable)
  const work = named(totalTimeout === undefined ? attempts : timed(attempts, name, totalTimeout), name)
  return Effect.contextWith((context: Context.Context<R | ServiceContext>) => {
    const caller = ExecutionContext.callerOf(context)
    const refused = ExecutionContext.refused(context, caller)
    if (refused !== undefined) return refused
    return Effect.useSpan("plugin.execute", (span) => {
      const who = Caller.attributes(caller)
      describe(span, who, options)
      if (timeout !== undefined) span.attribute("timeout_ms", Duration.toMillis(timeout))
      const inSpan = Effect.updateContext(work, within<R>(span, who, options))
      return cache === undefined ? inSpan : cached(inSpan, span, caller, context, name, cache)
    })
  })
})

/**
 * `execute` for a given caller, with the span only.
 *
 * @internal
 */
export const executeAs = <A, E, R>(
  effect: Effect.Effect<A, E, R>,
  caller: Caller.Caller,
  options: SpanOptions
): Effect.Effect<A, E, R> =>
  Effect.useSpan("plugin.execute", (span) => {
    const who = Caller.attributes(caller)
    describe(span, who, options)
    return Effect.updateContext(named(effect, options.name), within<R>(span, who, options))
  })

/**
 * Returns the schedule of a retry. Each delay is a random part of an exponential backoff, plus the error's
 * `retryAfter`.
 *
 * The schedule ends after `attempts`, or if the next attempt would begin later than `budget` after the first failure.
 * It retries any error: select errors with `while`, and switch off the retries of the request itself with `retry:
 * false`. Throws a `RangeError` if `attempts` is not a number of 0 or more.
 *
 * ```ts
 * import { Effect } from "effect"
 * import { HttpClientRequest } from "effect/http"
 * import { getWorkspaceClient, Operation } from "effect-databricks"
 *
 * export const clusters = Effect.flatMap(getWorkspaceClient, (client) =>
 *   client.request(HttpClientRequest.get("/api/2.1/clusters/list"), { retry: false })
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
  if (!(attempts >= 0)) throw new RangeError(`The option attempts of a retry is not a number of 0 or more: ${attempts}`)
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
 * Returns the policy of a call: each option of `call`, else that of the connector's `defaults`.
 *
 * @since 0.1.0
 * @category combinators
 */
export const merge = (defaults: Policy, call: Policy): Policy => ({
  timeout: call.timeout ?? defaults.timeout,
  totalTimeout: call.totalTimeout ?? defaults.totalTimeout,
  retry:
    call.retry && defaults.retry
      ? {
          attempts: call.retry.attempts ?? defaults.retry.attempts,
          delay: call.retry.delay ?? defaults.retry.delay,
          maxDelay: call.retry.maxDelay ?? defaults.retry.maxDelay,
          budget: call.retry.budget ?? defaults.retry.budget
        }
      : (call.retry ?? defaults.retry)
})

/**
 * Runs a stream as one operation, from its first pull to its end, as the caller that opens it.
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
 * `executeStream` for a given caller, and the context of the fiber that opens the stream.
 *
 * @internal
 */
export const executeStreamAs = <A, E, R>(
  stream: Stream.Stream<A, E, R>,
  caller: Caller.Caller,
  context: Context.Context<never>,
  options: SpanOptions
): Stream.Stream<A, E, R> => {
  const who = Caller.attributes(caller)
  // Any fiber may pull, but the stream runs as the caller that opened it.
  const asOpener = Stream.transformPull(stream, (pull) =>
    Effect.succeed(
      Effect.updateContext(pull, (puller: Context.Context<R>) => ExecutionContext.runningLike(puller, context))
    )
  )
  return asOpener.pipe(
    Stream.tapCause((cause) => Effect.sync(() => Statement.nameFailure(cause, options.name))),
    Stream.provideService(References.CurrentLogAnnotations, logged(context, who, options)),
    Stream.withSpan("plugin.execute", { attributes: attributesOf(who, options), captureStackTrace: false })
  ) as Stream.Stream<A, E, R> // transformPull excludes the end of a stream from E, which never contains it
}

/**
 * `OperationTimeoutError` for options that have, or may have, a timeout, else `never`.
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
 * `OperationCache` for options that have, or may have, a cache, else `never`.
 *
 * @since 0.1.0
 * @category models
 */
export type CacheOf<O extends { readonly cache?: unknown }> =
  Pick<O, keyof O & "cache"> extends { readonly cache?: undefined } ? never : OperationCache.OperationCache

/** The log line of a failure has the name of its operation. */
const named = <A, E, R>(work: Effect.Effect<A, E, R>, name: string): Effect.Effect<A, E, R> =>
  Effect.tapCause(work, (cause) => Effect.sync(() => Statement.nameFailure(cause, name)))

/** The context of the work: its span and its log annotations. */
const within =
  <R>(span: Tracer.Span, who: Attributes, options: SpanOptions) =>
  (context: Context.Context<R>): Context.Context<R> =>
    Context.add(
      Context.add(context, Tracer.ParentSpan, span),
      References.CurrentLogAnnotations,
      logged(context, who, options)
    )

/**
 * Reads the cache before it runs the work. A call that fails or is interrupted counts as a miss; a call inside a
 * transaction counts neither as a hit nor as a miss.
 */
const cached = <A, E, R>(
  work: Effect.Effect<A, E, R>,
  span: Tracer.Span,
  caller: Caller.Caller,
  context: Context.Context<R>,
  operation: string,
  { key, name = operation, timeToLive }: Cache
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

// Parsed once, when the operation is made.
const durationOf = (input: Duration.Input | undefined) =>
  input === undefined ? undefined : Duration.fromInputUnsafe(input)

/**
 * Interrupts an effect that exceeds the duration, and then fails with `OperationTimeoutError`.
 *
 * @internal
 */
export const timed = <A, E, R>(
  effect: Effect.Effect<A, E, R>,
  operation: string,
  duration: Duration.Duration
): Effect.Effect<A, E | OperationTimeoutError, R> =>
  Effect.timeoutOrElse(effect, { duration, orElse: () => timedOut(operation, duration) })

/**
 * Fails with the error of a time limit.
 *
 * @internal
 */
export const timedOut = (operation: string, duration: Duration.Duration): Effect.Effect<never, OperationTimeoutError> =>
  Effect.suspend(() =>
    Effect.fail(
      new OperationTimeoutError({ operation, message: `${operation} took longer than ${Duration.format(duration)}` })
    )
  )

/**
 * Retries an effect while `again` accepts its error. The span of the operation counts the attempts.
 *
 * @internal
 */
export const retried = <A, E, R>(
  effect: Effect.Effect<A, E, R>,
  retry: Retry,
  again: (error: E) => boolean
): Effect.Effect<A, E, R> =>
  withoutRetries(Effect.andThen(countFirst, retriedAfterFailure(effect, schedule(retry), again)))

/**
 * Applies the option `retry` to an effect: `undefined` leaves it as it is, and `false` sends each of its requests once.
 *
 * @internal
 */
export const retrying = <A, E, R>(
  effect: Effect.Effect<A, E, R>,
  retry: Policy["retry"],
  again: (error: E) => boolean
): Effect.Effect<A, E, R> =>
  retry === undefined ? effect : retry === false ? withoutRetries(effect) : retried(effect, retry, again)

/**
 * Applies `timeout` and `retry` to a part of the running operation, such as one request of a stream.
 *
 * @internal
 */
export const limited = <A, E, R>(
  effect: Effect.Effect<A, E, R>,
  name: string,
  { retry, timeout }: Policy
): Effect.Effect<A, E | OperationTimeoutError, R> =>
  retrying(timeout === undefined ? effect : timed(effect, name, Duration.fromInputUnsafe(timeout)), retry, isRetryable)

/**
 * Whether a request that the workspace refused before it ran is retried by default.
 *
 * @internal
 */
export const RetriesByDefault = Context.Reference<boolean>("effect-databricks/Operation/RetriesByDefault", {
  defaultValue: () => true
})

/**
 * Sends each request once, so that the attempts of nested retries do not multiply.
 *
 * @internal
 */
export const withoutRetries = Effect.provideService(RetriesByDefault, false)

/**
 * `Effect.retry` that begins when the first attempt has failed, and costs nothing before. The span of the operation
 * counts the further attempts.
 *
 * @internal
 */
export const retriedAfterFailure = <A, E, R>(
  effect: Effect.Effect<A, E, R>,
  delays: Schedule.Schedule<unknown>,
  again: (error: E) => boolean
): Effect.Effect<A, E, R> =>
  Effect.catchIf(effect, again, (error) => {
    let hasFailed = false
    // The schedule counts the first attempt too.
    const attempt = Effect.suspend(() => {
      if (hasFailed) return Effect.andThen(countAttempt, effect)
      hasFailed = true
      return Effect.fail(error)
    })
    return Effect.retry(attempt, { schedule: delays, while: again })
  })

const countFirst = Effect.annotateCurrentSpan("retry.attempts", 1)

const countAttempt = Effect.flatMap(Schedule.CurrentMetadata, ({ attempt }) =>
  Effect.annotateCurrentSpan("retry.attempts", attempt + 1)
)

/**
 * Whether an error says that the same call may succeed later.
 *
 * @internal
 */
export const isRetryable = <E>(error: E): boolean =>
  Predicate.hasProperty(error, "isRetryable") && error.isRetryable === true

type Attributes = ReturnType<typeof Caller.attributes>

/** Sets the attributes of the span. The caller comes last, so that no attribute can override it. */
const describe = (
  span: { readonly attribute: (name: string, value: unknown) => unknown },
  who: Attributes,
  options: SpanOptions
) => {
  for (const name in options.attributes) {
    const value = options.attributes[name]
    if (Predicate.isNotNullish(value) && name !== "execution.obo_dev_fallback") span.attribute(name, value)
  }
  span.attribute("operation.name", options.name)
  for (const name in who) span.attribute(name, who[name])
}

const attributesOf = (who: Attributes, options: SpanOptions) => {
  const attributes: Record<string, unknown> = {}
  describe({ attribute: (name, value) => (attributes[name] = value) }, who, options)
  return attributes
}

const logged = (context: Context.Context<never>, who: Attributes, { name }: SpanOptions) => ({
  ...Context.get(context, References.CurrentLogAnnotations),
  "operation.name": name,
  ...who
})
