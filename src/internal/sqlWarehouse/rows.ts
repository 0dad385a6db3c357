/** Turns the text of rows into what their reader wants: what a Schema describes, or values by the columns' own types. */
import { Effect, Result, Schema, SchemaAST, SchemaIssue } from "effect"
import { type ColumnType, parse } from "./columnType.ts"
import type { Column, Row } from "../../SqlWarehouse.ts"
import { reader as valueReader, toJson, valuesOf } from "./values.ts"
import type { TextRow } from "./wire.ts"

/** Where a row is not what its reader wants; `RowDecodeError` is made of it. */
export interface Mismatch {
  readonly message: string
  readonly row?: number | undefined
  readonly column?: string | undefined
}

/** For the columns of a result, how its rows are decoded; `before` is how many have been. */
export type Decoder<A, R> = (
  columns: ReadonlyArray<Column>
) => (rows: ReadonlyArray<TextRow>, before: number) => Effect.Effect<ReadonlyArray<A>, Mismatch, R>

export const bySchema = <S extends Schema.Constraint>(row: S): Decoder<S["Type"], S["DecodingServices"]> => {
  const codec = Schema.toCodecJson(row)
  const encoded = SchemaAST.toEncoded(codec.ast)
  const decode = Schema.decodeUnknownEffect(Schema.Array(codec))
  return named((columns) => {
    const readers = columns.map((column) => reader(column, wantedOf(encoded, column.name)))
    const record = recordOf(columns)
    return (rows, before) =>
      Effect.suspend(() =>
        Effect.mapError(
          decode(
            rows.map((row) => record(row.map((value, index) => (value === null ? null : readers[index]!(value)))))
          ),
          ({ issue }) => mismatch(issue, columns, before)
        )
      )
  })
}

/** A Schema or none, and options or none. */
export type Asked<O> =
  | readonly [schema: Schema.Constraint, options?: O | undefined]
  | readonly [options?: O | undefined]

export const asked = <O>(args: Asked<O>): readonly [decoder: Decoder<never, never>, options: O | undefined] => {
  const [first, second] = args
  const decoder: Decoder<unknown, unknown> = Schema.isSchema(first) ? bySchema(first) : byType()
  // The overloads say what it decodes to, and which of the arguments are options.
  return [decoder as Decoder<never, never>, (Schema.isSchema(first) ? second : first) as O | undefined]
}

export const byType = (): Decoder<Row, never> =>
  named((columns) => {
    const values = valuesOf(columns)
    const record = recordOf(columns)
    return (rows, before) =>
      Effect.suspend(() => Effect.fromResult(Result.map(values(rows, before), (rows) => rows.map(record))))
  })

const named =
  <A, R>(decoder: Decoder<A, R>): Decoder<A, R> =>
  (columns) => {
    const names = columns.map(({ name }) => name)
    const twice = names.find((name, index) => names.indexOf(name) !== index)
    if (twice === undefined) return decoder(columns)
    const message = `The result has two columns "${twice}": give one of them another name with AS, or take \`valuesOf\` a result`
    return () => Effect.fail<Mismatch>({ column: twice, message })
  }

const recordOf = (columns: ReadonlyArray<Column>) => {
  const names = columns.map(({ name }) => name)
  if (names.includes("__proto__")) {
    return <A>(values: ReadonlyArray<A>) => Object.fromEntries(names.map((name, index) => [name, values[index]!]))
  }
  return <A>(values: ReadonlyArray<A>) => {
    const record: Record<string, A> = {}
    for (let index = 0; index < names.length; index++) record[names[index]!] = values[index]!
    return record
  }
}

type Read = (text: string) => unknown

const numeric = new Set(["BYTE", "SHORT", "INT", "LONG", "FLOAT", "DOUBLE", "DECIMAL"])
const nested = new Set(["ARRAY", "MAP", "STRUCT", "VARIANT"])

const reader = ({ type_name, type_text }: Column, wanted: ReadonlySet<string>): Read => {
  if (numeric.has(type_name) && wanted.has("number")) return toNumber
  if (type_name === "BOOLEAN" && wanted.has("boolean")) return (text) => text === "true"
  if (nested.has(type_name) && wanted.has("object") && !wanted.has("string")) return toObject(parse(type_text))
  return (text) => text
}

// A value that does not match its type stays text, which a Schema of objects refuses.
const toObject = (type: ColumnType): Read => {
  const read = valueReader(type)
  return (text) => {
    const value = read(text)
    return value === undefined ? text : toJson(value)
  }
}

// What a number cannot hold stays text, which a Schema of numbers refuses: nothing is rounded unseen.
const toNumber: Read = (text) => {
  const value = Number(text)
  return Number.isFinite(value) && (Number.isSafeInteger(value) || !/^-?\d+(\.0*)?$/.test(text)) ? value : text
}

/** The kinds of JSON that the encoded side of a row's Schema takes in one of its fields. */
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
    case "String":
    case "TemplateLiteral":
      return ["string"]
    case "Arrays":
    case "Objects":
      return ["object"]
    case "Union":
      return ast.types.flatMap(primitivesOf)
    case "Suspend":
      return primitivesOf(ast.thunk())
    default:
      return []
  }
}

const format = SchemaIssue.makeFormatterStandardSchemaV1()

const mismatch = (issue: SchemaIssue.Issue, columns: ReadonlyArray<Column>, before: number): Mismatch => {
  const first = format(issue).issues[0]
  const [index, name] = first?.path ?? []
  const row = typeof index === "number" ? before + index + 1 : undefined
  const column = typeof name === "string" ? name : undefined
  const type = columns.find((_) => _.name === column)?.type_text
  const where = [
    row === undefined ? "A row" : `Row ${row}`,
    column === undefined ? "" : `, column "${column}"${type === undefined ? "" : ` (${type})`}`
  ]
  const message = `${where.join("")} does not match the Schema: ${first?.message ?? "it is something else"}`
  return { row, column, message }
}
