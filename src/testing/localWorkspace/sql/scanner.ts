/** Finds the named parameters of a statement. */

/** A statement whose `:name` markers have become `$1`, `$2`, …, in the order in which each name first appears. */
export interface Scanned {
  readonly sql: string
  readonly names: ReadonlyArray<string>
}

// One alternative per construct in which a colon is not a marker. The first match wins.
const token = new RegExp(
  [
    /(?<lineComment>--[^\n]*)/,
    /(?<blockComment>\/\*)/,
    /(?<escapeString>(?<![A-Za-z0-9_$])[eE]'(?:[^'\\]|\\[^]|'')*(?:'|$))/,
    /(?<string>'(?:[^']|'')*(?:'|$))/,
    /(?<identifier>"(?:[^"]|"")*(?:"|$))/,
    /(?<backtick>`(?:[^`]|``)*(?:`|$))/,
    /(?<dollar>(?<![A-Za-z0-9_$])\$(?<tag>(?:[A-Za-z_\u0080-\uffff][A-Za-z0-9_\u0080-\uffff]*)?)\$)/,
    /(?<cast>::)/,
    /:(?<name>[A-Za-z_][A-Za-z0-9_]*)/
  ]
    .map((part) => part.source)
    .join("|"),
  "g"
)

/** Block comments nest in Postgres and in Databricks. */
const endOfBlockComment = (sql: string, start: number) => {
  let depth = 0
  for (let i = start; i < sql.length; i++) {
    const pair = sql.slice(i, i + 2)
    if (pair === "/*") depth++
    else if (pair === "*/" && --depth === 0) return i + 2
    else continue
    i++
  }
  return sql.length
}

/** Finds the named parameters of a statement, and turns `backtick` identifiers into those of Postgres. */
export const scan = (
  sql: string,
  placeholder: (index: number, name: string) => string = (index) => `$${index}`
): Scanned => {
  const places = new Map<string, number>()
  let out = ""
  let position = 0
  token.lastIndex = 0
  for (let match = token.exec(sql); match !== null; match = token.exec(sql)) {
    const groups = match.groups ?? {}
    let end = token.lastIndex
    let text: string | undefined
    if (groups["blockComment"] !== undefined) {
      end = endOfBlockComment(sql, match.index)
    } else if (groups["dollar"] !== undefined) {
      const close = sql.indexOf(groups["dollar"], end)
      end = close === -1 ? sql.length : close + groups["dollar"].length
    } else if (groups["backtick"] !== undefined) {
      text = `"${groups["backtick"].slice(1, -1).replaceAll("``", "`").replaceAll('"', '""')}"`
    } else if (groups["name"] !== undefined) {
      const name = groups["name"]
      const place = places.get(name) ?? places.size + 1
      places.set(name, place)
      text = placeholder(place, name)
    }
    out += sql.slice(position, match.index) + (text ?? sql.slice(match.index, end))
    position = end
    token.lastIndex = end
  }
  return { sql: out + sql.slice(position), names: [...places.keys()] }
}
