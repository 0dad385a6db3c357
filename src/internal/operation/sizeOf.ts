/**
 * Estimates the bytes that a value takes in memory, from its readable properties. It stops once the estimate exceeds
 * `limit`.
 */
export const sizeOf = (value: unknown, limit: number): number => {
  if (typeof value !== "object" || value === null) return leaf(value)
  const seen = new Set<object>()
  const names = new Set<string>()
  const left: Array<object> = []
  let bytes = 0
  const add = (inner: unknown) => {
    bytes += leaf(inner)
    if (typeof inner !== "object" || inner === null || seen.has(inner)) return
    seen.add(inner)
    left.push(inner)
  }
  add(value)
  for (let part = left.pop(); part !== undefined && bytes <= limit; part = left.pop()) {
    bytes += 24
    // A view keeps all of its buffer.
    if (ArrayBuffer.isView(part)) add(part.buffer)
    else if (part instanceof ArrayBuffer || part instanceof SharedArrayBuffer) bytes += part.byteLength
    else if (Array.isArray(part) || part instanceof Set || part instanceof Map) {
      for (const inner of part) {
        if (bytes > limit) break
        add(inner)
      }
    } else {
      for (const name in part) {
        if (bytes > limit) break
        // Rows share the names of their columns.
        if (!names.has(name)) {
          names.add(name)
          bytes += leaf(name)
        }
        add(part[name as keyof typeof part])
      }
    }
  }
  return bytes
}

const leaf = (value: unknown) =>
  typeof value === "string" ? 16 + 2 * value.length : typeof value === "bigint" ? 24 : 8
