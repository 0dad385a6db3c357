/** About how many bytes a value takes in memory; what is heavier than `limit` is not weighed to its end. */
export const weigh = (value: unknown, limit: number): number => {
  if (!isObject(value)) return weighLeaf(value)
  const seen = new Set<object>()
  const left: Array<object> = [value]
  let bytes = 0
  for (let part = left.pop(); part !== undefined && bytes <= limit; part = left.pop()) {
    if (seen.has(part)) continue
    seen.add(part)
    bytes += 32
    const add = (inner: unknown) => {
      if (isObject(inner)) left.push(inner)
      else bytes += weighLeaf(inner)
    }
    if (ArrayBuffer.isView(part) || part instanceof ArrayBuffer) bytes += part.byteLength
    else if (Array.isArray(part) || part instanceof Set || part instanceof Map) for (const inner of part) add(inner)
    else for (const name in part) add(part[name as keyof typeof part])
  }
  return bytes
}

const isObject = (value: unknown): value is object => typeof value === "object" && value !== null

const weighLeaf = (value: unknown) =>
  typeof value === "string" ? 16 + 2 * value.length : typeof value === "bigint" ? 24 : 8
