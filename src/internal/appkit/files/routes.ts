/** The routes under `/api/files`: of each the action that a policy decides, its path, and its response. */
import { DateTime, Effect, Schema, Stream } from "effect"
import { HttpServerRequest, HttpServerResponse } from "effect/http"
import type { FileEntry } from "../../../FileEntry.ts"
import type { Files } from "../../../Files.ts"
import * as FileTransfer from "../../../http/FileTransfer.ts"
import { refusal } from "../failure.ts"
import * as Routes from "../routes.ts"
import * as MediaTypes from "./mediaTypes.ts"
import { metadataOf, preview } from "./preview.ts"
import { on, pathOfQuery, type Target, type Volumes, type Work } from "./volumes.ts"

/** The largest file that `read` sends. */
const maxReadSize = 10 * 1024 * 1024

export const routes = (volumes: Volumes): ReadonlyArray<Routes.Route<Files>> => {
  const get = (name: string, work: Work) =>
    Routes.asEither("GET", `/:v/${name}`, on(volumes, "read", pathOfQuery, work))
  return [
    Routes.asEither("GET", "/volumes", json({ volumes: Array.from(volumes.byName.keys()) })),
    Routes.asEither("GET", "/:v/list", on(volumes, "list", pathOrRoot, list)),
    get("read", read),
    get("download", download),
    get("raw", raw),
    get("exists", ({ files, path }) => Effect.flatMap(files.exists(path), (exists) => json({ exists }))),
    get("metadata", ({ files, path }) => Effect.flatMap(files.stat(path), (entry) => json(metadataOf(entry)))),
    get("preview", (target) => Effect.flatMap(preview(target), json)),
    Routes.asEither("POST", "/:v/upload", on(volumes, "upload", pathOfQuery, upload)),
    Routes.asEither("POST", "/:v/mkdir", on(volumes, "mkdir", pathOfBody, makeDirectory)),
    Routes.asEither("DELETE", "/:v", on(volumes, "delete", pathOfQuery, remove))
  ]
}

// The next request has to see a change of this one.
const json = (body: unknown) =>
  Effect.succeed(HttpServerResponse.jsonUnsafe(body, { headers: { "cache-control": "private, no-store" } }))

const done = json({ success: true })

const pathOrRoot = Effect.flatMap(HttpServerRequest.ParsedSearchParams, ({ path }) =>
  path === undefined ? Effect.succeed("") : pathOfQuery
)

const pathOfBody = Effect.map(Routes.body(Schema.Struct({ path: Schema.String })), ({ path }) => path)

const list = ({ files, path, volume }: Target) =>
  Effect.flatMap(Stream.runCollect(files.list(path)), (entries) => json(entries.map(entryOf(volume.root))))

const entryOf =
  (root: string) =>
  ({ isDirectory, lastModified, name, path, size }: FileEntry) => ({
    name,
    path: `${root}/${path}`,
    is_directory: isDirectory,
    file_size: size,
    last_modified: lastModified && DateTime.toEpochMillis(lastModified)
  })

const read = Effect.fnUntraced(function* ({ files, path }: Target) {
  const { body, size = Infinity } = yield* files.open(path)
  if (size > maxReadSize) {
    return yield* refusal(413, "The file is larger than 10 MiB: download it instead", "PayloadTooLarge")
  }
  return HttpServerResponse.stream(body, {
    contentType: "text/plain; charset=utf-8",
    contentLength: size,
    headers: { "cache-control": "private, no-store", "x-content-type-options": "nosniff" }
  })
})

const download = ({ files, path }: Target) =>
  FileTransfer.download(files, path, { contentType: MediaTypes.contentTypeOf(MediaTypes.known(path)) })

const raw = ({ files, path }: Target) => {
  const type = MediaTypes.known(path)
  const options = { inline: MediaTypes.isInline(type), contentType: MediaTypes.contentTypeOf(type) }
  return Effect.map(
    FileTransfer.download(files, path, options),
    HttpServerResponse.setHeader("content-security-policy", "sandbox")
  )
}

const upload = ({ files, path, volume: { maxUploadSize } }: Target) =>
  Effect.andThen(
    FileTransfer.upload(files, path, {
      overwrite: true,
      ...(maxUploadSize !== undefined && { maxSize: maxUploadSize })
    }),
    done
  )

const makeDirectory = ({ files, path }: Target) => Effect.andThen(files.makeDirectory(path), done)

const remove = ({ files, path }: Target) =>
  Effect.gen(function* () {
    const { isDirectory } = yield* files.stat(path)
    yield* isDirectory ? files.removeDirectory(path) : files.remove(path)
    return yield* done
  })
