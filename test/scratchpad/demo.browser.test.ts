import { assert, describe, it } from "@effect/vitest"
import { Config, Effect, Schema } from "effect"
import { existsSync, mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { chromium } from "playwright-core"
import { bundle } from "../fixtures/bundle.ts"
import { startDemo } from "../fixtures/demo.ts"
import { root } from "../fixtures/fences.ts"
import { alice } from "../fixtures/people.ts"

/** What the page runs: a client of the demo's own Api. What it found goes back as JSON. */
const client = `
  import { Effect } from "effect"
  import { FetchHttpClient, HttpClient, HttpClientRequest } from "effect/http"
  import { HttpApiClient } from "effect/http-api"
  import { AuthenticationError } from "effect-databricks/IdentityError"
  import { ApiWithDesk } from "./scratchpad/demo/Api.ts"

  const clientOf = (headers) =>
    HttpApiClient.make(ApiWithDesk, {
      baseUrl: location.origin,
      transformClient: HttpClient.mapRequest(HttpClientRequest.setHeaders(headers))
    })

  globalThis.ask = (headers) =>
    Effect.gen(function* () {
      const alice = yield* clientOf(headers)
      yield* alice.desk.add({ payload: { item: "Tea", amount: 2 } })
      const nobody = yield* Effect.flip((yield* clientOf({})).desk.mine())
      return {
        email: (yield* alice.user.whoami()).email,
        orders: (yield* alice.desk.mine()).map((_) => ({ ..._, createdAt: _.createdAt instanceof Date })),
        nobody: { typed: nobody instanceof AuthenticationError, _tag: nobody._tag, message: nobody.message }
      }
    }).pipe(Effect.provide(FetchHttpClient.layer), Effect.runPromise)
`

const Found = Schema.Struct({
  email: Schema.String,
  orders: Schema.Array(
    Schema.Struct({ owner: Schema.String, item: Schema.String, amount: Schema.Int, createdAt: Schema.Boolean })
  ),
  nobody: Schema.Struct({ typed: Schema.Boolean, _tag: Schema.String, message: Schema.String })
})

const executablePath = "/usr/bin/chromium"
const args = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync"
]

/** A browser that has never been used. */
const browser = Effect.acquireRelease(
  Effect.promise(async () => {
    const profile = mkdtempSync(join(tmpdir(), "effect-databricks-chromium-"))
    return {
      profile,
      context: await chromium.launchPersistentContext(profile, { executablePath, headless: true, args })
    }
  }),
  ({ context, profile }) => Effect.promise(() => context.close().then(() => rmSync(profile, { recursive: true })))
)

const isCI = Effect.runSync(
  Effect.gen(function* () {
    return yield* Config.withDefault(Config.Boolean("CI"), false)
  })
)
const absent = !existsSync(executablePath)

describe("The demo in a browser", () => {
  it.live.skipIf(absent && !isCI)(
    `gives alice her orders, decoded, and a request without a user an AuthenticationError${absent ? ` (there is no ${executablePath}: apt-get install chromium)` : ""}`,
    () =>
      Effect.gen(function* () {
        const { origin, people, stop } = yield* startDemo()
        const [ofAlice] = yield* people
        assert.isDefined(ofAlice)
        const { text } = yield* Effect.promise(() => bundle(client, root, ["@effect-databricks/source"]))
        const { context } = yield* browser
        const found = yield* Effect.promise(async () => {
          const page = await context.newPage()
          // As a file of the demo's own, which is all that its pages may load.
          await page.route("**/client.js", (route) => route.fulfill({ contentType: "text/javascript", body: text }))
          await page.goto(origin)
          await page.addScriptTag({ url: "/client.js", type: "module" })
          return page.evaluate(`ask(${JSON.stringify(ofAlice.headers)})`)
        })
        const { email, nobody, orders } = yield* Schema.decodeUnknownEffect(Found)(found)
        assert.strictEqual(email, alice)
        assert.deepStrictEqual(orders, [{ owner: alice, item: "Tea", amount: 2, createdAt: true }])
        assert.deepInclude(nobody, { typed: true, _tag: "AuthenticationError" })
        assert.include(nobody.message, "did not come through the Databricks Apps proxy")
        assert.strictEqual(yield* stop, 0)
      })
  )
})
