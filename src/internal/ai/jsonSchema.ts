/** JSON Schemas in the form that most endpoints accept. */
import { Predicate } from "effect"
import type { LanguageModel } from "effect/ai"

/** Applies `nullable` to the JSON Schemas of a transformer. */
export const transformer =
  (transform: LanguageModel.CodecTransformer): LanguageModel.CodecTransformer =>
  (schema) => {
    const { codec, jsonSchema } = transform(schema)
    return { codec, jsonSchema: nullable(jsonSchema) as typeof jsonSchema } // an object stays an object
  }

/** Writes `T | null` as the type `["T", "null"]`. Models that Databricks hosts take it, and refuse `anyOf`. */
export const nullable = (node: unknown): unknown => {
  if (Array.isArray(node)) return node.map(nullable)
  if (!Predicate.isObject(node)) return node
  const { anyOf, ...rest } = Object.fromEntries(Object.entries(node).map(([key, value]) => [key, nullable(value)]))
  if (anyOf === undefined) return rest
  const options = Array.isArray(anyOf) ? anyOf.filter((option) => !isNull(option)) : []
  const [only] = options
  // An optional field that may be undefined has two nulls.
  return Array.isArray(anyOf) && anyOf.length > 1 && options.length === 1 && typeof only.type === "string"
    ? {
        ...only,
        ...rest,
        type: [only.type, "null"],
        ...(Array.isArray(only.enum) && { enum: [...only.enum, null] })
      }
    : { ...rest, anyOf }
}

const isNull = (option: unknown) =>
  Predicate.isObject(option) && option["type"] === "null" && Object.keys(option).length === 1
