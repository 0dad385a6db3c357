/**
 * The errors of named queries. Browser-safe.
 *
 * @since 0.1.0
 */
import { Schema } from "effect"

/**
 * The files of the queries cannot be used, and the start fails. Names the file, line and reason of every problem.
 *
 * @since 0.1.0
 * @category errors
 */
export class QueryFileError extends Schema.TaggedError<QueryFileError>("effect-databricks/QueryFileError")(
  "QueryFileError",
  {
    message: Schema.String,
    problems: Schema.Array(Schema.Struct({ file: Schema.String, line: Schema.Int, reason: Schema.String }))
  }
) {}

/**
 * No query has this key (404).
 *
 * @since 0.1.0
 * @category errors
 */
export class UnknownQueryError extends Schema.TaggedError<UnknownQueryError>("effect-databricks/UnknownQueryError")(
  "UnknownQueryError",
  { message: Schema.String, query: Schema.String },
  { httpApiStatus: 404 }
) {}

/**
 * A parameter of a query is unknown or missing, or its value does not match its type (400). Nothing was sent.
 *
 * @since 0.1.0
 * @category errors
 */
export class QueryParameterError extends Schema.TaggedError<QueryParameterError>(
  "effect-databricks/QueryParameterError"
)(
  "QueryParameterError",
  {
    message: Schema.String,
    query: Schema.String,
    parameter: Schema.String,
    problem: Schema.Literals(["unknown", "missing", "invalid"])
  },
  { httpApiStatus: 400 }
) {}

/**
 * A query in code does not match its file: the key, the identity or the names of its parameters differ (500).
 *
 * @since 0.1.0
 * @category errors
 */
export class QueryOutdatedError extends Schema.TaggedError<QueryOutdatedError>("effect-databricks/QueryOutdatedError")(
  "QueryOutdatedError",
  { message: Schema.String, query: Schema.String },
  { httpApiStatus: 500 }
) {}
