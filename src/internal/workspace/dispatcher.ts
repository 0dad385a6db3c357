/** The connections to the workspace, and the time limits of its responses. */
import Undici, { type buildConnector, type Dispatcher } from "@effect/platform-node/Undici"
import { Effect } from "effect"
import * as Proxy from "../proxy.ts"

/** Opens connections until the scope closes. */
export const make = Effect.map(
  Effect.acquireRelease(
    Effect.map(
      Proxy.config,
      (route) =>
        // Databricks keeps idle connections for over a minute, but undici would close them after 4 seconds.
        new Undici.Agent({ keepAliveTimeout: 30_000, ...(route && { connect: connector(route) }) })
    ),
    (agent) => Effect.promise(() => agent.destroy())
  ),
  (agent) => limited(agent, 6 * 60_000)
)

/**
 * Fails a request whose response does not begin within this many milliseconds, or then sends nothing for as long, unless
 * its reader is slow. Databricks ends a request after 297 seconds, and Effect's client sets no limits of its own.
 */
export const limited = (dispatcher: Dispatcher, limit: number): Dispatcher =>
  dispatcher.compose(
    (dispatch) => (options, handler) =>
      dispatch({ ...options, bodyTimeout: limit, ...(isShort(options.body) && { headersTimeout: limit }) }, handler)
  )

// A longer upload may take more time than its response.
const isShort = (body: Dispatcher.DispatchOptions["body"]) =>
  body === null ||
  body === undefined ||
  typeof body === "string" ||
  (body instanceof Uint8Array && body.byteLength <= 16 * 1024 * 1024)

/** Opens undici's connections, through a proxy if there is one. */
const connector = (route: Proxy.Route): buildConnector.connector => {
  const direct = Undici.buildConnector({})
  return (options, done) => {
    const url = new URL(`${options.protocol}//${options.host}`)
    const proxy = route(url)
    if (proxy === undefined) return direct(options, done)
    return Proxy.tunnel(proxy, url, (...[error, socket]) =>
      error !== null
        ? done(error, null)
        : url.protocol === "http:"
          ? done(null, socket)
          : direct({ ...options, httpSocket: socket }, done)
    )
  }
}
