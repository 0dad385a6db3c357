/** Detects statements that leave state on their session, where a later call could find it. */
import type { Queries } from "./queries.ts"
import type { State } from "./interruption.ts"

const comments = String.raw`(?:[\s;]|--[^\n]*(?:\n|$)|\/\*(?:[^*/]|\*(?!\/)|\/(?!\*))*\*\/)*`

/** A character of an argument, or a string whose end is certain. */
const value = String.raw`[^()'$\\]|\$(?=\d)|'[^'\\]*'`

const patterns = new RegExp(
  [
    // After a nested comment the next statement is unknown.
    String.raw`^${comments}(?:set\b(?!\s+(?:local|transaction|constraints)\b)|(?:listen|prepare|load|do|call|discard|deallocate)\b|\/\*(?:(?!\*\/)[^])*\/\*)`,
    String.raw`\bset_config"?\s*\((?!(?:${value}|\((?:${value})*\))*,\s*true\s*\))`,
    String.raw`\bpg_(?:try_)?advisory_lock(?:_shared)?"?\s*\(`,
    String.raw`\bset(?:seed|_limit)"?\s*\(`,
    String.raw`\bcreate\b[^('"]{0,60}\btemp(?:orary)?\s`,
    String.raw`\binto\s+(?:(?:local|global)\s+)?temp(?:orary)?\s+(?!\(|(?:values|select|default|as|overriding|with|table)\b)`,
    String.raw`\binto\s+(?:(?:local|global)\s+)?temp(?:orary)?\s+table\s`,
    String.raw`\bpg_temp(?:_\d+)?"?\s*\.`,
    String.raw`\bwith\s+hold\b`,
    String.raw`\bupdate\s+(?:only\s+)?(?:"?pg_catalog"?\s*\.\s*)?"?pg_settings\b`,
    // A name with Unicode escapes.
    String.raw`\bu&"`
  ].join("|"),
  "i"
)

/**
 * Whether a statement may leave a setting, a role, a temporary table, an advisory lock, a prepared statement, a cursor
 * or LISTEN behind. It does not detect functions that do so.
 */
export const leavesState = (sql: string): boolean =>
  // An apparent comment may be a part of another kind of string.
  patterns.test(sql) || (/--|\/\*/.test(sql) && patterns.test(sql.replace(stringOrComment, "$1 ")))

const stringOrComment = /('[^']*')|--[^\n]*|\/\*[^]*?(?:\*\/|$)/g

/** Removes the connection from the pool after such a statement has run on it. */
export const tracked = (queries: Queries, state: State): Queries => {
  const note = (sql: string) => {
    if (leavesState(sql)) state.mustClose = true
  }
  return {
    query: (sql, params, prepare) => {
      note(sql)
      return queries.query(sql, params, prepare)
    },
    queryValues: (sql, params, prepare) => {
      note(sql)
      return queries.queryValues(sql, params, prepare)
    },
    stream: (sql, params) => {
      note(sql)
      return queries.stream(sql, params)
    }
  }
}
