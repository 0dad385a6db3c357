/** JSON with exact numbers, where JSON.parse would round to the nearest double. */

/**
 * Whether a double represents this number exactly. An integer without an exponent must be a safe one: beyond 2^53
 * several integers share a double.
 */
export const isExact = (text: string): boolean => {
  if (!isNumber(text)) return false
  const value = Number(text)
  if (Number.isInteger(value) && !Number.isSafeInteger(value) && !exponential.test(text)) return false
  const shortest = String(value)
  return shortest === text || (Number.isFinite(value) && digitsOf(shortest) === digitsOf(text))
}

/** Whether a text is a number in the format of JSON and of a warehouse's columns. */
export const isNumber = (text: string): boolean => number.test(text)

const number = /^-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?$/
const exponential = /[eE]/

/** Returns the significant digits, without the zeros at both ends. */
const digitsOf = (text: string) => {
  const digits = text.replace(/[eE].*/, "").replaceAll(/[-.]/g, "")
  let end = digits.length
  while (digits[end - 1] === "0") end--
  return digits.slice(0, end).replace(/^0+/, "")
}

/** Returns an integer with an exponent as digits for BigInt, and any other number unchanged. */
export const plain = (text: string): string => {
  const [, sign, whole, fraction = "", exponent] = /^(-?)(\d+)(?:\.(\d+))?[eE]\+?(\d{1,3})$/.exec(text) ?? []
  if (whole === undefined) return text
  const zeros = Number(exponent) - fraction.length
  return zeros < 0 ? text : sign + `${whole}${fraction}${"0".repeat(zeros)}`.replace(/^0+(?=\d)/, "")
}

/** Parses a text and replaces each number by the result of `number`. */
export const parseWith = (text: string, number: (value: number, source: string, key: string) => unknown): unknown =>
  JSON.parse(text, ((key: string, value: unknown, { source }: { readonly source: string }) =>
    typeof value === "number" ? number(value, source, key) : value) as (key: string, value: unknown) => unknown) // TypeScript's library does not declare the third argument yet

// An inexact number has 16 digits or an exponent. A match within a string only costs time.
const suspect = /(?:^|[[:,\s])(-?\d(?:[\d.]{15}|[\d.]*[eE])[\d.eE+-]*)/g

/** Parses a text as fast as JSON.parse, and replaces numbers that a double cannot represent. */
export const parse = (text: string, inexact: (digits: string, key: string) => unknown): unknown => {
  for (const [, number] of text.matchAll(suspect)) {
    if (!isExact(number!)) {
      return parseWith(text, (value, source, key) => (isExact(source) ? value : inexact(plain(source), key)))
    }
  }
  return JSON.parse(text)
}

/**
 * Writes a bigint as an exact number; `rounded` decides on a number that JSON cannot represent or that may be rounded.
 */
export const stringify = (value: unknown, rounded: (name: string, value: unknown) => unknown): string =>
  JSON.stringify(value, (name, item: unknown) =>
    typeof item === "bigint"
      ? // TypeScript's library does not declare it yet.
        (JSON as unknown as { readonly rawJSON: (text: string) => unknown }).rawJSON(String(item))
      : isRounded(item)
        ? rounded(name, item)
        : item
  )

/** Whether this is an integer beyond 2^53, which may be rounded, or not finite, which JSON writes as null. */
export const isRounded = (value: unknown): boolean => typeof value === "number" && !isExact(String(value))
