/** Keeps the token of a request out of logs, copies and JSON of the whole request. */
import { Predicate } from "effect"
import type { HttpServerRequest } from "effect/http"

const name = "x-forwarded-access-token"

/** Makes the header non-enumerable: it can still be read by name, and by `asUser`. */
export const hide = ({ headers, source }: HttpServerRequest.HttpServerRequest): void => {
  // Effect's headers are a copy of the source's, made on first access.
  unlist(headers)
  // Node also has the raw headers; a web `Request` has neither.
  if (!Predicate.hasProperty(source, "rawHeaders") || !Array.isArray(source.rawHeaders)) return
  if (Predicate.hasProperty(source, "headers") && Predicate.isObject(source.headers)) unlist(source.headers)
  const raw: Array<unknown> = source.rawHeaders
  for (let i = 0; i < raw.length; i += 2) {
    if (String(raw[i]).toLowerCase() === name) raw[i + 1] = "<redacted>"
  }
}

const unlist = (headers: object) => {
  if (Object.hasOwn(headers, name)) Object.defineProperty(headers, name, { enumerable: false })
}
