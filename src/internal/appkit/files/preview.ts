/** The metadata of a file, and the beginning of its text. */
import { DateTime, Effect, Stream } from "effect"
import type { FileEntry } from "../../../FileEntry.ts"
import * as MediaTypes from "./mediaTypes.ts"
import type { Target } from "./volumes.ts"

/** The largest number of UTF-16 units in a preview. */
const maxUnits = 1024

// A unit has at most three bytes in UTF-8.
const maxBytes = 4 * maxUnits

export const metadataOf = ({ contentType, lastModified, path, size }: FileEntry) => ({
  contentLength: size,
  contentType: MediaTypes.known(path) ?? contentType,
  lastModified: lastModified && DateTime.toDateUtc(lastModified).toUTCString()
})

/** Returns the metadata and, of a text, its beginning. Only these bytes are read. */
export const preview = Effect.fnUntraced(function* ({ files, path }: Target) {
  const entry = yield* files.stat(path)
  const type = MediaTypes.known(path)
  const isImage = MediaTypes.isImage(type)
  const isCandidate = MediaTypes.isText(type) || (type === undefined && !entry.isDirectory)
  const text = isCandidate ? beginning(entry.size === 0 ? [] : yield* head(files, path)) : undefined
  const isText = text !== undefined && (MediaTypes.isText(type) || !/[\0\ufffd]/.test(text))
  return { ...metadataOf(entry), textPreview: isText ? text : null, isText, isImage }
})

const head = (files: Target["files"], path: string) =>
  Stream.runCollect(files.read(path, { range: { start: 0, end: maxBytes - 1 } }))

/** Ends before a character that would be cut. */
const beginning = (chunks: ReadonlyArray<Uint8Array>): string => {
  const text = new TextDecoder().decode(Buffer.concat(chunks), { stream: true })
  return text.length <= maxUnits ? text : text.slice(0, characters.segment(text).containing(maxUnits)?.index)
}

// A character as a reader sees it may have several code points.
const characters = new Intl.Segmenter()
