import { assert, describe, it } from "@effect/vitest"
import { LocalWorkspace } from "effect-databricks/testing"
import { Cause, Effect } from "effect"
import { execFile } from "node:child_process"
import { promisify } from "node:util"
import manifest from "../../package.json" with { type: "json" }
import { cookieOf, startDemo } from "../fixtures/demo.ts"
import { eventually } from "../fixtures/eventually.ts"
import { alice, bob, requestOf } from "../fixtures/people.ts"

const tokenShape = /eyJ[\w-]+\.[\w-]+/

describe("The demo", () => {
  it.live("serves alice and bob on its own local workspace, and exits with 0", () =>
    Effect.gen(function* () {
      const { call, direct, output, statusOf, stop } = yield* startDemo()
      assert.include(output.text, "DATABRICKS_HOST is not set")

      const ids = yield* Effect.forEach([alice, bob], (name) =>
        Effect.gen(function* () {
          const whoami = yield* call("GET", "/api/whoami", cookieOf(name))
          assert.strictEqual(whoami.status, 200, whoami.text)
          assert.deepInclude(whoami.json, { email: name, context: "user" })
          assert.isString(whoami.json.workspaceId)
          assert.isString(whoami.json.warehouseId)
          const mine = yield* call("POST", "/users/me/data", cookieOf(name), { greeting: "good day" })
          assert.deepStrictEqual(mine.json, { rows: [{ caller: name, greeting: "GOOD DAY" }] })
          return whoami.json.userId
        })
      )
      const system = yield* call("POST", "/system/data", cookieOf(alice), {})
      assert.match(system.json.rows[0].caller, /^[\da-f]{8}-/)
      assert.strictEqual(system.json.rows[0].greeting, "HELLO")

      const nobody = yield* call("POST", "/users/me/data", {}, {})
      assert.deepStrictEqual([nobody.status, nobody.json._tag], [401, "NotSignedIn"])
      const past = yield* call("POST", `${direct}/users/me/data`, {}, {})
      assert.deepStrictEqual([past.status, past.json._tag], [401, "AuthenticationError"])
      const wrong = yield* call("POST", "/system/data", cookieOf(bob), { greeting: 5 })
      assert.deepStrictEqual(
        [wrong.status, wrong.json],
        [400, { _tag: "BadRequest", message: "body.greeting: Expected string" }]
      )

      const files = ["/page.js", "/page.css", "/favicon.svg", "/favicon.ico", "/who.js", "/files.js", "/budget.js"]
      for (const path of [...files, "/demo/people.js", "/demo/spans.js", "/docs", "/openapi.json", "/health"]) {
        assert.strictEqual((yield* call("GET", path, cookieOf(alice))).status, 200, path)
      }
      for (const path of ["/", "/orders", "/files", "/job", "/genie", "/chat", "/budget"]) {
        const page = yield* call("GET", path, cookieOf(alice))
        assert.include(page.text, "/demo/spans.js")
        assert.include(page.text, `href="${path}" aria-current="page"`)
      }
      const { components, info } = (yield* call("GET", "/openapi.json", cookieOf(alice))).json
      assert.deepStrictEqual(info, { title: "effect-databricks demo", version: manifest.version })
      assert.notProperty(components, "securitySchemes")
      assert.notMatch((yield* call("GET", "/docs", cookieOf(alice))).text, /<(script|link)[^>]+(src|href)="?https?:/)

      const spans = yield* call("GET", "/demo/spans", cookieOf(alice))
      for (const [index, name] of [alice, bob].entries()) {
        const found = spans.json.find((_: { readonly caller?: string }) => _.caller === name)
        assert.strictEqual(found.attributes["caller.id"], ids[index])
      }
      assert.include(spans.text, `"caller":"the app"`)
      assert.notMatch(spans.text, tokenShape)

      // A name of elsewhere that points here is answered by neither.
      assert.strictEqual(yield* statusOf("GET", "/demo/spans", { host: "evil.example", ...cookieOf(alice) }), 403)
      assert.strictEqual((yield* call("GET", `${direct}/demo/spans`)).status, 401)

      assert.strictEqual(yield* stop, 0)
      assert.notMatch(output.text, tokenShape)
    })
  )

  it.live("prints curl lines that work", () =>
    Effect.gen(function* () {
      const { output } = yield* startDemo()
      const lines = output.text.split("\n").filter((line) => line.startsWith("  curl "))
      assert.strictEqual(lines.length, 11)
      const answers = yield* Effect.forEach(lines, (line) =>
        Effect.promise(() => promisify(execFile)("sh", ["-c", `${line} -w ' %{http_code}'`]))
      )
      const perPerson = ["200", "200", "201", "200"]
      const statuses = answers.map(({ stdout }) => stdout.slice(-3))
      assert.deepStrictEqual(statuses, [...perPerson, ...perPerson, "200", "200", "401"], output.text)
    })
  )

  it.live("names DATABRICKS_APP_PORT at once when its port is taken", () =>
    Effect.gen(function* () {
      const { origin } = yield* startDemo()
      const failure = yield* Effect.sandbox(startDemo({ DATABRICKS_APP_PORT: new URL(origin).port })).pipe(Effect.flip)
      assert.match(Cause.pretty(failure), /EADDRINUSE.*Set DATABRICKS_APP_PORT to a port that is free/)
    })
  )

  it.live("runs a request without a token as the service principal in development", () =>
    Effect.gen(function* () {
      const { call, direct, output, stop } = yield* startDemo({ NODE_ENV: "development" })
      const system = yield* call("POST", `${direct}/system/data`, {}, {})
      const mine = yield* call("POST", `${direct}/users/me/data`, {}, {})
      assert.deepStrictEqual(mine.json, system.json)
      assert.strictEqual((yield* call("GET", `${direct}/api/whoami`)).json.context, "service")
      yield* eventually(() => output.text.includes("this call runs as the service principal"))
      assert.include((yield* call("GET", `${direct}/demo/spans`)).text, `"execution.obo_dev_fallback":"true"`)
      assert.strictEqual(yield* stop, 0)
    })
  )

  it.live("has no /demo routes and prints no token when a workspace is configured", () =>
    Effect.gen(function* () {
      const { env } = yield* LocalWorkspace.LocalWorkspace
      const { call, output, stop } = yield* startDemo(env)
      const mine = yield* call("POST", "/users/me/data", yield* requestOf(bob), {})
      assert.deepStrictEqual(mine.json, { rows: [{ caller: bob, greeting: "HELLO" }] })
      for (const path of ["/demo/people", "/demo/spans", "/demo/spans.js", "/budget"]) {
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
