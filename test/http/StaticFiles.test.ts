import { assert, layer } from "@effect/vitest"
import { AsUser, Failures, Middleware, StaticFiles } from "effect-databricks"
import { LocalWorkspace } from "effect-databricks/testing"
import { Arbitrary, Effect, Layer, Schema } from "effect"
import { HttpMiddleware, HttpRouter } from "effect/http"
import { HttpApi, HttpApiBuilder, HttpApiEndpoint, HttpApiGroup } from "effect/http-api"
import { mkdirSync, mkdtempSync, realpathSync, rmSync, symlinkSync, utimesSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { dirname, join } from "node:path"
import { serve, Served } from "./harness.ts"

const page = "<!doctype html><title>The page</title>"
const secret = "what lies outside"
const navigation = { headers: { accept: "text/html,application/xhtml+xml,*/*;q=0.8" } }

/** A folder with a built page in it, and with what must not be served in it and beside it. */
const makeBuild = Effect.acquireRelease(
  Effect.sync(() => {
    const folder = realpathSync(mkdtempSync(join(tmpdir(), "static-files-")))
    const write = (file: string, text: string) => {
      const path = join(folder, file)
      mkdirSync(dirname(path), { recursive: true })
      writeFileSync(path, text)
      return path
    }
    write("secret.txt", secret)
    write("web-of-others/secret.txt", secret)
    write("web/index.html", page)
    write("web/favicon.svg", "<svg/>")
    write("web/assets/index-BfZ3kx1q.js", "0123456789")
    write("web/assets/index-BfZ3kx1q.js.map", "{}")
    write("web/assets/hero-portrait.png", "png")
    write("web/orders", "a file without an ending, and an Api route of that path")
    write("web/.env", secret)
    write("web/.git/config", secret)
    write("web/.well-known/security.txt", "Contact: us")
    symlinkSync(join(folder, "secret.txt"), join(folder, "web/link.txt"))
    symlinkSync("..", join(folder, "web/up"))
    symlinkSync("favicon.svg", join(folder, "web/icon.svg"))
    symlinkSync("circle", join(folder, "web/circle"))
    return { folder, root: join(folder, "web"), write }
  }),
  ({ folder }) => Effect.sync(() => rmSync(folder, { recursive: true }))
)

class Api extends HttpApi.make("api")
  .add(
    HttpApiGroup.make("orders")
      .add(
        HttpApiEndpoint.get("list", "/orders", { success: Schema.Array(Schema.String) }),
        HttpApiEndpoint.post("make", "/orders/new", { success: Schema.Void })
      )
      .middleware(AsUser)
  )
  .middleware(Failures) {}

const Orders = HttpApiBuilder.group(Api, "orders", (handlers) =>
  handlers.handle("list", () => Effect.succeed(["of a user"])).handle("make", () => Effect.void)
)

const ApiRoutes = HttpApiBuilder.layer(Api).pipe(Layer.provide(Orders), Layer.provide(Middleware.layer))

const serving = (options: StaticFiles.Options) => serve(Layer.mergeAll(StaticFiles.layer(options), ApiRoutes))

// Of paths that no browser sends: they reach the server as they are.
const segments = [
  "",
  String.raw`.. . %2e%2e %2E. .%2e %252e%252e ..%2f ..%2F.. %2f %5c.. ..\ ..; %00 %c0%ae % %zz ~ circle`.split(" "),
  "secret.txt secret.txt%00.svg secret.txt%20 link.txt up up/secret.txt web-of-others web etc passwd".split(" "),
  ".env %2eenv .git config assets .well-known".split(" ")
].flat()

layer(LocalWorkspace.layer(), { excludeTestServices: true })("StaticFiles.layer", (it) => {
  const served = <A, E>(
    test: (app: Served["Service"], build: Effect.Success<typeof makeBuild>) => Effect.Effect<A, E>
  ) =>
    Effect.gen(function* () {
      const build = yield* makeBuild
      return yield* Served.use((app) => test(app, build)).pipe(Effect.provide(serving({ root: build.root })))
    })

  it.effect("serves files with their types, and index.html for the path of the page", () =>
    served((app) =>
      Effect.gen(function* () {
        for (const path of ["/", "/?tab=1", "/index.html"]) {
          const answer = yield* app.call("GET", path)
          assert.deepStrictEqual([answer.status, answer.text], [200, page], path)
          assert.strictEqual(answer.headers["content-type"], "text/html; charset=utf-8")
        }
        const script = yield* app.call("GET", "/assets/index-BfZ3kx1q.js")
        assert.deepStrictEqual([script.status, script.text], [200, "0123456789"])
        assert.strictEqual(script.headers["content-type"], "text/javascript; charset=utf-8")
        assert.strictEqual((yield* app.call("GET", "/icon.svg")).text, "<svg/>")
        assert.strictEqual((yield* app.call("GET", "/.well-known/security.txt")).text, "Contact: us")
      })
    )
  )

  it.effect("answers a navigation to a path without a file with index.html", () =>
    served((app) =>
      Effect.gen(function* () {
        for (const path of ["/orders/17", "/users/alice@example.com", "/assets", "/assets/", "/orders/new?a=b"]) {
          const answer = yield* app.call("GET", path, navigation)
          assert.deepStrictEqual([answer.status, answer.text], [200, page], path)
          assert.strictEqual(answer.headers["cache-control"], "no-cache")
        }
      })
    )
  )

  it.effect("answers any other request to a path without a file with RouteNotFound", () =>
    served((app) =>
      Effect.gen(function* () {
        for (const path of ["/orders/17", "/assets/index-AAAAAAA1.js", "/assets", "/favicon.svg/x", "/circle"]) {
          for (const accept of [undefined, "*/*", "application/json"]) {
            const answer = yield* app.call("GET", path, accept === undefined ? {} : { headers: { accept } })
            assert.strictEqual(answer.status, 404, path)
            assert.deepStrictEqual(answer.json, { _tag: "RouteNotFound", message: `There is no GET ${path}` })
          }
        }
        const posted = yield* app.call("POST", "/nowhere", navigation)
        assert.deepStrictEqual([posted.status, posted.json._tag], [404, "RouteNotFound"])
        const long = yield* app.call("GET", `/${"a".repeat(1000)}`)
        assert.deepStrictEqual([long.status, long.json._tag], [404, "RouteNotFound"])
      })
    )
  )

  it.effect("needs no sign-in, and leaves every path that has a route to its route", () =>
    served((app) =>
      Effect.gen(function* () {
        assert.strictEqual((yield* app.call("GET", "/favicon.svg")).status, 200)
        const anonymous = yield* app.call("GET", "/orders", navigation)
        assert.deepStrictEqual([anonymous.status, anonymous.json._tag], [401, "AuthenticationError"])
        // A file of that name exists, and is reached by no spelling of the path.
        for (const path of ["/orders?x", "/%6Frders", "/orders#x"]) {
          assert.notInclude((yield* app.call("GET", path)).text, "a file without an ending", path)
        }
      })
    )
  )

  it.effect("lets caches keep files with a hash in their name for a year, and revalidate all others", () =>
    served((app) =>
      Effect.gen(function* () {
        const cacheControl = (path: string) => Effect.map(app.call("GET", path), (_) => _.headers["cache-control"])
        const immutable = "public, max-age=31536000, immutable"
        assert.strictEqual(yield* cacheControl("/assets/index-BfZ3kx1q.js"), immutable)
        assert.strictEqual(yield* cacheControl("/assets/index-BfZ3kx1q.js.map"), immutable)
        for (const path of ["/", "/favicon.svg", "/assets/hero-portrait.png"]) {
          assert.strictEqual(yield* cacheControl(path), "no-cache", path)
        }
      })
    )
  )

  it.effect("takes the pattern of immutable files from its option", () =>
    Effect.gen(function* () {
      const { root } = yield* makeBuild
      const app = serving({ root, immutable: /\.svg$/g })
      const answers = Served.use(({ call }) => Effect.all([call("GET", "/favicon.svg"), call("GET", "/icon.svg")]))
      for (const { headers } of yield* Effect.provide(answers, app)) {
        assert.include(headers["cache-control"], "immutable")
      }
    })
  )

  it.effect("answers HEAD as GET, without the body", () =>
    served((app) =>
      Effect.gen(function* () {
        for (const path of ["/", "/assets/index-BfZ3kx1q.js", "/orders/17"]) {
          const [head, get] = yield* Effect.all([app.call("HEAD", path, navigation), app.call("GET", path, navigation)])
          assert.deepStrictEqual([head.status, head.text], [get.status, ""])
          for (const name of ["content-length", "content-type", "etag", "cache-control"]) {
            assert.deepStrictEqual(head.headers[name], get.headers[name], `${path} ${name}`)
          }
        }
      })
    )
  )

  it.effect("serves a range, and the whole where the file has changed", () =>
    served((app) =>
      Effect.gen(function* () {
        const path = "/assets/index-BfZ3kx1q.js"
        const get = (headers: Record<string, string>) => app.call("GET", path, { headers })
        const { headers } = yield* get({})
        const part = yield* get({ range: "bytes=2-4" })
        assert.deepStrictEqual([part.status, part.text], [206, "234"])
        assert.strictEqual(part.headers["content-range"], "bytes 2-4/10")
        assert.strictEqual((yield* get({ range: "bytes=2-4", "if-range": headers.etag! })).text, "234")
        assert.strictEqual((yield* get({ range: "bytes=2-4", "if-range": '"another"' })).text, "0123456789")
        assert.strictEqual((yield* get({ range: "bytes=99-" })).status, 416)
      })
    )
  )

  it.effect("answers a conditional request with 304 until the content changes, whatever its time and size", () =>
    served((app, { write }) =>
      Effect.gen(function* () {
        const first = yield* app.call("GET", "/")
        const again = { headers: { "if-none-match": first.headers.etag! } }
        const same = yield* app.call("GET", "/", again)
        assert.deepStrictEqual([same.status, same.text, same.headers["cache-control"]], [304, "", "no-cache"])
        const other = page.replace("The page", "Das Blatt".slice(0, 8))
        assert.strictEqual(other.length, page.length)
        utimesSync(write("web/index.html", other), 1, 1)
        assert.strictEqual((yield* app.call("GET", "/", again)).text, other)
      })
    )
  )

  it.effect("gives the content of two builds another ETag where size and time are the same", () =>
    Effect.gen(function* () {
      const etags = yield* Effect.forEach(["one", "two"], (text) =>
        Effect.gen(function* () {
          const { root, write } = yield* makeBuild
          utimesSync(write("web/index.html", text), 1, 1)
          const answer = Served.use((app) => app.call("GET", "/"))
          return (yield* Effect.provide(answer, serving({ root }))).headers.etag
        })
      )
      assert.strictEqual(new Set(etags).size, 2)
    })
  )

  it.effect("runs transform once in each request for a page, and sends the size, range and ETag of that text", () =>
    Effect.gen(function* () {
      const { root } = yield* makeBuild
      let runs = 0
      // Each text is longer than the one before.
      const transform = (html: string) => Effect.sync(() => html + "!".repeat(++runs))
      const test = Served.use((app) =>
        Effect.gen(function* () {
          const get = (headers: Record<string, string> = {}) => app.call("GET", "/", { headers })
          const first = yield* get()
          assert.deepStrictEqual([first.text, runs], [`${page}!`, 1])
          assert.strictEqual(first.headers["content-length"], String(page.length + 1))
          const last = yield* get({ range: "bytes=-4" })
          assert.deepStrictEqual([last.status, last.text, runs], [206, "e>!!", 2])
          assert.strictEqual(
            last.headers["content-range"],
            `bytes ${page.length - 2}-${page.length + 1}/${page.length + 2}`
          )
          const changed = yield* get({ range: "bytes=-4", "if-range": first.headers.etag!, "if-none-match": '"other"' })
          assert.deepStrictEqual([changed.status, changed.text, runs], [200, `${page}!!!`, 3])
          assert.strictEqual((yield* app.call("GET", "/orders/17", navigation)).text, `${page}!!!!`)
          yield* app.call("GET", "/favicon.svg")
          assert.strictEqual(runs, 4)
        })
      )
      yield* Effect.provide(test, serving({ root, transform }))
    })
  )

  it.effect("is compressed by HttpMiddleware.compression, and then answers conditional requests too", () =>
    Effect.gen(function* () {
      const { root, write } = yield* makeBuild
      write("web/assets/large-BfZ3kx1q.js", "a".repeat(10_000))
      const compressed = HttpRouter.middleware(HttpMiddleware.compression(), { global: true })
      const app = serve(Layer.mergeAll(StaticFiles.layer({ root }), ApiRoutes, compressed))
      const test = Served.use(({ call }) =>
        Effect.gen(function* () {
          const get = (headers: Record<string, string>) =>
            call("GET", "/assets/large-BfZ3kx1q.js", { headers: { "accept-encoding": "gzip", ...headers } })
          const { headers, status } = yield* get({})
          assert.deepStrictEqual([status, headers["content-encoding"], headers.vary], [200, "gzip", "Accept-Encoding"])
          assert.strictEqual((yield* get({ "if-none-match": headers.etag! })).status, 304)
        })
      )
      yield* Effect.provide(test, app)
    })
  )

  it.effect("warns at its start that there is no index.html, and serves it once it is there", () =>
    Effect.gen(function* () {
      const { root, write } = yield* makeBuild
      rmSync(root, { recursive: true })
      const test = Served.use((app) =>
        Effect.gen(function* () {
          assert.isTrue(app.logs.some(({ level, text }) => level === "Warn" && text.includes(join(root, "index.html"))))
          const missing = yield* app.call("GET", "/here", navigation)
          assert.deepStrictEqual(missing.json, { _tag: "RouteNotFound", message: "There is no GET /here" })
          write("web/index.html", page)
          assert.strictEqual((yield* app.call("GET", "/here", navigation)).text, page)
        })
      )
      yield* Effect.provide(test, serving({ root }))
    })
  )

  it.effect("serves nothing that is outside its root or hidden, whatever the path", () =>
    served((app, { folder }) =>
      Effect.gen(function* () {
        const Prefix = Schema.Literals(["/", "//", "/assets/", `${folder}/`, `/${encodeURIComponent(folder)}/`])
        const Case = Schema.Struct({
          prefix: Prefix,
          segments: Schema.NonEmptyArray(Schema.Literals(segments)).check(Schema.isMaxLength(6)),
          accept: Schema.Literals(["*/*", "text/html"])
        })
        const result = yield* Arbitrary.checkEffect(Arbitrary.schema(Case), ({ accept, prefix, segments }) =>
          Effect.map(
            app.call("GET", prefix + segments.join("/"), { headers: { accept } }),
            ({ status, text }) => !text.includes(secret) && [200, 400, 404].includes(status)
          )
        )
        assert.isUndefined(Arbitrary.formatCheckFailure(result))
      })
    )
  )
})
