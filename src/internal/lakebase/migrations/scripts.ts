/** Reads the scripts of an application: files → names → order → statements. */
import { Effect, FileSystem } from "effect"
import { Migrator } from "effect/sql"
import { createHash } from "node:crypto"
import { type Statement, split } from "./statements.ts"

export interface Script {
  readonly id: number
  /** The name without the number and `.sql`. */
  readonly name: string
  /** The path of the file, or the key of the record. */
  readonly source: string
  readonly statements: ReadonlyArray<Statement>
  readonly checksum: string
}

/** Reads the scripts of a directory. */
export const read = Effect.fnUntraced(
  function* (directory: string) {
    const files = yield* FileSystem.FileSystem
    const names = (yield* files.readDirectory(directory)).filter((name) => name.endsWith(".sql"))
    if (names.length === 0)
      return yield* refused(
        `The directory ${directory} has no .sql file: add one such as 0001_orders.sql, or check the path`
      )
    return yield* Effect.forEach(names, (name) =>
      Effect.map(files.readFileString(`${directory}/${name}`), (text) => [name, `${directory}/${name}`, text] as const)
    )
  },
  Effect.catchTag("PlatformError", (error) =>
    Effect.fail(
      new Migrator.MigrationError({
        kind: "ImportError",
        cause: error,
        message: `The migrations cannot be read: ${error.message}. A relative directory starts at ${process.cwd()}`
      })
    )
  )
)

type Named = readonly [file: string, source: string, text: string]

/** Orders the scripts by number. Fails if one has no number, shares one, or has a statement that cannot run. */
export const order = (files: ReadonlyArray<Named>): Effect.Effect<ReadonlyArray<Script>, Migrator.MigrationError> =>
  Effect.gen(function* () {
    const scripts = new Map<number, Script>()
    for (const [file, source, text] of files.toSorted(([a], [b]) => (a < b ? -1 : 1))) {
      const [, digits, name] = /^(\d{1,9})_([\w.-]+?)(?:\.sql)?$/.exec(file) ?? []
      const id = Number(digits)
      if (name === undefined || id === 0) {
        return yield* refused(
          `${source} is not named as a migration: use a number from 1 and a name, as 0001_orders.sql`
        )
      }
      const other = scripts.get(id)
      if (other !== undefined) {
        return yield* refused(
          `${other.source} and ${source} have the same number: give the newer one the next number`,
          "Duplicates"
        )
      }
      const statements = split(text)
      for (const statement of statements) {
        const found = unfit.find(({ pattern }) => pattern.test(statement.text))
        if (found !== undefined) {
          return yield* refused(`${source}:${statement.line} ${found.says} (${shown(statement)}): ${found.advice}`)
        }
      }
      scripts.set(id, { id, name, source, statements, checksum: checksumOf(statements) })
    }
    return [...scripts.values()].toSorted((a, b) => a.id - b.id)
  })

const endsTransaction =
  /^(?:begin|start\s+transaction|commit|end|abort|prepare\s+transaction|rollback(?!\s+(?:(?:work|transaction)\s+)?to\b))\b/i

const unfit = [
  {
    pattern: endsTransaction,
    says: "begins or ends a transaction",
    advice: "remove it, because each migration runs in one transaction"
  },
  { pattern: /^\\/, says: "is a command of psql", advice: "remove its line, because the server runs SQL only" },
  {
    pattern: /^copy\b[^]*\bfrom\s+stdin\b/i,
    says: "reads rows that are not SQL",
    advice: "write them as INSERT, as pg_dump --inserts does"
  }
]

/** Hashes the statements without comments and blank lines between them. Git may change line ends, so they are ignored. */
const checksumOf = (statements: ReadonlyArray<Statement>) =>
  createHash("sha256")
    .update(statements.map(({ text }) => text.replaceAll("\r\n", "\n")).join(";\n"))
    .digest("hex")

/** Returns a statement as one line of a message, of at most 120 characters. */
export const shown = ({ text }: Statement) => {
  const line = text.replaceAll(/\s+/g, " ")
  return line.length > 120 ? `${line.slice(0, 119)}…` : line
}

export const refused = (message: string, kind: Migrator.MigrationError["kind"] = "BadState") =>
  Effect.fail(new Migrator.MigrationError({ kind, message }))
