/** The address of a workspace. */
import { type Config, Effect } from "effect"
import { refused } from "./settings.ts"

export interface Address {
  readonly origin: string
  /** The workspace id in `?o=` of the URL, for a host that has several workspaces. */
  readonly workspaceId: string | undefined
}

/** Whether requests to this address are encrypted, or stay on this machine. */
export const isPrivate = (url: URL): boolean =>
  url.protocol === "https:" || (url.protocol === "http:" && /^(localhost|127(\.\d+){3}|\[::1\])$/.test(url.hostname))

const urlOf = (host: string) => URL.parse(host.includes("://") ? host.trim() : `https://${host.trim()}`)

/** Returns the origin of an address, else the text itself. */
export const originOf = (host: string): string => urlOf(host)?.origin ?? host

/** Parses a URL or host name; `setting` names its variable in errors. */
export const parse = (host: string, setting = "DATABRICKS_HOST"): Effect.Effect<Address, Config.ConfigError> => {
  const url = urlOf(host)
  if (url === null || url.hostname === "") {
    return refused(`${setting} is neither a URL nor a host name: "${host.replace(/^.*@/s, "…@")}"`)
  }
  if (!isPrivate(url)) {
    return refused(`${setting} must begin with https://, or credentials would be sent in plaintext: "${url.origin}"`)
  }
  const workspaceId = url.searchParams.get("o") || undefined
  return workspaceId === undefined || /^\d+$/.test(workspaceId)
    ? Effect.succeed({ origin: url.origin, workspaceId })
    : refused(`${setting} has an ?o= that is not a workspace id, which is a number: ${JSON.stringify(workspaceId)}`)
}
