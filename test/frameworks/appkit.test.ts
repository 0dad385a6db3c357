/** The server that docs/from-appkit.md puts in the place of AppKit's, and the Vite configuration of docs/appkit.md. */
import { assert, describe, it } from "@effect/vitest"
import { LocalWorkspace } from "effect-databricks/testing"
import { Context, Effect, Layer } from "effect"
import { join } from "node:path"
import { createServer } from "vite"
import { freePort } from "../fixtures/child.ts"
import { applicationOf } from "../fixtures/guide.ts"
import { alice } from "../fixtures/people.ts"

const uploads = "/Volumes/main/app/uploads"
const exported = "/Volumes/main/app/exports"

/** Serves the application of the guide, and returns a function that sends a request to it. */
const served = Effect.gen(function* () {
  const { folder, read, write } = yield* applicationOf("docs/from-appkit.md")
  write("config/queries/me.obo.sql", "-- @param day DATE\nSELECT current_user AS me, :day AS day")
  write("client/dist/index.html", "<title>Orders</title>")
  // The working directory of a test is the repository.
  const [root, directory] = ["client/dist", "config/queries"].map((path) => JSON.stringify(join(folder, path)))
  const paths = `page: { root: ${root} }, analytics: { directory: ${directory} }`
  write("server/index.ts", read("server/index.ts").replace('page: { root: "client/dist" }', paths))
  const port = yield* freePort
  const env = {
    DATABRICKS_APP_HOST: "127.0.0.1",
    DATABRICKS_APP_PORT: String(port),
    DATABRICKS_VOLUME_UPLOADS: uploads,
    DATABRICKS_VOLUME_EXPORTS: exported,
    DATABRICKS_GENIE_SPACE_ID: "01ef",
    DATABRICKS_SERVING_ENDPOINT_NAME: "llm",
    DATABRICKS_JOB_REPORT: "1121234567890123457",
    LOG_LEVEL: "Fatal"
  }
  const { Main } = yield* Effect.promise(() => import(join(folder, "server/index.ts")))
  const workspace = LocalWorkspace.layer({ files: { volumes: [{ path: uploads }, { path: exported }] } })
  // oxlint-disable-next-line typescript/no-explicit-any -- the guide's own module, which the compiler has checked
  const Live = Layer.provide(Main as Layer.Layer<any>, LocalWorkspace.layerEnv(env)).pipe(Layer.provideMerge(workspace))
  const { headers } = Context.get(yield* Layer.build(Live), LocalWorkspace.LocalWorkspace)
  const origin = `http://127.0.0.1:${port}`
  const signedIn = yield* headers(alice)
  const send = (path: string, init: RequestInit = {}, user: Readonly<Record<string, string>> = signedIn) =>
    Effect.promise(async () => {
      const response = await fetch(`${origin}${path}`, { ...init, headers: { ...user, ...init.headers } })
      return { status: response.status, text: await response.text() }
    })
  return { origin, send }
})

const json = (body: unknown): RequestInit => ({
  method: "POST",
  headers: { "content-type": "application/json" },
  body: JSON.stringify(body)
})

const configOf = (html: string) => JSON.parse(/<script id="__appkit__"[^>]*>([^<]*)</.exec(html)?.[1] ?? "null")

describe("The server of docs/from-appkit.md", () => {
  it.live("serves the queries, volumes and jobs of AppKit's page, and its config also behind Vite", () =>
    Effect.gen(function* () {
      const { origin, send } = yield* served

      const { plugins } = configOf((yield* send("/", { headers: { accept: "text/html" } })).text)
      assert.deepStrictEqual(plugins.files, { volumes: ["uploads", "exports"] })
      assert.deepStrictEqual(plugins.serving, { isNamedMode: true, aliases: ["llm", "default"] })

      const day = { __sql_type: "DATE", value: "2026-01-31" }
      const query = yield* send("/api/analytics/query/me", json({ parameters: { day }, format: "JSON_ARRAY" }))
      assert.include(query.text, `"data":[{"me":"${alice}","day":"2026-01-31"}]`)

      const upload = (volume: string, user?: Readonly<Record<string, string>>) =>
        send(`/api/files/${volume}/upload?path=a.json`, json({ a: 1 }), user)
      const statuses = [upload("uploads"), upload("uploads", {}), upload("exports")]
      assert.deepStrictEqual(
        (yield* Effect.all(statuses)).map(({ status }) => status),
        [200, 401, 403]
      )

      const run = yield* send("/api/jobs/report/run", json({ params: { date: "2026-01-31" } }))
      assert.deepStrictEqual([run.status, JSON.parse(run.text).plugin], [400, "jobs"])

      const { folder, read, write } = yield* applicationOf("docs/appkit.md")
      write("web/vite.config.ts", read("web/vite.config.ts").replace("http://localhost:8000", origin))
      const html = yield* Effect.promise(async () => {
        const configFile = join(folder, "web/vite.config.ts")
        const server = { middlewareMode: true, ws: false } as const
        const optimizeDeps = { noDiscovery: true }
        const vite = await createServer({
          configFile,
          cacheDir: join(folder, ".vite"),
          server,
          optimizeDeps,
          logLevel: "silent"
        })
        const html = await vite.transformIndexHtml("/", "<title>Vite</title>")
        await vite.close()
        return html
      })
      assert.deepStrictEqual(configOf(html).plugins, plugins)
    })
  )
})
