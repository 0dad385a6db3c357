/** Reads the description of a metric view: DESCRIBE TABLE EXTENDED … AS JSON → its measures and dimensions. */
import { Option, Schema } from "effect"
import type { Column, Filter, MetricRequest } from "../../MetricRequest.ts"
import type { Description } from "../../MetricView.ts"
import { nameOf } from "./statement.ts"

export const statementOf = (source: string) => `DESCRIBE TABLE EXTENDED ${nameOf(source)} AS JSON`

// Display names and formats are decoration: one of another form is left out, and fails nothing.
const Decoration = {
  display_name: Schema.optional(Schema.Unknown),
  format: Schema.optional(Schema.Unknown)
}

const Described = Schema.Struct({
  columns: Schema.Array(
    Schema.Struct({
      name: Schema.String,
      type: Schema.Struct({
        name: Schema.String,
        precision: Schema.optional(Schema.Int),
        scale: Schema.optional(Schema.Int)
      }),
      is_measure: Schema.optional(Schema.Boolean),
      comment: Schema.optional(Schema.String),
      ...Decoration,
      metadata: Schema.optional(Schema.Struct(Decoration))
    })
  )
})

/** The one row of the answer. */
export const Row = Schema.Struct({ json_metadata: Schema.fromJsonString(Described) })

/** Returns the columns of the described view, in their order. */
export const descriptionOf = (rows: ReadonlyArray<typeof Row.Type>): Description => {
  const measures: Record<string, Column> = Object.create(null)
  const dimensions: Record<string, Column> = Object.create(null)
  for (const { comment, is_measure = false, metadata, name, type, ...column } of rows.flatMap(
    (row) => row.json_metadata.columns
  )) {
    const { precision, scale = 0 } = type
    const label = column.display_name ?? metadata?.display_name
    const format = formatOf(column.format ?? metadata?.format)
    const into = is_measure ? measures : dimensions
    into[name] = {
      type: precision === undefined ? type.name : `${type.name}(${precision},${scale})`,
      ...(typeof label === "string" && { display_name: label }),
      ...(format !== undefined && { format }),
      ...(comment !== undefined && { description: comment })
    }
  }
  return { measures, dimensions }
}

const Places = Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 20 }))

const Format = Schema.Struct({
  currency_code: Schema.optional(Schema.String),
  decimal_places: Schema.optional(Schema.Union([Places, Schema.Struct({ places: Schema.optional(Places) })]))
})

const Formats = Schema.Union([
  Schema.String,
  Schema.Struct({ currency: Format }),
  Schema.Struct({ percent: Format }),
  Schema.Struct({ percentage: Format }),
  Schema.Struct({ number: Format })
])

const decodeFormat = Schema.decodeUnknownOption(Formats)

/** Writes a format as the pattern that AppKit's formatters read. */
const formatOf = (value: unknown): string | undefined => {
  const format = Option.getOrUndefined(decodeFormat(value))
  if (format === undefined || typeof format === "string") return format
  if ("currency" in format)
    return `${symbolOf(format.currency.currency_code ?? "USD")}#,##0${decimals(format.currency, 2)}`
  if ("number" in format) return `#,##0${decimals(format.number, 0)}`
  return `0${decimals("percent" in format ? format.percent : format.percentage, 0)}%`
}

const decimals = ({ decimal_places: given }: typeof Format.Type, otherwise: number) => {
  const places = (typeof given === "object" ? given.places : given) ?? otherwise
  return places === 0 ? "" : `.${"0".repeat(places)}`
}

const symbols: Readonly<Record<string, string>> = {
  USD: "$",
  EUR: "€",
  GBP: "£",
  JPY: "¥",
  CNY: "¥",
  INR: "₹",
  BRL: "R$"
}

const symbolOf = (code: string) => symbols[code.toUpperCase()] ?? `${code.toUpperCase()} `

/** Says which name of a request the view does not have, or `undefined`. */
export const unknownName = (
  { dimensions = [], filter, measures }: MetricRequest,
  view: Description
): string | undefined => {
  const [measure, dimension] = [
    measures.find((name) => view.measures[name] === undefined),
    [...dimensions, ...membersOf(filter)].find((name) => view.dimensions[name] === undefined)
  ]
  return measure !== undefined
    ? `${JSON.stringify(measure)} is not a measure of it: use ${namesOf(view.measures)}`
    : dimension !== undefined
      ? `${JSON.stringify(dimension)} is not a dimension of it: use ${namesOf(view.dimensions)}`
      : undefined
}

const namesOf = (columns: Readonly<Record<string, Column>>) => Object.keys(columns).join(", ") || "another metric view"

const membersOf = (filter: Filter | undefined): ReadonlyArray<string> =>
  filter === undefined
    ? []
    : "member" in filter
      ? [filter.member]
      : ("and" in filter ? filter.and : filter.or).flatMap(membersOf)

/** The columns of a result, by name. */
export const columnsOf = ({ dimensions = [], measures }: MetricRequest, view: Description): Record<string, Column> =>
  Object.fromEntries([
    ...measures.map((name) => [name, view.measures[name]!] as const), // known by now
    ...dimensions.map((name) => [name, view.dimensions[name]!] as const)
  ])
