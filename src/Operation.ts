/**
 * Wraps an operation in a span that names its caller, and adds cache, retries and timeout by option.
 *
 * @since 0.1.0
 */
import { type Context, Duration, Effect, type Schedule, Schema, Stream } from "effect"
import { dual } from "effect/Function"
import * as Caller from "./Caller.ts"
import * as ExecutionContext from "./ExecutionContext.ts"
import { cached } from "./internal/operation/cached.ts"
import * as Retries from "./internal/operation/retries.ts"
import * as Span from "./internal/operation/span.ts"
import type * as OperationCache from "./OperationCache.ts"
import type { ServiceContext } from "./ServiceContext.ts"

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
  const attempts = Retries.retrying(attempt, retry, Retries.isRetryable)
  const work = Span.named(totalTimeout === undefined ? attempts : timed(attempts, name, totalTimeout), name)
  return Effect.contextWith((context: Context.Context<R | ServiceContext>) => {
    const caller = ExecutionContext.callerOf(context)
    const refused = ExecutionContext.refused(context, caller)
    if (refused !== undefined) return refused
    return Effect.useSpan("plugin.execute", (span) => {
      const who = Caller.attributes(caller)
      Span.describe(span, who, options)
      if (timeout !== undefined) span.attribute("timeout_ms", Duration.toMillis(timeout))
      const inSpan = Effect.updateContext(work, Span.within<R>(span, who, options))
      return cache === undefined ? inSpan : cached(inSpan, span, caller, context, name, cache)
    })
  })
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
export const schedule: (retry?: Retry) => Schedule.Schedule<Duration.Duration> = Retries.schedule

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
        ExecutionContext.refused(context, caller) ??
        Effect.succeed(Span.executeStreamAs(stream, caller, context, options))
      )
    })
  )
)

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
 * Applies `timeout` and `retry` to a part of the running operation, such as one request of a stream.
 *
 * @internal
 */
export const limited = <A, E, R>(
  effect: Effect.Effect<A, E, R>,
  name: string,
  { retry, timeout }: Policy
): Effect.Effect<A, E | OperationTimeoutError, R> =>
  Retries.retrying(
    timeout === undefined ? effect : timed(effect, name, Duration.fromInputUnsafe(timeout)),
    retry,
    Retries.isRetryable
  )
