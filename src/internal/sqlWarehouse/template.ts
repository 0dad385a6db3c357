/** Converts a tagged template to a statement: interpolations become parameters, and must stand where SQL allows one. */
import * as SqlParameter from "../../SqlParameter.ts"
import type { Statement, Template } from "../../SqlWarehouse.ts"
import { type Kind, tokensOf } from "../sql/tokens.ts"

export const ofTemplate =
  <A>(run: (statement: Statement) => A): Template<A> =>
  (template, ...values) => {
    // Keeps markers in the template's text from being bound to an interpolation by chance.
    const written = template.join(" ").toLowerCase()
    let prefix = "p_"
    while (written.includes(prefix)) prefix = `p${prefix}`
    let text = template[0]!
    const markers = values.map((value, index) => {
      const at = text.length
      const name = `${prefix}${index + 1}`
      const after = template[index + 1]!
      text += `:${name}${/^\w/.test(after) ? " " : ""}${after}`
      return { at, name, value }
    })
    const tokens = values.length === 0 ? [] : tokensOf(text)
    const parameters = markers.map(({ at, name, value }) => {
      const within = tokens.find(({ end, start }) => start < at && at < end)
      const literal = within && literals[within.kind]
      return [name, literal === undefined ? besides(value, text[at - 1]) : inside(value, literal)] as const
    })
    return run({ text, parameters: Object.fromEntries(parameters) })
  }

const literals: { readonly [kind in Kind]?: string } = {
  comment: "a comment",
  hint: "a comment",
  string: "quotes",
  quoted: "backticks",
  dollar: "dollar quotes"
}

const inside = (value: SqlParameter.Input, kind: string) =>
  misplaced(
    value,
    `its interpolation is inside ${kind}, where SQL binds no parameter: move it out, and use concat(…) for a part of a string or IDENTIFIER(…) for a name`
  )

// `a:b` is a field of `a`, `a::b` a cast, and `a.b` a name.
const besides = (value: SqlParameter.Input, before = "") =>
  /[\w)\]"'`.:]/.test(before)
    ? misplaced(
        value,
        `its interpolation follows ${JSON.stringify(before)} without a space, where SQL reads it as a part of a name or as a field: add a space, and use IDENTIFIER(…) for a name or variant_get(…) for a field`
      )
    : value

const misplaced = (value: SqlParameter.Input, problem: string): SqlParameter.SqlParameter => ({
  ...SqlParameter.from(value),
  problem,
  misplaced: true
})
