/** Reads the rows of a JSON_ARRAY chunk. */
import type { TextRow } from "./wire.ts"

const rowsPerPart = 256
const bytesPerPart = 256 * 1024

const [quote, backslash, comma, opening, closing, n] = Buffer.from(`"\\,[]n`)
const isSpace = (byte: number | undefined) => byte === 32 || byte === 10 || byte === 13 || byte === 9

/**
 * Parses a chunk part by part, on demand, because parsed rows take many times the memory of their text. Throws if the
 * chunk is not a list of lists of text and null, or is truncated.
 *
 * Written by hand: with JSON.parse a large result would exceed the memory bound of a stream.
 */
export function* partsOf(chunk: Uint8Array): Generator<ReadonlyArray<TextRow>> {
  const bytes = Buffer.from(chunk.buffer, chunk.byteOffset, chunk.length)
  let at = 0
  let part: Array<TextRow> = []
  let from = 0

  const next = () => {
    while (isSpace(bytes[at])) at++
    return bytes[at++]
  }
  const broken = () => new SyntaxError(`The chunk is not a list of rows at byte ${at}`)

  const value = (first: number | undefined): string | null => {
    if (first === n && bytes.toString("latin1", at, at + 3) === "ull") {
      at += 3
      return null
    }
    if (first !== quote) throw broken()
    const start = at
    let isAscii = true
    let isPlain = true
    for (let byte = bytes[at]; byte !== quote; byte = bytes[++at]) {
      if (byte === undefined || byte < 32) throw broken()
      if (byte > 127) isAscii = false
      if (byte === backslash) {
        isPlain = false
        at++
      }
    }
    const end = at++
    if (!isPlain) return JSON.parse(utf8(bytes.subarray(start - 1, end + 1)))
    return isAscii ? bytes.toString("latin1", start, end) : utf8(bytes.subarray(start, end))
  }

  const row = (): TextRow => {
    const values: Array<string | null> = []
    let byte = next()
    if (byte === closing) return values
    for (;;) {
      values.push(value(byte))
      byte = next()
      if (byte === closing) return values
      if (byte !== comma) throw broken()
      byte = next()
    }
  }

  if (next() !== opening) throw broken()
  let byte = next()
  while (byte !== closing || part.length > 0) {
    if (byte !== opening) throw broken()
    part.push(row())
    if (part.length >= rowsPerPart || at - from >= bytesPerPart) {
      yield part
      part = []
      from = at
    }
    byte = next()
    if (byte === closing) break
    if (byte !== comma) throw broken()
    byte = next()
    if (byte === closing) throw broken()
  }
  if (next() !== undefined) throw broken()
  if (part.length > 0) yield part
}

const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true })
const utf8 = (bytes: Uint8Array) => decoder.decode(bytes)
