/** An integration test: the whole app over HTTP, on a local workspace with a real Postgres. */
import { assert, layer } from "@effect/vitest"
import { Effect, Layer } from "effect"
import { FetchHttpClient, HttpClient, HttpClientRequest, HttpServer } from "effect/http"
import { HttpApiClient } from "effect/http-api"
import { LocalWorkspace } from "effect-databricks/testing"
import { Api } from "../src/Api.ts"
import { Main } from "../src/server.ts"
import { trips } from "./samples.ts"

const Seeded = Layer.effectDiscard(LocalWorkspace.LocalWorkspace.use(({ administer }) => administer(trips)))

const Served = Main.pipe(
  Layer.provide(LocalWorkspace.layerEnv({ DATABRICKS_APP_PORT: "0", LOG_LEVEL: "error" })),
  Layer.provideMerge(Seeded),
  Layer.provideMerge(LocalWorkspace.layer()),
  Layer.provideMerge(FetchHttpClient.layer)
)

/** A client whose requests come with the headers that the proxy of Databricks Apps adds for this user. */
const clientOf = Effect.fnUntraced(function* (userName: string) {
  const { headers } = yield* LocalWorkspace.LocalWorkspace
  const ofUser = yield* headers(userName)
  return yield* HttpApiClient.make(Api, {
    baseUrl: HttpServer.formatAddress((yield* HttpServer.HttpServer).address),
    transformClient: HttpClient.mapRequest(HttpClientRequest.setHeaders(ofUser))
  })
})

layer(Served, { timeout: "1 minute", excludeTestServices: true })("The app", (it) => {
  it.effect("shows each user their own expenses and everyone the totals", () =>
    Effect.gen(function* () {
      const alice = yield* clientOf("alice@example.com")
      const bob = yield* clientOf("bob@example.com")
      const taxi = { category: "travel", description: "Taxi", cents: 4200 } as const
      yield* alice.mine.add({ payload: taxi })
      yield* bob.mine.add({ payload: { ...taxi, cents: 800 } })
      assert.deepStrictEqual(
        (yield* alice.mine.expenses()).map(({ cents }) => cents),
        [4200]
      )
      assert.deepStrictEqual(
        (yield* bob.mine.expenses()).map(({ cents }) => cents),
        [800]
      )
      assert.deepStrictEqual(yield* bob.everyone.totals(), [{ category: "travel", people: 2, cents: 5000 }])
    })
  )

  it.effect("reads taxi fares from the warehouse", () =>
    Effect.gen(function* () {
      const fares = yield* (yield* clientOf("alice@example.com")).mine.fares()
      assert.deepStrictEqual(
        fares.map(({ miles }) => miles),
        [1, 2, 3, 4, 5]
      )
    })
  )
})
