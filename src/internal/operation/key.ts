/** Encodes parameters as text. Different parameters have different texts. */
import type { Key, KeyPart, Which } from "../../OperationCache.ts"

export const encode = (part: KeyPart): string => {
  switch (typeof part) {
    case "string":
      return encodeString(part)
    case "number":
      return Object.is(part, -0) ? "-0" : String(part)
    case "bigint":
      return `${part}n`
    case "object":
      return part === null ? "null" : encodeObject(part)
    case "boolean":
    case "undefined":
      return String(part)
    default:
      throw new TypeError(`A ${typeof part} cannot be part of a cache key`)
  }
}

export const matches = ({ caller, name, operation }: Which, key: Key): boolean =>
  (caller ?? key.caller) === key.caller &&
  (name ?? key.name) === key.name &&
  (operation ?? key.operation) === key.operation

// A length prefix costs less than escaping. Half of a surrogate pair has no UTF-8, hence JSON for it.
const encodeString = (text: string) => (text.isWellFormed() ? `${text.length}"${text}` : JSON.stringify(text))

const encodeObject = (part: Date | ReadonlyArray<KeyPart> | { readonly [name: string]: KeyPart }): string => {
  const prototype: unknown = Object.getPrototypeOf(part)
  if (prototype === Array.prototype && isArray(part)) {
    let text = "["
    for (const item of part) text += `${encode(item)},`
    return `${text}]`
  }
  if (prototype === Date.prototype && part instanceof Date) return `@${part.getTime()}`
  // The properties of a class instance may not be all of its state.
  if (prototype !== Object.prototype && prototype !== null) {
    throw new TypeError("An instance of a class cannot be part of a cache key")
  }
  if (Object.getOwnPropertySymbols(part).length > 0) {
    throw new TypeError("An object with symbols for names cannot be part of a cache key")
  }
  const named = Object.entries(part).map(([name, value]: [string, KeyPart]) => `${encodeString(name)}:${encode(value)}`)
  return `{${named.toSorted().join()}}`
}

const isArray: (part: object) => part is ReadonlyArray<KeyPart> = Array.isArray
