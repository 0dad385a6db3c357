/** The Files API as the caller of the fiber: path → request → response → entry or bytes. */
import { type Context, Effect, Schema, Stream } from "effect"
import { HttpClientRequest } from "effect/http"
import type { DatabricksError } from "../../DatabricksError.ts"
import type { FileEntry } from "../../FileEntry.ts"
import type { Content, Failure, Files, WriteOptions } from "../../Files.ts"
import * as Operation from "../../Operation.ts"
import type { ServiceContext } from "../../ServiceContext.ts"
import type { WorkspaceClient } from "../../WorkspaceClient.ts"
import { absent } from "../workspace/absent.ts"
import * as Operations from "../workspace/operations.ts"
import * as Transport from "../workspace/transport.ts"
import * as Download from "./download.ts"
import * as Paths from "./paths.ts"
import * as Requests from "./requests.ts"
import * as Upload from "./upload.ts"
import { ranIn } from "./volume.ts"

/** Makes the service. */
export const make = (service: ServiceContext["Service"], client: WorkspaceClient["Service"]): Files["Service"] => {
  const requests = Requests.make(client)
  const operations = Operations.make(service)

  const call = <A, E>(
    name: string,
    path: string,
    options: Operation.Policy,
    work: (segments: Requests.Segments) => Effect.Effect<A, E>
  ): Effect.Effect<A, E | Failure> =>
    Effect.flatMap(Paths.absolute(path), (segments) =>
      operations.call(name, { "files.path": path }, options, work(segments))
    )

  const stat = (segments: Requests.Segments): Effect.Effect<FileEntry, DatabricksError> => {
    const directory = Effect.as(
      requests.run(HttpClientRequest.head(Paths.urlOf("directories", segments)), "READ VOLUME"),
      Requests.entryOf(segments, { isDirectory: true })
    )
    if (Paths.isVolume(segments)) return directory
    const file = Effect.map(
      requests.send(HttpClientRequest.head(Paths.urlOf("files", segments)), "READ VOLUME"),
      (response) =>
        Requests.entryOf(segments, {
          isDirectory: false,
          size: Requests.lengthOf(response),
          ...Requests.metadataOf(response)
        })
    )
    return Effect.catchIf(file, Requests.isNotFound, () => directory)
  }

  return {
    list: (path, { pageSize, ...options } = {}) =>
      streamed(path, (segments, attributes) =>
        operations.list("files.list", attributes, options, (token) => {
          const urlParams = { page_size: pageSize, page_token: token }
          const request = HttpClientRequest.get(Paths.urlOf("directories", segments), { urlParams })
          const page = Effect.flatMap(requests.send(request, "READ VOLUME"), decodePage)
          return Effect.map(page, ({ contents, next_page_token }) => [(contents ?? []).map(entryOf), next_page_token])
        })
      ),
    stat: (path, options = {}) => call("files.stat", path, options, stat),
    exists: (path, options = {}) =>
      call("files.exists", path, options, (segments) =>
        Effect.catchIf(Effect.as(stat(segments), true), Requests.isNotFound, () => Effect.succeed(false))
      ),
    read: (path, options = {}) =>
      streamed(path, (segments, attributes) => {
        const opened = Download.open(requests, "files.read", segments, options)
        const body = Effect.map(Operation.limited(opened, "files.read", options), ({ download }) => download.body)
        return operations.stream("files.read", attributes, Stream.unwrap(body))
      }),
    open: (path, options = {}) =>
      Effect.acquireRelease(
        call("files.open", path, options, (segments) => Download.open(requests, "files.open", segments, options)),
        ({ close }) => close,
        { interruptible: true }
      ).pipe(Effect.map(({ download }) => download)),
    write: <E, R>(path: string, content: Content<E, R>, options: WriteOptions = {}) =>
      Stream.isStream(content)
        ? Effect.contextWith((context: Context.Context<R>) =>
            // A stream is sent once: its source may be gone after the first attempt.
            call("files.write", path, { ...options, retry: undefined }, (segments) =>
              Upload.stream(requests, segments, ranIn(content, context), options)
            )
          )
        : call("files.write", path, options, (segments) => Upload.bytes(requests, segments, content, options)),
    remove: (path, options = {}) =>
      call("files.remove", path, options, (segments) =>
        requests.run(HttpClientRequest.delete(Paths.urlOf("files", segments)), "WRITE VOLUME")
      ),
    makeDirectory: (path, options = {}) =>
      call("files.makeDirectory", path, options, (segments) =>
        Effect.catchIf(
          requests.run(HttpClientRequest.put(Paths.urlOf("directories", segments)), "WRITE VOLUME"),
          Requests.isConflict,
          () => Requests.exists(segments, "choose another name for the directory")
        )
      ),
    removeDirectory: (path, options = {}) =>
      call("files.removeDirectory", path, options, (segments) =>
        Effect.catchIf(
          requests.run(HttpClientRequest.delete(Paths.urlOf("directories", segments)), "WRITE VOLUME"),
          ({ reason }) => reason.errorReason === "FILES_API_DIRECTORY_IS_NOT_EMPTY",
          () => Requests.notEmpty(segments)
        )
      )
  }
}

/** Streams from a path that is checked when the stream is opened. */
const streamed = <A, E>(
  path: string,
  open: (segments: Requests.Segments, attributes: Operation.SpanOptions["attributes"]) => Stream.Stream<A, E>
): Stream.Stream<A, E | Failure> =>
  Stream.unwrap(Effect.map(Paths.absolute(path), (segments) => open(segments, { "files.path": path })))

const Entry = Schema.Struct({
  path: Schema.String,
  is_directory: absent(Schema.Boolean),
  file_size: absent(Schema.Int),
  last_modified: absent(Schema.DateTimeUtcFromMillis)
})

const decodePage = Transport.json(
  Schema.Struct({ contents: absent(Schema.Array(Entry)), next_page_token: absent(Schema.String) })
)

const entryOf = ({ file_size, is_directory, last_modified, path }: typeof Entry.Type): FileEntry =>
  // The path of a directory may end with a slash.
  Requests.entryOf(
    path.split("/").filter((segment) => segment !== ""),
    {
      isDirectory: is_directory ?? false,
      size: is_directory ? undefined : (file_size ?? undefined),
      lastModified: last_modified ?? undefined
    }
  )
