import { assert, describe, it } from "@effect/vitest"
import { LocalWorkspace } from "effect-databricks/testing"
import { Effect } from "effect"
import manifest from "../../package.json" with { type: "json" }
import { startDemo } from "../fixtures/demo.ts"
import { eventually } from "../fixtures/eventually.ts"
import { alice, bob, requestOf } from "../fixtures/people.ts"

const tokenShape = /eyJ[\w-]+\.[\w-]+/

describe("The demo", () => {
  it.live("serves alice and bob on its own local workspace, and exits with 0", () =>
    Effect.gen(function* () {
      const { call, output, statusOf, stop, ...demo } = yield* startDemo()
      yield* eventually(() => output.text.includes("/docs"))
      assert.include(output.text, "DATABRICKS_HOST is not set")

      const people = yield* demo.people
      assert.deepStrictEqual(
        people.map((_) => _.name),
        [alice, bob]
      )
      for (const { headers, name } of people) {
        const whoami = yield* call("GET", "/api/whoami", headers)
        assert.strictEqual(whoami.status, 200, whoami.text)
        assert.deepInclude(whoami.json, { userId: headers["x-forwarded-user"], email: name, context: "user" })
        assert.isString(whoami.json.workspaceId)
        assert.isString(whoami.json.warehouseId)
        const mine = yield* call("POST", "/users/me/data", headers, { greeting: "good day" })
        assert.deepStrictEqual(mine.json, { rows: [{ caller: name, greeting: "GOOD DAY" }] })
        for (const path of ["/api/whoami", "/users/me/data", "/api/orders"]) {
          const curl = output.text.split("\n").find((_) => _.includes(path) && _.includes(name))
          for (const value of Object.values(headers).slice(0, 3)) assert.include(curl, value)
        }
      }
      const system = yield* call("POST", "/system/data", people[0]!.headers, {})
      assert.match(system.json.rows[0].caller, /^[\da-f]{8}-/)
      assert.strictEqual(system.json.rows[0].greeting, "HELLO")

      const nobody = yield* call("POST", "/users/me/data", {}, {})
      assert.deepStrictEqual([nobody.status, nobody.json._tag], [401, "AuthenticationError"])
      const wrong = yield* call("POST", "/system/data", {}, { greeting: 5 })
      assert.deepStrictEqual(
        [wrong.status, wrong.json],
        [400, { _tag: "BadRequest", message: "body.greeting: Expected string" }]
      )

      const page = yield* call("GET", "/")
      assert.include(page.text, "/demo/show.js")
      for (const path of ["/page.js", "/page.css", "/demo/show.js", "/docs", "/openapi.json", "/health"]) {
        assert.strictEqual((yield* call("GET", path)).status, 200, path)
      }
      const { components, info } = (yield* call("GET", "/openapi.json")).json
      assert.deepStrictEqual(info, { title: "effect-databricks demo", version: manifest.version })
      assert.notProperty(components, "securitySchemes")
      assert.notMatch((yield* call("GET", "/docs")).text, /<(script|link)[^>]+(src|href)="?https?:/)

      const spans = yield* call("GET", "/demo/spans")
      assert.include(spans.text, `"execution.context":"user","caller.id":"${people[1]!.headers["x-forwarded-user"]}"`)
      assert.notMatch(spans.text, tokenShape)

      // A name of elsewhere that points here gets no token.
      assert.strictEqual(yield* statusOf("GET", "/demo/identities", { host: "evil.example" }), 403)

      assert.strictEqual(yield* stop, 0)
      // Tokens are in the lines to paste and in no line of the log.
      for (const line of output.text.split("\n")) {
        if (!line.startsWith("  curl ")) assert.notMatch(line, tokenShape)
      }
    })
  )

  it.live("runs a request without a token as the service principal in development", () =>
    Effect.gen(function* () {
      const { call, output, stop } = yield* startDemo({ NODE_ENV: "development" })
      const system = yield* call("POST", "/system/data", {}, {})
      const mine = yield* call("POST", "/users/me/data", {}, {})
      assert.deepStrictEqual(mine.json, system.json)
      assert.strictEqual((yield* call("GET", "/api/whoami")).json.context, "service")
      assert.include(output.text, "this call runs as the service principal")
      assert.include((yield* call("GET", "/demo/spans")).text, `"execution.obo_dev_fallback":"true"`)
      assert.strictEqual(yield* stop, 0)
    })
  )

  it.live("has no /demo routes and prints no token when a workspace is configured", () =>
    Effect.gen(function* () {
      const { env } = yield* LocalWorkspace.LocalWorkspace
      const { call, output, stop } = yield* startDemo(env)
      const mine = yield* call("POST", "/users/me/data", yield* requestOf(bob), {})
      assert.deepStrictEqual(mine.json, { rows: [{ caller: bob, greeting: "HELLO" }] })
      for (const path of ["/demo/identities", "/demo/spans", "/demo/show.js"]) {
        assert.strictEqual((yield* call("GET", path)).status, 404, path)
      }
      const page = yield* call("GET", "/")
      assert.strictEqual(page.status, 200)
      assert.notInclude(page.text, "/demo/")
      assert.strictEqual(yield* stop, 0)
      assert.notInclude(output.text, "curl")
      assert.notMatch(output.text, tokenShape)
    }).pipe(Effect.provide(LocalWorkspace.layer()))
  )
})
