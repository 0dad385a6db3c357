import { Schema } from "effect"

/**
 * A row is not what the Schema, or the type of its column, says; or its columns cannot be told apart.
 *
 * @since 0.1.0
 * @category errors
 */
export class RowDecodeError extends Schema.TaggedError<RowDecodeError>("effect-databricks/RowDecodeError")(
  "RowDecodeError",
  {
    message: Schema.String,
    /** Counts from 1; absent where it is not about one row. */
    row: Schema.optional(Schema.Int),
    column: Schema.optional(Schema.String)
  }
) {}
