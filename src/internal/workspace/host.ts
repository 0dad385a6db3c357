/** The address of a workspace. */
import { type Config, Effect } from "effect"
import { refused } from "./settings.ts"

/** Whether nobody on the way can read what is sent there. */
export const isPrivate = (url: URL): boolean =>
  url.protocol === "https:" || (url.protocol === "http:" && /^(localhost|127(\.\d+){3}|\[::1\])$/.test(url.hostname))

/** The origin of a URL or bare host name; `setting` is where it was found. */
export const parse = (host: string, setting = "DATABRICKS_HOST"): Effect.Effect<string, Config.ConfigError> => {
  const url = URL.parse(host.includes("://") ? host.trim() : `https://${host.trim()}`)
  if (url === null || url.hostname === "") {
    return refused(`${setting} is neither a URL nor a host name: "${host.replace(/^.*@/s, "…@")}"`)
  }
  if (!isPrivate(url)) {
    return refused(`${setting} must begin with https://, or credentials would travel in the open: "${url.origin}"`)
  }
  return Effect.succeed(url.origin)
}
