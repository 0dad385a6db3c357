/** Converts a tagged template to a statement: interpolations become parameters, and must stand where SQL allows one. */
import * as SqlParameter from "../../SqlParameter.ts"
import type { Statement, Template } from "../../SqlWarehouse.ts"
import { type Kind, tokensOf } from "../sql/tokens.ts"

export const ofTemplate =
  <A>(run: (statement: Statement) => A): Template<A> =>
  (template, ...values) => {
    const { markers, text } = readingOf(template)
    const parameters = markers.map(({ name, problem }, index) => {
      const value = values[index]! // a template has a value for each marker
      return [name, problem === undefined ? value : misplaced(value, problem)] as const
    })
    return run({ text, parameters: Object.fromEntries(parameters) })
  }

interface Reading {
  readonly text: string
  /** The parameters, and the problem of one that stands where SQL binds none. */
  readonly markers: ReadonlyArray<{ readonly name: string; readonly problem: string | undefined }>
}

/** The readings of templates, each of which is the same object at every call of its place in the code. */
const readings = new WeakMap<TemplateStringsArray, Reading>()

const readingOf = (template: TemplateStringsArray): Reading => {
  const known = readings.get(template)
  if (known !== undefined) return known
  const reading = read(template)
  // An array that a caller made may change.
  if (Object.isFrozen(template)) readings.set(template, reading)
  return reading
}

const read = (template: TemplateStringsArray): Reading => {
  // Keeps markers in the template's text from being bound to an interpolation by chance.
  const written = template.join(" ").toLowerCase()
  let prefix = "p_"
  while (written.includes(prefix)) prefix = `p${prefix}`
  let text = template[0]!
  const places = template.slice(1).map((after, index) => {
    const at = text.length
    const name = `${prefix}${index + 1}`
    text += `:${name}${/^\w/.test(after) ? " " : ""}${after}`
    return { at, name }
  })
  const tokens = places.length === 0 ? [] : tokensOf(text)
  const markers = places.map(({ at, name }) => {
    const within = tokens.find(({ end, start }) => start < at && at < end)
    const literal = within && literals[within.kind]
    return { name, problem: literal === undefined ? besides(text[at - 1]) : inside(literal) }
  })
  return { text, markers }
}

const literals: { readonly [kind in Kind]?: string } = {
  comment: "a comment",
  hint: "a comment",
  string: "quotes",
  quoted: "backticks",
  dollar: "dollar quotes"
}

const inside = (kind: string) =>
  `its interpolation is inside ${kind}, where SQL binds no parameter: move it out, and use concat(…) for a part of a string or IDENTIFIER(…) for a name`

// `a:b` is a field of `a`, `a::b` a cast, and `a.b` a name.
const besides = (before = "") =>
  /[\w)\]"'`.:]/.test(before)
    ? `its interpolation follows ${JSON.stringify(before)} without a space, where SQL reads it as a part of a name or as a field: add a space, and use IDENTIFIER(…) for a name or variant_get(…) for a field`
    : undefined

const misplaced = (value: SqlParameter.Input, problem: string): SqlParameter.SqlParameter => ({
  ...SqlParameter.from(value),
  problem,
  misplaced: true
})
