import { assert, describe, it } from "@effect/vitest"
import { Effect, Schema } from "effect"
import { browser, isSkipped, whyAbsent } from "../fixtures/browser.ts"
import { bundle } from "../fixtures/bundle.ts"
import { startDemo } from "../fixtures/demo.ts"
import { root } from "../fixtures/fences.ts"
import { alice } from "../fixtures/people.ts"

/** What the page runs: a client of the demo's own Api. What it found goes back as JSON. */
const client = `
  import { Effect } from "effect"
  import { FetchHttpClient } from "effect/http"
  import { HttpApiClient } from "effect/http-api"
  import { AuthenticationError } from "effect-databricks/IdentityError"
  import { Api } from "./scratchpad/demo/Api.ts"

  const client = HttpApiClient.make(Api, { baseUrl: location.origin })

  globalThis.order = () =>
    Effect.gen(function* () {
      const { desk, user } = yield* client
      yield* desk.add({ payload: { item: "Tea", amount: 2 } })
      return {
        email: (yield* user.whoami()).email,
        orders: (yield* desk.mine()).map((_) => ({ ..._, createdAt: _.createdAt instanceof Date }))
      }
    }).pipe(Effect.provide(FetchHttpClient.layer), Effect.runPromise)

  globalThis.fail = () =>
    Effect.gen(function* () {
      const error = yield* Effect.flip((yield* client).desk.mine())
      return { typed: error instanceof AuthenticationError, _tag: error._tag, message: error.message }
    }).pipe(Effect.provide(FetchHttpClient.layer), Effect.runPromise)
`

const Found = Schema.Struct({
  email: Schema.String,
  orders: Schema.Array(
    Schema.Struct({ owner: Schema.String, item: Schema.String, amount: Schema.Int, createdAt: Schema.Boolean })
  )
})

const Failed = Schema.Struct({ typed: Schema.Boolean, _tag: Schema.String, message: Schema.String })

describe("The demo in a browser", () => {
  it.live.skipIf(isSkipped)(
    `gives alice her orders, decoded, and a request without a user an AuthenticationError${whyAbsent}`,
    () =>
      Effect.gen(function* () {
        const { direct, origin, stop } = yield* startDemo()
        const { text } = yield* Effect.promise(() => bundle(client, root, ["@effect-databricks/source"]))
        const { context } = yield* browser
        const page = yield* Effect.promise(() => context.newPage())
        /** Runs a function of the client on a page of the demo, as a file of the demo's own: it may load no other. */
        const run = (at: string, name: string) =>
          Effect.promise(async () => {
            await page.route("**/client.js", (route) => route.fulfill({ contentType: "text/javascript", body: text }))
            await page.goto(at)
            await page.addScriptTag({ url: "/client.js", type: "module" })
            return page.evaluate(`${name}()`)
          })
        const found = yield* run(`${origin}/.apps/as/alice`, "order")
        assert.deepStrictEqual(yield* Schema.decodeUnknownEffect(Found)(found), {
          email: alice,
          orders: [{ owner: alice, item: "Tea", amount: 2, createdAt: true }]
        })
        const failed = yield* Schema.decodeUnknownEffect(Failed)(yield* run(direct, "fail"))
        assert.deepInclude(failed, { typed: true, _tag: "AuthenticationError" })
        assert.include(failed.message, "did not come through the Databricks Apps proxy")
        assert.strictEqual(yield* stop, 0)
      })
  )

  it.live.skipIf(isSkipped)(
    `shows each screen without scrolling, an order to its owner alone, and spans by person${whyAbsent}`,
    () =>
      Effect.gen(function* () {
        const { origin } = yield* startDemo()
        const { context } = yield* browser
        const page = yield* Effect.promise(() => context.newPage())
        const errors: Array<string> = []
        page.on("pageerror", ({ message }) => errors.push(message))
        yield* Effect.promise(async () => {
          await page.setViewportSize({ width: 1280, height: 800 })
          await page.goto(`${origin}/.apps/as/alice`)
          await page.locator("#user .caller", { hasText: alice }).waitFor()
          await page.locator(".spans .badge.user", { hasText: alice }).first().waitFor()
          await page.locator(".spans .badge.service", { hasText: "the app" }).first().waitFor()
          // The scripts of a page start when they know its user.
          let start = () => {}
          const held = new Promise<void>((resolve) => (start = resolve))
          await page.route("**/api/whoami", (route) => held.then(() => route.continue()))
          await page.getByRole("link", { name: "Orders" }).click()
          await page.getByPlaceholder("Item").fill("Tea")
          await page.getByPlaceholder("Item").press("Enter")
          const add = page.getByRole("button", { name: "Add order" })
          assert.isTrue(await add.isDisabled())
          start()
          await add.click()
          await page.locator("#mine li", { hasText: "Tea" }).waitFor()
          await page.getByRole("link", { name: "be bob" }).click()
          await page.locator("#all li", { hasText: "Tea" }).waitFor()
          await page.locator("#mine li", { hasText: "No orders yet" }).waitFor()
          await page.getByRole("link", { name: "Budget" }).click()
          await page.locator("#total td").nth(4).waitFor()
          const rows = await page
            .locator("tbody tr")
            .evaluateAll((rows) =>
              rows.map((row) => Array.from(row.querySelectorAll("td"), (cell) => Number(cell.textContent)))
            )
          for (const [opening, inUse, idle, all] of rows) assert.strictEqual(opening! + inUse! + idle!, all)
          const [users, service, together] = rows
          assert.deepStrictEqual(
            users!.map((number, i) => number + service![i]!),
            together
          )
          for (const path of ["/", "/orders", "/files", "/job", "/genie", "/chat", "/budget"]) {
            await page.goto(origin + path)
            await page.locator("#person a").first().waitFor()
            assert.isAtMost(Number(await page.evaluate("document.documentElement.scrollHeight")), 800, path)
          }
        })
        assert.deepStrictEqual(errors, [])
      })
  )
})
