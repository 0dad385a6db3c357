/** Decides which paths of files are sent, and how. A path that is not clearly one is refused. */
import { Effect } from "effect"
import { InvalidPathError } from "../../FilesError.ts"
import { path as encoded } from "../workspace/path.ts"

type Checked<A> = Effect.Effect<A, InvalidPathError>

/** The number of segments in the path of a volume: `/Volumes/catalog/schema/volume`. */
const volumeLength = 4

/** Splits an absolute path of a volume, or of a file or directory in one. */
export const absolute = (path: string): Checked<ReadonlyArray<string>> => {
  const segments = path.split("/").slice(1)
  return !path.startsWith("/Volumes/") || segments.length < volumeLength
    ? refused(path, "it is not of the form /Volumes/catalog/schema/volume/…")
    : checked(path, segments)
}

/** Splits a path that is relative to a volume; the empty path is the volume itself. */
export const relative = (path: string): Checked<ReadonlyArray<string>> =>
  path === ""
    ? Effect.succeed([])
    : path.startsWith("/")
      ? refused(path, "it is absolute: give a path relative to the volume")
      : checked(path, path.split("/"))

/** Returns whether the segments are a volume's own, which has no file of that path. */
export const isVolume = (segments: ReadonlyArray<string>): boolean => segments.length === volumeLength

/** Returns the path of a request, with each segment encoded once. */
export const urlOf = (api: "files" | "directories", segments: ReadonlyArray<string>): string =>
  `/api/2.0/fs/${api}${segments.map((segment) => encoded`/${segment}`).join("")}`

const checked = (path: string, segments: ReadonlyArray<string>): Checked<ReadonlyArray<string>> => {
  for (const segment of segments) {
    const problem = problemOf(segment)
    if (problem !== undefined) return refused(path, problem)
  }
  return Effect.succeed(segments)
}

const problemOf = (segment: string): string | undefined => {
  if (segment === "") return "it has an empty segment"
  if (!segment.isWellFormed()) return "it contains half of a surrogate pair"
  // A server may decode a segment more than once.
  for (let text = segment, last = ""; text !== last; [text, last] = [decoded(text), text]) {
    // oxlint-disable-next-line no-control-regex -- a control character may cut a path short
    if (/[\u0000-\u001f\u007f]/.test(text)) return "it contains a control character"
    if (text.split(/[/\\]/).some(isDots)) return 'it has a segment "." or ".."'
  }
  return segment.includes("\\") ? "it contains a backslash" : undefined
}

// Some servers ignore spaces around a segment, and what follows a ";" in it.
const isDots = (segment: string) => /^\s*\.{1,2}\s*(?:;.*)?$/s.test(segment)

const decoded = (text: string) =>
  text.replace(/%([0-7][0-9a-f])/gi, (_, code: string) => String.fromCharCode(Number.parseInt(code, 16)))

const refused = (path: string, why: string) =>
  Effect.fail(new InvalidPathError({ path, message: `The path ${shown(path)} was not sent: ${why}` }))

const shown = (path: string) => JSON.stringify(path.length > 200 ? `${path.slice(0, 200)}…` : path)
