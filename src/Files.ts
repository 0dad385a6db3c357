/**
 * Files and directories in Unity Catalog volumes. The module's service runs as the caller of the fiber, those of `user`
 * and `userVolume` always as the user.
 *
 * ```ts
 * import { Effect, Stream } from "effect"
 * import { Files } from "effect-databricks"
 *
 * // All paths are relative to this volume, and no path leads out of it.
 * const uploads = Files.userVolume("/Volumes/main/app/uploads")
 *
 * // As the user: without `asUser` it does not compile.
 * export const copy = Effect.gen(function* () {
 *   const files = yield* uploads
 *   yield* files.write("2026/copy.csv", files.read("2026/sales.csv"))
 *   return yield* Stream.runCollect(files.list("2026"))
 * })
 * ```
 *
 * @since 0.1.0
 */
import { Context, type Duration, Effect, Layer, type Scope, type Stream } from "effect"
import type { DatabricksError } from "./DatabricksError.ts"
import type { FileEntry } from "./FileEntry.ts"
import type { DirectoryNotEmptyError, FileExistsError, InvalidPathError, InvalidRangeError } from "./FilesError.ts"
import * as Client from "./internal/files/client.ts"
import * as Volume from "./internal/files/volume.ts"
import type * as Operation from "./Operation.ts"
import { ServiceContext } from "./ServiceContext.ts"
import { UserContext } from "./UserContext.ts"
import { WorkspaceClient } from "./WorkspaceClient.ts"

/**
 * The options of a list. `timeout` and `retry` apply to each page.
 *
 * @since 0.1.0
 * @category models
 */
export interface ListOptions extends Omit<Operation.Policy, "totalTimeout"> {
  /** The number of entries in one response of the workspace, at most 1,000. Defaults to the workspace's choice. */
  readonly pageSize?: number | undefined
}

/**
 * Bytes of a file, counted from 0. Both ends are included.
 *
 * @since 0.1.0
 * @category models
 */
export interface Range {
  /** The first byte. A negative number counts from the end: `-500` is the last 500 bytes. */
  readonly start: number
  /** The last byte. Defaults to the end of the file, and must be absent if `start` is negative. */
  readonly end?: number | undefined
}

/**
 * The options of a read. `timeout` and `retry` apply until the first byte is available.
 *
 * @since 0.1.0
 * @category models
 */
export interface ReadOptions extends Omit<Operation.Policy, "totalTimeout"> {
  /** The bytes to read. Defaults to the whole file. */
  readonly range?: Range | undefined
  /** The time limit between two parts of the content that the workspace sends. Defaults to 1 minute. */
  readonly idleTimeout?: Duration.Input | undefined
}

/**
 * A file that is open for reading.
 *
 * @since 0.1.0
 * @category models
 */
export interface Download extends FileEntry {
  /** The number of bytes in `body`; absent if the workspace did not send it. */
  readonly contentLength: number | undefined
  /** The bytes of the file that `body` has, if a range was requested. */
  readonly range: { readonly start: number; readonly end: number } | undefined
  /** The content, which can be read once. */
  readonly body: Stream.Stream<Uint8Array, DatabricksError | Operation.OperationTimeoutError>
}

/**
 * The content of a file to write: bytes, text in UTF-8, or a stream of bytes.
 *
 * @since 0.1.0
 * @category models
 */
export type Content<E = never, R = never> = Uint8Array | string | Stream.Stream<Uint8Array, E, R>

/**
 * The options of a write.
 *
 * @since 0.1.0
 * @category models
 */
export interface WriteOptions extends Operation.Policy {
  /** Whether to replace an existing file. Defaults to `false`, which fails with `FileExistsError`. */
  readonly overwrite?: boolean | undefined
  /** The number of bytes in a stream, if it is known. A stream of another length fails, and nothing is stored. */
  readonly contentLength?: number | undefined
}

/**
 * The errors of every call.
 *
 * @since 0.1.0
 * @category errors
 */
export type Failure = DatabricksError | InvalidPathError | Operation.OperationTimeoutError

/**
 * The service that reads and writes files as the caller of the fiber.
 *
 * A path is absolute (`/Volumes/catalog/schema/volume/…`), or relative to the volume of `Files.volume`. It is given
 * decoded: each segment is encoded once. A path with an empty segment, a segment `.` or `..` in any spelling, a
 * backslash or a control character fails with `InvalidPathError` before a request is sent.
 *
 * @since 0.1.0
 * @category services
 */
export class Files extends Context.Service<
  Files,
  {
    /** Streams the entries of a directory, page by page. */
    readonly list: (path: string, options?: ListOptions) => Stream.Stream<FileEntry, Failure>
    /** Returns a file or directory. Fails with the reason `NotFoundError` if there is none, or none for this caller. */
    readonly stat: (path: string, options?: Operation.Policy) => Effect.Effect<FileEntry, Failure>
    /** Returns whether the caller sees a file or directory of this path. */
    readonly exists: (path: string, options?: Operation.Policy) => Effect.Effect<boolean, Failure>
    /**
     * Streams the content of a file. Each run of the stream sends one request. Ending the stream early aborts it.
     *
     * A connection that is lost after the first byte fails with `ConnectionError`, and is not retried.
     */
    readonly read: (path: string, options?: ReadOptions) => Stream.Stream<Uint8Array, Failure | InvalidRangeError>
    /**
     * Opens a file: its size, time of last change and type, with its content as a stream. Closing the scope aborts the
     * request.
     */
    readonly open: (
      path: string,
      options?: ReadOptions
    ) => Effect.Effect<Download, Failure | InvalidRangeError, Scope.Scope>
    /**
     * Writes a file, whole or not at all. The workspace creates missing directories.
     *
     * A stream is read as the caller and with the services of the fiber, in bounded memory; it is sent once, whatever
     * `retry` says. If it fails, also after its last byte, the call fails with its error, and nothing is stored.
     */
    readonly write: <E = never, R = never>(
      path: string,
      content: Content<E, R>,
      options?: WriteOptions
    ) => Effect.Effect<void, Failure | FileExistsError | E, R>
    /** Removes a file. */
    readonly remove: (path: string, options?: Operation.Policy) => Effect.Effect<void, Failure>
    /** Creates a directory and its missing parents. Succeeds if the directory exists. */
    readonly makeDirectory: (path: string, options?: Operation.Policy) => Effect.Effect<void, Failure | FileExistsError>
    /** Removes an empty directory. */
    readonly removeDirectory: (
      path: string,
      options?: Operation.Policy
    ) => Effect.Effect<void, Failure | DirectoryNotEmptyError>
  }
>()("effect-databricks/Files") {}

/**
 * Makes the service.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make: Effect.Effect<Files["Service"], never, ServiceContext | WorkspaceClient> = Effect.map(
  Effect.all([ServiceContext, WorkspaceClient]),
  ([service, client]) => Client.make(service, client)
)

/**
 * Provides the service.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer: Layer.Layer<Files, never, ServiceContext | WorkspaceClient> = Layer.effect(Files, make)

/**
 * Returns the files of the user. Its calls run as that user, also inside `asService`.
 *
 * An effect that uses it compiles only under `asUser`. Use it only in the call that returned it: outside of that user's
 * calls its requests die.
 *
 * @since 0.1.0
 * @category accessors
 */
export const user: Effect.Effect<Files["Service"], never, UserContext | Files> = Files.use((files) =>
  Effect.map(UserContext, (caller) => Volume.owned(files, caller))
)

/**
 * Returns the files below one directory, such as `/Volumes/main/app/uploads`. Every path is relative to it, also those
 * of entries and of errors that name a file; no path leads out of it. The empty path is the directory itself, for `list`, `stat` and `exists`.
 *
 * Its calls run as the caller of the fiber. Throws a `RangeError` if `root` is not a path of a volume or a directory in
 * one: it is a part of the application, never of a request.
 *
 * @since 0.1.0
 * @category accessors
 */
export const volume = (root: string): Effect.Effect<Files["Service"], never, Files> => {
  const within = Volume.within(root)
  return Files.useSync(within)
}

/**
 * Returns the files below one directory, as the user: `volume` for `Files.user`.
 *
 * @since 0.1.0
 * @category accessors
 */
export const userVolume = (root: string): Effect.Effect<Files["Service"], never, UserContext | Files> =>
  Effect.map(user, Volume.within(root))
