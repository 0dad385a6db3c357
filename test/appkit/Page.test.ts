import { assert, layer } from "@effect/vitest"
import * as ClientConfig from "effect-databricks/appkit/ClientConfig"
import * as Page from "effect-databricks/appkit/Page"
import { LocalWorkspace } from "effect-databricks/testing"
import { Arbitrary, Effect, Layer, Schema } from "effect"
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { dirname, join } from "node:path"
import { serve, Served } from "../http/harness.ts"

const page =
  '<!doctype html>\n<html lang="en">\n<head>\n<title>The page</title><script>go()</script></head><body></body></html>'
const navigation = { headers: { accept: "text/html,*/*;q=0.8" } }

const makeBuild = Effect.acquireRelease(
  Effect.sync(() => {
    const root = mkdtempSync(join(tmpdir(), "page-"))
    const write = (file: string, text: string) => {
      mkdirSync(dirname(join(root, file)), { recursive: true })
      writeFileSync(join(root, file), text)
    }
    write("index.html", page)
    write("docs/index.html", "<title>Docs</title>")
    write("other.html", "<title>Another</title>")
    write("assets/index-BfZ3kx1q.js", "0123456789")
    return { root, write }
  }),
  ({ root }) => Effect.sync(() => rmSync(root, { recursive: true }))
)

/** As a browser reads it: the text of the first script with the id, which holds no tag. */
const configIn = (html: string) => {
  const [, before = "", text = ""] =
    /^([^]*?)<script id="__appkit__" type="application\/json">([^<]*)<\/script>/i.exec(html) ?? []
  return { before, config: JSON.parse(text) }
}

const script = (config: unknown) => `<script id="__appkit__" type="application/json">${JSON.stringify(config)}</script>`
const empty = { appName: "", queries: {}, endpoints: {}, plugins: {} }

layer(LocalWorkspace.layer(), { excludeTestServices: true })("appkit/Page.layer", (it) => {
  const served = <A, E, R>(
    test: (
      app: Served["Service"],
      add: ClientConfig.ClientConfig["Service"]["add"],
      build: Effect.Success<typeof makeBuild>
    ) => Effect.Effect<A, E, R>
  ) =>
    Effect.gen(function* () {
      const build = yield* makeBuild
      return yield* Effect.gen(function* () {
        const { add } = yield* ClientConfig.ClientConfig
        return yield* test(yield* Served, add, build)
      }).pipe(Effect.provide(Layer.provideMerge(serve(Page.layer({ root: build.root })), ClientConfig.layer)))
    })

  it.effect("adds the client config as the first script of each index.html, and to no other file", () =>
    served((app, add) =>
      Effect.gen(function* () {
        const whole = page.replace("<head>\n", `<head>\n${script(empty)}`)
        for (const path of ["/", "/?tab=1", "/index.html", "/orders/17", "/index%2Ehtml"]) {
          const answer = yield* app.call("GET", path, navigation)
          assert.deepStrictEqual([answer.status, answer.text], [200, whole], path)
          assert.strictEqual(answer.headers["content-type"], "text/html; charset=utf-8")
          assert.strictEqual(answer.headers["content-length"], String(whole.length))
        }
        assert.strictEqual((yield* app.call("GET", "/docs/index.html")).text, `${script(empty)}<title>Docs</title>`)
        assert.strictEqual((yield* app.call("GET", "/other.html")).text, "<title>Another</title>")
        yield* add("jobs", { config: { jobs: {} }, endpoints: { run: "/api/jobs/:job/run" }, queries: { q: "q" } })
        assert.deepStrictEqual(configIn((yield* app.call("GET", "/")).text).config, {
          appName: "",
          queries: { q: "q" },
          endpoints: { jobs: { run: "/api/jobs/:job/run" } },
          plugins: { jobs: { jobs: {} } }
        })
      })
    )
  )

  it.effect("adds no script that runs, so that a content security policy needs no exception", () =>
    served((app) =>
      Effect.map(app.call("GET", "/"), ({ text }) => {
        assert.lengthOf(text.match(/<script(?![^>]*type="application\/json")/g) ?? [], 1) // the page's own
      })
    )
  )

  it.effect("stands before every script, however the page spells its tags", () =>
    served((app, _, { write }) =>
      Effect.gen(function* () {
        for (const [before, after] of [
          [
            "<!DOCTYPE html><HTML LANG='a>b'><HEAD data-x=\"<body>\">",
            "<script>1</script></HEAD><BODY CLASS=\"a\" data-b='>'>"
          ],
          ["<!doctype html>", '<body class="dark"><script>1</script>'],
          ["<!doctype html>\n<!-- <head> <script> -->\n<html>\n", "<body\nid=x><script>1</script>"],
          ["<!doctype html>", "<title>x</title><script>1</script>"],
          ["<!--> <?xml version='1'?><head\n>", "<script>1</script><header><head>"],
          ["", "<header>no head</header><script>1</script>"],
          ["", "text"],
          ["", ""]
        ] as const) {
          write("index.html", before + after)
          const { text } = yield* app.call("GET", "/")
          assert.strictEqual(text, before + script(empty) + after)
        }
      })
    )
  )

  it.effect("gives the browser back the same config, whatever its strings are", () =>
    served((app, add) =>
      Effect.gen(function* () {
        const Text = Schema.Union([
          Schema.String,
          Schema.Literals([
            "</script>",
            "<!--",
            "<script>",
            "]]>",
            "\u2028\u2029",
            "$'",
            "$&",
            "$`",
            "$1",
            "&lt;",
            "&",
            "\\",
            "\ud800",
            "\0",
            "__proto__"
          ])
        ])
        const Config = Schema.Record(Text, Schema.Array(Text))
        const result = yield* Arbitrary.checkEffect(Arbitrary.schema(Config), (config) =>
          Effect.gen(function* () {
            yield* add("x", { config })
            const { text } = yield* app.call("GET", "/")
            const found = configIn(text)
            assert.deepStrictEqual(JSON.stringify(found.config.plugins.x), JSON.stringify(config))
            // Nothing of the page is moved or repeated.
            assert.strictEqual(
              text.replace(/<script id="__appkit__"[^]*?<\/script>/, () => ""),
              page
            )
            return true
          })
        )
        assert.isUndefined(Arbitrary.formatCheckFailure(result))
      })
    )
  )

  it.effect("redacts no text for being that of a variable, and holds no variable that no plugin has added", () =>
    Effect.gen(function* () {
      const build = yield* makeBuild
      const env = LocalWorkspace.layerEnv({ SOME_MODE: "llm", SECRET: "hush-hush", DATABRICKS_APP_NAME: "orders" })
      const { text } = yield* Effect.gen(function* () {
        const { add } = yield* ClientConfig.ClientConfig
        yield* add("serving", { config: { isNamedMode: true, aliases: ["llm"] } })
        return yield* (yield* Served).call("GET", "/")
      }).pipe(
        Effect.provide(
          Layer.provideMerge(serve(Page.layer({ root: build.root })), Layer.provide(ClientConfig.layer, env))
        )
      )
      assert.deepStrictEqual(configIn(text).config, {
        ...empty,
        appName: "orders",
        plugins: { serving: { isNamedMode: true, aliases: ["llm"] } }
      })
      assert.notInclude(text, "hush")
    })
  )

  it.effect("revalidates the page by an ETag that changes with the file and with the config", () =>
    served((app, add, { write }) =>
      Effect.gen(function* () {
        const tags = new Set<string>()
        const revalidated = Effect.gen(function* () {
          const { headers, status } = yield* app.call("GET", "/")
          assert.deepStrictEqual([status, headers["cache-control"]], [200, "no-cache"])
          const again = yield* app.call("GET", "/", { headers: { "if-none-match": headers.etag! } })
          assert.deepStrictEqual([again.status, again.text], [304, ""])
          assert.isUndefined(headers["last-modified"])
          tags.add(headers.etag!)
        })
        yield* revalidated
        yield* add("x", { config: 1 })
        yield* revalidated
        write("index.html", page.replace("The page", "Das Blatt".slice(0, 8)))
        yield* revalidated
        assert.strictEqual(tags.size, 3)
      })
    )
  )

  it.effect("answers HEAD and ranges with the length of the page with its config", () =>
    served((app) =>
      Effect.gen(function* () {
        const get = yield* app.call("GET", "/")
        const head = yield* app.call("HEAD", "/", navigation)
        assert.deepStrictEqual([head.status, head.text], [200, ""])
        for (const name of ["content-length", "content-type", "etag", "cache-control"]) {
          assert.strictEqual(head.headers[name], get.headers[name], name)
        }
        const { length } = get.text
        const part = yield* app.call("GET", "/", { headers: { range: `bytes=${length - 7}-` } })
        assert.deepStrictEqual([part.status, part.text], [206, "</html>"])
        assert.strictEqual(part.headers["content-range"], `bytes ${length - 7}-${length - 1}/${length}`)
        assert.strictEqual((yield* app.call("GET", "/", { headers: { range: `bytes=${length}-` } })).status, 416)
      })
    )
  )

  it.effect("answers a missing asset with 404, and keeps the cache of the others", () =>
    served((app) =>
      Effect.gen(function* () {
        for (const accept of [undefined, "*/*"]) {
          const missing = yield* app.call("GET", "/assets/index-AAAAAAA1.js", accept ? { headers: { accept } } : {})
          assert.strictEqual(missing.status, 404)
          assert.notInclude(missing.text, "<html")
        }
        const asset = yield* app.call("GET", "/assets/index-BfZ3kx1q.js")
        assert.deepStrictEqual([asset.status, asset.text], [200, "0123456789"])
        assert.include(asset.headers["cache-control"], "immutable")
      })
    )
  )
})
