/** The example of docs/front-end.md: with Vite in development, and built, in a browser, as two users. */
import { assert, describe, it } from "@effect/vitest"
import { AppsProxy, LocalWorkspace } from "effect-databricks/testing"
import { Effect, Layer, Logger, Result } from "effect"
import { HttpServer } from "effect/http"
import { NetAddress } from "effect/net"
import { readdirSync, readFileSync } from "node:fs"
import { join } from "node:path"
import type { Page } from "playwright-core"
import { build, createServer, loadConfigFromFile } from "vite"
import { browser, isSkipped, whyAbsent } from "../fixtures/browser.ts"
import { freePort } from "../fixtures/child.ts"
import { compile } from "../fixtures/fences.ts"
import { applicationOf } from "../fixtures/guide.ts"

const conditions = ["@effect-databricks/source", "module", "browser", "development|production"]

const application = Effect.map(applicationOf("docs/front-end.md"), (app) => {
  // The working directory of a test is the repository.
  const root = JSON.stringify(join(app.folder, "dist/web"))
  app.write("src/server.ts", app.read("src/server.ts").replace('"dist/web"', root))
  return app
})

/** Serves the application behind the proxy, and returns the proxy's origin. */
const served = Effect.fnUntraced(function* (folder: string) {
  const port = yield* freePort
  const { Main } = yield* Effect.promise(() => import(join(folder, "src/server.ts")))
  const listening = Result.getOrThrow(NetAddress.inetAddressFromIpString("127.0.0.1", port))
  const Address = Layer.mock(HttpServer.HttpServer, { address: listening })
  const Live = AppsProxy.layer({ port: 0 }).pipe(
    Layer.provide(Address),
    Layer.merge(
      // oxlint-disable-next-line typescript/no-explicit-any -- the guide's own module, which the compiler has checked
      Layer.provide(Main as Layer.Layer<any>, LocalWorkspace.layerEnv({ DATABRICKS_APP_PORT: String(port) }))
    ),
    Layer.provide(LocalWorkspace.layer()),
    Layer.provide(Logger.layer([]))
  )
  const context = yield* Layer.build(Live)
  return yield* Effect.provideContext(
    AppsProxy.AppsProxy.use(({ origin }) => Effect.succeed(origin)),
    context
  )
})

const page = Effect.map(browser, ({ context }) => context).pipe(
  Effect.flatMap((context) => Effect.promise(() => context.newPage()))
)

/** The text of an element as soon as it is this one. */
const shows = (page: Page, selector: string, text: string) =>
  Effect.promise(() => page.locator(selector, { hasText: text }).first().waitFor({ timeout: 30_000 }))

/** Clicks and reads as a user does. */
const buys = Effect.fnUntraced(function* (page: Page) {
  yield* Effect.promise(() => page.getByRole("button", { name: "Buy Tea" }).click())
  yield* shows(page, "output", "Bought Tea")
  yield* Effect.promise(() => page.getByRole("button", { name: "Buy Coffee" }).click())
  yield* shows(page, "output", "Coffee is sold out")
  yield* shows(page, "li:nth-child(3)", "2 Tea")
})

describe("The page of docs/front-end.md", () => {
  it.live("type-checks with its server", () =>
    Effect.gen(function* () {
      const { folder } = yield* application
      assert.strictEqual(compile(folder, ["-p", folder]).stdout, "")
    })
  )

  it.live.skipIf(isSkipped)(`works with Vite as two users, and reloads a module in place${whyAbsent}`, () =>
    Effect.gen(function* () {
      const { folder, read, write } = yield* application
      const origin = yield* served(folder)
      const configFile = join(folder, "web/vite.config.ts")
      const url = yield* Effect.acquireRelease(
        Effect.promise(async () => {
          const config = (await loadConfigFromFile({ command: "serve", mode: "development" }, configFile))?.config
          const proxy = Object.fromEntries(Object.keys(config?.server?.proxy ?? {}).map((path) => [path, origin]))
          const server = await createServer({
            configFile,
            cacheDir: join(folder, ".vite"),
            resolve: { conditions },
            server: { host: "127.0.0.1", port: 0, proxy },
            logLevel: "silent"
          })
          await server.listen()
          return { server, origin: server.resolvedUrls!.local[0]! }
        }),
        ({ server }) => Effect.promise(() => server.close())
      ).pipe(Effect.map((_) => _.origin))

      for (const user of ["alice", "bob"]) {
        const open = yield* page
        yield* Effect.promise(() => open.goto(`${url}.apps/as/${user}`))
        yield* shows(open, "h1", `Hello ${user}@example.com`)
        yield* buys(open)
        yield* Effect.promise(() => open.evaluate("globalThis.stayed = true"))
        write("web/Page.tsx", read("web/Page.tsx").replace("Hello ", `Welcome `))
        yield* shows(open, "h1", `Welcome ${user}@example.com`)
        assert.isTrue(yield* Effect.promise(() => open.evaluate("globalThis.stayed === true")), "no whole reload")
        write("web/Page.tsx", read("web/Page.tsx").replace("Welcome ", `Hello `))
        yield* shows(open, "h1", `Hello ${user}@example.com`)
      }
    })
  )

  it.live.skipIf(isSkipped)(`works as StaticFiles serves its build${whyAbsent}`, () =>
    Effect.gen(function* () {
      const { folder } = yield* application
      yield* Effect.promise(() =>
        build({ configFile: join(folder, "web/vite.config.ts"), resolve: { conditions }, logLevel: "silent" })
      )
      const scripts = readdirSync(join(folder, "dist/web/assets"))
      assert.strictEqual(scripts.length, 1)
      assert.notInclude(readFileSync(join(folder, "dist/web/assets", scripts[0]!), "utf8"), "node:http")

      const origin = yield* served(folder)
      for (const user of ["alice", "bob"]) {
        const open = yield* page
        const caching = new Map<string, string | undefined>()
        open.on("response", (response) =>
          caching.set(new URL(response.url()).pathname, response.headers()["cache-control"])
        )
        yield* Effect.promise(() => open.goto(`${origin}/.apps/as/${user}?to=/somewhere/of/the/page`))
        yield* shows(open, "h1", `Hello ${user}@example.com`)
        yield* buys(open)
        assert.strictEqual(caching.get("/somewhere/of/the/page"), "no-cache")
        assert.strictEqual(caching.get(`/assets/${scripts[0]}`), "public, max-age=31536000, immutable")
        yield* Effect.promise(() => open.goto(`${origin}/docs`))
        yield* shows(open, ".opblock-summary-path", "/api/me")
      }
    })
  )
})
