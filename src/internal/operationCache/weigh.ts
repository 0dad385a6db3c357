/** About how many bytes a value takes in memory; what is heavier than `limit` is not weighed to its end. */
export const weigh = (value: unknown, limit: number): number => {
  const seen = new Set<object>()
  const left: Array<unknown> = [value]
  let bytes = 0
  while (left.length > 0 && bytes <= limit) {
    const part = left.pop()
    if (typeof part === "string") bytes += 16 + 2 * part.length
    else if (typeof part === "bigint") bytes += 24
    else if (typeof part !== "object" || part === null) bytes += 8
    else if (!seen.has(part)) {
      seen.add(part)
      bytes += 32
      if (ArrayBuffer.isView(part) || part instanceof ArrayBuffer) bytes += part.byteLength
      else if (Array.isArray(part) || part instanceof Set || part instanceof Map)
        for (const inner of part) left.push(inner)
      else for (const name in part) left.push(part[name as keyof typeof part])
    }
  }
  return bytes
}
