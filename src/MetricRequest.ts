/**
 * The requests of metric views, and the columns of their results. Browser-safe: an Api that a page imports can use these
 * Schemas.
 *
 * ```ts
 * import { Schema } from "effect"
 * import { MetricRequest } from "effect-databricks"
 *
 * const decode = Schema.decodeUnknownSync(MetricRequest.MetricRequest)
 *
 * export const request = decode({
 *   measures: ["revenue"],
 *   dimensions: ["region"],
 *   filter: { member: "region", operator: "in", values: ["EMEA", "APAC"] },
 *   orderBy: [{ field: "revenue", direction: "DESC" }],
 *   limit: 10
 * })
 * ```
 *
 * @since 0.1.0
 */
import { Schema } from "effect"

/**
 * The limits of a request.
 *
 * @since 0.1.0
 * @category models
 */
export const limits = {
  measures: 50,
  dimensions: 20,
  orderBy: 20,
  limit: 100_000,
  /** The levels of `and` and `or` above a predicate. */
  depth: 8,
  /** The filters of one `and` or `or`, which has at least one. */
  children: 100,
  /** The values of one predicate. */
  values: 1_000
} as const

/**
 * A condition on one dimension. `in` and `notIn` have one or more values, `set` (is not NULL) and `notSet` none, and
 * all others one. The value of `contains` and `notContains` is text, in which `%` and `_` have no special meaning.
 *
 * @since 0.1.0
 * @category models
 */
export interface Predicate<D extends string = string> {
  readonly member: D
  readonly operator: Operator
  readonly values?: ReadonlyArray<string | number> | undefined
}

/**
 * A condition, or groups of them.
 *
 * @since 0.1.0
 * @category models
 */
export type Filter<D extends string = string> =
  | Predicate<D>
  | { readonly and: ReadonlyArray<Filter<D>> }
  | { readonly or: ReadonlyArray<Filter<D>> }

const operators = [
  "equals",
  "notEquals",
  "gt",
  "gte",
  "lt",
  "lte",
  "contains",
  "notContains",
  "in",
  "notIn",
  "set",
  "notSet"
] as const

/**
 * The operator of a predicate.
 *
 * @since 0.1.0
 * @category models
 */
export type Operator = (typeof operators)[number]

const timeGrains = ["year", "quarter", "month", "week", "day", "hour", "minute", "second"] as const

/**
 * The unit to which the values of a time dimension are truncated.
 *
 * @since 0.1.0
 * @category models
 */
export type TimeGrain = (typeof timeGrains)[number]

/**
 * A request of a metric view, in the form that `useMetricView` of AppKit sends.
 *
 * @since 0.1.0
 * @category models
 */
export interface MetricRequest<M extends string = string, D extends string = string> {
  /** The measures, at least one. No name repeats in `measures` and `dimensions`. */
  readonly measures: ReadonlyArray<M>
  /** The dimensions by which the measures are grouped. Without any, the result is one row. */
  readonly dimensions?: ReadonlyArray<D> | undefined
  readonly filter?: Filter<D> | undefined
  /** Truncates the values of `timeDimension`, whose column becomes a TIMESTAMP. The filter sees the values before it. */
  readonly timeGrain?: TimeGrain | undefined
  /** One of `dimensions`. */
  readonly timeDimension?: D | undefined
  /** Measures and dimensions of this request, each at most once. `direction` defaults to `"ASC"`. */
  readonly orderBy?: ReadonlyArray<Order<M | D>> | undefined
  /** The most rows. The dimensions that `orderBy` does not name order the rest, so that equal requests get equal rows. */
  readonly limit?: number | undefined
}

/**
 * A column by which a result is ordered.
 *
 * @since 0.1.0
 * @category models
 */
export interface Order<N extends string = string> {
  readonly field: N
  readonly direction?: "ASC" | "DESC" | undefined
}

/**
 * A column of a result, as `useMetricView` of AppKit expects it in `metadata`.
 *
 * @since 0.1.0
 * @category models
 */
export const Column = Schema.Struct({
  /** The SQL type, such as `double` or `decimal(10,2)`. */
  type: Schema.String,
  display_name: Schema.optional(Schema.String),
  /** A pattern such as `$#,##0.00`, `0.0%` or `#,##0`. */
  format: Schema.optional(Schema.String),
  description: Schema.optional(Schema.String)
})

/**
 * The type of `Column`.
 *
 * @since 0.1.0
 * @category models
 */
export type Column = typeof Column.Type

/** The problem of a value at a path in it. */
type Problem = readonly [path: ReadonlyArray<PropertyKey>, issue: string] | undefined

/** A struct that refuses fields of other names: a misspelt `filter` must not return all rows. */
const exactly = <T extends object>(
  fields: Schema.Struct.Fields,
  problemOf: (value: T) => Problem = () => undefined,
  message = "is not a field of a metric request"
): Schema.Codec<T> => {
  const otherName = new RegExp(`^(?!(?:${Object.keys(fields).join("|")})$)`)
  return Schema.StructWithRest(Schema.Struct(fields), [
    Schema.Record(Schema.String.check(Schema.isPattern(otherName)), Schema.Never.annotate({ message }))
  ]).check(
    Schema.makeFilter((value) => {
      const problem = problemOf(value as T)
      return problem && { path: problem[0], issue: problem[1] }
    })
  ) as unknown as Schema.Codec<T> // the fields and the problem together say T
}

/** The fields of a predicate and of a group, one of which a filter is. */
interface Node {
  readonly member?: string | undefined
  readonly operator?: Operator | undefined
  readonly values?: ReadonlyArray<string | number> | undefined
  readonly and?: ReadonlyArray<Filter> | undefined
  readonly or?: ReadonlyArray<Filter> | undefined
}

const nodeProblem = ({ and, member, operator, or, values }: Node): Problem => {
  const given = [and, or, member ?? operator ?? values].filter((part) => part !== undefined).length
  if (given !== 1 || (member === undefined) !== (operator === undefined) || (member ?? and ?? or) === undefined)
    return [[], "is not a filter: it has a member and an operator, or and, or or"]
  if (operator === undefined) return undefined
  const count = values?.length ?? 0
  if (operator === "set" || operator === "notSet")
    return count === 0 ? undefined : [["values"], `the operator ${operator} has no values`]
  if (operator === "in" || operator === "notIn")
    return count > 0 ? undefined : [["values"], `the operator ${operator} has at least one value`]
  if (count !== 1) return [["values"], `the operator ${operator} has one value, not ${count}`]
  return /contains/i.test(operator) && typeof values![0] !== "string"
    ? [["values", 0], `the value of ${operator} is text`]
    : undefined
}

const filterOf = (member: Schema.Codec<string>) => {
  const predicate = {
    member: Schema.optional(member),
    operator: Schema.optional(Schema.Literals(operators)),
    values: Schema.optional(
      Schema.Array(Schema.Union([Schema.String, Schema.Finite])).check(Schema.isMaxLength(limits.values))
    )
  }
  // A Schema for each level, so that no request can nest deeper than the stack.
  let filter = exactly<Node>(
    predicate,
    nodeProblem,
    `is not a field of a predicate, and a filter has at most ${limits.depth} levels of and and or`
  )
  for (let depth = 1; depth <= limits.depth; depth++) {
    const group = Schema.optional(Schema.Array(filter).check(Schema.isBetweenLength(1, limits.children)))
    filter = exactly<Node>({ ...predicate, and: group, or: group }, nodeProblem)
  }
  return filter
}

const requestProblem = ({
  dimensions = [],
  measures,
  orderBy = [],
  timeDimension,
  timeGrain
}: MetricRequest): Problem => {
  const names = [...measures, ...dimensions]
  const twice = repeated(names)
  if (twice !== undefined) return [["measures"], `${JSON.stringify(twice)} stands twice in measures and dimensions`]
  if (timeGrain !== undefined && timeDimension === undefined)
    return [["timeDimension"], "timeGrain needs a timeDimension"]
  if (timeDimension !== undefined && !dimensions.includes(timeDimension))
    return [["timeDimension"], "is not one of dimensions"]
  const fields = orderBy.map(({ field }) => field)
  const other = fields.findIndex((field) => !names.includes(field))
  if (other !== -1) return [["orderBy", other, "field"], "is not one of measures and dimensions"]
  const again = repeated(fields)
  return again === undefined ? undefined : [["orderBy"], `${JSON.stringify(again)} stands twice`]
}

const repeated = (names: ReadonlyArray<string>) => names.find((name, index) => names.indexOf(name) !== index)

const requestOf = <M extends string, D extends string>(measure: Schema.Codec<M>, dimension: Schema.Codec<D>) =>
  exactly<MetricRequest<M, D>>(
    {
      measures: Schema.Array(measure).check(Schema.isBetweenLength(1, limits.measures)),
      dimensions: Schema.optional(Schema.Array(dimension).check(Schema.isMaxLength(limits.dimensions))),
      filter: Schema.optional(filterOf(dimension)),
      timeGrain: Schema.optional(Schema.Literals(timeGrains)),
      timeDimension: Schema.optional(dimension),
      orderBy: Schema.optional(
        Schema.Array(
          exactly<Order>({
            field: Schema.Union([measure, dimension]),
            direction: Schema.optional(Schema.Literals(["ASC", "DESC"]))
          })
        ).check(Schema.isMaxLength(limits.orderBy))
      ),
      limit: Schema.optional(Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: limits.limit })))
    },
    requestProblem
  )

/**
 * Makes the Schema of the requests of a metric view with these measures and dimensions. It refuses other names.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = <const M extends string, const D extends string>(names: {
  readonly measures: ReadonlyArray<M>
  readonly dimensions: ReadonlyArray<D>
}): Schema.Codec<MetricRequest<M, D>> => requestOf(Schema.Literals(names.measures), Schema.Literals(names.dimensions))

const Name = Schema.String.check(
  Schema.isBetweenLength(1, 255),
  Schema.isPattern(/^\P{Cc}*$/u, { expected: "a name without control characters" })
)

/**
 * The Schema of the requests of any metric view. A name has at most 255 characters and no control characters. Fields of
 * other names are refused.
 *
 * @since 0.1.0
 * @category schemas
 */
export const MetricRequest: Schema.Codec<MetricRequest> = requestOf(Name, Name)
