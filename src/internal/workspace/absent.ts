/** Fields of the workspace's responses. */
import { Schema } from "effect"

/** A field that Databricks omits or sends as null. */
export const absent = <S extends Schema.Constraint>(schema: S) => Schema.optional(Schema.NullOr(schema))
