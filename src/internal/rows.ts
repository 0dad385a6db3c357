/** Turns the text that a warehouse answers into what a Schema describes. */
import { Effect, Schema, SchemaAST, SchemaIssue } from "effect"
import type { Column, Row } from "./statements.ts"

/**
 * A row is not what the Schema says, or its columns cannot be told apart.
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

export const decoder = <S extends Schema.Constraint>(row: S) => {
  const codec = Schema.toCodecJson(row)
  const encoded = SchemaAST.toEncoded(codec.ast)
  const decode = Schema.decodeUnknownEffect(Schema.Array(codec))
  return Effect.fnUntraced(function* (
    columns: ReadonlyArray<Column>,
    rows: ReadonlyArray<Row>
  ): Effect.fn.Return<ReadonlyArray<S["Type"]>, RowDecodeError, S["DecodingServices"]> {
    const twice = columns.find(({ name }, index) => columns.findIndex((_) => _.name === name) !== index)
    if (twice !== undefined) {
      return yield* new RowDecodeError({
        column: twice.name,
        message: `The result has two columns "${twice.name}": give one of them another name with AS`
      })
    }
    const readers = columns.map(({ name, type_name }) => reader(type_name, wantedOf(encoded, name)))
    const records = rows.map((row) =>
      Object.fromEntries(
        columns.map(({ name }, index) => {
          const value = row[index] ?? null
          return [name, value === null ? null : readers[index]!(value)]
        })
      )
    )
    return yield* Effect.mapError(decode(records), ({ issue }) => mismatch(issue, columns))
  })
}

type Read = (text: string) => unknown

const numeric = new Set(["BYTE", "SHORT", "INT", "LONG", "FLOAT", "DOUBLE", "DECIMAL"])

const reader = (type: string, wanted: ReadonlySet<string>): Read =>
  numeric.has(type) && wanted.has("number")
    ? toNumber
    : type === "BOOLEAN" && wanted.has("boolean")
      ? (text) => text === "true"
      : (text) => text

// What a number cannot hold stays text, which a Schema of numbers refuses: nothing is rounded unseen.
const toNumber: Read = (text) => {
  const value = Number(text)
  return Number.isFinite(value) && (Number.isSafeInteger(value) || !/^-?\d+(\.0*)?$/.test(text)) ? value : text
}

/** The primitives that the encoded side of a row's Schema takes in one of its fields. */
const wantedOf = (ast: SchemaAST.AST, field: string): ReadonlySet<string> => new Set(fieldsOf(ast, field))

const fieldsOf = (ast: SchemaAST.AST, field: string): ReadonlyArray<string> => {
  switch (ast._tag) {
    case "Objects": {
      const property = ast.propertySignatures.find(({ name }) => name === field)
      return property === undefined
        ? ast.indexSignatures.flatMap(({ type }) => primitivesOf(type))
        : primitivesOf(property.type)
    }
    case "Union":
      return ast.types.flatMap((type) => fieldsOf(type, field))
    case "Suspend":
      return fieldsOf(ast.thunk(), field)
    default:
      return []
  }
}

const primitivesOf = (ast: SchemaAST.AST): ReadonlyArray<string> => {
  switch (ast._tag) {
    case "Number":
      return ["number"]
    case "Boolean":
      return ["boolean"]
    case "Literal":
      return [typeof ast.literal]
    case "Union":
      return ast.types.flatMap(primitivesOf)
    default:
      return []
  }
}

const format = SchemaIssue.makeFormatterStandardSchemaV1()

const mismatch = (issue: SchemaIssue.Issue, columns: ReadonlyArray<Column>) => {
  const first = format(issue).issues[0]
  const [index, name] = first?.path ?? []
  const row = typeof index === "number" ? index + 1 : undefined
  const column = typeof name === "string" ? name : undefined
  const type = columns.find((_) => _.name === column)?.type_text
  const where = [
    row === undefined ? "A row" : `Row ${row}`,
    column === undefined ? "" : `, column "${column}"${type === undefined ? "" : ` (${type})`}`
  ]
  return new RowDecodeError({
    row,
    column,
    message: `${where.join("")} does not match the Schema: ${first?.message ?? "it is something else"}`
  })
}
