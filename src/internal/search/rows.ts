/** The hits of a page: score and row apart, columns matched by name, rows decoded by their Schema. */
import { Effect, Schema, SchemaAST } from "effect"
import type { Hit } from "../../AiSearch.ts"
import { RowDecodeError } from "../../SqlWarehouse.ts"
import { fitted, placeOf, refusalOf } from "../workspace/schemaJson.ts"

export interface Reader<A, R> {
  /** The columns to ask for. */
  readonly columns: ReadonlyArray<string>
  /** Decodes the rows of a page; `names` are the columns of its manifest. */
  readonly hits: (
    names: ReadonlyArray<string>,
    rows: ReadonlyArray<ReadonlyArray<unknown>>
  ) => Effect.Effect<ReadonlyArray<Hit<A>>, RowDecodeError, R>
}

/** Returns the reader of an index's rows: of these columns, or of the Schema's fields. */
export const reader = <S extends Schema.Constraint>(
  index: string,
  schema: S,
  columns: ReadonlyArray<string> = fieldsOf(schema)
): Reader<S["Type"], S["DecodingServices"]> => {
  const codec = Schema.Array(Schema.toCodecJson(schema))
  const decode = Schema.decodeUnknownEffect(codec)
  const place = placeOf(codec.ast)
  const refused = (what: string, at: { readonly row?: number; readonly column?: string }) =>
    new RowDecodeError({ message: `The index ${index} ${what}`, ...at })

  return {
    columns,
    hits: Effect.fnUntraced(function* (names, rows) {
      // The score comes last, also if the index has a column of this name.
      const score = names.lastIndexOf("score")
      const own = names.map((name, at) => (at === score ? undefined : name))
      for (const column of columns) {
        const first = own.indexOf(column)
        if (first === -1) {
          return yield* Effect.fail(
            refused(`does not return the column "${column}": ask for one that it has`, { column })
          )
        }
        if (own.indexOf(column, first + 1) !== -1) {
          return yield* Effect.fail(refused(`returns two columns "${column}": ask for it once`, { column }))
        }
      }
      const positions = columns.map((column) => [column, own.indexOf(column)] as const)
      const json = rows.map((row) => Object.fromEntries(positions.map(([column, at]) => [column, row[at]])))
      fitted(json, place)
      const decoded = yield* Effect.mapError(decode(json), ({ issue }) => {
        const {
          message,
          path: [row, column, ...within]
        } = refusalOf(issue, json, place)
        const named = typeof column === "string" ? { column } : {}
        const where = column === undefined ? "" : `, column "${[column, ...within].join(".")}",`
        return refused(`returned a row ${Number(row) + 1}${where} that does not match the Schema: ${message}`, {
          row: Number(row) + 1,
          ...named
        })
      })
      return decoded.map((row, at) => ({ row, score: Number(rows[at]![score]) }))
    })
  }
}

const fieldsOf = (schema: Schema.Constraint): ReadonlyArray<string> => {
  const ast = SchemaAST.toEncoded(schema.ast)
  return SchemaAST.isObjects(ast) ? ast.propertySignatures.map(({ name }) => String(name)) : []
}
