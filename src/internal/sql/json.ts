/** The rows of a JSON_ARRAY chunk. */

// As JavaScript values rows take many times the memory of their text.
const partBytes = 64 * 1024

const [quote, backslash, comma, opening, closing] = Buffer.from(`"\\,[]`)

/**
 * Parses a chunk part by part, each once it is asked for, so that no more of it is in memory than its text and a part.
 *
 * Throws at what is no JSON, or breaks off.
 */
export function* partsOf(bytes: Uint8Array): Generator<ReadonlyArray<unknown>> {
  const utf8 = new TextDecoder("utf-8", { fatal: true })
  const parse = (from: number, to: number): ReadonlyArray<unknown> =>
    JSON.parse(`[${utf8.decode(bytes.subarray(from, to))}]`)
  let from = 0
  let depth = 0
  let inString = false
  for (let at = 0; at < bytes.length; at++) {
    const byte = bytes[at]
    if (inString) {
      if (byte === backslash) at++
      else if (byte === quote) inString = false
    } else if (byte === quote) {
      inString = true
    } else if (byte === opening) {
      if (++depth === 1) from = at + 1
    } else if (byte === comma && depth === 1 && at - from >= partBytes) {
      yield parse(from, at)
      from = at + 1
    } else if (byte === closing && --depth === 0) {
      if (utf8.decode(bytes.subarray(at + 1)).trim() !== "") break
      return yield parse(from, at)
    }
  }
  throw new SyntaxError("The chunk is no JSON array, or breaks off")
}
