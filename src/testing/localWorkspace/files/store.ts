/** The volumes of the workspace, as directories of the file system. An upload appears in one when it is whole. */
import { Effect } from "effect"
import * as fs from "node:fs"
import * as path from "node:path"
import type { Readable } from "node:stream"
import { pipeline } from "node:stream/promises"
import type * as LocalFiles from "../../LocalFiles.ts"
import type { Principal } from "../identity/principals.ts"
import * as Replies from "../http/replies.ts"

export type Permission = "READ VOLUME" | "WRITE VOLUME"

export type Store = ReturnType<typeof make>

const volumeLength = 4

const at = (volume: string) => (volume.startsWith("/") ? volume.slice(1) : volume)

/** Makes the store in a directory, without the parts of uploads that a killed process left. */
export const make = (root: string, service: Principal, volumes: ReadonlyArray<LocalFiles.Volume>) => {
  const uploads = path.join(root, "uploads")
  fs.rmSync(uploads, { recursive: true, force: true })
  fs.mkdirSync(uploads, { recursive: true })
  const known = new Map(volumes.map((volume) => [at(volume.path), volume]))
  for (const volume of known.keys()) fs.mkdirSync(path.join(root, volume), { recursive: true })
  let count = 0

  /** Returns the place of a path for a caller who has the permission. */
  const resolve = (encoded: string, caller: Principal, permission: Permission) =>
    Effect.gen(function* () {
      const segments = yield* Effect.try({
        try: () =>
          encoded
            .split("/")
            .filter((_, index) => index > 0)
            .map(decodeURIComponent),
        catch: () => Replies.invalidPath(encoded)
      })
      if (segments.some((segment) => segment === "" || segment === "." || segment === ".." || /[/\0]/.test(segment))) {
        return yield* Replies.invalidPath(encoded)
      }
      const volume = known.get(segments.slice(0, volumeLength).join("/"))
      if (volume === undefined) return yield* Replies.volumeNotFound(segments.slice(1, volumeLength).join("."))
      const allowed = permission === "READ VOLUME" ? volume.readers : volume.writers
      if (caller !== service && allowed !== undefined && !allowed.includes(caller.userName)) {
        return yield* Replies.volumeDenied(permission, at(volume.path).slice("Volumes/".length).replaceAll("/", "."))
      }
      return { name: `/${segments.join("/")}`, place: path.join(root, ...segments) }
    })

  const stat = (place: string) =>
    Effect.try({
      try: () => fs.statSync(place, { throwIfNoEntry: false }),
      catch: () => Replies.invalidPath(place)
    })

  /** Stores a body when all of it has come; a part of one is removed. */
  const store = (body: Readable, place: string, overwrite: boolean) =>
    Effect.suspend(() => {
      const part = path.join(uploads, String(++count))
      return Effect.tryPromise({
        try: async (signal) => {
          await pipeline(body, fs.createWriteStream(part), { signal })
          fs.mkdirSync(path.dirname(place), { recursive: true })
          if (overwrite) fs.renameSync(part, place)
          else fs.linkSync(part, place)
        },
        catch: (cause) =>
          cause instanceof Error && "code" in cause && cause.code === "EEXIST"
            ? Replies.fileExists
            : Replies.invalidPath(path.basename(place))
      }).pipe(Effect.ensuring(Effect.sync(() => fs.rmSync(part, { force: true }))))
    })

  return { resolve, stat, store }
}
