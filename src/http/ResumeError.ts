/**
 * The errors of a request that continues an event stream.
 *
 * @since 0.1.0
 */
import { Schema } from "effect"

/**
 * The events after the client's `Last-Event-ID` are not kept (409). The source was not run again.
 *
 * @since 0.1.0
 * @category errors
 */
export class StreamGoneError extends Schema.TaggedError<StreamGoneError>("effect-databricks/StreamGoneError")(
  "StreamGoneError",
  { message: Schema.String },
  { httpApiStatus: 409 }
) {}

/**
 * Too many streams are kept (429). The message names the limit. Retryable.
 *
 * @since 0.1.0
 * @category errors
 */
export class TooManyStreamsError extends Schema.TaggedError<TooManyStreamsError>(
  "effect-databricks/TooManyStreamsError"
)("TooManyStreamsError", { message: Schema.String }, { httpApiStatus: 429 }) {
  get isRetryable(): boolean {
    return true
  }
}
