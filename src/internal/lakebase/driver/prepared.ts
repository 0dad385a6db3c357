/**
 * Decides which statements of a session are prepared. The driver prepares every text with every pattern of types. It
 * decodes the rows of a repeated FETCH with the columns of the first, and keeps the inferred types of parameters after
 * the columns have changed. Remove when "decodes a repeated FETCH …", "keeps a prepared statement …" and "prepares
 * statements of any size …" fail in driver.upstream.test.ts.
 */
import type * as PgConnection from "@effect/sql-pg/PgConnection"
import type * as PgProtocol from "@effect/sql-pg/PgProtocol"
import type { SqlError } from "effect/sql"
import { codeOf } from "../failure.ts"
import * as Messages from "./messages.ts"

/** The number of times that this application has redefined something in the database. */
export interface Definitions {
  generation: number
}

export interface Prepared {
  /** Records the end of a command. */
  readonly completed: (tag: string) => void
  /** Records the end of a statement. */
  readonly ready: (status: PgProtocol.TransactionStatus) => void
  /** Whether the next statement may be prepared. */
  readonly allows: (sql: string, parameters: number) => boolean
  /** Records the failure of a prepared statement. */
  readonly failed: (error: SqlError.SqlError, sql: string, parameterTypes: ReadonlyArray<number>) => void
}

/** Makes it for one session; all sessions of a database share `definitions`. */
export const make = (session: PgConnection.PgConnection, definitions: Definitions): Prepared => {
  let { generation } = definitions
  // Whether this transaction has redefined something, which it may still roll back: in this session, or for others too.
  let redefined: "here" | "elsewhere" | undefined
  return {
    completed: (tag) => {
      if (/^(?:ALTER|DO|DROP)\b/.test(tag)) redefined = "elsewhere"
      else if (/^(?:CREATE|DEALLOCATE|DISCARD)\b/.test(tag)) redefined ??= "here"
    },
    ready: (status) => {
      if (redefined === undefined || status !== "I") return
      if (redefined === "elsewhere") definitions.generation++
      else Messages.forgetAll(session)
      redefined = undefined
    },
    allows: (sql, parameters) => {
      if (generation !== definitions.generation) {
        generation = definitions.generation
        Messages.forgetAll(session)
      }
      if (sql.length <= maxText && renames.test(sql)) redefined ??= "here"
      return redefined === undefined && parameters <= maxParameters && sql.length <= maxText && fixed.test(sql)
    },
    // The inferred types of the parameters may be stale.
    failed: (error, sql, parameterTypes) => {
      if (/^(?:22|42|0A|26)/.test(String(codeOf(error)))) Messages.forget(session, sql, parameterTypes)
    }
  }
}

// The server keeps each text with each pattern of types, and its plan, until the driver has prepared 100 others.
const [maxParameters, maxText] = [100, 8192]

/** Statements that change the meaning of names in later statements. */
const renames = /\bsearch_path\b|\bset\s+(?:(?:local|session)\s+)?(?:schema|role)\b|\bsession\s+authorization\b/i

/** The blanks, brackets and comments before the first word of a statement. */
const before = String.raw`^(?:[\s(;]|--[^\n]*\n|\/\*(?:[^*/]|\*(?!\/)|\/(?!\*))*\*\/)*`

/** Statements without rows, and statements whose reuse the server refuses after their columns have changed. */
const fixed = new RegExp(
  `${before}(?:select|insert|update|delete|merge|with|values|table|begin|commit|rollback|savepoint|release)\\b`,
  "i"
)
