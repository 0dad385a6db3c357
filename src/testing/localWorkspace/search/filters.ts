/** The filters of a standard endpoint as SQL: `{ "year >=": 2024, "a OR b": [1, 2] }`. */
import * as Replies from "../http/replies.ts"
import { quoted } from "../postgres/session.ts"

/** Binds a value, and returns its parameter. */
export type Bind = (value: string) => string

type Condition = (column: string, value: unknown, bind: Bind) => string

// Containment of JSON is equality of scalars, and membership for an array column.
const equals: Condition = (column, value, bind) => `to_jsonb(${column}) @> ${bind(JSON.stringify(value))}::jsonb`

const compares =
  (operator: string): Condition =>
  (column, value, bind) =>
    `${column} ${operator} ${bind(String(value))}`

const conditions: Readonly<Record<string, Condition>> = {
  "": equals,
  NOT: (column, value, bind) => `NOT (${equals(column, value, bind)})`,
  "<": compares("<"),
  "<=": compares("<="),
  ">": compares(">"),
  ">=": compares(">="),
  LIKE: (column, value, bind) => `${bind(String(value))} = ANY (regexp_split_to_array(${column}::text, '\\s+'))`
}

const one = (key: string, value: unknown, bind: Bind): string => {
  const [column = "", operator = "", more] = key.split(" ")
  const condition = conditions[operator]
  if (condition === undefined || more !== undefined) throw Replies.invalidParameter(`Invalid filter key: ${key}`)
  const values = Array.isArray(value) && operator === "" ? value : [value]
  return anyOf(values.map((one) => condition(quoted(column), one, bind)))
}

const anyOf = (all: ReadonlyArray<string>) => (all.length === 0 ? "false" : `(${all.join(" OR ")})`)

/** Returns the condition of a query's filters; throws a refusal if they are malformed. */
export const whereOf = (json: string | undefined, bind: Bind): string => {
  const filters: unknown = json === undefined ? {} : JSON.parse(json)
  if (typeof filters !== "object" || filters === null) throw Replies.invalidParameter("Invalid filters_json")
  const all = Object.entries(filters).map(([key, value]: [string, unknown]) => {
    const keys = key.split(" OR ")
    if (keys.length === 1) return one(key, value, bind)
    if (!Array.isArray(value) || value.length !== keys.length) {
      throw Replies.invalidParameter(`The filter ${key} needs one value for each of its columns`)
    }
    return anyOf(keys.map((key, at) => one(key, value[at], bind)))
  })
  return all.length === 0 ? "true" : all.join(" AND ")
}
