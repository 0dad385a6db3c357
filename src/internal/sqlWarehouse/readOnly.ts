/**
 * Whether a statement does nothing but read, as far as its text can tell: a function may do what it likes.
 *
 * One that only looks as if it might write is taken for one that does. The text is not parsed, because dialects
 * disagree on where a string ends: a word that writes counts wherever it stands, in a string or a comment too.
 */
export const isReadOnly = (text: string): boolean => reads.test(text) && !mayWrite.test(text)

// Only comments whose end no dialect disputes: none in one another, and no line that a backslash continues.
const comment = /--[^\\\r\n]*\r?\n|\/\*(?:(?!\/\*|\*\/)[^])*\*\//

const reads = new RegExp(
  `^(?:\\s|\\(|${comment.source})*(?:SELECT|WITH|VALUES|TABLE|FROM|SHOW|DESCRIBE|DESC|EXPLAIN)\\b`,
  "i"
)

// What may follow those words and write (`WITH … INSERT`, `FROM … INSERT`, `SELECT … INTO`, `EXPLAIN ANALYZE …`), and
// the start of another statement.
const mayWrite = /\b(?:INSERT|INTO|UPDATE|DELETE|MERGE|ANALY[SZ]E)\b|;(?!\s*$)/i
