import { assert, layer } from "@effect/vitest"
import { Context, Effect, Layer } from "effect"
import { readFile } from "node:fs/promises"
import type { Page } from "playwright-core"
import { browser, isSkipped, whyAbsent } from "../fixtures/browser.ts"
import { startDemo } from "../fixtures/demo.ts"
import { alice, bob } from "../fixtures/people.ts"

/** The demo on its own local workspace, and a browser that signs people in at its proxy. */
class Demo extends Context.Service<
  Demo,
  {
    readonly open: (
      path: string,
      use: (page: Page, be: (name: string) => Promise<void>) => Promise<void>
    ) => Promise<void>
  }
>()("test/Demo") {
  static readonly layer = Layer.effect(
    this,
    Effect.gen(function* () {
      const { origin } = yield* startDemo()
      const { context } = yield* browser
      return {
        open: async (path, use) => {
          const page = await context.newPage()
          const errors: Array<string> = []
          page.on("pageerror", ({ message }) => errors.push(message))
          await use(page, async (name) => {
            await page.goto(`${origin}/.apps/as/${name}?to=${path}`)
            await page.locator("#person", { hasText: name }).waitFor()
          })
          assert.deepStrictEqual(errors, [])
          await page.close()
        }
      }
    })
  )
}

layer(Demo.layer, { timeout: "60 seconds", excludeTestServices: true })("The demo's screens", (it) => {
  const test = (title: string, path: string, use: Parameters<Demo["Service"]["open"]>[1]) =>
    it.effect.skipIf(isSkipped)(title + whyAbsent, () => Demo.use(({ open }) => Effect.promise(() => open(path, use))))

  test("list, store, send and remove a person's own files, and no other's", "/files", async (page, be) => {
    const name = "レポート 100% + #1.csv"
    const content = "region,amount\nNorth,12\n"
    const path = `/api/files/${encodeURIComponent(name)}`
    const upload = async () => {
      await page.getByLabel("File").setInputFiles({ name, mimeType: "text/csv", buffer: Buffer.from(content) })
      await page.getByRole("button", { name: "Upload" }).click()
    }
    const link = page.getByRole("link", { name })
    await be(alice)
    await page.locator(".files", { hasText: "No files yet" }).waitFor()
    await upload()
    await link.waitFor()
    await upload()
    await page.getByText(`You have a file ${name} already.`).waitFor()
    const [download] = await Promise.all([page.waitForEvent("download"), link.click()])
    assert.strictEqual(download.suggestedFilename(), name)
    assert.strictEqual(await readFile(await download.path(), "utf8"), content)
    await page.locator(".spans .badge.user", { hasText: alice }).first().waitFor()

    const ofAlice = await page.evaluate(async () => (await (await fetch("/api/whoami")).json()).userId)
    await be(bob)
    await page.locator(".files", { hasText: "No files yet" }).waitFor()
    const statusOf = (path: string) => page.evaluate(async (path) => (await fetch(path)).status, path)
    assert.strictEqual(await statusOf(path), 404)
    for (const up of ["..", "%2e%2e", "x/../.."]) {
      const outside = encodeURIComponent(`${up}/${ofAlice}/${name}`)
      assert.strictEqual(await statusOf(`/api/files/${outside}`), 400, outside)
    }

    await be(alice)
    await page.getByRole("button", { name: `Remove ${name}` }).click()
    await page.locator(".files", { hasText: "No files yet" }).waitFor()
    assert.strictEqual(await statusOf(path), 404)
  })

  test("show a job's run from its start to its end, and the message of one that fails", "/job", async (page, be) => {
    await be(bob)
    const run = page.locator("#run")
    const start = page.getByRole("button", { name: "Start the report" })
    await start.click()
    await run.getByText("2026-01-31: 12 units in 3 sales").waitFor()
    const states = await run.locator(".states li").allTextContents()
    // A poll that is late on a busy machine misses a state.
    const inOrder = ["PENDING", "RUNNING", "TERMINATED SUCCESS"]
    assert.deepStrictEqual(
      states,
      inOrder.filter((state) => states.includes(state))
    )
    assert.isAbove(states.length, 1)
    assert.strictEqual(states.at(-1), "TERMINATED SUCCESS")
    const tasks = await run.locator("tbody tr").allTextContents()
    assert.deepStrictEqual(tasks, [
      "loadTERMINATED SUCCESSLoaded 3 sales of 2026-01-31",
      "reportTERMINATED SUCCESS2026-01-31: 12 units in 3 sales"
    ])
    await page.locator(".spans .badge.service", { hasText: "the app" }).first().waitFor()

    await page.getByLabel("Day").fill("2099-03-01")
    await start.click()
    await run.getByText("There are no sales of 2099-03-01 yet").waitFor()
    await run.getByText("Task load failed with message: Workload failed, see run output for details.").waitFor()
    assert.isTrue(await run.evaluate((article) => article.classList.contains("failed")))
  })

  test("show a person's own rows, a follow-up and Genie's own error", "/genie", async (page, be) => {
    const rows = (index: number) =>
      page
        .locator("article")
        .nth(index)
        .locator("tbody tr")
        .evaluateAll((rows) => rows.map((row) => Array.from(row.querySelectorAll("td"), (cell) => cell.textContent)))
    const ask = async (question: string) => {
      const [request] = await Promise.all([
        page.waitForRequest("**/api/genie/questions"),
        page.getByRole("button", { name: question }).click()
      ])
      return request.postDataJSON()
    }
    await be(alice)
    assert.notProperty(await ask("How much did I sell in each region?"), "conversationId")
    await page.locator("pre", { hasText: "GROUP BY region" }).waitFor()
    await page.locator("article tbody").waitFor()
    assert.deepStrictEqual(await rows(0), [
      ["North", "16"],
      ["South", "7"]
    ])
    assert.isString((await ask("And which was the largest sale?")).conversationId)
    await page.locator("article").nth(1).locator("tbody").waitFor()
    assert.deepStrictEqual(await rows(1), [["North", "12"]])
    await page.getByPlaceholder("Your question").fill("What does everyone earn?")
    await page.getByRole("button", { name: "Ask", exact: true }).click()
    await page.locator("article.failed", { hasText: "This space has no table of salaries. Ask about sales." }).waitFor()

    await be(bob)
    await ask("How much did I sell in each region?")
    await page.locator("article tbody").waitFor()
    assert.deepStrictEqual(await rows(0), [
      ["East", "21"],
      ["West", "9"]
    ])
    await page.locator(".spans .badge.user", { hasText: bob }).first().waitFor()
  })

  test(
    "show a model's reply to a person, the part before Stop, and an error inside a reply",
    "/chat",
    async (page, be) => {
      const reply = (index: number) => page.locator("article").nth(index)
      const say = async (text: string) => {
        await page.getByPlaceholder("Your message").fill(text)
        await page.getByRole("button", { name: "Send" }).click()
      }
      const isOver = page.locator("button:disabled", { hasText: "Stop" })
      for (const name of [bob, alice]) {
        await be(name)
        await say("Hello")
        await reply(0).getByText(`You are ${name}: this request reached the endpoint with your token`).waitFor()
        await isOver.waitFor()
      }
      await say("a long one")
      await reply(1).getByText("turn 2 of our conversation").waitFor()
      await page.getByRole("button", { name: "Stop" }).click()
      await reply(1).getByText("You stopped the reply.").waitFor()
      await say("please break")
      await reply(2)
        .getByText(/broke after 12 chunks.*429: The model is over its limit of tokens per minute\./)
        .waitFor()
      await reply(2).getByText("You are alice").waitFor()
      await isOver.waitFor()
    }
  )

  test("show a model's tool call and the person's own rows, and go on from them", "/chat", async (page, be) => {
    const reply = (index: number) => page.locator("article").nth(index)
    const isOver = page.locator("button:disabled", { hasText: "Stop" })
    const say = async (text: string) => {
      await page.getByPlaceholder("Your message").fill(text)
      await page.getByRole("button", { name: "Send" }).click()
      await isOver.waitFor()
    }
    const rows = (index: number) =>
      reply(index)
        .locator("tbody tr")
        .evaluateAll((rows) => rows.map((row) => Array.from(row.querySelectorAll("td"), (cell) => cell.textContent)))
    const expected: Record<string, ReadonlyArray<ReadonlyArray<string>>> = {
      [alice]: [
        ["North", alice, "12"],
        ["South", alice, "7"]
      ],
      [bob]: [
        ["East", bob, "21"],
        ["West", bob, "9"]
      ]
    }
    for (const name of [alice, bob]) {
      await be(name)
      await say("What are my sales?")
      await reply(0).getByText('sales({"atLeast":5})').waitFor()
      await reply(0).getByText("2 sales of yours").waitFor()
      assert.deepStrictEqual(await rows(0), expected[name])
      await page.locator(".spans .badge.user", { hasText: name }).first().waitFor()
    }
    await say("And my sales above 10?")
    await reply(1).getByText('sales({"atLeast":10})').waitFor()
    await reply(1).getByText("1 sales of yours").waitFor()
    assert.deepStrictEqual(await rows(1), [["East", bob, "21"]])
    await say("Hello again")
    await reply(2).getByText("turn 3 of our conversation").waitFor()
  })
})
