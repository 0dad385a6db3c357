/** Reads the files of the queries, and orders their definitions by key. */
import { Effect, FileSystem, Result } from "effect"
import type { Definition, Problem } from "../../Queries.ts"
import { QueryFileError } from "../../QueryError.ts"
import { parse } from "./parse.ts"

/** Reads the texts of a directory by path. */
export const read = (directory: string) =>
  Effect.gen(function* () {
    const files = yield* FileSystem.FileSystem
    const names = (yield* files.readDirectory(directory)).filter((name) => /^[^.].*\.sql$/i.test(name))
    const texts = yield* Effect.forEach(names, (name) =>
      Effect.map(files.readFileString(`${directory}/${name}`), (text) => [`${directory}/${name}`, text] as const)
    )
    return Object.fromEntries(texts)
  }).pipe(
    Effect.catchTag("PlatformError", (error) =>
      Effect.fail(
        new QueryFileError({
          problems: [],
          message: `The queries cannot be read: ${error.message}. A relative directory starts at ${process.cwd()}`
        })
      )
    )
  )

/** Parses texts by path, in order of their paths. Returns the definitions by key, and every problem. */
export const parsed = (texts: Readonly<Record<string, string>>) => {
  const definitions = new Map<string, Definition>()
  const problems: Array<Problem> = []
  for (const [path, text] of Object.entries(texts).toSorted(([a], [b]) => (a < b ? -1 : 1))) {
    const parsed = parse(path, text)
    if (Result.isFailure(parsed)) {
      problems.push(...parsed.failure)
      continue
    }
    const { key } = parsed.success
    const other = definitions.get(key)
    if (other === undefined) definitions.set(key, parsed.success)
    else {
      problems.push({
        file: path,
        line: 1,
        reason: `${other.path} has the key ${key} too: remove or rename one of them`
      })
    }
  }
  return { definitions, problems }
}

/** Parses texts by path. Fails with every problem in them. */
export const definitionsOf = (
  texts: Readonly<Record<string, string>>
): Effect.Effect<ReadonlyMap<string, Definition>, QueryFileError> =>
  Effect.suspend(() => {
    const { definitions, problems } = parsed(texts)
    if (problems.length > 0) {
      const message = problems.map(({ file, line, reason }) => `${file}:${line}: ${reason}`).join("\n")
      return Effect.fail(new QueryFileError({ problems, message }))
    }
    return definitions.size === 0
      ? Effect.fail(
          new QueryFileError({ problems, message: "There is no .sql file of a query: add one, or check the path" })
        )
      : Effect.succeed(definitions)
  })
