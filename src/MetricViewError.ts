/**
 * The errors of metric views. Browser-safe.
 *
 * @since 0.1.0
 */
import { Schema } from "effect"

/**
 * The definitions of the metric views cannot be used, and the start fails. Names the file and the problem.
 *
 * @since 0.1.0
 * @category errors
 */
export class MetricDefinitionError extends Schema.TaggedError<MetricDefinitionError>(
  "effect-databricks/MetricDefinitionError"
)("MetricDefinitionError", { message: Schema.String }) {}

/**
 * No metric view has this key (404).
 *
 * @since 0.1.0
 * @category errors
 */
export class UnknownMetricViewError extends Schema.TaggedError<UnknownMetricViewError>(
  "effect-databricks/UnknownMetricViewError"
)("UnknownMetricViewError", { message: Schema.String, metricView: Schema.String }, { httpApiStatus: 404 }) {}

/**
 * A request names an unknown measure or dimension, exceeds a limit, or is malformed (400). Its statement did not run.
 *
 * @since 0.1.0
 * @category errors
 */
export class MetricRequestError extends Schema.TaggedError<MetricRequestError>("effect-databricks/MetricRequestError")(
  "MetricRequestError",
  { message: Schema.String, source: Schema.String },
  { httpApiStatus: 400 }
) {}
