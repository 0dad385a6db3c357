/** A page of AppKit's own hooks and components on this backend, as two people use it at once. */
import { assert, describe, layer } from "@effect/vitest"
import { Effect } from "effect"
import { createHash, randomFillSync } from "node:crypto"
import { createReadStream, mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { pipeline } from "node:stream/promises"
import { isSkipped, whyAbsent } from "../fixtures/browser.ts"
import { cookieOf } from "../fixtures/demo.ts"
import { alice, bob } from "../fixtures/people.ts"
import * as Visitors from "../fixtures/visitors.ts"

const own = {
  [alice]: {
    sales: ["1", "2", "4"],
    inTheEast: "4",
    pages: [["1", "2", "3"], ["4"]],
    readings: 24_000,
    metric: ["East 1 $30.00", "North 2 $16.00"],
    regions: ["East", "North", "South"]
  },
  [bob]: {
    sales: ["5", "6"],
    inTheEast: "6",
    pages: [["5", "6"]],
    readings: 21_000,
    metric: ["East 1 $21.00", "West 1 $9.00"],
    regions: ["East", "West"]
  }
}
const ownOf = (userName: string) => own[userName as keyof typeof own] // alice or bob

const first = (rows: ReadonlyArray<ReadonlyArray<string>>) => rows.map(([cell]) => cell)

const hashOf = async (path: string) => {
  const hash = createHash("sha256")
  await pipeline(createReadStream(path), hash)
  return hash.digest("hex")
}

/** What a browser and the hooks say of a connection that is cut. */
const cutOff = /ERR_INCOMPLETE_CHUNKED_ENCODING|network error/

describe.skipIf(isSkipped)(`AppKit's front end in a browser${whyAbsent}`, () => {
  layer(Visitors.layer, { timeout: "3 minutes", excludeTestServices: true })((it) => {
    /** A test in which both do the same at once, and then something is true of the application. */
    const both = (
      title: string,
      use: (visitor: Visitors.Visitor) => Promise<void>,
      then: (origin: string) => Promise<void> = async () => {}
    ) =>
      it.effect(title, () =>
        Effect.flatMap(Visitors.Visitors, (visitors) =>
          Effect.andThen(
            visitors.both(use),
            Effect.promise(() => then(visitors.origin))
          )
        )
      )

    both(
      "shows how a query waits for the warehouse, and then each person's own rows, also after a cut",
      async ({ breakAfter, errors, open, page, rows, userName }) => {
        const { inTheEast, sales } = ownOf(userName)
        const cut = breakAfter("/query/my_sales", "STARTING")
        const opened = open("query")
        await page.getByText("The warehouse is STARTING").waitFor()
        await page.getByText("SQL warehouse warming up").waitFor()
        await cut()
        await opened
        assert.deepStrictEqual(first(await rows("query", sales[0]!)), sales)
        await page.getByText("SQL warehouse warming up").waitFor({ state: "detached" })
        await page.getByRole("radio", { name: "East" }).click()
        await page.locator("#query tbody tr").nth(1).waitFor({ state: "detached" })
        assert.deepStrictEqual(first(await rows("query", inTheEast)), [inTheEast])
        assert.deepStrictEqual(errors(cutOff), [])
      }
    )

    both(
      "shows a table's own rows in pages, and the rows that the app reads to both",
      async ({ errors, open, page, rows, userName }) => {
        await open("table")
        const [firstPage = [], ...others] = ownOf(userName).pages
        assert.deepStrictEqual(first(await rows("mine", firstPage[0]!)), firstPage)
        for (const next of others) {
          await page.locator("#mine").getByRole("button", { name: "Next" }).click()
          assert.deepStrictEqual(first(await rows("mine", next[0]!)), next)
        }
        const products = await rows("products", "Tea")
        assert.deepStrictEqual(first(products), ["Tea", "Coffee", "Cocoa"])
        assert.isFalse(products.flat().includes(userName))
        assert.deepStrictEqual(errors(), [])
      }
    )

    both(
      "draws every row of an Arrow result of more than 20 chunks, and a chart of JSON",
      async ({ errors, open, page, userName }) => {
        await open("charts")
        const { readings } = ownOf(userName)
        await page.getByText(`${readings} rows of Arrow, from readings.obo.sql`).waitFor()
        await page.locator("#readings canvas").waitFor()
        await page.locator("#regions canvas").waitFor()
        await page.getByRole("button", { name: "Read" }).click()
        await page.locator("#own", { hasText: `${readings} rows of Arrow` }).waitFor()
        assert.deepStrictEqual(errors(), [])
      }
    )

    both(
      "shows a metric view's own measures, with the labels and formats of the view",
      async ({ errors, open, page, rows, userName }) => {
        await open("metric")
        assert.deepStrictEqual(
          (await rows("metric", "East")).map((cells) => cells.join(" ")),
          ownOf(userName).metric
        )
        assert.deepStrictEqual(await page.locator("#metric th").allTextContents(), ["Region", "Orders", "Revenue"])
        await page.getByText("The sum of all sales").waitFor()
        assert.deepStrictEqual(errors(), [])
      }
    )

    both(
      "asks Genie once, also after a cut, and shows the conversation after a reload, also of a pending answer",
      async ({ breakAfter, errors, open, page, userName }) => {
        const question = "How much did I sell in each region?"
        const chat = page.locator("#genie")
        const answers = chat.getByText("These are your sales by region, the largest first.")
        const ask = async () => {
          await chat.locator("textarea").fill(question)
          await chat.locator("textarea").press("Enter")
        }
        /** Asserts that the chat has so many questions with their answers, once it shows the result of the last. */
        const shows = async (count: number) => {
          const last = count - 1
          await chat.locator("canvas").nth(last).waitFor()
          assert.strictEqual(await chat.getByText(question).count(), count)
          assert.strictEqual(await answers.count(), count)
          await chat.getByRole("tab", { name: "Table" }).nth(last).click()
          const regions = await chat.locator("tbody").nth(last).locator("td:first-child").allTextContents()
          assert.sameMembers(regions, ownOf(userName).regions)
        }
        await open("genie")
        const cut = breakAfter("/api/genie/sales/messages", '"message_result"')
        await ask()
        await answers.waitFor()
        await cut()
        await shows(1)
        await page.reload()
        await shows(1)
        await ask()
        await page.getByText("Executing query...").waitFor()
        await page.reload()
        await shows(2)
        assert.deepStrictEqual(errors(cutOff), [])
      }
    )

    both(
      "uploads and downloads 50 MiB byte for byte, into a folder of one's own",
      async ({ errors, open, page, userName }) => {
        const folder = mkdtempSync(join(tmpdir(), "effect-databricks-upload-"))
        const name = `${userName}.bin`
        const path = join(folder, name)
        writeFileSync(path, randomFillSync(Buffer.alloc(50 * 2 ** 20)))
        const hash = await hashOf(path)
        await open("files")
        await page.getByPlaceholder("Folder name").fill(userName)
        await page.getByRole("button", { name: "Create" }).click()
        await page.getByRole("button", { name: userName }).click()
        await page.getByText("This directory is empty.").waitFor()
        await page.locator("input[type=file]").setInputFiles(path)
        await page.getByRole("button", { name }).click()
        await page.locator("[data-slot=file-preview-panel]", { hasText: "50.0 MB" }).waitFor()
        const downloaded = page.waitForEvent("download")
        await page.getByRole("button", { name: "Download" }).click()
        const download = await downloaded
        rmSync(folder, { recursive: true })
        assert.strictEqual(download.suggestedFilename(), name)
        assert.strictEqual(await hashOf(await download.path()), hash)
        await page.getByText("documents", { exact: true }).click()
        await page.getByRole("button", { name: userName }).waitFor()
        assert.deepStrictEqual(errors(), [])
      }
    )

    both(
      "calls a model once, also after a cut, and shows its whole response",
      async ({ breakAfter, errors, open, page, userName }) => {
        await open("model")
        await page.getByLabel("Message").fill("Hello")
        const counted = Array.from({ length: 60 }, (_, n) => n + 1).join(" ")
        const response = (call: number) => `Call ${call} of ${userName}: you said “Hello”. I count: ${counted}.`
        const cut = breakAfter("/api/serving/model/stream", '"delta"', 10)
        await page.getByRole("button", { name: "Stream" }).click()
        await page.locator("#streamed", { hasText: "you said" }).waitFor()
        await cut()
        await page.locator("#streamed").getByText(response(1), { exact: true }).waitFor()
        await page.getByRole("button", { name: "Invoke" }).click()
        await page.locator("#whole").getByText(response(2), { exact: true }).waitFor()
        assert.deepStrictEqual(errors(cutOff), [])
      }
    )

    both("shows the pages of a search", async ({ errors, open, page, rows }) => {
      await open("search")
      await page.getByLabel("Text").fill("how")
      await page.getByRole("button", { name: "Search" }).click()
      assert.deepStrictEqual(first(await rows("search", "1")), ["1", "2"])
      await page.getByRole("button", { name: "More" }).click()
      assert.deepStrictEqual(first(await rows("search", "4")), ["1", "2", "3", "4"])
      assert.deepStrictEqual(errors(), [])
    })

    both(
      "runs a job once for each request, also after a cut, and shows its states to the end",
      async ({ breakAfter, errors, open, page }) => {
        await open("jobs")
        const cut = breakAfter("/api/jobs/report/run?", '"status"')
        await page.getByRole("button", { name: "Run" }).click()
        await page.locator("#states", { hasText: "PENDING" }).waitFor()
        await cut()
        await page.locator("#states", { hasText: "TERMINATED" }).waitFor()
        await page.getByRole("button", { name: "Last status" }).click()
        await page.locator("#last", { hasText: /PENDING|RUNNING|TERMINATED/ }).waitFor()
        assert.deepStrictEqual(errors(cutOff), [])
      },
      async (origin) => {
        const response = await fetch(`${origin}/api/jobs/report/runs`, { headers: cookieOf("alice") })
        assert.lengthOf((await response.json()).runs, 2)
      }
    )

    both("shows the sentence of a failure, and the configuration of the plugins", async ({ errors, open, page }) => {
      await open("errors")
      await page.locator("#broken", { hasText: "The query failed" }).waitFor()
      await page.locator("#unknown", { hasText: "Unable to load data, please try again" }).waitFor()
      const config = JSON.parse((await page.locator("#config pre").textContent()) ?? "")
      assert.deepStrictEqual(config.files, { volumes: ["documents"] })
      assert.deepStrictEqual(config.serving.aliases, ["model"])
      assert.deepStrictEqual(Object.keys(config.jobs.jobs), ["report"])
      assert.strictEqual(config.aiSearch.indexes[0].alias, "articles")
      assert.deepStrictEqual(errors(/status of 404|HTTP 404|The query failed/), [])
    })
  })
})
