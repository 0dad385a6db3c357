/** Block comments, which nest in Databricks SQL and in Postgres. */

/** Returns the end of the comment that begins at `start`. One that is not closed ends with the text. */
export const endOfComment = (text: string, start: number): number => {
  const bracket = /\/\*|\*\//g
  bracket.lastIndex = start
  let depth = 0
  for (let match = bracket.exec(text); match !== null; match = bracket.exec(text)) {
    depth += match[0] === "/*" ? 1 : -1
    if (depth === 0) return bracket.lastIndex
  }
  return text.length
}
