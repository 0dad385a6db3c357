/** Parses a file of a query: path and text → key, identity, parameters and statement. */
import { Result } from "effect"
import type { Definition, Parameter, Problem } from "../../Queries.ts"
import type { SqlParameter } from "../../SqlParameter.ts"
import { type Marker, markersOf, openIn, type Token, tokensOf } from "../sql/tokens.ts"
import { names, type Read, typeOf } from "./types.ts"

/** The parameter that the library provides: the id of the workspace. */
export const provided = "workspaceId"

/** Parses the text of a file, or returns every problem in it. */
export const parse = (path: string, source: string): Result.Result<Definition, ReadonlyArray<Problem>> => {
  const text = source.replace(/^\uFEFF/, "")
  const problems: Array<Problem> = []
  const refuse = (at: number, reason: string) => {
    problems.push({ file: path, line: text.slice(0, at).split("\n").length, reason })
  }
  const named = identityOf(path)
  if (named === undefined) refuse(0, badName)
  const unread = text.search(/[\0\uFFFD]/)
  if (unread !== -1) refuse(unread, "the file has bytes that are not UTF-8: save it as UTF-8")
  const open = openIn(text)
  if (open !== undefined) refuse(open, "a comment, a string or a quoted name is not closed")
  const tokens = tokensOf(text)
  const annotations = tokens.flatMap((token) => {
    const [first = ""] = text.slice(token.start, token.end).split(/\r?\n/)
    return token.kind === "comment" && /^--+\s*@param\b/i.test(first) ? [{ at: token.start, line: first }] : []
  })
  const markers = markersOf(text, tokens)
  const parameters: Array<Parameter> = []
  for (const { at, line } of annotations) {
    const parameter = parameterOf(line, markers)
    if (typeof parameter === "string") refuse(at, parameter)
    else if (parameters.some(({ name }) => name === parameter.name)) {
      refuse(at, `the parameter ${parameter.name} is declared twice: remove one of its lines`)
    } else parameters.push(parameter)
  }
  for (const { isListed, name, start } of markers) {
    const parameter = parameters.find((_) => _.name === name)
    if (parameter === undefined && name !== provided && !isAnnotated(name, annotations)) {
      refuse(
        start,
        `:${name} is not declared: add the line "-- @param ${name} TYPE", or write ${name} without a space before its colon if it is a field`
      )
    }
    if (parameter?.isList === true && !isListed) {
      refuse(start, `:${name} is a list, which stands only as IN (:${name})`)
    }
  }
  const statement = statementOf(text, tokens)
  if (typeof statement === "number")
    refuse(statement, "a file has one statement: move what follows the ; to another file")
  else if (statement === "") refuse(0, "the file has no statement")
  return named === undefined || typeof statement === "number" || problems.length > 0
    ? Result.fail(problems.toSorted((a, b) => a.line - b.line))
    : Result.succeed({ ...named, parameters, statement, path })
}

const badName =
  'the name of a file is "key.sql" for the service principal or "key.obo.sql" for the user, with letters, digits, _ and - in the key'

/** Returns the key and the identity that the name of a file declares. */
export const identityOf = (path: string): Pick<Definition, "key" | "runsAs"> | undefined => {
  const [, key, obo] = /(?:^|[\\/])([A-Za-z0-9_-]+)(\.obo)?\.sql$/.exec(path) ?? []
  return key === undefined ? undefined : { key, runsAs: obo === undefined ? "service" : "user" }
}

/** Whether a line names the parameter, be the line right or wrong. */
const isAnnotated = (name: string, annotations: ReadonlyArray<{ readonly line: string }>) =>
  annotations.some(({ line }) => /@param\s+(\S+)/i.exec(line)?.[1] === name)

const annotation =
  /^--+\s*@param\s+(?<name>\S+)\s+(?<type>[A-Za-z_]+(?:\s*\([\d\s,]*\))?)(?<list>\[\])?(?:\s+DEFAULT\s+(?<default>\S.*)|\s*=\s*(?<sample>\S.*))?$/i

/** Reads a line `-- @param name TYPE`, or says its problem. */
const parameterOf = (line: string, markers: ReadonlyArray<Marker>): Parameter | string => {
  const {
    default: defaultText,
    list,
    name,
    sample: sampleText,
    type: typeText
  } = annotation.exec(line.trimEnd())?.groups ?? {}
  if (name === undefined || typeText === undefined) {
    return `"${line.trim()}" does not read as "-- @param name TYPE", followed by nothing, by "DEFAULT value" or by "= sample"`
  }
  if (!/^(?!__proto__$)[A-Za-z_]\w*$/.test(name))
    return `the parameter name "${name}" is not an identifier: use letters, digits and _`
  if (name === provided) return `:${provided} is provided: remove its line`
  if (!markers.some((marker) => marker.name === name)) {
    return `the statement does not use :${name}: remove its line, or put a space before its colon`
  }
  const found = typeOf(typeText)
  if (found === undefined) return `${typeText} is not a type of a parameter: use ${names}`
  const { read, type } = found
  const isList = list !== undefined
  const literal = (text: string | undefined, isSample: boolean) =>
    text === undefined ? undefined : isList ? listOf(text, read, isSample) : valueOf(text, read, isSample)
  const [absent, sample] = [literal(defaultText, false), literal(sampleText, true)]
  const problem = absent?.problem ?? sample?.problem
  return problem === undefined
    ? { name, type, isList, default: absent, sample }
    : `the ${absent === undefined ? "sample" : "default"} of ${name} is wrong: ${problem}`
}

const wrong = (read: Read, problem: string): SqlParameter => ({ ...read(null), problem })

/** Reads a literal. A sample is also text without quotes, as AppKit has it. */
const valueOf = (text: string, read: Read, isSample: boolean): SqlParameter => {
  const [, hex, quoted] = /^(?:[xX]'([^']*)'|'((?:[^']|'')*)')$/.exec(text) ?? []
  if (hex !== undefined || quoted !== undefined) return read(hex ?? quoted!.replaceAll("''", "'"))
  if (/^null$/i.test(text)) return read(null)
  return isSample || /^(?:true|false|[+-]?\.?\d[\w.+-]*)$/i.test(text)
    ? read(text)
    : wrong(read, "write text in single quotes, a number, TRUE, FALSE or NULL")
}

const listOf = (text: string, read: Read, isSample: boolean): SqlParameter => {
  const [, inside] = /^\(\s*(.*?)\s*\)$/.exec(text) ?? []
  const parts = inside === undefined ? undefined : inside === "" ? [] : inside.match(/(?:'(?:[^']|'')*'|[^',])+/g)
  // Two commas, or a quote that is not closed, are in no part.
  if (!parts || parts.join(",") !== inside) return wrong(read, "write a list as ('a', 'b'), or () for an empty one")
  const elements = parts.map((part) => valueOf(part.trim(), read, isSample))
  const problem =
    elements.find((_) => _.problem !== undefined)?.problem ??
    (elements.some(({ value }) => value === null) ? "a list must not contain NULL" : undefined)
  return problem === undefined ? { ...read(null), elements } : wrong(read, problem)
}

/**
 * Returns the statement without comments, or the place of a second one. Words in comments would keep the result from
 * being cached; blanks in their place keep the lines that the warehouse's messages name.
 */
const statementOf = (text: string, tokens: ReadonlyArray<Token>): string | number => {
  const significant = tokens.filter(({ kind }) => kind !== "comment")
  const end = significant.findIndex(({ end, start }) => text.slice(start, end) === ";")
  const second =
    end === -1 ? undefined : significant.slice(end).find(({ end, start }) => text.slice(start, end) !== ";")
  if (second !== undefined) return second.start
  const last = significant[(end === -1 ? significant.length : end) - 1]
  if (last === undefined) return ""
  let statement = ""
  let from = 0
  for (const { kind, start, end } of tokens) {
    if (kind !== "comment" || start > last.start) continue
    statement += text.slice(from, start) + text.slice(start, end).replaceAll(/[^\r\n]/g, " ")
    from = end
  }
  return statement + text.slice(from, last.end)
}
