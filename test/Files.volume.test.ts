import { assert, layer } from "@effect/vitest"
import { Files } from "effect-databricks"
import { Effect, Stream } from "effect"
import { bytes, failureOf, Live, recording, shared, textOf, Workspace } from "./fixtures/files.ts"
import { partsOfPath, segmentsOf } from "./fixtures/paths.ts"
import { alice, as } from "./fixtures/people.ts"

const Path = partsOfPath("/Volumes/main/app/notices/")

const root = `${shared}/my files`

const refused = [
  "/etc/passwd",
  "/Volumes/main/app/notices/news.txt",
  shared,
  "..",
  ".",
  "../alice's own/secret.txt",
  "a/../../x",
  "a/./b",
  "%2e%2e/x",
  "%2E./x",
  "%252e%252e/x",
  "a/..%2fx",
  "..%5cx",
  "..\\x",
  "a\\b",
  ".. /x",
  "..;a=1/x",
  "a\0b",
  "a%00b",
  "a\nb",
  "a//b",
  "a/",
  "//x",
  "\ud800"
]

layer(Workspace, { timeout: "60 seconds", excludeTestServices: true })("Files.volume", (it) => {
  it.layer(Live)("with an untrusted path", (it) => {
    it.effect.prop(
      "sends to a path below its root, once encoded, or sends nothing",
      { parts: Path },
      ({ parts }) =>
        Effect.gen(function* () {
          const files = yield* Files.volume(root)
          const path = parts.join("")
          const seen = yield* recording
          const failure = yield* failureOf(files.exists(path))
          const requests = yield* seen
          if (failure !== undefined) {
            assert.strictEqual(failure, "InvalidPathError")
            assert.deepStrictEqual(requests, [])
          }
          for (const request of requests) {
            const onWire = request.path.replace(/^\/api\/2\.0\/fs\/(?:files|directories)/, "")
            assert.strictEqual(decodeURIComponent(onWire), path === "" ? root : `${root}/${path}`)
            for (const segment of segmentsOf(onWire)) {
              assert.notMatch(segment, /^\s*\.{1,2}\s*(;.*)?$/)
              assert.notInclude(segment, "\0")
            }
          }
        }),
      { arbitrary: { runs: 300 } }
    )

    it.effect("refuses absolute paths, dot segments in every spelling and other volumes before a request leaves", () =>
      Effect.gen(function* () {
        const files = yield* Files.volume(root)
        const mine = yield* Files.userVolume(root)
        const seen = yield* recording
        for (const path of refused) {
          for (const { list, makeDirectory, open, read, remove, removeDirectory, stat, write } of [files, mine]) {
            const calls: ReadonlyArray<Effect.Effect<unknown, unknown>> = [
              Stream.runDrain(list(path)),
              stat(path),
              Stream.runDrain(read(path)),
              Effect.scoped(open(path)),
              write(path, "x"),
              write(path, Stream.die("not read")),
              remove(path),
              makeDirectory(path),
              removeDirectory(path)
            ]
            for (const call of calls) {
              assert.strictEqual(yield* failureOf(call), "InvalidPathError", JSON.stringify(path))
            }
          }
        }
        assert.deepStrictEqual(yield* seen, [])
      }).pipe(as(alice))
    )

    it.effect("refuses such paths without a volume too, and paths of no volume", () =>
      Effect.gen(function* () {
        const files = yield* Files.Files
        const seen = yield* recording
        const paths = [
          "",
          "a",
          "/",
          "/Volumes",
          "/Volumes/main/app",
          "/Workspace/x/y/z",
          "/volumes/a/b/c",
          "/Volumes//a/b"
        ]
        for (const path of [...paths, ...refused.filter((_) => !_.startsWith("/")).map((_) => `${shared}/${_}`)]) {
          assert.strictEqual(yield* failureOf(files.stat(path)), "InvalidPathError", JSON.stringify(path))
        }
        assert.deepStrictEqual(yield* seen, [])
      })
    )

    it.effect("says which path it refused, and why", () =>
      Effect.gen(function* () {
        const files = yield* Files.volume(root)
        const { message } = yield* Effect.flip(files.stat("a/../b"))
        assert.strictEqual(message, 'The path "a/../b" was not sent: it has a segment "." or ".."')
        const absolute = yield* Effect.flip(files.stat(`${root}/a`))
        assert.include(absolute.message, "it is absolute: give a path relative to the volume")
      })
    )
  })

  it.layer(Live)("with a root", (it) => {
    it.effect("takes and gives paths relative to it", () =>
      Effect.gen(function* () {
        const files = yield* Files.volume(`${root}/`)
        yield* files.write("a/b.txt", "x")
        const entries = yield* Stream.runCollect(files.list("a"))
        assert.deepStrictEqual(
          entries.map(({ path }) => path),
          ["a/b.txt"]
        )
        assert.strictEqual(yield* textOf(files.read(entries[0]!.path)), "x")
        assert.strictEqual((yield* files.stat("")).path, "")
        assert.strictEqual((yield* Effect.scoped(files.open("a/b.txt"))).path, "a/b.txt")
        assert.isTrue(yield* (yield* Files.Files).exists(`${root}/a/b.txt`))
        assert.strictEqual(yield* failureOf(files.removeDirectory("")), "InvalidPathError")
      })
    )

    it.effect(
      "names the file of an error by its path in the volume, and leaves errors of the content as they are",
      () =>
        Effect.gen(function* () {
          const all = yield* Files.Files
          const path = "$& $1/b.txt" // patterns of String.replace
          for (const files of [yield* Files.volume(root), yield* Files.userVolume(root)]) {
            yield* files.write(path, "x", { overwrite: true })
            const range = { start: 7 }
            const failures: Record<string, Effect.Effect<unknown, unknown>> = {
              write: files.write(path, "y"),
              stream: files.write(path, bytes(1)),
              makeDirectory: files.makeDirectory(path),
              open: Effect.scoped(files.open(path, { range })),
              read: Stream.runDrain(files.read(path, { range })),
              removeDirectory: files.removeDirectory("$& $1")
            }
            for (const [name, failing] of Object.entries(failures)) {
              const error = yield* Effect.flip(failing)
              const named = name === "removeDirectory" ? "$& $1" : path
              assert.deepInclude(error, { path: named }, name)
              assert.instanceOf(error, Error, name)
              assert.include(String(error), ` ${named} `, name)
              assert.notInclude(JSON.stringify(error), root, name)
            }
          }
          const files = yield* Files.volume(root)
          const ofContent = files.write("other", all.read(`${root}/${path}`, { range: { start: 7 } }))
          assert.deepInclude(yield* Effect.flip(ofContent), { path: `${root}/${path}` })
        }).pipe(as(alice))
    )

    it.effect("throws for one that is none", () =>
      Effect.sync(() => {
        for (const wrong of ["", "uploads", "/Volumes/main/app", `${shared}/../notices`, "/Volumes/main//uploads"]) {
          assert.throws(() => Files.volume(wrong), RangeError, JSON.stringify(wrong))
        }
      })
    )
  })
})
