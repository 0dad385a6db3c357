import { assert, describe, layer } from "@effect/vitest"
import { getWorkspaceClient, ServiceContext, Telemetry } from "effect-databricks"
import { Cause, ConfigProvider, Context, Effect, Exit, Layer, Logger, Redacted, Schema } from "effect"
import { HttpClientRequest } from "effect/http"
import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import * as Https from "node:https"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { inspect } from "node:util"
import { generate } from "selfsigned"
import { run } from "./fixtures/child.ts"
import { connectProxy } from "./fixtures/connectProxy.ts"
import { otlpReceiver } from "./fixtures/otlpReceiver.ts"
import * as RawServer from "./fixtures/rawServer.ts"
import { hurried, layerOf, me, refusal, wrongSetting } from "./fixtures/start.ts"

const names = ["workspace.example", "storage.example", "collector.example"]

/** Names that only the proxy knows, served over TLS with a certificate of a private authority. */
class Bed extends Context.Service<
  Bed,
  { readonly port: number; readonly authority: string; readonly arrived: Array<string> }
>()("test/Bed") {
  static readonly layer = Layer.effect(
    Bed,
    Effect.gen(function* () {
      const folder = yield* Effect.acquireRelease(
        Effect.sync(() => mkdtempSync(join(tmpdir(), "proxy-"))),
        (path) => Effect.sync(() => rmSync(path, { recursive: true }))
      )
      const make = (name: string, options: Parameters<typeof generate>[1]) =>
        Effect.promise(() =>
          generate([{ name: "commonName", value: name }], { ...options, keyType: "ec", algorithm: "sha256" })
        )
      const root = yield* make("root", { extensions: [{ name: "basicConstraints", cA: true, critical: true }] })
      const server = yield* make("server", {
        ca: { cert: root.cert, key: root.private },
        extensions: [{ name: "subjectAltName", altNames: [...names, "localhost"].map((value) => ({ type: 2, value })) }]
      })
      const authority = join(folder, "root.crt")
      writeFileSync(authority, root.cert)
      const arrived: Array<string> = []
      const https = Https.createServer({ cert: server.cert, key: server.private }, (request, response) => {
        arrived.push(`${request.headers.host?.replace(/:.*/, "")}${request.url}`)
        const body = request.url === me ? `{"id":"1","userName":"sp"}` : request.url === "/part" ? "rows" : "{}"
        request.resume().once("end", () => response.writeHead(200, { "x-databricks-org-id": "1" }).end(body))
      })
      const { port } = yield* RawServer.listening(https)
      return { port, authority, arrived }
    })
  )
}

/** A workspace on loopback without TLS. */
const plain = Effect.gen(function* () {
  const seen: Array<string> = []
  const { origin } = yield* RawServer.http((request, response) => {
    seen.push(request.url ?? "")
    response.writeHead(200, { "x-databricks-org-id": "1" }).end(`{"id":"1","userName":"sp"}`)
  })
  return { env: { DATABRICKS_HOST: origin, DATABRICKS_TOKEN: "t" }, host: origin, port: new URL(origin).port, seen }
})

const request = Effect.flatMap(getWorkspaceClient, (_) =>
  _.requestJson(HttpClientRequest.get("/api/2.0/thing"), Schema.Unknown)
)

layer(Bed.layer, { excludeTestServices: true })("ServiceContext", (it) => {
  describe("in a process with a proxy and a private authority", () => {
    const child = Effect.fnUntraced(function* (env: Record<string, string>, link: string) {
      const app = yield* run("proxied.ts", [link], { DATABRICKS_TOKEN: "t", ...env })
      yield* app.exit
      return app.output.stdout + app.output.stderr
    })

    it.effect("reaches workspace, links and collector through HTTPS_PROXY, and NO_PROXY directly", () =>
      Effect.gen(function* () {
        const { arrived, authority, port } = yield* Bed
        const proxy = yield* connectProxy(Object.fromEntries(names.map((name) => [name, port])))
        const env = {
          NODE_EXTRA_CA_CERTS: authority,
          HTTPS_PROXY: proxy.origin.replace("//", "//me:p%40ss@"),
          NO_PROXY: "localhost",
          DATABRICKS_HOST: "workspace.example",
          OTEL_EXPORTER_OTLP_ENDPOINT: "https://collector.example",
          OTEL_EXPORTER_OTLP_PROTOCOL: "http/protobuf"
        }
        assert.strictEqual(yield* child(env, "https://storage.example/part"), "link: rows\n")
        const targets = (_: ReadonlyArray<string>) => [...new Set(_)].toSorted()
        assert.deepStrictEqual(targets(proxy.seen.targets), names.map((name) => `${name}:443`).toSorted())
        assert.deepStrictEqual(targets(proxy.seen.logins as Array<string>), [
          `Basic ${Buffer.from("me:p@ss").toString("base64")}`
        ])
        assert.includeMembers(arrived, [
          `workspace.example${me}`,
          "storage.example/part",
          "collector.example/v1/traces"
        ])
        proxy.seen.targets.length = 0
        assert.strictEqual(
          yield* child({ ...env, OTEL_SDK_DISABLED: "true" }, `https://localhost:${port}/part`),
          "link: rows\n"
        )
        assert.deepStrictEqual(targets(proxy.seen.targets), ["workspace.example:443"])
      })
    )
  })

  describe("without the private authority", () => {
    it.effect("names the certificate's problem and NODE_EXTRA_CA_CERTS, with and without a proxy", () =>
      Effect.gen(function* () {
        const { port } = yield* Bed
        const proxy = yield* connectProxy({ "workspace.example": port })
        const says = (host: string) =>
          new RegExp(
            `^https://${host} cannot be reached \\((SELF_SIGNED_CERT_IN_CHAIN|UNABLE_TO_VERIFY_LEAF_SIGNATURE)\\): the certificate of the server is not trusted: .*NODE_EXTRA_CA_CERTS`
          )
        const token = { DATABRICKS_TOKEN: "t" }
        assert.match(
          yield* refusal({ ...token, DATABRICKS_HOST: "workspace.example", HTTPS_PROXY: proxy.origin }),
          says("workspace.example")
        )
        assert.match(yield* refusal({ ...token, DATABRICKS_HOST: `localhost:${port}` }), says(`localhost:${port}`))
        const client = { DATABRICKS_CLIENT_ID: "c", DATABRICKS_CLIENT_SECRET: "s" }
        assert.match(yield* refusal({ ...client, DATABRICKS_HOST: `localhost:${port}` }), says(`localhost:${port}`))
      })
    )

    it.effect("names a server that speaks no TLS", () =>
      Effect.gen(function* () {
        const { port } = yield* plain
        assert.match(
          yield* refusal({ DATABRICKS_TOKEN: "t", DATABRICKS_HOST: `https://127.0.0.1:${port}` }),
          /cannot be reached \((ERR_SSL_\w+|EPROTO)\): the TLS handshake failed/
        )
      })
    )
  })

  describe("with a proxy", () => {
    it.effect("sends every request by CONNECT, on connections that are kept", () =>
      Effect.gen(function* () {
        const { env, port, seen } = yield* plain
        const proxy = yield* connectProxy()
        const live = layerOf({ ...env, http_proxy: proxy.host })
        yield* Effect.provide(Effect.repeat(request, { times: 9 }), live, { local: true })
        assert.deepStrictEqual(new Set(proxy.seen.targets), new Set([`127.0.0.1:${port}`]))
        assert.isBelow(proxy.seen.targets.length, 4)
        assert.strictEqual(proxy.seen.requests, 0)
        assert.strictEqual(seen.length, 11)
      })
    )

    it.effect("tells a proxy that refuses or is down as the proxy's failure", () =>
      Effect.gen(function* () {
        const { env, host, seen } = yield* plain
        const proxy = yield* connectProxy()
        const proxied = { ...env, HTTP_PROXY: proxy.origin.replace("//", "//me:hush@") }
        for (const status of [407, 403, 502]) {
          proxy.answers(status)
          assert.strictEqual(
            yield* hurried(refusal(proxied)),
            `${host} cannot be reached (the proxy in HTTP_PROXY answered ${status}): check HTTP_PROXY and NO_PROXY`
          )
        }
        assert.strictEqual(
          yield* hurried(refusal({ ...env, HTTP_PROXY: "http://127.0.0.1:1" })),
          `${host} cannot be reached (the proxy in HTTP_PROXY cannot be reached (ECONNREFUSED)): check HTTP_PROXY and NO_PROXY`
        )
        const { origin } = yield* RawServer.tcp((socket) => socket.on("error", () => {}).end("no HTTP\r\n\r\n"))
        assert.match(
          yield* hurried(refusal({ ...env, HTTP_PROXY: origin })),
          /\(the proxy in HTTP_PROXY cannot be reached \(HPE_\w+\)\)/
        )
        assert.deepStrictEqual(seen, [])
      })
    )

    it.effect("shows the password of the proxy in no error", () =>
      Effect.gen(function* () {
        const { env } = yield* plain
        const proxy = yield* connectProxy()
        const live = layerOf({ ...env, HTTP_PROXY: proxy.origin.replace("//", "//me:hush-hush@") })
        const exit = yield* Effect.gen(function* () {
          const client = yield* getWorkspaceClient
          proxy.answers(407)
          return yield* Effect.exit(client.fetch(HttpClientRequest.get("http://localhost:1/")))
        }).pipe(Effect.provide(live, { local: true }))
        assert.isTrue(Exit.isFailure(exit))
        const shown =
          inspect([exit, live], { depth: 12, showHidden: true }) +
          (Exit.isFailure(exit) ? Cause.pretty(exit.cause) : "")
        assert.notInclude(shown, "hush-hush")
        assert.notInclude(shown, Buffer.from("me:hush-hush").toString("base64"))
      })
    )

    it.effect("fails the start and names the variable whose URL is wrong", () =>
      Effect.gen(function* () {
        const { env, host } = yield* plain
        const says = "HTTPS_PROXY is not the URL of an HTTP proxy, such as http://proxy.example.com:3128"
        assert.strictEqual(yield* wrongSetting({ ...env, HTTPS_PROXY: "socks5://proxy" }), says)
        const provider = ConfigProvider.layer(ConfigProvider.fromEnvRecord({ HTTPS_PROXY: "::::" }))
        const wrong = Layer.provide(ServiceContext.layer({ host, token: Redacted.make("t") }), provider)
        const error = yield* Effect.flip(Layer.build(wrong))
        assert.strictEqual(error._tag, "ServiceContextError")
        assert.strictEqual(error.message, says)
      })
    )

    it.effect("exports telemetry through it, and reports its failure", () =>
      Effect.gen(function* () {
        const collector = yield* otlpReceiver("http")
        const proxy = yield* connectProxy()
        const provider = ConfigProvider.layer(ConfigProvider.fromEnvRecord({ HTTP_PROXY: proxy.origin }))
        const printed: Array<string> = []
        const telemetry = Telemetry.layer({ endpoint: collector.endpoint }).pipe(
          Layer.provideMerge(Logger.layer([Logger.make(({ message }) => void printed.push(String(message)))])),
          Layer.provide(provider)
        )
        const exported = Effect.provide(Effect.withSpan(Effect.void, "a span"), telemetry, { local: true })
        yield* exported
        assert.strictEqual(collector.received.spans.length, 1)
        assert.deepStrictEqual(new Set(proxy.seen.targets), new Set([new URL(collector.endpoint).host]))
        assert.strictEqual(proxy.seen.requests, 0)
        proxy.answers(407)
        yield* exported
        assert.deepStrictEqual(printed, [
          `Telemetry is not exported to ${new URL(collector.endpoint).host}: the proxy in HTTP_PROXY answered 407. It is dropped until the collector accepts it`
        ])
      })
    )
  })
})
