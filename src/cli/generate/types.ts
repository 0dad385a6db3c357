/** Writes Schemas as source: of rows by the types of their columns, of parameters by their declared types. */
import { type ColumnType, parse } from "../../internal/sqlWarehouse/columnType.ts"
import type { Parameter } from "../../Queries.ts"

/** A column, as the warehouse describes it. */
export interface Column {
  readonly name: string
  /** The SQL type, such as `decimal(10,2)` or `array<string>`. */
  readonly type: string
}

/**
 * Returns the Schema of a row. Each value may be NULL, because a warehouse describes no nullability, and has the type
 * that `SqlWarehouse` gives its column.
 */
export const rowsOf = (columns: ReadonlyArray<Column>): string =>
  struct(columns.map(({ name, type }) => [name, nullable(parse(type))]))

/** Returns the Schema of the parameters of a query. */
export const parametersOf = (parameters: ReadonlyArray<Parameter>): string =>
  struct(parameters.map((parameter) => [parameter.name, ofParameter(parameter)]))

/** Returns the reason for which these columns cannot be those of a row. */
export const problemOf = (columns: ReadonlyArray<Column>): string | undefined =>
  ofNames(columns.map(({ name }) => name)) ?? firstOf(columns, ({ type }) => ofFields(parse(type)))

const ofNames = (names: ReadonlyArray<string>): string | undefined => {
  const twice = names.find((name, index) => names.indexOf(name) !== index)
  if (twice !== undefined) return `two columns have the name ${JSON.stringify(twice)}: give one of them another with AS`
  return names.includes("__proto__") ? "a column has the name __proto__: give it another with AS" : undefined
}

const ofFields = (type: ColumnType): string | undefined => {
  switch (type._tag) {
    case "Array":
      return ofFields(type.element)
    case "Map":
      return ofFields(type.value)
    case "Struct":
      return ofNames(type.fields.map(({ name }) => name)) ?? firstOf(type.fields, ({ type }) => ofFields(type))
    default:
      return undefined
  }
}

const firstOf = <A>(items: ReadonlyArray<A>, problem: (item: A) => string | undefined) =>
  items.map(problem).find((found) => found !== undefined)

const nullable = (type: ColumnType) => (type._tag === "Void" ? "Schema.Null" : `Schema.NullOr(${schemaOf(type)})`)

const schemaOf = (type: ColumnType): string => {
  switch (type._tag) {
    case "Integer":
      return type.bits === 64 ? "Schema.BigInt" : "Schema.Int"
    case "Float":
      return "Schema.Number"
    case "Decimal":
      return "Schema.BigDecimal"
    case "Boolean":
      return "Schema.Boolean"
    case "Binary":
      return "Schema.Uint8Array"
    case "Timestamp":
      return "Schema.DateTimeUtc"
    case "Variant":
      return "Schema.Json"
    case "Void":
      return "Schema.Null"
    case "Array":
      return `Schema.Array(${nullable(type.element)})`
    case "Map":
      return `Schema.ReadonlyMap(${schemaOf(type.key)}, ${nullable(type.value)})`
    case "Struct":
      return struct(type.fields.map(({ name, type }) => [name, nullable(type)]))
    default:
      return "Schema.String"
  }
}

const ofParameter = ({ default: absent, isList, type }: Parameter) => {
  const one = parameterSchemas[type.replace(/\(.*/, "")] ?? "Schema.String"
  const schema = isList ? `Schema.Array(${one})` : one
  if (absent === undefined) return schema
  return absent.value === null && absent.elements === undefined
    ? `Schema.optional(Schema.NullOr(${schema}))`
    : `Schema.optional(${schema})`
}

/** The types of parameters that are not text. */
const parameterSchemas: { readonly [type: string]: string } = {
  BOOLEAN: "Schema.Boolean",
  TINYINT: "Schema.Int",
  SMALLINT: "Schema.Int",
  INT: "Schema.Int",
  BIGINT: "Schema.BigInt",
  FLOAT: "Schema.Number",
  DOUBLE: "Schema.Number",
  TIMESTAMP: "Schema.Date",
  BINARY: "Schema.Uint8Array"
}

const struct = (fields: ReadonlyArray<readonly [name: string, schema: string]>) =>
  fields.length === 0
    ? "Schema.Struct({})"
    : `Schema.Struct({\n${indented(fields.map(([name, schema]) => `${property(name)}: ${schema}`).join(",\n"))}\n})`

/** Writes the name of a property, quoted where it is not an identifier. */
export const property = (name: string) => (/^[A-Za-z_$][\w$]*$/.test(name) ? name : literal(name))

/** Writes a literal on one line, also for readers of the file to which U+2028 and U+2029 end a line. */
const literal = (text: string) =>
  JSON.stringify(text).replaceAll(/[\u2028\u2029]/g, (end) => `\\u${end.charCodeAt(0).toString(16)}`)

export const indented = (source: string) => `  ${source.replaceAll("\n", "\n  ")}`
