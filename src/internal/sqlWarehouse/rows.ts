/** Decodes the text of rows by a Schema, or by the types of their columns. */
import { Effect, Result, Schema, type SchemaIssue } from "effect"
import { parse } from "./columnType.ts"
import type { Column, Row } from "../../SqlWarehouse.ts"
import { shaped } from "./shape.ts"
import { valuesOf } from "./values.ts"
import type { TextRow } from "./wire.ts"
import { type Place, placeOf, refusalOf } from "../workspace/schemaJson.ts"

/** The place and reason of a row that cannot be decoded, for `RowDecodeError`. */
export interface Mismatch {
  readonly message: string
  readonly row?: number | undefined
  readonly column?: string | undefined
}

/** Returns the decoder for the columns of a result; `before` is the number of rows decoded so far. */
export type Decoder<A, R> = (
  columns: ReadonlyArray<Column>
) => (rows: ReadonlyArray<TextRow>, before: number) => Effect.Effect<ReadonlyArray<A>, Mismatch, R>

export const bySchema = <S extends Schema.Constraint>(row: S): Decoder<S["Type"], S["DecodingServices"]> => {
  const codec = Schema.Array(Schema.toCodecJson(row))
  const decode = Schema.decodeUnknownEffect(codec)
  const place = placeOf(codec.ast)
  return named((columns) => {
    const readers = columns.map(({ name, type_text }) => shaped(parse(type_text), place.item(0).field(name)))
    const record = recordOf(columns)
    return (rows, before) =>
      Effect.suspend(() => {
        const json = rows.map((row) =>
          record(row.map((value, index) => (value === null ? null : readers[index]!(value))))
        )
        return Effect.mapError(decode(json), ({ issue }) => mismatch(issue, json, place, columns, before))
      })
  })
}

/** The arguments of a query: an optional Schema and optional options. */
export type Asked<O> =
  | readonly [schema: Schema.Constraint, options?: O | undefined]
  | readonly [options?: O | undefined]

export const asked = <O>(args: Asked<O>): readonly [decoder: Decoder<never, never>, options: O | undefined] => {
  const [first, second] = args
  const decoder: Decoder<unknown, unknown> = Schema.isSchema(first) ? bySchema(first) : byType()
  // The overloads determine the type of the rows and which argument has the options.
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

const mismatch = (
  issue: SchemaIssue.Issue,
  json: ReadonlyArray<unknown>,
  place: Place,
  columns: ReadonlyArray<Column>,
  before: number
): Mismatch => {
  const {
    message,
    path: [index, name, ...within]
  } = refusalOf(issue, json, place)
  const row = typeof index === "number" ? before + index + 1 : undefined
  const column = typeof name === "string" ? name : undefined
  const type = columns.find((_) => _.name === column)?.type_text
  const where = [
    row === undefined ? "A row" : `Row ${row}`,
    column === undefined ? "" : `, column "${column}"${type === undefined ? "" : ` (${type})`}`,
    within.length === 0 ? "" : ` at ${within.join(".")}`
  ]
  return { row, column, message: `${where.join("")} does not match the Schema: ${message}` }
}
