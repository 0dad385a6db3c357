/** An application's Api, which its server serves, is what a browser's client is made from. */
import { afterAll, assert, beforeAll, describe, it } from "@effect/vitest"
import { bundle } from "../fixtures/bundle.ts"
import { definitions, makeApplication } from "../fixtures/packed.ts"

/** A client of an Api of four groups, one with a stream, with and without what this library adds to it. */
const client = (middleware: boolean) => `
  import { Effect, Schema } from "effect"
  import { FetchHttpClient } from "effect/http"
  import { HttpApi, HttpApiClient, HttpApiEndpoint, HttpApiGroup, HttpApiSchema } from "effect/http-api"
  ${
    middleware
      ? `import { AsService } from "effect-databricks/http/AsService"
         import { AsUser } from "effect-databricks/http/AsUser"
         import { ErrorData } from "effect-databricks/http/ErrorData"
         import { Failures } from "effect-databricks/http/Failures"
         import * as RunsAs from "effect-databricks/http/RunsAs"`
      : ""
  }
  const list = HttpApiEndpoint.get("list", "/list", { success: Schema.Array(Schema.String) })
  const Events = HttpApiSchema.StreamSse({
    data: Schema.Union([Schema.String, ${middleware ? "ErrorData" : "Schema.Struct({ error: Schema.String })"}])
  })
  const groups = HttpApi.make("api").add(
    HttpApiGroup.make("mine").add(list)${middleware ? ".middleware(AsUser)" : ""}.prefix("/mine"),
    HttpApiGroup.make("all").add(list)${middleware ? ".middleware(AsService)" : ""}.prefix("/all"),
    HttpApiGroup.make("live").add(HttpApiEndpoint.get("events", "/events", { success: Events }))${middleware ? ".middleware(AsUser)" : ""},
    HttpApiGroup.make("health").add(HttpApiEndpoint.get("health", "/health"))
  )
  const Api = ${middleware ? `RunsAs.checked(groups.middleware(Failures), { public: ["health.health"] })` : "groups"}
  globalThis.client = Effect.runPromise(HttpApiClient.make(Api).pipe(Effect.provide(FetchHttpClient.layer)))
`

const nodeModules = (text: string) => [...text.matchAll(/["'`]node:\w+["'`]/g)].map(([name]) => name)

describe("The browser bundle of an Api", () => {
  let application: Awaited<ReturnType<typeof makeApplication>>
  let bare: Awaited<ReturnType<typeof bundle>>
  let whole: Awaited<ReturnType<typeof bundle>>
  beforeAll(async () => {
    application = await makeApplication()
    bare = await bundle(client(false), application.folder)
    whole = await bundle(client(true), application.folder)
  }, 180_000)
  afterAll(() => application.remove())

  it("contains only effect and the definitions, and imports no Node module", () => {
    const [own, others] = [true, false].map((ours) =>
      whole.inputs.filter((_) => _.includes("/effect-databricks/") === ours)
    )
    assert.deepStrictEqual(own!.map((_) => _.replace(/^.*\/effect-databricks\/dist\//, "")).toSorted(), definitions)
    for (const file of others!) assert.match(file, /^(<stdin>|(\.\.\/)+(.*\/)?node_modules\/effect\/dist\/.*\.js)$/)
    assert.deepStrictEqual(whole.imports, [])
    // Effect asks for one by name, where there is a process to ask.
    assert.deepStrictEqual(nodeModules(whole.text), nodeModules(bare.text))
  })

  it("is at most 40 kB larger than that of the same Api without our middleware", () => {
    const more = whole.size - bare.size
    assert.isAbove(more, 0)
    assert.isAtMost(more, 40_000, `${bare.size} and ${whole.size} bytes`)
  })
})
