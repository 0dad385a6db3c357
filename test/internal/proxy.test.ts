import { assert, describe, it } from "@effect/vitest"
import { ConfigProvider, Effect, Schema } from "effect"
import { EnvHttpProxyAgent } from "@effect/platform-node/Undici"
import * as Proxy from "../../src/internal/proxy.ts"

const routeOf = (env: Record<string, string>) => Proxy.config.parse(ConfigProvider.fromEnvRecord(env))
const refused = (env: Record<string, string>) => Effect.map(Effect.flip(routeOf(env)), (_) => _.cause.message)

/** Which of its three agents undici would send a request to this address by. */
const undici = (options: { httpProxy: string; httpsProxy: string; noProxy: string }) => {
  const agent = new EnvHttpProxyAgent(options)
  let way = ""
  for (const symbol of Object.getOwnPropertySymbols(agent)) {
    const name = /^(no|http|https) proxy agent$/.exec(symbol.description ?? "")?.[1]
    const part = (agent as unknown as Record<symbol, EnvHttpProxyAgent>)[symbol]
    if (name !== undefined && part !== undefined) part.dispatch = () => (way = name) !== ""
  }
  return (url: URL) => {
    agent.dispatch({ origin: url.origin, path: "/", method: "GET" }, {})
    return way
  }
}

describe("The proxy of the environment", () => {
  const Name = Schema.Literals([
    "example.com",
    "a.example.com",
    "b.a.example.com",
    "ample.com",
    "localhost",
    "[::1]",
    "127.0.0.1",
    "EXAMPLE.com."
  ])
  const Entry = Schema.Literals([
    "*",
    "*:443",
    "example.com",
    ".example.com",
    "*.example.com",
    "example.com:443",
    ".a.example.com:8080",
    "EXAMPLE.COM.",
    "::1",
    "[::1]",
    "[::1]:443",
    "127.0.0.1",
    "localhost:80",
    "ample.com",
    "none",
    "example.com:x",
    " ",
    ""
  ])

  it.effect.prop(
    "is chosen as undici's EnvHttpProxyAgent chooses it",
    [
      Schema.Struct({
        name: Name,
        scheme: Schema.Literals(["http", "https"]),
        port: Schema.Literals(["", ":80", ":443", ":8080"]),
        entries: Schema.Array(Entry),
        separator: Schema.Literals([",", " ", ", "])
      })
    ],
    ([{ entries, name, port, scheme, separator }]) =>
      Effect.gen(function* () {
        const url = new URL(`${scheme}://${name}${port}/path`)
        const noProxy = entries.join(separator)
        const [httpProxy, httpsProxy] = ["http://plain:1", "http://secure:2"]
        const route = yield* routeOf({ HTTP_PROXY: httpProxy, HTTPS_PROXY: httpsProxy, NO_PROXY: noProxy })
        const ways: Record<string, string> = { plain: "http", secure: "https" }
        const expected = undici({ httpProxy, httpsProxy, noProxy })(url)
        assert.strictEqual(ways[route?.(url)?.hostname ?? ""] ?? "no", expected)
      })
  )

  it.effect("is read in both letter cases, with the lower one first and without blank ones", () =>
    Effect.gen(function* () {
      const [plain, secure] = [new URL("http://example.com"), new URL("https://example.com")]
      const route = yield* routeOf({ https_proxy: "a", HTTPS_PROXY: "b", http_proxy: " ", HTTP_PROXY: "http://c:1" })
      assert.strictEqual(route?.(secure)?.hostname, "a")
      assert.strictEqual(route?.(plain)?.hostname, "c")
      assert.strictEqual((yield* routeOf({ HTTP_PROXY: "c" }))?.(secure)?.variable, "HTTP_PROXY")
      assert.isUndefined((yield* routeOf({ HTTPS_PROXY: "b" }))?.(plain))
      assert.isUndefined(yield* routeOf({ HTTPS_PROXY: "", NO_PROXY: "*" }))
    })
  )

  it.effect("is refused by the name of its variable if it is not the URL of an HTTP proxy, and is not shown", () =>
    Effect.gen(function* () {
      for (const wrong of ["::::", "http://", "socks5://h:1", "ftp://h", "http://h:99999", "http://u:hush@"]) {
        for (const name of ["HTTPS_PROXY", "http_proxy"]) {
          const said = yield* refused({ [name]: wrong })
          assert.strictEqual(said, `${name} is not the URL of an HTTP proxy, such as http://proxy.example.com:3128`)
        }
      }
      assert.strictEqual(
        yield* refused({ HTTPS_PROXY: "http://user:100%hush@proxy" }),
        "HTTPS_PROXY has a user name or a password that is not percent-encoded"
      )
    })
  )
})
