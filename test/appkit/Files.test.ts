import { assert, layer } from "@effect/vitest"
import * as AppKitFiles from "effect-databricks/appkit/Files"
import { Files } from "effect-databricks"
import { Effect } from "effect"
import { notices, own, recording, shared, Workspace } from "../fixtures/files.ts"
import { alice, bob } from "../fixtures/people.ts"
import { Served } from "../http/harness.ts"
import { App, type Asked, asked, call, get, upload } from "./files.ts"

const users = Effect.map(recording, (seen) =>
  Effect.map(seen, (all) => Array.from(new Set(all.map(({ user }) => user))))
)

layer(Workspace, { timeout: "60 seconds", excludeTestServices: true })("appkit/Files", (it) => {
  it.layer(App)("over HTTP", (it) => {
    it.effect("names its volumes to the page and under /volumes", () =>
      Effect.gen(function* () {
        const volumes = ["own", "shared", "notices", "exchange"]
        assert.deepStrictEqual((yield* get("volumes")).json, { volumes })
        const { call } = yield* Served
        assert.deepStrictEqual((yield* call("GET", "/config")).json.plugins, { files: { volumes } })
      })
    )

    it.effect("lists all pages of a directory as AppKit does, with absolute paths that every route accepts", () =>
      Effect.gen(function* () {
        const name = "レポート 100%.csv"
        for (const file of ["1", "2", "3", name]) yield* upload("shared", `listed/${file}`, "a,b")
        yield* call("POST", "shared/mkdir", undefined, { body: { path: "listed/sub" } })
        const { headers, json } = yield* get("shared/list", "listed")
        assert.strictEqual(headers["cache-control"], "private, no-store")
        const entry = json.find((_: { name: string }) => _.name === name)
        assert.deepStrictEqual(entry, {
          name,
          path: `${shared}/listed/${name}`,
          is_directory: false,
          file_size: 3,
          last_modified: entry.last_modified
        })
        const metadata = yield* get("shared/metadata", `listed/${name}`)
        assert.deepStrictEqual(metadata.json, {
          contentLength: 3,
          contentType: "text/csv",
          lastModified: new Date(entry.last_modified).toUTCString()
        })
        assert.deepInclude(json, { name: "sub", path: `${shared}/listed/sub`, is_directory: true })
        assert.strictEqual(json.length, 5)
        assert.deepStrictEqual((yield* get("shared/list", `${shared}/listed`)).json, json)
        assert.strictEqual((yield* get("shared/read", entry.path)).text, "a,b")
        const roots = yield* Effect.forEach([undefined, "", shared, `${shared}/`], (path) => get("shared/list", path))
        for (const { json, status } of roots) {
          assert.deepStrictEqual([status, json], [200, roots[0]!.json])
          assert.deepInclude(json, { name: "listed", path: `${shared}/listed`, is_directory: true })
        }
      })
    )

    it.effect("runs a user's volume as the user of each request", () =>
      Effect.gen(function* () {
        yield* upload("own", "secret.txt", "of alice")
        const seen = yield* users
        assert.strictEqual((yield* get("own/read", "secret.txt")).text, "of alice")
        assert.deepStrictEqual(yield* seen, [alice])
        for (const route of ["list", "read", "download", "raw", "exists", "metadata", "preview"]) {
          const { json, status } = yield* get(`own/${route}`, route === "list" ? "" : "secret.txt", { user: bob })
          assert.deepStrictEqual(
            [status, json],
            [403, { error: "You do not have the permission for this", code: "STREAM_FORBIDDEN", plugin: "files" }],
            route
          )
        }
        assert.deepStrictEqual(yield* seen, [alice, bob])
      })
    )

    it.effect("refuses a user's volume without a token with a 401, on every route, and goes on", () =>
      Effect.gen(function* () {
        const seen = yield* recording
        for (const user of [undefined, bob]) {
          const headers = user === undefined ? {} : { "x-forwarded-user": user, "x-forwarded-email": user }
          const options = { user: undefined, headers }
          for (const route of ["list", "read", "download", "raw", "exists", "metadata", "preview"]) {
            const { json, status } = yield* get(`own/${route}`, "a", options)
            assert.deepStrictEqual([status, json.plugin], [401, "files"], route)
          }
          const body = { path: "a" }
          assert.strictEqual((yield* upload("own", "a", "x", options)).status, 401)
          assert.strictEqual((yield* call("POST", "own/mkdir", undefined, { ...options, body })).status, 401)
          assert.strictEqual((yield* call("DELETE", "own", "a", options)).status, 401)
        }
        assert.deepStrictEqual(yield* seen, [])
        assert.strictEqual((yield* get("own/exists", "a")).status, 200)
      })
    )

    it.effect("lets everyone read a volume of the app by default, and nobody change it", () =>
      Effect.gen(function* () {
        yield* Effect.flatMap(Files.volume(notices), (files) => files.write("news.txt", "news", { overwrite: true }))
        const seen = yield* users
        for (const user of [alice, bob, undefined]) {
          assert.strictEqual((yield* get("notices/read", "news.txt", { user })).text, "news")
          assert.strictEqual((yield* get("notices/list", "", { user })).json[0].name, "news.txt")
          const body = { path: "new" }
          const refused = [
            yield* upload("notices", "news.txt", "other", { user }),
            yield* call("POST", "notices/mkdir", undefined, { user, body }),
            yield* call("DELETE", "notices", "news.txt", { user })
          ]
          for (const { json, status } of refused) {
            assert.deepStrictEqual([status, json.error], [403, "You may not do this in this app"])
          }
        }
        const [app, ...others] = yield* seen
        assert.notInclude([alice, bob, undefined], app)
        assert.deepStrictEqual(others, [])
        assert.strictEqual((yield* get("notices/read", "news.txt")).text, "news")
      }).pipe(Effect.provide(Files.layer))
    )

    it.effect("asks the policy of a volume with the verified user and the path in the volume", () =>
      Effect.gen(function* () {
        asked.length = 0
        const seen = yield* users
        const absolute = `${own}/exchange/a/b.txt`
        const all = (user: string | undefined) =>
          Effect.gen(function* () {
            return [
              yield* upload("exchange", absolute, "12345", { user }),
              yield* call("POST", "exchange/upload", "a/c.txt", { user, headers: { "transfer-encoding": "chunked" } }),
              yield* get("exchange/list", undefined, { user }),
              yield* get("exchange/raw", absolute, { user }),
              yield* call("POST", "exchange/mkdir", undefined, { user, body: { path: `${own}/exchange/d` } }),
              yield* call("DELETE", "exchange", absolute, { user })
            ].map(({ status }) => status)
          })
        assert.deepStrictEqual(yield* all(alice), [200, 200, 200, 200, 200, 200])
        const [app, ...others] = yield* seen
        assert.notInclude([alice, bob, undefined], app)
        assert.deepStrictEqual(others, [])
        const questions = (caller: string | undefined): ReadonlyArray<Asked> => [
          { action: "upload", resource: { volume: "exchange", path: "a/b.txt", size: 5 }, caller },
          { action: "upload", resource: { volume: "exchange", path: "a/c.txt" }, caller },
          { action: "list", resource: { volume: "exchange", path: "" }, caller },
          { action: "read", resource: { volume: "exchange", path: "a/b.txt" }, caller },
          { action: "mkdir", resource: { volume: "exchange", path: "d" }, caller },
          { action: "delete", resource: { volume: "exchange", path: "a/b.txt" }, caller }
        ]
        assert.deepStrictEqual(asked, questions(alice))
        const since = yield* recording
        for (const user of [bob, undefined]) {
          asked.length = 0
          assert.deepStrictEqual(yield* all(user), [403, 403, 403, 403, 403, 403])
          assert.deepStrictEqual(asked, questions(user))
        }
        assert.deepStrictEqual(yield* since, [])
      })
    )

    it.effect("shows every change to the next request", () =>
      Effect.gen(function* () {
        const state = Effect.map(
          Effect.all([
            get("shared/exists", "c/x.txt"),
            get("shared/metadata", "c/x.txt"),
            get("shared/preview", "c/x.txt")
          ]),
          ([exists, metadata, preview]) => [
            exists.json.exists,
            metadata.status,
            metadata.json.contentLength,
            preview.json.textPreview
          ]
        )
        assert.deepStrictEqual(yield* state, [false, 404, undefined, undefined])
        assert.deepStrictEqual((yield* upload("shared", "c/x.txt", "one")).json, { success: true })
        assert.deepStrictEqual(yield* state, [true, 200, 3, "one"])
        assert.strictEqual((yield* get("shared/exists", "c")).json.exists, true)
        assert.deepStrictEqual((yield* upload("shared", "c/x.txt", "second")).json, { success: true })
        assert.deepStrictEqual(yield* state, [true, 200, 6, "second"])
        const removal = yield* call("DELETE", "shared", "c")
        assert.deepStrictEqual([removal.status, removal.json.plugin], [409, "files"])
        assert.deepStrictEqual((yield* call("DELETE", "shared", "c/x.txt")).json, { success: true })
        assert.deepStrictEqual(yield* state, [false, 404, undefined, undefined])
        assert.deepStrictEqual((yield* get("shared/list", "c")).json, [])
        assert.deepStrictEqual((yield* call("DELETE", "shared", "c")).json, { success: true })
        assert.strictEqual((yield* get("shared/exists", "c")).json.exists, false)
        assert.strictEqual((yield* call("DELETE", "shared", "c")).status, 404)
      })
    )

    it.effect("creates directories with their parents, also ones that exist, and none in place of a file", () =>
      Effect.gen(function* () {
        const make = (path: unknown) => call("POST", "shared/mkdir", undefined, { body: { path } })
        assert.deepStrictEqual((yield* make("made/in/parts")).json, { success: true })
        assert.deepStrictEqual((yield* make("made/in/parts")).json, { success: true })
        yield* upload("shared", "made/file", "x")
        assert.strictEqual((yield* make("made/file")).status, 409)
        for (const path of [undefined, 1, ["a"], ""]) assert.strictEqual((yield* make(path)).status, 400)
        assert.strictEqual((yield* call("POST", "shared/mkdir", "made/in/query", { body: {} })).status, 400)
      })
    )

    it.effect("previews a text in at most 1,024 characters, and splits none of them", () =>
      Effect.gen(function* () {
        const family = "👨‍👩‍👧‍👦"
        const texts: ReadonlyArray<readonly [string, string, string]> = [
          ["short.txt", "あ".repeat(1024), "あ".repeat(1024)],
          ["long.txt", "あ".repeat(100_000), "あ".repeat(1024)],
          ["pair.md", `a${"😀".repeat(1000)}`, `a${"😀".repeat(511)}`],
          ["family.csv", `${"a".repeat(1020)}${family}${family}`, "a".repeat(1020)],
          ["accent.json", `${"a".repeat(1023)}e\u0301`, "a".repeat(1023)],
          ["README", "no extension", "no extension"],
          ["page.html", "<script>", "<script>"],
          ["empty.txt", "", ""],
          ["empty", "", ""]
        ]
        for (const [name, text, textPreview] of texts) {
          yield* upload("shared", name, text)
          const { json } = yield* get("shared/preview", name)
          assert.deepStrictEqual(
            { ...json, lastModified: "", contentType: "" },
            {
              contentLength: Buffer.byteLength(text),
              contentType: "",
              lastModified: "",
              textPreview,
              isText: true,
              isImage: false
            },
            name
          )
        }
        const { json } = yield* get("shared/preview", "long.txt")
        assert.strictEqual(json.contentType, "text/plain")
        assert.strictEqual(new Date(json.lastModified).toUTCString(), json.lastModified)
      })
    )

    it.effect("previews no text of an image, a PDF, bytes or a directory", () =>
      Effect.gen(function* () {
        yield* call("POST", "shared/mkdir", undefined, { body: { path: "folder" } })
        yield* upload("shared", "bytes.bin", "a\0b")
        for (const name of ["photo.PNG", "drawing.svg", "text.pdf"]) yield* upload("shared", name, "text")
        const seen = yield* recording
        for (const [name, isImage] of [
          ["bytes.bin", false],
          ["photo.PNG", true],
          ["drawing.svg", true],
          ["text.pdf", false],
          ["folder", false]
        ] as const) {
          const { json, status } = yield* get("shared/preview", name)
          assert.deepStrictEqual(
            [status, json.textPreview, json.isText, json.isImage],
            [200, null, false, isImage],
            name
          )
        }
        assert.strictEqual((yield* seen).filter(({ method }) => method === "GET").length, 1)
      })
    )

    it.effect("answers failures with one sentence, a code and the plugin", () =>
      Effect.gen(function* () {
        const unknown = { error: 'Unknown volume "constructor"', code: "INVALID_REQUEST", plugin: "files" }
        for (const user of [alice, undefined]) {
          const { json, status } = yield* get("constructor/list", undefined, { user })
          assert.deepStrictEqual([status, json], [404, unknown])
        }
        for (const route of ["list", "read", "download", "raw", "metadata", "preview"]) {
          const { json, status } = yield* get(`shared/${route}`, "none")
          assert.deepStrictEqual(
            [status, json],
            [404, { error: "This does not exist, or you may not see it", code: "INVALID_REQUEST", plugin: "files" }],
            route
          )
        }
        const { json, status } = yield* get("shared/read")
        assert.deepStrictEqual([status, json.error], [400, "The parameter path is missing"])
      })
    )
  })

  it.effect("throws for a volume whose path is not one", () =>
    Effect.sync(() => {
      for (const path of ["/Volumes/main/app", "main/app/uploads", "/Volumes/main/app/../x/y", ""]) {
        assert.throws(() => AppKitFiles.layer({ volumes: { uploads: path } }), RangeError)
        assert.throws(() => AppKitFiles.layer({ volumes: { uploads: { path, runsAs: "service" } } }), RangeError)
      }
    })
  )
})
