/** Binds the values of a call to the parameters of its query. */
import { Effect, Result } from "effect"
import type { Definition, Parameter, Parameters, Queries } from "../../Queries.ts"
import { QueryParameterError, UnknownQueryError } from "../../QueryError.ts"
import * as SqlParameter from "../../SqlParameter.ts"
import type { Statement } from "../../SqlWarehouse.ts"
import { markersOf, tokensOf } from "../sql/tokens.ts"
import { provided } from "./parse.ts"
import { typeOf } from "./types.ts"

export const make = (definitions: ReadonlyMap<string, Definition>, workspaceId: string): Queries["Service"]["bind"] => {
  const binders = new Map(Array.from(definitions, ([key, definition]) => [key, binderOf(definition, workspaceId)]))
  return (key, parameters) => {
    const binder = binders.get(key)
    return binder === undefined
      ? Effect.fail(new UnknownQueryError({ query: key, message: `No query has the key ${JSON.stringify(key)}` }))
      : Effect.fromResult(binder(parameters))
  }
}

/**
 * Returns the statement with a value for each parameter, for asking for its columns: the sample, the default, or a typed
 * NULL. A LIMIT or OFFSET that is NULL is refused, so its value is 1.
 */
export const sampled = ({ parameters, statement: text }: Definition): Statement => {
  const tokens = tokensOf(text).filter(({ kind }) => kind !== "comment")
  const markers = markersOf(text)
  const isCount = (name: string) =>
    markers.some((marker) => {
      if (marker.name !== name) return false
      const before = tokens[tokens.findIndex(({ start }) => start === marker.start) - 1]
      return before !== undefined && /^(?:limit|offset)$/i.test(text.slice(before.start, before.end))
    })
  const bound = parameters.map((parameter): readonly [string, SqlParameter.SqlParameter] => {
    const { isList, name, sample = parameter.default, type } = parameter
    const { read } = typeOf(type)! // the parser has read it
    if (sample !== undefined && (sample.value ?? sample.elements) !== undefined) return [name, sample]
    return [name, isList ? { ...read(null), elements: [] } : read(isCount(name) ? 1 : null)]
  })
  return {
    text,
    parameters: {
      ...(markers.some(({ name }) => name === provided) && { [provided]: SqlParameter.string(null) }),
      ...Object.fromEntries(bound)
    }
  }
}

const binderOf = (definition: Definition, workspaceId: string) => {
  const { key, parameters, statement: text } = definition
  const readers = parameters.map((parameter) => ({ parameter, read: readerOf(parameter) }))
  const own = markersOf(text).some(({ name }) => name === provided)
    ? { [provided]: SqlParameter.string(workspaceId) }
    : undefined
  const refuse = (parameter: string, problem: QueryParameterError["problem"], reason: string) =>
    Result.fail(new QueryParameterError({ query: key, parameter, problem, message: `The query ${key} ${reason}` }))

  return (given: Parameters) => {
    const unknown = Object.keys(given).find((name) => !parameters.some((parameter) => parameter.name === name))
    if (unknown !== undefined) return refuse(unknown, "unknown", `has no parameter ${JSON.stringify(unknown)}`)
    const bound: Record<string, SqlParameter.SqlParameter> = { ...own }
    for (const { parameter, read } of readers) {
      const { name } = parameter
      const value = Object.hasOwn(given, name) ? given[name] : undefined
      const input = value === undefined || value === null ? parameter.default : read(value)
      if (input === undefined) return refuse(name, "missing", `requires the parameter :${name} (${textOf(parameter)})`)
      if (input.problem !== undefined) return refuse(name, "invalid", `cannot use :${name}: ${input.problem}`)
      bound[name] = input
    }
    return Result.succeed({ definition, statement: { text, parameters: bound } })
  }
}

const textOf = ({ isList, type }: Parameter) => (isList ? `${type}[]` : type)

const readerOf = ({ isList, type }: Parameter) => {
  const { read } = typeOf(type)! // the parser has read it
  return isList
    ? (value: unknown) => SqlParameter.list<unknown>(read, value as ReadonlyArray<unknown>) // checked by `list`
    : read
}
