import { assert, layer } from "@effect/vitest"
import { Effect } from "effect"
import { own, recording, shared, Workspace } from "../fixtures/files.ts"
import { partsOfPath, segmentsOf } from "../fixtures/paths.ts"
import { alice, bob, requestOf } from "../fixtures/people.ts"
import { Served } from "../http/harness.ts"
import { App, asked, call, get, upload } from "./files.ts"

/** The roots of the volumes, one of the user and one of the app. */
const roots = { shared, exchange: `${own}/exchange` }

const Path = partsOfPath("/Volumes/main/app/notices/", `${shared}/`, `${own}/exchange/`, `${own}/exchange`)

const refused = [
  "/",
  "/etc/passwd",
  "/Volumes",
  "/Volumes/main/app/notices/news.txt",
  own,
  `${own}/exchange2/x`,
  `${own}/exchange2x`,
  `${own}/exchange/../secret.txt`,
  `${own}/exchange//Volumes/main/app/notices/news.txt`,
  `${own}/exchange/%2e%2e/secret.txt`,
  `//${own}/exchange/x`,
  `${shared.toLowerCase()}/x`,
  "..",
  ".",
  "../secret.txt",
  "a/../../secret.txt",
  "a/./b",
  "%2e%2e/secret.txt",
  "%2E./x",
  "%252e%252e/x",
  "..%2fx",
  "..%5cx",
  "..\\x",
  "a\\b",
  ".. /x",
  "..;a=1/x",
  "a\0b",
  "a%00b",
  "a\r\nb",
  "a//b",
  "a/",
  "../../../../2.0/clusters/list",
  "..%2f..%2f..%2f..%2f..%2fclusters%2flist",
  "x".repeat(4097)
]

const reads = ["list", "read", "download", "raw", "exists", "metadata", "preview"]

layer(Workspace, { timeout: "60 seconds", excludeTestServices: true })("appkit/Files with an untrusted path", (it) => {
  it.layer(App)("over HTTP", (it) => {
    it.effect(
      "refuses other absolute paths, dot segments in every spelling, NUL and too long ones on every route",
      () =>
        Effect.gen(function* () {
          asked.length = 0
          const seen = yield* recording
          for (const volume of Object.keys(roots)) {
            for (const [index, path] of refused.entries()) {
              const answers = [
                yield* get(`${volume}/${reads[index % reads.length]!}`, path),
                yield* upload(volume, path, "x"),
                yield* call("POST", `${volume}/mkdir`, undefined, { body: { path } }),
                yield* call("DELETE", volume, path)
              ]
              for (const { json, status } of answers) {
                assert.deepStrictEqual([status, json.plugin], [400, "files"], JSON.stringify(path))
              }
            }
          }
          assert.deepStrictEqual([yield* seen, asked], [[], []])
        })
    )

    it.effect("refuses a missing, repeated or empty path, and removes no volume", () =>
      Effect.gen(function* () {
        const seen = yield* recording
        const { call: send } = yield* Served
        const headers = yield* requestOf(alice)
        for (const volume of Object.keys(roots)) {
          for (const query of ["", "?path=a&path=b", "?path=a&path=a", "?path=&path=", "?PATH=a", "?path%00=a"]) {
            for (const [method, route] of [
              ...reads.filter((route) => route !== "list" || query.includes("&")).map((_) => ["GET", `/${_}`] as const),
              ["POST", "/upload"],
              ["DELETE", ""]
            ] as const) {
              const { json, status } = yield* send(method, `/api/files/${volume}${route}${query}`, { headers })
              assert.deepStrictEqual([status, json.plugin], [400, "files"], `${method} ${route}${query}`)
            }
          }
        }
        assert.deepStrictEqual(yield* seen, [])
        for (const [volume, root] of Object.entries(roots)) {
          yield* upload(volume, "kept", "x")
          for (const path of ["", root, `${root}/`]) {
            for (const { status } of [
              yield* upload(volume, path, "x"),
              yield* call("POST", `${volume}/mkdir`, undefined, { body: { path } }),
              yield* call("DELETE", volume, path),
              yield* get(`${volume}/read`, path)
            ]) {
              assert.strictEqual(status, 400)
            }
          }
          assert.strictEqual((yield* get(`${volume}/exists`, "kept")).json.exists, true)
        }
      })
    )

    it.effect("accepts a path that is longer than a parameter of the router", () =>
      Effect.gen(function* () {
        const path = `${"long name ".repeat(20)}/${"深".repeat(60)}.txt`
        assert.strictEqual((yield* upload("shared", path, "kept")).status, 200)
        assert.strictEqual((yield* get("shared/read", path)).text, "kept")
      })
    )

    it.effect("keeps names with any sign apart, which a URL has to encode", () =>
      Effect.gen(function* () {
        const names = [
          "a b",
          "a+b",
          "a%20b",
          "a%2520b",
          "a&b=c",
          "a#b",
          "a?b",
          "a;b",
          "a'b\"",
          "é",
          "e\u0301",
          "...",
          "~",
          "%"
        ]
        for (const name of names) yield* upload("shared", `names/${name}`, name)
        for (const name of names) assert.strictEqual((yield* get("shared/read", `names/${name}`)).text, name)
        assert.strictEqual((yield* get("shared/list", "names")).json.length, names.length)
      })
    )

    it.effect.prop(
      "sends a path below its volume, once encoded, or refuses it with a 400",
      { parts: Path },
      ({ parts }) =>
        Effect.gen(function* () {
          const path = parts.join("").toWellFormed()
          for (const [volume, root] of Object.entries(roots)) {
            asked.length = 0
            const seen = yield* recording
            const { status } = yield* get(`${volume}/exists`, path, { user: volume === "shared" ? bob : alice })
            assert.include([200, 400], status)
            const requests = yield* seen
            if (status === 400) assert.deepStrictEqual([requests, asked], [[], []])
            const within = path === root ? "" : path.startsWith(`${root}/`) ? path.slice(root.length + 1) : path
            for (const { resource } of asked) assert.deepStrictEqual(resource, { volume, path: within })
            for (const request of requests) {
              const onWire = request.path.replace(/^\/api\/2\.0\/fs\/(?:files|directories)/, "")
              assert.strictEqual(decodeURIComponent(onWire), within === "" ? root : `${root}/${within}`)
              for (const segment of segmentsOf(onWire)) {
                assert.notMatch(segment, /^\s*\.{1,2}\s*(;.*)?$/)
                assert.notInclude(segment, "\0")
              }
            }
          }
        }),
      { arbitrary: { runs: 60 } }
    )
  })
})
