/**
 * Connects to a server through the proxy of `HTTPS_PROXY` or `HTTP_PROXY`, always by CONNECT, so that the proxy cannot
 * read requests. Undici's `EnvHttpProxyAgent` supports undici only, and Node's agents support proxies from 24.5; both
 * read the environment of the process.
 */
import { Config, Effect, Option, Redacted } from "effect"
import type * as Http from "node:http"
import type { Socket } from "node:net"
import * as Tls from "node:tls"
import { http, https } from "./nodeHttp.ts"
import { refused } from "./workspace/settings.ts"

export interface Proxy {
  /** The variable in which it is set. */
  readonly variable: string
  readonly protocol: string
  readonly hostname: string
  readonly port: string
  readonly authorization: Redacted.Redacted | undefined
}

/** Returns the proxy for this address, if any. */
export type Route = (url: URL) => Proxy | undefined

/** A proxy refused the connection, or cannot be reached. Errors show its `code` in place of the system's. */
class ProxyError extends Error {
  override readonly name = "ProxyError"
  readonly code: string
  constructor({ variable }: Proxy, what: string) {
    super(`the proxy in ${variable} ${what}`)
    this.code = this.message
  }
}

/** Returns the advice for an error's `code` if the error is a proxy's. */
export const adviceOf = (code: string): string | undefined => {
  const variable = /^the proxy in (\w+) /.exec(code)?.[1]
  return variable && `check ${variable} and NO_PROXY`
}

/** Whether an error's code is that of a proxy that may accept the next request. */
export const mayPass = (code: unknown): boolean =>
  typeof code === "string" && /^the proxy in \w+ (cannot be reached|answered 5)/.test(code)

// As in curl and undici, the lower-case name takes precedence, and a blank value counts as absent.
const variable = (name: string) =>
  Config.all([name.toLowerCase(), name].map((name) => Config.option(Config.Redacted(name)))).pipe(
    Config.map((values) =>
      values
        .map((value, index) => ({
          name: index === 0 ? name.toLowerCase() : name,
          text: Redacted.value(Option.getOrElse(value, () => Redacted.make(""))).trim()
        }))
        .find(({ text }) => text !== "")
    )
  )

/** The route; `undefined` if no proxy is set. */
export const config: Config.Config<Route | undefined> = Config.all({
  https: variable("HTTPS_PROXY"),
  http: variable("HTTP_PROXY"),
  none: variable("NO_PROXY")
}).pipe(
  Config.mapEffect(
    Effect.fnUntraced(function* ({ http, https, none }) {
      const plain = http && (yield* parse(http.name, http.text))
      const secure = https ? yield* parse(https.name, https.text) : plain
      if (plain === undefined && secure === undefined) return undefined
      const isExcepted = exceptions(none?.text ?? "")
      return (url: URL) => (isExcepted(url) ? undefined : url.protocol === "https:" ? secure : plain)
    })
  )
)

// The error does not quote the value, which may contain a password.
const parse = (variable: string, text: string): Effect.Effect<Proxy, Config.ConfigError> => {
  const url = URL.parse(text.includes("://") ? text : `http://${text}`)
  if (url === null || !["http:", "https:"].includes(url.protocol) || url.hostname === "") {
    return refused(`${variable} is not the URL of an HTTP proxy, such as http://proxy.example.com:3128`)
  }
  const { hostname, password, port, protocol, username } = url
  try {
    const login = `${decodeURIComponent(username)}:${decodeURIComponent(password)}`
    const authorization =
      login === ":" ? undefined : Redacted.make(`Basic ${Buffer.from(login).toString("base64")}`, { label: "proxy" })
    return Effect.succeed({ variable, protocol, port, hostname: bare(hostname), authorization })
  } catch {
    return refused(`${variable} has a user name or a password that is not percent-encoded`)
  }
}

const bare = (hostname: string) => hostname.replace(/^\[(.+)\]$/, "$1").replace(/(.)\.$/, "$1")

/**
 * `NO_PROXY` as undici reads it: `*`, names including their subdomains, `*.` for subdomains only, with or without a
 * port.
 */
const exceptions = (list: string) => {
  const entries = list
    .toLowerCase()
    .split(/[,\s]+/)
    .filter(Boolean)
    .map((entry) => {
      const [, name = entry, port = ""] =
        /^\[(.+)\](?::(\d+))?$/.exec(entry) ?? /^([^:]+)(?::(\d+))?$/.exec(entry) ?? []
      return { name: bare(name.replace(/^\*?\./, "")), port, onlyBelow: entry.startsWith("*.") }
    })
  return (url: URL) => {
    const name = bare(url.hostname.toLowerCase())
    const port = portOf(url)
    return entries.some(
      (entry) =>
        (entry.port === "" || Number(entry.port) === port) &&
        (entry.name === "*" || (name === entry.name && !entry.onlyBelow) || name.endsWith(`.${entry.name}`))
    )
  }
}

const portOf = ({ port, protocol }: URL) => Number(port || (protocol === "https:" ? 443 : 80))

// Half of the start's time limit, so that the start can still report it.
const timeout = 5_000

/** Opens a connection to this address through the proxy, without TLS to the server yet. */
export const tunnel = (
  proxy: Proxy,
  url: URL,
  done: (...result: [error: ProxyError, socket: null] | [error: null, socket: Socket]) => void
): void => {
  const target = `${url.hostname}:${portOf(url)}`
  const fail = (what: string) => done(new ProxyError(proxy, what), null)
  const { request } = proxy.protocol === "https:" ? https : http
  const connect = request({
    method: "CONNECT",
    host: proxy.hostname,
    port: proxy.port || (proxy.protocol === "https:" ? 443 : 80),
    path: target,
    headers: {
      host: target,
      ...(proxy.authorization && { "proxy-authorization": Redacted.value(proxy.authorization) })
    },
    agent: false,
    timeout
  })
  connect
    .once("connect", ({ statusCode = 0 }, socket: Socket, head) => {
      if (statusCode < 200 || statusCode > 299) {
        socket.on("error", () => {}).destroy()
        return fail(`answered ${statusCode}`)
      }
      socket.setTimeout(0)
      if (head.length > 0) socket.unshift(head)
      return done(null, socket)
    })
    .once("timeout", () => connect.destroy(Object.assign(new Error(), { code: "ETIMEDOUT" })))
    .once("error", (error: NodeJS.ErrnoException) => fail(`cannot be reached (${error.code ?? error.name})`))
    .end()
}

/** Returns a Node agent that connects to this address through the proxy. */
export const agent = (proxy: Proxy, url: URL): Http.Agent => {
  const isPlain = url.protocol === "http:"
  const agent = isPlain ? new http.Agent({ keepAlive: true }) : new https.Agent({ keepAlive: true })
  return Object.assign(agent, {
    createConnection: (
      options: Tls.ConnectionOptions,
      done: (error: Error | null, socket?: Socket | Tls.TLSSocket) => void
    ) =>
      tunnel(proxy, url, (error, socket) =>
        error === null ? done(null, isPlain ? socket : Tls.connect({ ...options, socket })) : done(error)
      )
  })
}
