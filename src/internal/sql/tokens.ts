/** Splits a statement into the tokens of Databricks SQL, as Spark's lexer (SqlBaseLexer.g4) reads it. */
import { endOfComment } from "./comments.ts"

/**
 * `quoted` is a name in backticks, `marker` a parameter, and `word` a keyword, name or number. A hint is a comment that
 * has an effect.
 */
export type Kind = "comment" | "hint" | "string" | "quoted" | "dollar" | "marker" | "word" | "symbol"

/** A part of the text, from `start` to before `end`. A literal or comment that is not closed ends with the text. */
export interface Token {
  readonly kind: Kind
  readonly start: number
  readonly end: number
}

// The first alternative that matches wins. A backslash escapes, except in raw strings, and continues a line comment.
const token = new RegExp(
  [
    /--(?:\\\n|[^\r\n])*/,
    /\/\*/,
    /[rR]'[^']*(?:'|$)/,
    /[rR]"[^"]*(?:"|$)/,
    /'[^'\\]*(?:\\[^]?[^'\\]*)*(?:'|$)/,
    /"[^"\\]*(?:\\[^]?[^"\\]*)*(?:"|$)/,
    /`[^`]*(?:`|$)/,
    /\$(\w*)\$[^]*?(?:\$\1\$|$)/,
    // `s3://bucket/path` is one name.
    /\p{L}+:\/\/[\p{L}\p{N}_/\-.?=&#%]+/u,
    /[\p{L}\p{M}\p{N}_]+/u,
    // `a:b` is a field of `a`, and `a::b` a cast.
    /(?<![\p{L}\p{M}\p{N}_)\]"'`.:]):(?![rR]['"])[\p{L}_][\p{L}\p{M}\p{N}_]*/u,
    /::|\S/
  ]
    .map(({ source }) => source)
    .join("|"),
  "gu"
)

/** Returns the tokens of a text, without the blanks between them. */
export const tokensOf = (text: string): ReadonlyArray<Token> => {
  const tokens: Array<Token> = []
  token.lastIndex = 0
  for (let match = token.exec(text); match !== null; match = token.exec(text)) {
    const [found] = match
    if (found === "/*") token.lastIndex = endOfComment(text, match.index)
    const kind = found === "/*" && text[match.index + 2] === "+" ? "hint" : kindOf(found)
    tokens.push({ kind, start: match.index, end: token.lastIndex })
  }
  return tokens
}

const kindOf = (found: string): Kind => {
  switch (found[0]) {
    case "-":
    case "/":
      return found.length === 1 ? "symbol" : "comment"
    case "'":
    case '"':
      return "string"
    case "`":
      return "quoted"
    case "$":
      return found.length === 1 ? "symbol" : "dollar"
    case ":":
      return found.length === 1 || found === "::" ? "symbol" : "marker"
    case "r":
    case "R":
      return /^.['"]/.test(found) ? "string" : "word"
    default:
      return /^[\p{L}\p{M}\p{N}_]/u.test(found) ? "word" : "symbol"
  }
}

/** Returns the start of the literal or comment that is not closed. Databricks refuses such a text. */
export const openIn = (text: string): number | undefined => {
  // Only such a token takes in what follows the text.
  const { start } = tokensOf(`${text}\n\n*/`).at(-1)!
  return start < text.length ? start : undefined
}

/** A parameter in a text. */
export interface Marker extends Token {
  readonly name: string
  /** Whether it is all that stands in the parentheses of an `IN (…)`: the only place of a list. */
  readonly isListed: boolean
}

/** Returns the parameters of a text, in order. A name may repeat. */
export const markersOf = (text: string, tokens: ReadonlyArray<Token> = tokensOf(text)): ReadonlyArray<Marker> => {
  const significant = tokens.filter(({ kind }) => kind !== "comment")
  const textAt = (index: number) => text.slice(significant[index]?.start, significant[index]?.end ?? 0)
  return significant.flatMap((token, index) =>
    token.kind !== "marker"
      ? []
      : [
          {
            ...token,
            name: text.slice(token.start + 1, token.end),
            isListed: textAt(index - 1) === "(" && /^in$/i.test(textAt(index - 2)) && textAt(index + 1) === ")"
          }
        ]
  )
}
