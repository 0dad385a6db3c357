/** Removes values from the messages of databases, to keep them out of logs and spans. */

/** Removes quoted text, up to the last quote of its kind, and numbers, except in types such as `char(3)`. */
export const withoutValues = (message: string): string =>
  message
    .replace(/(["']).*\1/gs, "…")
    .replace(/(?<![\w(.,[]|SQLSTATE: )[-+]?\d[\w.]*(?![\w)\]])/g, "…")
    .replace(/: …$/, "")

/** Removes the row, record or URL that a warehouse quotes verbatim at the end of a sentence. */
export const withoutRecords = (message: string): string =>
  message.replace(
    /((?:by row with values|in record parsing|url is invalid):).*?(?=\s*(?:Parse Mode:|SQLSTATE:|$))/gs,
    "$1 …"
  )

/** A shorter value may match a word of the sentence by chance. */
const shortest = 4

/** A longer value is searched for verbatim, because its pattern may be too large. */
const longestPattern = 1_000

/** The depth to which lists and JSON are searched. */
const deepest = 8

/** The texts in which a database may quote a value, including those inside of lists, JSON and typed parameters. */
const textsOf = (value: unknown, longest: number, depth = 0): ReadonlyArray<string> => {
  if (typeof value === "string" || typeof value === "number" || typeof value === "bigint") return [String(value)]
  if (typeof value !== "object" || value === null || depth > deepest) return []
  if (value instanceof Date) return Number.isNaN(value.getTime()) ? [] : value.toISOString().split(/[T.]/, 2)
  if (value instanceof Uint8Array) {
    return value.length > longest ? [] : [`\\x${Buffer.from(value).toString("hex")}`]
  }
  return Object.values(value).flatMap((_) => textsOf(_, longest, depth + 1))
}

/** Removes these values wherever they appear as words, and quoted parts of them. */
export const withoutBound = (message: string, values: ReadonlyArray<unknown>): string => {
  const lower = message.toLowerCase()
  const texts = textsOf(values, message.length)
  const whole = texts.reduce((text, value) => {
    if (value.length < shortest || !lower.includes(value.toLowerCase())) return text
    if (value.length > longestPattern) return text.replaceAll(value, "…")
    const word = value.replaceAll(/[.*+?^${}()|[\]\\]/g, String.raw`\$&`)
    return text.replaceAll(new RegExp(`(?<!\\w)${word}(?!\\w)`, "gi"), "…")
  }, message)
  // An identifier may be the part of a value before a dot, or its first 63 bytes.
  return whole.replace(/(["'`])(.+?)\1/gs, (quoted, mark: string, inner: string) => {
    const name = inner.toLowerCase()
    return texts.some((text) => (name.length < shortest ? text === inner : text.toLowerCase().includes(name)))
      ? `${mark}…${mark}`
      : quoted
  })
}
