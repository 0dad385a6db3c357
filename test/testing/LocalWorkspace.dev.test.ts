import { assert, describe, it } from "@effect/vitest"
import { LocalWorkspace } from "effect-databricks/testing"
import { Files, ServiceContext } from "effect-databricks"
import { Effect, Fiber, Layer, Schema, Stream } from "effect"
import { TestClock } from "effect/testing"
import { execFileSync } from "node:child_process"
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  utimesSync,
  writeFileSync
} from "node:fs"
import { chmod } from "node:fs/promises"
import { createServer } from "node:net"
import { tmpdir } from "node:os"
import { dirname, join } from "node:path"
import { fileURLToPath } from "node:url"
import { freePort, runSource } from "../fixtures/child.ts"
import { eventually } from "../fixtures/eventually.ts"
import { alice, bob } from "../fixtures/people.ts"

const pidFileOf = (directory: string) => join(directory, "postgres/postmaster.pid")

/** A directory to keep data in, which is removed when no Postgres is left in it. */
const temporary = Effect.acquireRelease(
  Effect.promise(async () => {
    const folder = mkdtempSync(join(tmpdir(), "dev-test-"))
    await chmod(folder, 0o755)
    return join(folder, "local")
  }),
  (directory) =>
    Effect.andThen(
      eventually(() => !existsSync(pidFileOf(directory))),
      Effect.sync(() => rmSync(join(directory, ".."), { recursive: true }))
    )
)

const Rows = Schema.Struct({
  key: Schema.String,
  owners: Schema.Array(Schema.String),
  seeds: Schema.Int,
  application: Schema.String
})

/** Runs `node src/dev.ts` of a small application, which keeps its data in the directory. */
const develop = Effect.fnUntraced(function* (
  directory: string,
  env: Record<string, string> = {},
  flags: ReadonlyArray<string> = []
) {
  const port = yield* freePort
  const app = yield* runSource(
    "devApp.ts",
    { DIRECTORY: directory, DATABRICKS_APP_PORT: String(port), TMPDIR: tmpdir(), ...env },
    flags
  )
  const call = (method: string, path: string, as = "alice") =>
    Effect.tryPromise(() =>
      fetch(`http://127.0.0.1:${port}${path}`, { method, headers: { cookie: `databricks-apps-user=${as}` } })
    )
  const json = (method: string, path: string, as?: string) =>
    Effect.flatMap(call(method, path, as), (response) => Effect.promise(() => response.json()))
  const add = (as?: string) => Effect.flatMap(json("POST", "/rows", as), Schema.decodeUnknownEffect(Rows))
  const starts = () => app.output.stdout.split("The data is kept in").length - 1
  const started = (times = 1) => eventually(() => starts() >= times || !app.running())
  return { ...app, port, call, json, add, started }
})

const running = Effect.fnUntraced(function* (...args: Parameters<typeof develop>) {
  const app = yield* develop(...args)
  yield* app.started()
  assert.isTrue(app.running(), app.output.stderr + app.output.stdout)
  return app
})

const postgresIn = (directory: string) => Number(readFileSync(pidFileOf(directory), "utf8").split("\n", 1)[0])

/** The parent of a process, and the words of its command. */
const processOf = (pid: number) =>
  execFileSync("ps", ["-ww", "-o", "ppid=,args=", "-p", String(pid)], { encoding: "utf8" })
    .trim()
    .split(/\s+/)

describe("LocalWorkspace.dev", () => {
  it.live("runs an application as the person of the browser, on loopback, untouched by the shell's variables", () =>
    Effect.gen(function* () {
      const directory = yield* temporary
      const foreign = {
        DATABRICKS_HOST: "https://elsewhere.example",
        DATABRICKS_TOKEN: "dapi-of-elsewhere",
        DATABRICKS_APP_NAME: "elsewhere",
        DATABRICKS_CONFIG_PROFILE: "elsewhere",
        ARM_CLIENT_ID: "elsewhere",
        PGHOST: "elsewhere.example",
        PGUSER: "elsewhere",
        PGSSLMODE: "require",
        LAKEBASE_ENDPOINT: "elsewhere",
        HTTP_PROXY: "http://127.0.0.1:9"
      }
      const app = yield* running(directory, { ...foreign, GREETING: "hello" })
      const ofAlice = yield* app.add()
      assert.deepStrictEqual([ofAlice.owners, ofAlice.seeds], [[alice], 1])
      assert.deepStrictEqual((yield* app.add("bob")).owners, [alice, bob])
      assert.deepStrictEqual(yield* app.json("GET", "/variables"), {
        GREETING: "hello",
        DATABRICKS_TOKEN: null,
        ARM_CLIENT_ID: null,
        PGUSER: ofAlice.application,
        DATABRICKS_APP_NAME: null,
        EXTRA: "more"
      })
      assert.include(app.output.stdout, `http://localhost:${app.port}/.apps/as/${alice}`)
      assert.match(app.output.stdout, /Listening on http:\/\/127\.0\.0\.1:\d+/)
      yield* app.kill("SIGTERM")
      assert.strictEqual(yield* app.exit, 0, app.output.stderr)
    })
  )

  it.live("keeps rows and identities for the next start, and ends at once with a stream open", () =>
    Effect.gen(function* () {
      const directory = yield* temporary
      const first = yield* running(directory)
      const before = yield* first.add()
      yield* first.call("GET", "/endless")
      const told = performance.now()
      yield* first.kill("SIGTERM")
      assert.strictEqual(yield* first.exit, 0)
      assert.isBelow(performance.now() - told, 6_000, "the stream held it up for the grace period of 8 seconds")
      assert.isFalse(existsSync(pidFileOf(directory)))

      const second = yield* running(directory)
      const after = yield* second.add()
      assert.deepStrictEqual(after, { ...before, owners: [alice, alice], seeds: 2 })
    })
  )

  it.live("starts again on the data of a process that was killed, and of a Postgres that was", () =>
    Effect.gen(function* () {
      const directory = yield* temporary
      const first = yield* running(directory)
      yield* first.add()
      // Its watchdog is still there, and stops Postgres while the next starts.
      yield* first.kill("SIGKILL")
      const second = yield* running(directory)
      assert.deepStrictEqual((yield* second.add()).owners, [alice, alice])

      const postgres = postgresIn(directory)
      const [watchdog, ...command] = processOf(postgres)
      process.kill(Number(watchdog), "SIGKILL")
      process.kill(postgres, "SIGKILL")
      yield* second.kill("SIGKILL")
      assert.isTrue(existsSync(pidFileOf(directory)))
      // Of the watchdog alone it is known where the files of that start were.
      const hba = command.find((word) => word.startsWith("hba_file="))
      rmSync(dirname(hba!.slice("hba_file=".length)), { recursive: true })
      const third = yield* running(directory)
      assert.deepStrictEqual((yield* third.add("bob")).owners, [alice, alice, bob])
    })
  )

  it.live.skipIf(process.platform !== "linux")("leaves no Postgres behind that was starting when it was killed", () =>
    Effect.gen(function* () {
      const directory = yield* temporary
      const of = (words: RegExp) =>
        readdirSync("/proc").flatMap((pid) => {
          try {
            const command = /^\d+$/.test(pid) ? readFileSync(`/proc/${pid}/cmdline`, "utf8") : ""
            return command.includes(directory) && words.test(command) ? [Number(pid)] : []
          } catch {
            return [] // It has ended.
          }
        })
      const app = yield* develop(directory)
      // Until Postgres has its handlers, a SIGINT that is sent to it is lost.
      const starting = () => of(/^[^\0]*postgres\0-D/)
      while (starting().length === 0) yield* Effect.promise(() => new Promise<void>((resolve) => setImmediate(resolve)))
      for (const pid of starting()) process.kill(pid, "SIGSTOP")
      yield* app.kill("SIGKILL")
      yield* Effect.ignore(app.exit)
      yield* Effect.sleep("300 millis")
      for (const pid of starting()) process.kill(pid, "SIGCONT")
      yield* eventually(() => of(/./).length === 0)
    })
  )

  it.live("says that the seed runs at each start when it fails", () =>
    Effect.gen(function* () {
      const directory = join(dirname(yield* temporary), "seeded")
      const dev = LocalWorkspace.dev(Layer.empty, { directory, port: 0, seed: "CREATE TABLE s ()" })
      yield* Effect.scoped(Layer.build(Layer.fresh(dev)))
      const error = yield* Effect.flip(Effect.scoped(Layer.build(Layer.fresh(dev))))
      assert.match(error.message, /^The seed failed: relation "s" already exists .*It runs at each start/)
    })
  )

  it.live("is started again by node --watch, with its rows", () =>
    Effect.gen(function* () {
      const directory = yield* temporary
      const app = yield* running(directory, {}, ["--watch"])
      // SIGTERM reaches the process that is watched too, SIGKILL does not.
      yield* Effect.addFinalizer(() => Effect.andThen(app.kill("SIGTERM"), Effect.ignore(app.exit)))
      yield* app.add()
      const now = new Date()
      utimesSync(fileURLToPath(new URL("../fixtures/devApp.ts", import.meta.url)), now, now)
      yield* app.started(2)
      // One change may start it twice.
      const { owners } = yield* Effect.eventually(app.add())
      assert.isAtLeast(owners.length, 2)
    })
  )

  it.live("names DATABRICKS_APP_PORT when the port is taken", () =>
    Effect.gen(function* () {
      const directory = yield* temporary
      const port = yield* freePort
      yield* Effect.acquireRelease(
        Effect.promise(
          () =>
            new Promise<ReturnType<typeof createServer>>((resolve) => {
              const server = createServer().listen(port, "127.0.0.1", () => resolve(server))
            })
        ),
        (server) => Effect.sync(() => server.close())
      )
      const app = yield* develop(directory, { DATABRICKS_APP_PORT: String(port) })
      assert.strictEqual(yield* app.exit, 1)
      assert.match(
        app.output.stderr,
        new RegExp(
          `^AppsProxy cannot listen on port ${port}: .*EADDRINUSE.*Set DATABRICKS_APP_PORT to a port that is free\\n$`
        )
      )
      assert.isFalse(existsSync(directory))
    })
  )
})

describe("LocalWorkspace.make with a directory", () => {
  const user = (name: string) => ({ userName: `${name}@example.com` })

  it.effect("waits 15 seconds for another in its directory, and then names it", () =>
    Effect.gen(function* () {
      const directory = yield* temporary
      yield* LocalWorkspace.make({ directory })
      const second = yield* Effect.forkChild(Effect.flip(Effect.scoped(LocalWorkspace.make({ directory }))))
      yield* eventually(Effect.as(TestClock.adjust("1 second"), second), (_) => _.pollUnsafe() !== undefined)
      assert.strictEqual(
        (yield* Fiber.join(second)).message,
        `Another local workspace runs in ${directory}: its Postgres is process ${postgresIn(directory)}. Stop it, or choose another directory`
      )
    })
  )

  it.live("starts when the other has ended", () =>
    Effect.gen(function* () {
      const directory = yield* temporary
      const starts = Effect.scoped(
        Effect.flatMap(LocalWorkspace.make({ directory }), ({ servicePrincipal }) =>
          Effect.as(Effect.sleep("300 millis"), servicePrincipal.clientId)
        )
      )
      const [first, ...others] = yield* Effect.all([starts, starts, starts], { concurrency: 3 })
      assert.deepStrictEqual(others, [first, first])
    })
  )

  it.live("gives a user the same id beside other users, and a new user a role", () =>
    Effect.gen(function* () {
      const directory = yield* temporary
      const idsOf = (...names: ReadonlyArray<string>) =>
        Effect.scoped(
          Effect.gen(function* () {
            const workspace = yield* LocalWorkspace.make({ directory, users: names.map(user) })
            yield* workspace.administer(names.map((name) => `SET ROLE "${name}@example.com";`).join("RESET ROLE;"))
            const headers = yield* Effect.forEach(names, (name) => workspace.headers(user(name).userName))
            return Object.fromEntries(names.map((name, i) => [name, headers[i]!["x-forwarded-user"]]))
          })
        )
      const before = yield* idsOf("alice", "bob")
      const after = yield* idsOf("carol", "bob", "alice")
      assert.deepInclude(after, before)
      assert.strictEqual(new Set(Object.values(after)).size, 3)
    })
  )

  it.live("keeps the files of volumes, without a part of an upload", () =>
    Effect.gen(function* () {
      const directory = yield* temporary
      const path = "/Volumes/main/default/files/notes/a.txt"
      const during = <A, E>(use: Effect.Effect<A, E, Files.Files>) =>
        use.pipe(
          Effect.provide(Files.layer),
          Effect.provide(ServiceContext.layerConfig()),
          Effect.provide(LocalWorkspace.layerEnv()),
          Effect.provide(LocalWorkspace.layer({ directory }))
        )
      yield* during(Files.Files.use((files) => files.write(path, "kept")))
      writeFileSync(join(directory, "files/uploads/1"), "half")
      const text = yield* during(Files.Files.use((files) => Stream.mkString(Stream.decodeText(files.read(path)))))
      assert.strictEqual(text, "kept")
      assert.isFalse(existsSync(join(directory, "files/uploads/1")))
    })
  )

  it.live("says what to delete when Postgres cannot serve its data", () =>
    Effect.gen(function* () {
      const directory = yield* temporary
      yield* Effect.scoped(LocalWorkspace.make({ directory }))
      writeFileSync(join(directory, "postgres/PG_VERSION"), "9\n")
      const { message } = yield* Effect.flip(LocalWorkspace.make({ directory }))
      assert.match(message, /version 9/)
      assert.include(message, `To start with an empty database, delete ${directory}`)
    })
  )

  it.live("says what to restore when the ids beside its data are gone", () =>
    Effect.gen(function* () {
      const directory = yield* temporary
      const ids = join(directory, "workspace.json")
      yield* Effect.scoped(LocalWorkspace.make({ directory }))
      const kept = readFileSync(ids, "utf8")
      rmSync(ids)
      const { message } = yield* Effect.flip(Effect.scoped(LocalWorkspace.make({ directory })))
      assert.match(
        message,
        /^The ids that own the data in .*\/postgres cannot be read \(ENOENT.*: restore .*\/workspace\.json, or delete .*\/local to start with an empty database$/
      )
      writeFileSync(ids, kept)
      yield* Effect.scoped(LocalWorkspace.make({ directory }))
    })
  )

  it.live("removes what processes that were killed have left in its directory", () =>
    Effect.gen(function* () {
      const directory = yield* temporary
      // Above the highest id of a process.
      mkdirSync(join(directory, "new-99999999-a/data"), { recursive: true })
      mkdirSync(join(directory, `new-${process.pid}-a`))
      yield* Effect.scoped(LocalWorkspace.make({ directory }))
      assert.sameMembers(readdirSync(directory), [
        ".gitignore",
        "files",
        `new-${process.pid}-a`,
        "postgres",
        "workspace.json"
      ])
    })
  )

  it.live("names a directory that it cannot make", () =>
    Effect.gen(function* () {
      const directory = yield* temporary
      const file = join(directory, "../file")
      writeFileSync(file, "")
      const { message } = yield* Effect.flip(LocalWorkspace.make({ directory: join(file, "local") }))
      assert.match(
        message,
        /^The local workspace cannot keep its data in .*\/file\/local \(ENOTDIR.*: choose a writable directory/
      )
    })
  )
})
