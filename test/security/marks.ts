/** Finds secrets wherever they are, in whatever form they left. */
import { inspect } from "node:util"

/** What a secret looks like: as it is, in a URL, in JSON, and in base64 wherever it begins there. */
const formsOf = (secret: string): ReadonlyArray<string> => [
  secret,
  encodeURIComponent(secret),
  JSON.stringify(secret).slice(1, -1),
  ...(["base64", "base64url"] as const).flatMap((encoding) =>
    [0, 1, 2].map((before) =>
      Buffer.from("_".repeat(before) + secret)
        .toString(encoding)
        // What depends on the neighbours.
        .slice(before === 0 ? 0 : before + 1, (secret.length + before) % 3 === 0 ? undefined : -3)
        .replace(/=+$/, "")
    )
  )
]

/** Whatever a value has: also what no `inspect` shows, but not what only a closure knows. */
const textsOf = function* (root: unknown): Generator<readonly [path: string, text: string]> {
  const seen = new Set<object>()
  const left: Array<readonly [path: string, value: unknown]> = [["", root]]
  for (let next = left.pop(); next !== undefined; next = left.pop()) {
    const [path, value] = next
    if (typeof value === "string") yield [path, value]
    if (typeof value === "symbol") yield [path, String(value)]
    if ((typeof value !== "object" && typeof value !== "function") || value === null || seen.has(value)) continue
    seen.add(value)
    if (value === globalThis || value === process) continue
    if (ArrayBuffer.isView(value))
      yield [path, Buffer.from(value.buffer, value.byteOffset, value.byteLength).toString()]
    if (value instanceof Map) left.push([`${path}.entries`, [...value]])
    if (value instanceof Set) left.push([`${path}.values`, [...value]])
    for (const key of Reflect.ownKeys(value)) {
      const at = `${path}.${String(key)}`
      yield [`the name ${at}`, String(key)]
      const property = Reflect.getOwnPropertyDescriptor(value, key)
      if (property !== undefined && "value" in property) left.push([at, property.value])
    }
  }
}

const renderings = (value: unknown): ReadonlyArray<readonly [path: string, text: string]> => [
  ["String", attempt(() => String(value))],
  ["JSON.stringify", attempt(() => JSON.stringify(value) ?? "")],
  ["util.inspect", inspect(value, { depth: Infinity, showHidden: true, getters: true })]
]

const attempt = (render: () => string) => {
  try {
    return render()
  } catch (error) {
    return String(error)
  }
}

export interface Marks {
  /** The places in a value where one of the secrets is. */
  readonly in: (value: unknown, options?: { readonly rendered: boolean }) => ReadonlyArray<string>
}

/** `rendered` looks at no more than what a value shows of itself. */
export const make = (secrets: ReadonlyArray<string>): Marks => {
  const forms = [...new Set(secrets.flatMap(formsOf))]
  return {
    in: (value, options) =>
      [...renderings(value), ...(options?.rendered === true ? [] : textsOf(value))].flatMap(([path, text]) => {
        const form = forms.find((form) => text.includes(form))
        return form === undefined ? [] : [`${path}: …${excerpt(text, form)}…`]
      })
  }
}

const excerpt = (text: string, form: string) => {
  const at = text.indexOf(form)
  return text.slice(Math.max(0, at - 60), at + form.length + 20)
}
