/** Expands lists: `IN (:ids)` becomes `IN (:ids_1, :ids_2)`, with one parameter for each element. */
import * as SqlParameter from "../../SqlParameter.ts"
import type { Statement } from "../../SqlWarehouse.ts"
import { markersOf } from "../sql/tokens.ts"

/** Expands the lists of a statement. A list that stands elsewhere than in `IN (…)` remains, and `bind` refuses it. */
export const expand = (statement: Statement): Statement => {
  const { parameters = {}, text } = statement
  const lists = new Map<string, ReadonlyArray<SqlParameter.SqlParameter>>()
  for (const [name, input] of Object.entries(parameters)) {
    const { elements, problem } = SqlParameter.from(input)
    if (elements !== undefined && problem === undefined) lists.set(name, elements)
  }
  if (lists.size === 0) return statement
  const markers = markersOf(text)
  for (const { isListed, name } of markers) if (!isListed) lists.delete(name)

  const taken = new Set([...Object.keys(parameters), ...markers.map(({ name }) => name)])
  const expanded: Record<string, SqlParameter.Input> = {}
  const names = new Map<string, ReadonlyArray<string>>()
  for (const [name, input] of Object.entries(parameters)) {
    const elements = lists.get(name)
    if (elements === undefined) {
      expanded[name] = input
      continue
    }
    // An empty list needs its type, which a typed NULL has.
    const values = elements.length === 0 ? [{ ...SqlParameter.from(input), elements: undefined }] : elements
    let prefix = `${name}_`
    while (values.some((_, index) => taken.has(`${prefix}${index + 1}`))) prefix += "_"
    names.set(
      name,
      values.map((value, index) => {
        const own = `${prefix}${index + 1}`
        taken.add(own)
        expanded[own] = value
        return own
      })
    )
  }
  let from = 0
  let written = ""
  for (const { end, name, start } of markers) {
    const own = names.get(name)
    if (own === undefined) continue
    const all = own.map((name) => `:${name}`).join(", ")
    // No row is in an empty result, and each row is NOT IN it. `IN (NULL)` is NULL instead, and so is its NOT.
    written += text.slice(from, start) + (lists.get(name)!.length === 0 ? `SELECT ${all} WHERE FALSE` : all)
    from = end
  }
  return { text: written + text.slice(from), parameters: expanded }
}
