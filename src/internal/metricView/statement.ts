/** Builds the statement of a request: names become quoted identifiers, and values bound parameters. */
import { Result, Schema } from "effect"
import type { Filter, MetricRequest, Predicate } from "../../MetricRequest.ts"
import { MetricRequestError } from "../../MetricViewError.ts"
import type { Statement } from "../../SqlWarehouse.ts"

/** Builds the statement of a request that a Schema has accepted. */
export const statementOf = (source: string, request: MetricRequest): Statement => {
  const { dimensions = [], filter, limit, measures, orderBy = [], timeDimension, timeGrain } = request
  const parameters: Record<string, string | number> = {}
  let count = 0
  const bind = (value: string | number) => {
    const name = `f_${count++}`
    parameters[name] = value
    return `:${name}`
  }
  const columns = [
    ...measures.map((name) => `MEASURE(${quoted(name)}) AS ${quoted(name)}`),
    ...dimensions.map((name) =>
      timeGrain !== undefined && name === timeDimension
        ? `date_trunc('${timeGrain.toUpperCase()}', ${quoted(name)}) AS ${quoted(name)}`
        : quoted(name)
    )
  ]
  const order = [
    ...orderBy.map(({ direction = "ASC", field }) => `${quoted(field)} ${direction}`),
    // In a total order, so that a limit cuts equal requests alike.
    ...(limit === undefined
      ? []
      : dimensions.filter((name) => orderBy.every(({ field }) => field !== name)).map(quoted))
  ]
  const text = [
    `SELECT ${columns.join(", ")}`,
    `FROM ${nameOf(source)}`,
    ...(filter === undefined ? [] : [`WHERE ${conditionOf(filter, bind)}`]),
    ...(dimensions.length === 0 ? [] : ["GROUP BY ALL"]),
    ...(order.length === 0 ? [] : [`ORDER BY ${order.join(", ")}`]),
    ...(limit === undefined ? [] : [`LIMIT ${limit}`])
  ].join(" ")
  return { text, parameters }
}

/** Reads a value that may be a request of this form. */
export const parser = <R extends MetricRequest>(schema: Schema.Codec<R>) => {
  const decode = Schema.decodeUnknownResult(schema)
  return (source: string, request: unknown): Result.Result<R, MetricRequestError> =>
    Result.mapError(decode(request), ({ message }) => refusal(source, message.replaceAll(/\n\s*/g, " ")))
}

/** Makes the error of a request. */
export const refusal = (source: string, reason: string) =>
  new MetricRequestError({ source, message: `The request of the metric view ${source} is refused: ${reason}` })

/** Quotes the three parts of a name, none of which contains a dot. */
export const nameOf = (source: string) => source.split(".").map(quoted).join(".")

const quoted = (name: string) => `\`${name.replaceAll("`", "``")}\``

type Bind = (value: string | number) => string

const conditionOf = (filter: Filter, bind: Bind): string => {
  if ("and" in filter && filter.and !== undefined)
    return `(${filter.and.map((_) => conditionOf(_, bind)).join(" AND ")})`
  if ("or" in filter && filter.or !== undefined) return `(${filter.or.map((_) => conditionOf(_, bind)).join(" OR ")})`
  return predicateOf(filter as Predicate, bind)
}

const comparisons = { equals: "=", notEquals: "<>", gt: ">", gte: ">=", lt: "<", lte: "<=" } as const

const predicateOf = ({ member, operator, values = [] }: Predicate, bind: Bind): string => {
  const column = quoted(member)
  switch (operator) {
    case "set":
      return `${column} IS NOT NULL`
    case "notSet":
      return `${column} IS NULL`
    case "in":
    case "notIn":
      return `${column} ${operator === "in" ? "IN" : "NOT IN"} (${values.map(bind).join(", ")})`
    case "contains":
    case "notContains":
      return `${column} ${operator === "contains" ? "LIKE" : "NOT LIKE"} ${bind(`%${escaped(String(values[0]))}%`)}`
    default:
      return `${column} ${comparisons[operator]} ${bind(values[0]!)}`
  }
}

/** Escapes the wildcards of LIKE, whose escape character is the backslash. */
const escaped = (text: string) => text.replaceAll(/[\\%_]/g, "\\$&")
