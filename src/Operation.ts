/**
 * The one combinator around every operation: who it ran as, in a span, with a timeout and retries where asked for.
 *
 * @since 0.1.0
 */
import { Duration, Effect, Predicate, Schedule, Schema, Stream } from "effect"
import { dual } from "effect/Function"
import type { Caller } from "./Caller.ts"
import * as ExecutionContext from "./ExecutionContext.ts"
import type { ServiceContext } from "./ServiceContext.ts"

/**
 * @since 0.1.0
 * @category models
 */
export interface Options extends StreamOptions {
  /** For one attempt; when it has passed the work is interrupted. */
  readonly timeout?: Duration.Input | undefined
  /** Off unless asked for. Only an error whose `isRetryable` is true is tried again, after its `retryAfter` at least. */
  readonly retry?: Retry | undefined
}

/**
 * @since 0.1.0
 * @category models
 */
export interface Retry {
  /** The first one included; 3 by default. */
  readonly attempts?: number | undefined
  /** Before the second attempt; doubles each time up to 30 s, with jitter. 1 s by default. */
  readonly delay?: Duration.Input | undefined
}

/**
 * @since 0.1.0
 * @category models
 */
export interface StreamOptions {
  /** What the operation is, for the span's `operation.name`. */
  readonly name: string
  /** Further attributes of the span; `undefined` and `null` are left out. */
  readonly attributes?: Readonly<Record<string, unknown>> | undefined
}

/**
 * An operation took longer than its `timeout`, and was interrupted (504).
 *
 * @since 0.1.0
 * @category errors
 */
export class OperationTimeoutError extends Schema.TaggedError<OperationTimeoutError>(
  "effect-databricks/OperationTimeoutError"
)("OperationTimeoutError", { message: Schema.String, operation: Schema.String }, { httpApiStatus: 504 }) {}

/**
 * Runs an effect as one operation, in a span `plugin.execute`.
 *
 * The span tells `execution.context` (`"user"` or `"service"`), `caller.id`, `operation.name` and, only when the
 * development fallback applied, `execution.obo_dev_fallback`; log lines inside it carry the first three too.
 *
 * @since 0.1.0
 * @category combinators
 */
export const execute: {
  <const O extends Options>(
    options: O
  ): <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E | TimeoutOf<O>, R | ServiceContext>
  <A, E, R, const O extends Options>(
    effect: Effect.Effect<A, E, R>,
    options: O
  ): Effect.Effect<A, E | TimeoutOf<O>, R | ServiceContext>
} = dual(2, <A, E, R>(effect: Effect.Effect<A, E, R>, options: Options) => {
  const { retry, timeout } = options
  const attempt =
    timeout === undefined
      ? effect
      : Effect.timeoutOrElse(effect, { duration: timeout, orElse: () => Effect.fail(timedOut(options.name, timeout)) })
  const chain =
    retry === undefined
      ? attempt
      : Effect.retry(attempt, { schedule: backoff(retry), times: (retry.attempts ?? 3) - 1, while: isRetryable })
  return Effect.flatMap(ExecutionContext.current, (caller) =>
    Effect.withSpan(Effect.annotateLogs(chain, logged(caller, options)), "plugin.execute", spanOptions(caller, options))
  )
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
    Effect.map(ExecutionContext.current, (caller) =>
      Stream.withSpan(stream, "plugin.execute", spanOptions(caller, options))
    )
  )
)

/**
 * The timeout error, for options that have a timeout.
 *
 * @since 0.1.0
 * @category models
 */
export type TimeoutOf<O extends Options> = O extends { readonly timeout: Duration.Input }
  ? OperationTimeoutError
  : never

const timedOut = (operation: string, timeout: Duration.Input) =>
  new OperationTimeoutError({
    operation,
    message: `${operation} took longer than ${Duration.format(Duration.fromInputUnsafe(timeout))}`
  })

const logged = (caller: Caller, { name }: StreamOptions) => ({
  "operation.name": name,
  "execution.context": caller.context,
  "caller.id": caller.id
})

const spanOptions = (caller: Caller, options: StreamOptions) => {
  const attributes: Record<string, unknown> = {}
  for (const key in options.attributes) {
    if (Predicate.isNotNullish(options.attributes[key])) attributes[key] = options.attributes[key]
  }
  Object.assign(attributes, logged(caller, options))
  if (caller.oboDevFallback) attributes["execution.obo_dev_fallback"] = true
  // A stack per operation would cost as much again as the span itself.
  return { attributes, captureStackTrace: false }
}

const isRetryable = (error: unknown): boolean =>
  Predicate.hasProperty(error, "isRetryable") && error.isRetryable === true

const maxDelay = Duration.seconds(30)

const backoff = ({ delay = "1 second" }: Retry) =>
  Schedule.exponential(delay).pipe(
    Schedule.setInputType<unknown>(),
    Schedule.jittered,
    Schedule.modifyDelay(({ duration, input }) =>
      Effect.succeed(Duration.max(Duration.min(duration, maxDelay), askedFor(input)))
    )
  )

const askedFor = (error: unknown) =>
  Predicate.hasProperty(error, "retryAfter") && Duration.isDuration(error.retryAfter) ? error.retryAfter : Duration.zero
