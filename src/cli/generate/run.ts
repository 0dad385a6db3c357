/** Generates the files: read → parse → describe → keep what failed as it was → compare → write. */
import { Data, Effect, FileSystem } from "effect"
import { parsed, read } from "../../internal/queries/files.ts"
import { identityOf } from "../../internal/queries/parse.ts"
import type { Definition, Problem } from "../../Queries.ts"
import type * as Describe from "./describe.ts"
import { type Document, type Entries, header } from "./document.ts"
import { nameOf } from "./module.ts"

/** A file stands in the place of a generated one. */
class Foreign extends Data.TaggedError("Foreign")<{ readonly message: string }> {}

/** A file to generate. */
export interface Target {
  readonly path: string
  readonly document: Document
}

export interface Generated {
  readonly path: string
  readonly text: string
  /** `undefined` if there is no file yet. */
  readonly before: string | undefined
  /** A sentence for each query whose entry differs. */
  readonly changes: ReadonlyArray<string>
  /** The number of entries. */
  readonly size: number
}

// A warehouse of the smallest size runs ten statements at once, and others use it too.
const concurrency = 5

/** Describes the queries of a directory, and returns the files as they should be, with the problems of the queries. */
export const generate = Effect.fnUntraced(function* (
  directory: string,
  targets: ReadonlyArray<Target>,
  describe: (definition: Definition, text: string) => ReturnType<typeof Describe.describe>
) {
  const texts = yield* read(directory)
  const { definitions, problems: unparsed } = parsed(texts)
  const keys = new Set(Object.keys(texts).flatMap((path) => identityOf(path)?.key ?? []))
  if (keys.size === 0) {
    const reason = "there is no .sql file of a query: add one, or choose another --directory"
    return { files: [], problems: [...unparsed, { file: directory, line: 1, reason }] }
  }
  const clashes = clashesOf(Object.keys(texts))
  const wrong = new Set([...unparsed, ...clashes].map(({ file }) => identityOf(file)?.key))
  const results = yield* Effect.forEach(
    [...definitions.values()].filter(({ key }) => !wrong.has(key)),
    (definition) =>
      describe(definition, texts[definition.path]!).pipe(
        Effect.map((columns) => ({ definition, columns })),
        Effect.catchTag("Undescribed", ({ problem }) => Effect.succeed({ problem }))
      ),
    { concurrency }
  )
  const described = results.flatMap((result) => ("problem" in result ? [] : [result]))
  const undescribed = results.flatMap((result) => ("problem" in result ? [result.problem] : []))
  const problems = [...unparsed, ...clashes, ...undescribed]
  const omitted = new Set(clashes.map(({ file }) => identityOf(file)?.key))
  const files = yield* Effect.forEach(targets, ({ document, path }) =>
    Effect.map(before(path), (before): Generated => {
      const old = before === undefined ? new Map<string, string>() : document.entriesIn(before)
      const entries = new Map([
        ...[...old].filter(([key]) => keys.has(key) && !omitted.has(key)),
        ...described.map(({ columns, definition }) => [definition.key, document.entryOf(definition, columns)] as const)
      ])
      return { path, before, text: document.textOf(entries), changes: changesOf(old, entries), size: entries.size }
    })
  )
  return { files, problems }
})

/** Returns a problem for each file whose function would have the name of another one's. */
const clashesOf = (paths: ReadonlyArray<string>): ReadonlyArray<Problem> => {
  const byName = new Map<string, { readonly key: string; readonly path: string }>()
  return paths.toSorted().flatMap((path) => {
    const key = identityOf(path)?.key
    if (key === undefined) return []
    const name = nameOf(key)
    const other = byName.get(name)
    if (other === undefined) byName.set(name, { key, path })
    return other === undefined || other.key === key
      ? []
      : [{ file: path, line: 1, reason: `${other.path} becomes ${name} too: rename one of them` }]
  })
}

/** Reads a file that an earlier run has generated. */
const before = Effect.fnUntraced(function* (path: string) {
  const files = yield* FileSystem.FileSystem
  if (!(yield* files.exists(path))) return undefined
  // A rename would replace a device such as /dev/null too.
  if ((yield* files.stat(path)).type !== "File") {
    return yield* new Foreign({ message: `${path} is not a file: choose another path` })
  }
  // Git for Windows checks files out with CRLF.
  const text = (yield* files.readFileString(path)).replaceAll("\r\n", "\n")
  return text.startsWith(header.slice(0, header.indexOf("."))) || text.trim() === ""
    ? text
    : yield* new Foreign({ message: `${path} was not generated, so it is not replaced: choose another path` })
})

const changesOf = (old: Entries, entries: Entries): ReadonlyArray<string> =>
  [...new Set([...old.keys(), ...entries.keys()])].toSorted().flatMap((key) => {
    const [before, after] = [old.get(key), entries.get(key)]
    if (before === after) return []
    return [`${key} ${before === undefined ? "is new" : after === undefined ? "is gone" : "has changed"}`]
  })

/** Writes a file as a whole: a reader never finds a part of it, and neither a failure nor an interruption leaves one. */
export const write = Effect.fnUntraced(function* ({ path, text }: Pick<Generated, "path" | "text">) {
  const files = yield* FileSystem.FileSystem
  const [directory = ""] = /^.*[\\/]/.exec(path) ?? []
  if (directory !== "") yield* files.makeDirectory(directory, { recursive: true })
  const part = `${path}.tmp`
  yield* files.writeFileString(part, text).pipe(
    Effect.andThen(files.rename(part, path)),
    Effect.onError(() => Effect.ignore(files.remove(part, { force: true })))
  )
}, Effect.uninterruptible)
