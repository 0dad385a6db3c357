/** Checks which site's page sent a request. */
import type { HttpServerRequest } from "effect/http"

/**
 * Whether a page of another site sent a request that may change something, or that opens a WebSocket. Browsers send the
 * user's cookies to the Databricks Apps proxy from any site. The same-origin policy keeps responses from that site, and
 * protects neither WebSockets nor requests without a preflight, such as a POST whose body is a `Blob` of JSON without a
 * type. Clients that are not browsers send none of these headers.
 */
export const isForeign = ({ headers, method }: HttpServerRequest.HttpServerRequest): boolean => {
  // Pages cannot set any of these headers.
  const { host, origin, "sec-fetch-site": site, upgrade, "x-forwarded-host": forwarded } = headers
  if (upgrade === undefined) {
    if (reading.has(method)) return false
    if (site !== undefined) return site !== "same-origin" && site !== "none"
  }
  if (origin === undefined) return false
  if (!URL.canParse(origin)) return true
  const { host: page, protocol } = new URL(origin)
  return ![host, ...(forwarded ?? "").split(",")].some((own) => {
    const url = `${protocol}//${own?.trim()}`
    return URL.canParse(url) && new URL(url).host === page
  })
}

const reading: ReadonlySet<string> = new Set(["GET", "HEAD", "OPTIONS"])
