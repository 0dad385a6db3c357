import { afterAll, assert, describe, it } from "@effect/vitest"
import { AsUser, RunsAs } from "effect-databricks"
import { HttpApi, HttpApiEndpoint, HttpApiGroup, OpenApi } from "effect/http-api"
import { rmSync } from "node:fs"
import { fencesOf, tsc, writeModules } from "../fixtures/fences.ts"

const snippet = `
import { AsService, AsUser, RunsAs } from "effect-databricks"
import { HttpApi, HttpApiEndpoint, HttpApiGroup } from "effect/http-api"
const one = HttpApiEndpoint.get("one", "/one")
const oops = HttpApiEndpoint.get("oops", "/oops")
const api = HttpApi.make("api").add(HttpApiGroup.make("mine").add(one.middleware(AsUser), oops))
class Api extends RunsAs.checked(api) {}
RunsAs.checked(api, { public: ["mine.opps"] })
RunsAs.checked(HttpApi.make("api").add(HttpApiGroup.make("all").add(one.middleware(AsService)).middleware(AsUser)))
`

describe("RunsAs.checked", () => {
  const written = writeModules(fencesOf("Api.md", ["```ts", snippet.trim(), "```"].join("\n")))
  afterAll(() => rmSync(written.folder, { recursive: true }))

  it(
    "names in a compile error the endpoint that has neither or both middlewares or is unknown",
    { timeout: 180_000 },
    () => {
      const said = tsc(written.folder)
        .split("\n")
        .filter((line) => /^Api\.md:|is missing in/.test(line))
      const missing = (sentence: string, name: string) =>
        new RegExp(`Property '"${sentence}"' is missing in type .* but required in type .*"${name}"`)
      assert.match(said[0]!, /^Api\.md:7:/)
      assert.match(said.join("\n"), missing("say AsUser or AsService on", "mine\\.oops"))
      assert.match(said.join("\n"), /^Api\.md:8:.*Type '"mine\.opps"' is not assignable to type '"mine\.oops"'/m)
      assert.match(said.join("\n"), missing("say only one of AsUser and AsService on", "all\\.one"))
    }
  )

  it("returns the same Api, and names public endpoints by their operation ids", () => {
    const health = HttpApiEndpoint.get("health", "/health")
    const api = HttpApi.make("api").add(
      HttpApiGroup.make("mine").add(HttpApiEndpoint.get("one", "/one")).middleware(AsUser),
      HttpApiGroup.make("system").add(health),
      HttpApiGroup.make("top", { topLevel: true }).add(HttpApiEndpoint.get("version", "/version"))
    )
    assert.strictEqual(RunsAs.checked(api, { public: ["system.health", "version"] }), api)
    const { paths } = OpenApi.fromApi(api)
    assert.deepStrictEqual(
      Object.values(paths).map((_) => _.get?.operationId),
      ["mine.one", "system.health", "version"]
    )
  })
})
