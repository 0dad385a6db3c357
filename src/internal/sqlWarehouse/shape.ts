/**
 * Converts the text of a column to the JSON that a Schema expects there: exact, else text, which the Schema refuses.
 */
import type { ColumnType } from "./columnType.ts"
import { isRecord, pairsOf, parse, textOf, toJson, valueOf } from "./values.ts"
import { isExact, isNumber } from "../workspace/exactJson.ts"
import { fitted, type Place, toUtc } from "../workspace/schemaJson.ts"

/** Returns the converter for the text of a column. */
export const shaped = (type: ColumnType, place: Place): ((text: string) => unknown) => {
  switch (type._tag) {
    case "Variant":
    case "Array":
    case "Map":
    case "Struct":
      return place.takes.has("string") ||
        !(type._tag === "Variant" ? ofVariant : ofNested).some((_) => place.takes.has(_))
        ? (text) => text
        : (text) => {
            try {
              return nested(type, place, parse(text))
            } catch {
              // Not JSON, not of the column's type, or nested deeper than the stack.
              return text
            }
          }
    default:
      return (text) => scalar(type, place, text)
  }
}

const ofNested = ["object", "list", "json"] as const
const ofVariant = [...ofNested, "number", "boolean", "literal"] as const

const nested = (type: ColumnType, place: Place, json: unknown): unknown => {
  const { takes } = place
  if (json === null) return null
  switch (type._tag) {
    case "Array":
      if (!takes.has("list") || !Array.isArray(json)) break
      return json.map((item, index) => nested(type.element, place.item(index), item))
    case "Map": {
      const pairs = pairsOf(json)
      if (takes.has("object")) {
        return Object.fromEntries(
          pairs.map(([key, value]) => {
            const name = textOf(key) ?? mismatched()
            return [name, nested(type.value, place.field(name), value)]
          })
        )
      }
      if (!takes.has("list")) break
      return pairs.map(([key, value], index) => {
        const pair = place.item(index)
        return [nested(type.key, pair.item(0), key), nested(type.value, pair.item(1), value)]
      })
    }
    case "Struct":
      if (!takes.has("object") || !isRecord(json)) break
      return Object.fromEntries(
        type.fields.map(({ name, type }) => [
          name,
          // Spark omits a field that is NULL.
          nested(type, place.field(name), Object.hasOwn(json, name) ? json[name] : null)
        ])
      )
    case "Variant":
      return fitted(typed(type, json), place)
    default: {
      const text = takes.has("any") ? undefined : textOf(json)
      if (text !== undefined) return scalar(type, place, text)
    }
  }
  return typed(type, json)
}

/** Converts by the column's type alone. */
const typed = (type: ColumnType, json: unknown) => {
  const value = valueOf(type)(json)
  return toJson(value === undefined ? mismatched() : value)
}

const mismatched = (): never => {
  throw new TypeError("The value does not match its type")
}

const scalar = (type: ColumnType, { isMoment, takes }: Place, text: string): unknown => {
  switch (type._tag) {
    case "Integer":
    case "Decimal":
      // These types have no negative zero.
      return takes.has("number") && isExact(text) ? Number(text) + 0 : text
    case "Float":
      // The text is that of a double, with any number of digits.
      return takes.has("number") && isNumber(text) ? Number(text) : text
    case "Boolean":
      return takes.has("boolean") && (text === "true" || text === "false") ? text === "true" : text
    default:
      return isMoment ? toUtc(text) : text
  }
}
