/** Splits a script into its statements, as psql does, so that an error can name the line of its statement. */
import { endOfComment } from "../../sql/comments.ts"

export interface Statement {
  readonly text: string
  /** The line of the script on which the statement begins, from 1. */
  readonly line: number
}

// One alternative per construct that may contain a semicolon. The first match wins, and a word includes its `$` and `e`.
const token = new RegExp(
  [
    /(?<space>\s+|--[^\r\n]*)/,
    /(?<comment>\/\*)/,
    // A backslash escapes here, also in the continuations on later lines.
    /[eE]'(?:[^'\\]|\\[^]|'')*(?:'|$)(?:\s*[\r\n]\s*'(?:[^'\\]|\\[^]|'')*(?:'|$))*/,
    /'[^']*(?:'|$)|"[^"]*(?:"|$)/,
    /(?<dollar>\$(?:[A-Za-z_\u0080-\uffff][\w\u0080-\uffff]*)?\$)/,
    /(?<word>[\w\u0080-\uffff][\w$\u0080-\uffff]*)/,
    /(?<mark>[();])/,
    /[^]/
  ]
    .map((part) => part.source)
    .join("|"),
  "g"
)

/** Returns the statements in order, each from its first word, without the semicolon and surrounding comments. */
export const split = (script: string): ReadonlyArray<Statement> => {
  const statements: Array<Statement> = []
  let start: number | undefined
  let stop = 0
  let words: Array<string> = []
  let parentheses = 0
  // The depth inside a `BEGIN ATOMIC` body, whose statements end with semicolons too.
  let blocks = 0
  let line = 1
  let counted = 0
  const end = () => {
    if (start === undefined) return
    for (; counted < start; counted++) if (script[counted] === "\n") line++
    statements.push({ text: script.slice(start, stop), line })
    start = undefined
    words = []
    parentheses = 0
    blocks = 0
  }
  token.lastIndex = 0
  for (let match = token.exec(script); match !== null; match = token.exec(script)) {
    const { comment, dollar, mark, space, word } = match.groups ?? {}
    if (comment !== undefined) token.lastIndex = endOfComment(script, match.index)
    if (comment !== undefined || space !== undefined) continue
    if (mark === ";" && parentheses === 0 && blocks === 0) {
      end()
      continue
    }
    start ??= match.index
    if (dollar !== undefined) {
      const close = script.indexOf(dollar, token.lastIndex)
      token.lastIndex = close === -1 ? script.length : close + dollar.length
    } else if (mark === "(") parentheses++
    else if (mark === ")") parentheses = Math.max(0, parentheses - 1)
    else if (word !== undefined && parentheses === 0) {
      const upper = word.toUpperCase()
      if (words.length < 4) words.push(upper)
      if (upper === "END") blocks = Math.max(0, blocks - 1)
      else if ((upper === "BEGIN" && definesRoutine(words)) || (upper === "CASE" && blocks > 0)) blocks++
    }
    stop = token.lastIndex
  }
  end()
  return statements
}

const definesRoutine = (words: ReadonlyArray<string>) =>
  /^CREATE (?:OR REPLACE )?(?:FUNCTION|PROCEDURE)\b/.test(words.join(" "))
