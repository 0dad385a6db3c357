/** Parses the type of a column from its text in the manifest. */

export type ColumnType =
  | { readonly _tag: "Integer"; readonly bits: 8 | 16 | 32 | 64 }
  | { readonly _tag: "Float"; readonly bits: 32 | 64 }
  | { readonly _tag: "Decimal"; readonly precision: number; readonly scale: number }
  | { readonly _tag: "Boolean" | "Binary" | "Date" | "Timestamp" | "TimestampNtz" | "Variant" | "Void" }
  /** STRING, CHAR, INTERVAL, and every unknown type. */
  | { readonly _tag: "Text"; readonly text: string }
  | { readonly _tag: "Array"; readonly element: ColumnType }
  | { readonly _tag: "Map"; readonly key: ColumnType; readonly value: ColumnType }
  | { readonly _tag: "Struct"; readonly fields: ReadonlyArray<Field> }

export interface Field {
  readonly name: string
  readonly type: ColumnType
}

/** Never fails: a type that cannot be parsed is `Text` as a whole. */
export const parse = (text: string): ColumnType => {
  const reader = makeReader(text)
  const type = typeOf(reader, 0)
  return type !== undefined && reader.ended() ? type : { _tag: "Text", text: text.trim() }
}

const simple: ReadonlyMap<string, ColumnType> = new Map<string, ColumnType>([
  ["TINYINT", { _tag: "Integer", bits: 8 }],
  ["BYTE", { _tag: "Integer", bits: 8 }],
  ["SMALLINT", { _tag: "Integer", bits: 16 }],
  ["SHORT", { _tag: "Integer", bits: 16 }],
  ["INT", { _tag: "Integer", bits: 32 }],
  ["INTEGER", { _tag: "Integer", bits: 32 }],
  ["BIGINT", { _tag: "Integer", bits: 64 }],
  ["LONG", { _tag: "Integer", bits: 64 }],
  ["FLOAT", { _tag: "Float", bits: 32 }],
  ["REAL", { _tag: "Float", bits: 32 }],
  ["DOUBLE", { _tag: "Float", bits: 64 }],
  ["BOOLEAN", { _tag: "Boolean" }],
  ["BINARY", { _tag: "Binary" }],
  ["DATE", { _tag: "Date" }],
  ["TIMESTAMP", { _tag: "Timestamp" }],
  ["TIMESTAMP_LTZ", { _tag: "Timestamp" }],
  ["TIMESTAMP_NTZ", { _tag: "TimestampNtz" }],
  ["VARIANT", { _tag: "Variant" }],
  ["VOID", { _tag: "Void" }],
  ["NULL", { _tag: "Void" }]
])

// Deeper than any table, and small enough for the stack.
const maxDepth = 100

const opening = /\s*(ARRAY|MAP|STRUCT)\s*</iy
const comma = /\s*,/y
const closing = /\s*>/y
const fieldName = /\s*(?:`((?:[^`]|``)*)`|([^:`<>,]+?))\s*:/y
const attributes = /(?:\s+NOT\s+NULL\b)?(?:\s+COMMENT\s*'(?:[^'\\]|\\.|'')*')?/isy
const word = /\s*((?:[^<>,()'`]|\([^()]*\))+?)(?=\s+NOT\s+NULL\b|\s+COMMENT\s*'|\s*[,>]|\s*$)/iy
const decimal = /^(?:DECIMAL|DEC|NUMERIC)(?:\s*\(\s*(\d+)\s*(?:,\s*(\d+)\s*)?\))?$/i

const makeReader = (text: string) => {
  let position = 0
  return {
    take: (pattern: RegExp) => {
      pattern.lastIndex = position
      const match = pattern.exec(text)
      if (match !== null) position = pattern.lastIndex
      return match
    },
    ended: () => text.slice(position).trim() === ""
  }
}

type Reader = ReturnType<typeof makeReader>

const typeOf = (reader: Reader, depth: number): ColumnType | undefined => {
  if (depth > maxDepth) return undefined
  switch (reader.take(opening)?.[1]?.toUpperCase()) {
    case "ARRAY": {
      const element = typeOf(reader, depth + 1)
      return element !== undefined && reader.take(closing) ? { _tag: "Array", element } : undefined
    }
    case "MAP": {
      const key = typeOf(reader, depth + 1)
      const value = reader.take(comma) ? typeOf(reader, depth + 1) : undefined
      return key !== undefined && value !== undefined && reader.take(closing) ? { _tag: "Map", key, value } : undefined
    }
    case "STRUCT":
      return structOf(reader, depth)
    default: {
      const text = reader.take(word)?.[1]?.trim()
      return text === undefined || text === "" ? undefined : named(text)
    }
  }
}

const structOf = (reader: Reader, depth: number): ColumnType | undefined => {
  const fields: Array<Field> = []
  if (reader.take(closing)) return { _tag: "Struct", fields }
  do {
    const name = reader.take(fieldName)
    const type = name === null ? undefined : typeOf(reader, depth + 1)
    if (name === null || type === undefined) return undefined
    reader.take(attributes)
    fields.push({ name: name[1]?.replaceAll("``", "`") ?? name[2]!, type })
  } while (reader.take(comma))
  return reader.take(closing) ? { _tag: "Struct", fields } : undefined
}

const named = (text: string): ColumnType => {
  const match = decimal.exec(text)
  return match === null
    ? (simple.get(text.toUpperCase()) ?? { _tag: "Text", text })
    : { _tag: "Decimal", precision: Number(match[1] ?? 10), scale: Number(match[2] ?? 0) }
}
