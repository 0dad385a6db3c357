/** The models of `Operation`. */
import type { Duration } from "effect"
import type { KeyPart } from "../../OperationCache.ts"

/**
 * @since 0.1.0
 * @category models
 */
export interface Options extends Chain, StreamOptions {
  /** Off unless asked for, and never for what writes. */
  readonly cache?: Cache | undefined
}

/**
 * What a connector may have by default, and a call say otherwise.
 *
 * @since 0.1.0
 * @category models
 */
export interface Chain {
  /** For one attempt; when it has passed the work is interrupted. */
  readonly timeout?: Duration.Input | undefined
  /** For all attempts and the waits between them. */
  readonly totalTimeout?: Duration.Input | undefined
  /** Off unless asked for. Only a failure with `isRetryable: true` is tried again. */
  readonly retry?: Retry | undefined
}

/**
 * @since 0.1.0
 * @category models
 */
export interface Retry {
  /** The first one included; 3 by default. */
  readonly attempts?: number | undefined
  /** The wait is a random part of this, which doubles with each attempt, and the error's `retryAfter`; 1 s by default. */
  readonly delay?: Duration.Input | undefined
  /** What the delay grows to; 30 s by default. */
  readonly maxDelay?: Duration.Input | undefined
  /** No attempt begins later than so long after the first has failed; 5 min by default. */
  readonly budget?: Duration.Input | undefined
}

/**
 * @since 0.1.0
 * @category models
 */
export interface Cache {
  /**
   * The parameters of the call: whoever leaves one out gets the answer of another call. The caller is always part of
   * it; what is cached `asService` therefore cannot read `UserContext`, and dies when it does.
   */
  readonly key: ReadonlyArray<KeyPart>
  /** How long a success is kept; 1 hour by default. A failure is not. */
  readonly timeToLive?: Duration.Input | undefined
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
