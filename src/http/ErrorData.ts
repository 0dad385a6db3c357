/**
 * Schemas of the events of a stream, for the Api that declares it. A browser can import this module.
 *
 * @since 0.1.0
 */
import { Schema } from "effect"
import { HttpApiSchema } from "effect/http-api"

/**
 * The code of a stream's `error` event.
 *
 * @since 0.1.0
 * @category models
 */
export const ErrorCode = Schema.Literals([
  "TEMPORARY_UNAVAILABLE",
  "TIMEOUT",
  "INTERNAL_ERROR",
  "INVALID_REQUEST",
  "STREAM_ABORTED",
  "STREAM_FORBIDDEN",
  "UPSTREAM_ERROR"
])

/**
 * The code of a stream's `error` event.
 *
 * @since 0.1.0
 * @category models
 */
export type ErrorCode = typeof ErrorCode.Type

/**
 * The data of an `error` event, which is the last event of its stream.
 *
 * @since 0.1.0
 * @category models
 */
export const ErrorData = Schema.Struct({ error: Schema.String, code: ErrorCode })

/**
 * The success schema of an endpoint that answers with `ServerSentEvents.toResponse({ schema })`:
 * `HttpApiEndpoint.get("watch", "/watch", { success: events(Order) })`.
 *
 * A client gets a stream of elements, and of `ErrorData` as the last one of a failed stream. Dates, bigints and optional
 * fields are decoded as `toResponse` encodes them, which `HttpApiSchema.StreamSse({ data: Order })` does not do.
 *
 * @since 0.1.0
 * @category constructors
 */
export const events = <S extends Schema.Constraint>(schema: S) =>
  HttpApiSchema.StreamSse({ data: Schema.toCodecJson(Schema.Union([schema, ErrorData])) })
