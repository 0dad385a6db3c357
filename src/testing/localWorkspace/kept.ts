/** The directory in which a local workspace keeps its data for the next start. */
import { Effect, Schema } from "effect"
import { randomInt, randomUUID } from "node:crypto"
import { existsSync } from "node:fs"
import { link, mkdir, readFile, rm, writeFile } from "node:fs/promises"
import { join, resolve } from "node:path"
import { StartError } from "./startError.ts"

// The role of the service principal owns the tables, and the key of a caller contains the workspace id.
const Identity = Schema.Struct({ workspaceId: Schema.String, clientId: Schema.String })

/** Returns a random workspace id. */
export const newWorkspaceId = () => `74${String(randomInt(10 ** 14)).padStart(14, "0")}`

/** Writes a file atomically, unless it exists. */
const create = async (file: string, text: string) => {
  const draft = `${file}.${randomUUID()}`
  await writeFile(draft, text)
  await link(draft, file).catch((error) => {
    if (error.code !== "EEXIST") throw error
  })
  await rm(draft)
}

/** Creates a directory if it is missing. Returns the kept ids and the folders for the data of Postgres and for files. */
export const open = Effect.fnUntraced(function* (path: string) {
  const directory = resolve(path)
  const file = join(directory, "workspace.json")
  const data = join(directory, "postgres")
  const explain = (sentence: (reason: string) => string) => (cause: unknown) =>
    new StartError({ message: sentence(cause instanceof Error ? cause.message : String(cause)), cause })
  yield* Effect.tryPromise({
    try: async () => {
      await mkdir(directory, { recursive: true })
      await create(join(directory, ".gitignore"), "*\n")
      // New ids would not own the tables in existing data.
      if (!existsSync(data)) {
        await create(file, JSON.stringify({ workspaceId: newWorkspaceId(), clientId: randomUUID() }))
      }
    },
    catch: explain(
      (reason) => `The local workspace cannot keep its data in ${directory} (${reason}): choose a writable directory`
    )
  })
  const text = yield* Effect.tryPromise({
    try: () => readFile(file, "utf8"),
    catch: explain(
      (reason) =>
        `The ids that own the data in ${data} cannot be read (${reason}): restore ${file}, or delete ${directory} to start with an empty database`
    )
  })
  const identity = yield* Effect.mapError(
    Schema.decodeEffect(Schema.fromJsonString(Identity))(text),
    (cause) =>
      new StartError({
        message: `${file} was not written by a local workspace: delete ${directory}, or choose another directory`,
        cause
      })
  )
  return { ...identity, data, files: join(directory, "files") }
})
