import { assert, layer } from "@effect/vitest"
import { asService, Files, type FilesError, HttpFailure } from "effect-databricks"
import { DateTime, Effect, Stream } from "effect"
import { failureOf, Live, misbehave, notices, own, recording, shared, textOf, Workspace } from "./fixtures/files.ts"
import { alice, as, bob } from "./fixtures/people.ts"

layer(Workspace, { timeout: "60 seconds", excludeTestServices: true })("Files", (it) => {
  it.layer(Live)("as the caller of the fiber", (it) => {
    it.effect("writes, lists, reads and removes files as the service principal", () =>
      Effect.gen(function* () {
        const files = yield* Files.Files
        const seen = yield* recording
        yield* files.makeDirectory(`${shared}/service/a/b`)
        yield* files.write(`${shared}/service/a/one.txt`, "one")
        assert.strictEqual(yield* textOf(files.read(`${shared}/service/a/one.txt`)), "one")
        const entries = yield* Stream.runCollect(files.list(`${shared}/service/a`))
        assert.deepStrictEqual(
          entries.map(({ isDirectory, name, path, size }) => ({ isDirectory, name, path, size })),
          [
            { name: "b", path: `${shared}/service/a/b`, isDirectory: true, size: undefined },
            { name: "one.txt", path: `${shared}/service/a/one.txt`, isDirectory: false, size: 3 }
          ]
        )
        assert.isTrue(DateTime.isUtc(entries[1]!.lastModified!))
        yield* files.remove(`${shared}/service/a/one.txt`)
        yield* files.removeDirectory(`${shared}/service/a/b`)
        assert.deepStrictEqual(yield* Stream.runCollect(files.list(`${shared}/service/a`)), [])
        for (const { user } of yield* seen) assert.notInclude(user, "@")
      })
    )

    it.effect("keeps the files of one user from another, and from the other's stat and list", () =>
      Effect.gen(function* () {
        const path = `${own}/secret.txt`
        const files = yield* Files.Files
        yield* files.write(path, "hers").pipe(as(alice))
        assert.strictEqual(yield* textOf(files.read(path)).pipe(as(alice)), "hers")
        const attempts: ReadonlyArray<
          Effect.Effect<unknown, Files.Failure | FilesError.InvalidRangeError | FilesError.FileExistsError>
        > = [
          Stream.runDrain(files.read(path)),
          files.stat(path),
          files.exists(path),
          Stream.runDrain(files.list(own)),
          files.write(path, "his", { overwrite: true }),
          files.remove(path)
        ]
        for (const attempt of attempts) {
          assert.strictEqual(yield* failureOf(attempt).pipe(as(bob)), "PermissionDeniedError")
        }
        const denied = yield* Effect.flip(files.stat(path).pipe(as(bob)))
        assert.include(
          denied.message,
          'READ VOLUME on the volume, USE SCHEMA and USE CATALOG, and a user\'s token the scope "files"'
        )
        assert.strictEqual(yield* textOf(files.read(path)).pipe(as(alice)), "hers")
      })
    )

    it.effect("reads where a user may read, and names the permission that a write lacks", () =>
      Effect.gen(function* () {
        const files = yield* Files.Files
        yield* files.write(`${notices}/news.txt`, "news").pipe(as(alice))
        assert.strictEqual(yield* textOf(files.read(`${notices}/news.txt`)).pipe(as(bob)), "news")
        const denied = yield* Effect.flip(files.write(`${notices}/b.txt`, "no").pipe(as(bob)))
        assert.include(denied.message, "WRITE VOLUME")
        assert.isFalse(yield* files.exists(`${notices}/b.txt`))
      })
    )

    it.effect("runs the calls of user as the user inside asService, and its content as the service", () =>
      Effect.gen(function* () {
        const seen = yield* recording
        const files = yield* Files.user
        yield* (yield* Files.Files).write(`${shared}/as service.txt`, "x", { overwrite: true }).pipe(asService)
        const content = (yield* Files.Files).read(`${shared}/as service.txt`)
        yield* files.write(`${shared}/by alice.txt`, content, { overwrite: true }).pipe(asService)
        yield* Stream.runDrain(files.list(shared)).pipe(asService)
        const users = (yield* seen).map(({ method, user }) => `${method} ${user?.includes("@") ? user : "service"}`)
        assert.deepStrictEqual(users.slice(0, 3).toSorted(), ["GET service", `PUT ${alice}`, "PUT service"])
        for (const user of users.slice(3)) assert.strictEqual(user, `GET ${alice}`)
      }).pipe(as(alice))
    )

    it.effect("finds files and directories, and says that there is neither", () =>
      Effect.gen(function* () {
        const files = yield* Files.volume(shared)
        yield* files.write("found/file", "x")
        assert.isTrue(yield* files.exists("found/file"))
        assert.isTrue(yield* files.exists("found"))
        const seen = yield* recording
        assert.isTrue(yield* files.exists(""))
        assert.deepStrictEqual(
          (yield* seen).map(({ method, path }) => `${method} ${path}`),
          [`HEAD /api/2.0/fs/directories${shared}`]
        )
        assert.isFalse(yield* files.exists("lost"))
        assert.deepInclude(yield* files.stat("found"), { path: "found", name: "found", isDirectory: true })
        const { contentType, lastModified, size } = yield* files.stat("found/file")
        assert.deepStrictEqual([size, contentType], [1, "application/octet-stream"])
        assert.isAbove(DateTime.toEpochMillis(lastModified!), Date.now() - 60_000)
        assert.strictEqual(yield* failureOf(files.stat("lost")), "NotFoundError")
        assert.strictEqual(yield* failureOf(Stream.runDrain(files.read("lost"))), "NotFoundError")
      })
    )

    it.effect("lists every entry over pages, of which some are empty, and asks for no page too many", () =>
      Effect.gen(function* () {
        const files = yield* Files.volume(shared)
        const names = Array.from({ length: 8 }, (_, index) => `${index}`)
        yield* Effect.forEach(names, (name) => files.write(`pages/${name}`, name))
        const seen = yield* recording
        const entries = yield* Stream.runCollect(files.list("pages"))
        assert.deepStrictEqual(
          entries.map(({ path }) => path),
          names.map((name) => `pages/${name}`)
        )
        assert.lengthOf(yield* seen, 6)
        assert.lengthOf(yield* Stream.runCollect(files.list("pages", { pageSize: 8 })), 8)
        assert.lengthOf(yield* seen, 8)
        yield* Stream.runDrain(Stream.take(files.list("pages"), 1))
        assert.lengthOf(yield* seen, 10)
      })
    )

    it.effect("fails for a page that is names itself as its next page, after the entries of the pages before", () =>
      Effect.gen(function* () {
        const files = yield* Files.volume(shared)
        const contents = [{ path: `${shared}/one`, is_directory: true }]
        const body = JSON.stringify({ contents, next_page_token: "again" })
        yield* misbehave({ kind: "answer", status: 200, body, path: "/api/2.0/fs/directories/" })
        const names: Array<string> = []
        const listed = Stream.runForEach(files.list(""), ({ name }) => Effect.sync(() => void names.push(name)))
        assert.strictEqual(yield* failureOf(listed), "InvalidResponseError")
        assert.deepStrictEqual(names, ["one"])
      }).pipe(Effect.scoped)
    )

    it.effect("retries a page that the workspace refuses, and a page that is lost if asked", () =>
      Effect.gen(function* () {
        const files = yield* Files.volume(shared)
        yield* files.write("again/file", "x")
        const path = "/api/2.0/fs/directories/"
        yield* misbehave({ kind: "answer", status: 429, headers: { "retry-after": "0" }, path, times: 1 })
        assert.lengthOf(yield* Stream.runCollect(files.list("again")), 1)
        yield* misbehave({ kind: "drop", path, times: 1 })
        assert.strictEqual(yield* failureOf(Stream.runDrain(files.list("again"))), "ConnectionError")
        yield* misbehave({ kind: "drop", path, times: 1 })
        assert.lengthOf(yield* Stream.runCollect(files.list("again", { retry: { delay: 1 } })), 1)
      }).pipe(Effect.scoped)
    )

    it.effect("keeps names in any script and with any sign", () =>
      Effect.gen(function* () {
        const files = yield* Files.volume(shared)
        const names = [
          "レポート.csv",
          "naïve café.txt",
          "صورة.png",
          "🦜🦜.txt",
          "100%.txt",
          "a%20b",
          "%2e%2e%",
          "#1?.txt",
          "a+b;c=d&e.txt",
          `it's "quoted".txt`,
          "a b  c",
          "...",
          ".hidden",
          "a..b",
          "..a",
          "~tilde",
          "%zz",
          "[x]{y}|^`<>.txt",
          "a:b*c!(d)@e,$f"
        ]
        yield* Effect.forEach(names, (name) => files.write(`names ÿ/${name}`, name), { concurrency: 4 })
        const listed = yield* Stream.runCollect(files.list("names ÿ"))
        assert.deepStrictEqual(listed.map(({ name }) => name).toSorted(), names.toSorted())
        for (const { name, path } of listed) {
          assert.strictEqual(yield* textOf(files.read(path)), name)
          assert.strictEqual((yield* files.stat(path)).name, name)
        }
      })
    )

    it.effect("creates a directory twice, and neither over a file nor removes one that has entries", () =>
      Effect.gen(function* () {
        const files = yield* Files.volume(shared)
        yield* files.makeDirectory("made/twice")
        yield* files.makeDirectory("made/twice")
        yield* files.write("made/file", "x")
        assert.strictEqual(yield* failureOf(files.makeDirectory("made/file")), "FileExistsError")
        const notEmpty = yield* Effect.flip(files.removeDirectory("made"))
        assert.deepInclude(notEmpty, { _tag: "DirectoryNotEmptyError", path: "made" })
        assert.strictEqual(notEmpty.message, `The directory made is not empty: remove its entries first`)
        assert.strictEqual(HttpFailure.fromError(notEmpty, { development: false }).status, 409)
        yield* misbehave({ kind: "answer", status: 400, path: "/api/2.0/fs/", times: 1 })
        assert.strictEqual(yield* failureOf(files.removeDirectory("made")), "InvalidRequestError")
        assert.strictEqual(yield* failureOf(files.remove("made/twice")), "NotFoundError")
      }).pipe(Effect.scoped)
    )

    it.effect("names the scope that a token lacks", () =>
      Effect.gen(function* () {
        const files = yield* Files.Files
        const error = yield* Effect.flip(Stream.runDrain(files.list(shared)))
        assert.include(error.message, 'needs the scope "files"')
      }).pipe(as(alice, { scopes: ["iam.current-user:read", "sql"] }))
    )
  })
})
