/** Files as a user, and files below one directory: each wraps another `Files`. */
import { Context, Effect, Exit, Stream } from "effect"
import type { Caller } from "../../Caller.ts"
import { runningLike } from "../../ExecutionContext.ts"
import { ownedBy, runAsOwner } from "../owner.ts"
import type { FileEntry } from "../../FileEntry.ts"
import type { Content, Files, WriteOptions } from "../../Files.ts"
import { DirectoryNotEmptyError, FileExistsError, InvalidPathError, InvalidRangeError } from "../../FilesError.ts"
import { withContext } from "../streamContext.ts"
import * as Paths from "./paths.ts"

type Service = Files["Service"]

/** Returns a stream that runs in this context, whichever fiber pulls it. */
export const ranIn = <A, E, R>(stream: Stream.Stream<A, E, R>, context: Context.Context<R>): Stream.Stream<A, E> =>
  withContext(stream, (puller: Context.Context<never>) => runningLike(Context.merge(puller, context), context))

/** Returns files whose calls run as this user, and die outside of that user's calls. */
export const owned = (files: Service, user: Caller): Service =>
  ownedBy(files, user, {
    write: <E, R>(path: string, content: Content<E, R>, options?: WriteOptions) =>
      Effect.contextWith((context: Context.Context<R>) =>
        // Inside asService the content still comes from the service.
        runAsOwner(files.write(path, Stream.isStream(content) ? ranIn(content, context) : content, options), user)
      )
  })

/** Returns files whose paths are relative to a directory. Throws if it is none of a volume. */
export const within = (root: string): ((files: Service) => Service) => {
  const checked = Effect.runSyncExit(Paths.absolute(root.replace(/\/$/, "")))
  if (Exit.isFailure(checked))
    throw new RangeError(
      `The root of a volume is not usable: ${JSON.stringify(root)} is not of the form /Volumes/catalog/schema/volume/…`
    )
  const prefix = `/${checked.value.join("/")}`
  const resolve = (path: string) => Effect.map(Paths.relative(path), (segments) => [prefix, ...segments].join("/"))
  const below = <A, E, R>(path: string, call: (absolute: string) => Effect.Effect<A, E, R>) =>
    path === ""
      ? Effect.fail(new InvalidPathError({ path, message: rootOnly }))
      : Effect.flatMap(resolve(path), (_) => Effect.mapError(call(_), renamed(_, path)))
  const relative = <A extends FileEntry>(entry: A): A => ({ ...entry, path: entry.path.slice(prefix.length + 1) })
  return (files) => ({
    list: (path, options) =>
      Stream.unwrap(Effect.map(resolve(path), (_) => Stream.map(files.list(_, options), relative))),
    stat: (path, options) => Effect.flatMap(resolve(path), (_) => Effect.map(files.stat(_, options), relative)),
    exists: (path, options) => Effect.flatMap(resolve(path), (_) => files.exists(_, options)),
    read: (path, options) =>
      Stream.unwrap(below(path, (_) => Effect.succeed(Stream.mapError(files.read(_, options), renamed(_, path))))),
    open: (path, options) => below(path, (_) => Effect.map(files.open(_, options), relative)),
    write: (path, content, options) => below(path, (_) => files.write(_, content, options)),
    remove: (path, options) => below(path, (_) => files.remove(_, options)),
    makeDirectory: (path, options) => below(path, (_) => files.makeDirectory(_, options)),
    removeDirectory: (path, options) => below(path, (_) => files.removeDirectory(_, options))
  })
}

/** Names the file of an error by its path in the volume: a browser that sees the error need not know the volume. */
const renamed =
  (absolute: string, path: string) =>
  <E>(error: E): E => {
    const Failed = [FileExistsError, InvalidRangeError, DirectoryNotEmptyError].find((_) => error instanceof _)
    if (Failed === undefined) return error
    const { message, path: named } = error as FileExistsError // all three have these fields
    if (named !== absolute) return error // of the content that is written
    return new Failed({ path, message: message.replace(absolute, () => path) }) as E // of the class that it had
  }

const rootOnly = "The path is empty: name a file or directory in the volume"
