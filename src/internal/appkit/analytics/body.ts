/** Reads the bodies of `useAnalyticsQuery` and `useMetricView`. */
import { Effect, Schema, SchemaIssue } from "effect"
import { MetricRequest } from "../../../MetricRequest.ts"
import type { Definition, Parameters } from "../../../Queries.ts"
import * as Failure from "../failure.ts"
import * as Routes from "../routes.ts"

const Marker = Schema.Struct({
  __sql_type: Schema.Literals([
    "STRING",
    "INT",
    "BIGINT",
    "FLOAT",
    "DOUBLE",
    "NUMERIC",
    "BOOLEAN",
    "DATE",
    "TIMESTAMP"
  ]),
  value: Schema.String
})

// A chart recognizes `limit: 1000` as a hint only as a number: plain values are as good as markers.
const Value = Schema.Union([Schema.String, Schema.Finite, Schema.Boolean, Marker])

const Query = Schema.Struct({
  parameters: Schema.optional(
    Schema.NullOr(Schema.Record(Schema.String, Schema.NullOr(Schema.Union([Value, Schema.Array(Value)]))))
  ),
  // The hooks read the answer to anything but ARROW_STREAM as JSON.
  format: Schema.optional(Schema.Literals(["JSON_ARRAY", "ARROW_STREAM", "JSON", "ARROW"]))
})

/** Reads the body of a query, with its values as `Queries` takes them: it checks them by the types of the file. */
export const ofQuery = (definition: Definition) =>
  Effect.map(Routes.body(Query), ({ format, parameters }) => ({
    isArrow: format === "ARROW_STREAM",
    parameters: Object.fromEntries(
      Object.entries(parameters ?? {}).flatMap(
        ([name, value]) =>
          value === null || (hints.has(name) && definition.parameters.every((_) => _.name !== name))
            ? []
            : [[name, Array.isArray(value) ? value.map(plain) : plain(value as typeof Value.Type)]] // not an array
      )
    ) satisfies Parameters
  }))

/** The hints of a chart about the format, which it sends with the parameters. */
const hints: ReadonlySet<string> = new Set(["_preferArrow", "_preferJson"])

const plain = (value: typeof Value.Type) => (typeof value === "object" ? value.value : value)

const decode = Schema.decodeUnknownEffect(MetricRequest, { errors: "all" })

/** Reads the body of a metric view. Earlier hooks send a `format`, which is JSON. */
export const ofMetric = Effect.gen(function* () {
  const { format: _, ...request } = yield* Routes.body(Schema.Record(Schema.String, Schema.Unknown))
  return yield* Effect.mapError(decode(request), ({ issue }) =>
    Failure.refusal(400, `Invalid metric request body (fields: ${fieldsOf(issue).join(", ")})`)
  )
})

const fieldsOf = (issue: SchemaIssue.Issue) => [
  ...new Set(
    SchemaIssue.makeFormatterStandardSchemaV1()(issue).issues.map(({ path = [] }) => path.map(String).join("."))
  )
]
