/** The starter as its reader has it: a copy beside the packed package, installed, built and run. */
import { afterAll, assert, beforeAll, describe, it } from "@effect/vitest"
import { AppsProxy, LocalWorkspace } from "effect-databricks/testing"
import { Context, Effect, Layer } from "effect"
import { HttpServer } from "effect/http"
import { NetAddress } from "effect/net"
import { build } from "esbuild"
import { spawn, spawnSync } from "node:child_process"
import { cpSync, mkdtempSync, readFileSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import type { Page } from "playwright-core"
import { browser, isSkipped, whyAbsent } from "../fixtures/browser.ts"
import { freePort, withoutVitest } from "../fixtures/child.ts"
import { eventually } from "../fixtures/eventually.ts"
import { root } from "../fixtures/fences.ts"
import { filesUnder, pack } from "../fixtures/packed.ts"
import { alice, bob } from "../fixtures/people.ts"
import { trips } from "../../scratchpad/starter/test/samples.ts"

const starter = join(root, "scratchpad/starter")

/** What its owner's npm makes in it, and git ignores. */
const made = /\/(node_modules|public|dist|\.databricks)$|\.tgz$/

/** Runs the built folder, away from all packages, as Databricks Apps does; it does not outlive the scope. */
const runBundle = Effect.fnUntraced(function* (dist: string, env: Readonly<Record<string, string>>) {
  const port = yield* freePort
  const { child, closed, output } = yield* Effect.acquireRelease(
    Effect.sync(() => {
      const cwd = mkdtempSync(join(tmpdir(), "effect-databricks-bundle-"))
      cpSync(dist, cwd, { recursive: true })
      const child = spawn(process.execPath, ["main.js"], {
        cwd,
        env: { ...env, DATABRICKS_APP_PORT: String(port) },
        stdio: ["ignore", "pipe", "pipe"]
      })
      const output = { text: "" }
      child.stdout.on("data", (chunk) => (output.text += chunk))
      child.stderr.on("data", (chunk) => (output.text += chunk))
      const closed = new Promise<number | null>((resolve) => child.once("close", resolve))
      return { cwd, child, closed, output }
    }),
    ({ child, closed, cwd }) =>
      Effect.promise(async () => {
        child.kill("SIGKILL")
        await closed
        rmSync(cwd, { recursive: true })
      })
  )
  yield* eventually(() => child.exitCode !== null || output.text.includes("Listening on"))
  assert.isNull(child.exitCode, output.text)
  const stop = Effect.promise(() => {
    child.kill("SIGTERM")
    return closed
  })
  return { port, stop }
})

/** The proxy in front of an application that listens on a port of this machine. */
const proxyOf = (port: number) =>
  AppsProxy.layer({ port: 0 }).pipe(
    Layer.provide(
      Layer.mock(HttpServer.HttpServer, { address: NetAddress.inetAddressFromIpStringUnsafe("127.0.0.1", port) })
    )
  )

const add = async (page: Page, expense: { description: string; category: string; dollars: string }) => {
  await page.getByLabel("Description").fill(expense.description)
  await page.getByLabel("Category").selectOption(expense.category)
  await page.getByLabel("Dollars").fill(expense.dollars)
  await page.getByRole("button", { name: "Add" }).click()
}

/** The rows of a section's table, once this text is in it. */
const rowsOf = async (page: Page, section: string, text: string) => {
  await page.locator(`#${section} table`).getByText(text).waitFor()
  const rows = await page.locator(`#${section} tbody tr`).all()
  return Promise.all(rows.map((row) => row.locator("td").allTextContents()))
}

describe("The starter", { timeout: 180_000 }, () => {
  let folder: string
  const run = (...command: ReadonlyArray<string>) => {
    const { status, stderr, stdout } = spawnSync("env", [...withoutVitest, ...command], {
      cwd: folder,
      encoding: "utf8"
    })
    assert.strictEqual(status, 0, `${command.join(" ")}\n${stdout}${stderr}`)
    return stdout
  }

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), "effect-databricks-starter-"))
    cpSync(starter, folder, { recursive: true, filter: (path) => !made.test(path) })
    cpSync(await pack(), join(folder, "effect-databricks-0.1.0.tgz"))
    run("npm", "install", "--no-audit", "--no-fund", "--prefer-offline")
    run("npm", "run", "build")
  }, 180_000)
  afterAll(() => rmSync(folder, { recursive: true }))

  it("compiles and passes its own tests", () => {
    run("npm", "run", "check")
    assert.include(run("npm", "test"), "passed")
  })

  it("builds a folder that needs no installation", () => {
    const files = filesUnder(join(folder, "dist"))
    const isChunk = (file: string) => /^chunks\/[\w-]+\.js$/.test(file)
    assert.isNotEmpty(files.filter(isChunk))
    assert.deepStrictEqual(
      files.filter((file) => !isChunk(file)).map((file) => file.replace(/-[\w-]{8}\.(css|js)$/, "-HASH.EXT")),
      [
        "app.yaml",
        "config/queries/fares.obo.sql",
        "main.js",
        "migrations/0001_expenses.sql",
        "package.json",
        "public/assets/index-HASH.EXT",
        "public/assets/index-HASH.EXT",
        "public/index.html"
      ]
    )
    assert.deepStrictEqual(JSON.parse(readFileSync(join(folder, "dist/package.json"), "utf8")), { type: "module" })
  })

  it.live("starts from a bundle of esbuild with code splitting too", () =>
    Effect.gen(function* () {
      const outdir = join(folder, "split")
      cpSync(join(folder, "dist"), outdir, { recursive: true })
      yield* Effect.promise(() =>
        build({
          absWorkingDir: folder,
          entryPoints: ["src/main.ts"],
          outdir,
          bundle: true,
          splitting: true,
          platform: "node",
          format: "esm",
          banner: {
            js: 'import { createRequire as cr } from "node:module"; const require = cr(import.meta.url);'
          },
          logLevel: "error"
        })
      )
      const { env } = yield* LocalWorkspace.LocalWorkspace
      const { port } = yield* runBundle(outdir, env)
      const { status } = yield* Effect.promise(() => fetch(`http://127.0.0.1:${port}/api/health`))
      assert.strictEqual(status, 200)
    }).pipe(Effect.provide(LocalWorkspace.layer()))
  )

  it.live.skipIf(isSkipped)(`shows two users of its page their own rows${whyAbsent}`, () =>
    Effect.gen(function* () {
      const { context } = yield* browser
      const workspace = yield* LocalWorkspace.LocalWorkspace
      yield* workspace.administer(trips)
      const app = yield* runBundle(join(folder, "dist"), workspace.env)
      const { origin } = Context.get(yield* Layer.build(proxyOf(app.port)), AppsProxy.AppsProxy)
      yield* Effect.promise(async () => {
        const page = await context.newPage()
        const as = (userName: string) => page.goto(`${origin}/.apps/as/${userName}`)
        await as(alice)
        await add(page, { description: "Taxi", category: "travel", dollars: "42.00" })
        assert.deepStrictEqual(await rowsOf(page, "mine", "Taxi"), [["Taxi", "travel", "$42.00"]])
        assert.deepStrictEqual((await rowsOf(page, "fares", "$4.38"))[0], ["1", "10", "$4.38"])
        await as(bob)
        await page.locator("#mine").getByText("None yet.").waitFor()
        await add(page, { description: "Tram", category: "travel", dollars: "8" })
        assert.deepStrictEqual(await rowsOf(page, "mine", "Tram"), [["Tram", "travel", "$8.00"]])
        assert.deepStrictEqual(await rowsOf(page, "everyone", "$50.00"), [["travel", "2", "$50.00"]])
        await as(alice)
        assert.deepStrictEqual(await rowsOf(page, "mine", "Taxi"), [["Taxi", "travel", "$42.00"]])
        assert.strictEqual(await page.locator("header .quiet").textContent(), alice)
        await page.close()
      })
      assert.strictEqual(yield* app.stop, 0)
    }).pipe(Effect.provide(LocalWorkspace.layer()))
  )
})
