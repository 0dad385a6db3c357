import { assert, describe, it } from "@effect/vitest"
import { LocalWorkspace } from "effect-databricks/testing"
import { Effect, Schema } from "effect"
import { spawn } from "node:child_process"
import { request } from "node:http"
import { createServer } from "node:net"
import { dirname } from "node:path"
import { fileURLToPath } from "node:url"
import manifest from "../package.json" with { type: "json" }
import { eventually } from "./fixtures/child.ts"

/** Runs the demo as npm does, whose signals reach the shell alone, on a free port; it does not outlive the scope. */
const startDemo = (env: Record<string, string> = {}) =>
  Effect.gen(function* () {
    const port = yield* freePort
    const demo = yield* Effect.acquireRelease(
      Effect.sync(() => {
        const child = spawn("sh", ["-c", manifest.scripts.start], {
          cwd: fileURLToPath(new URL("..", import.meta.url)),
          env: {
            PATH: `${dirname(process.execPath)}:/usr/bin:/bin`,
            NODE_OPTIONS: "--experimental-strip-types --disable-warning=ExperimentalWarning",
            DATABRICKS_APP_PORT: String(port),
            ...env
          },
          stdio: ["ignore", "pipe", "pipe"]
        })
        const output = { text: "" }
        child.stdout.on("data", (chunk) => (output.text += chunk))
        child.stderr.on("data", (chunk) => (output.text += chunk))
        const closed = new Promise<number | null>((resolve) => child.once("close", resolve))
        return { child, output, closed, ended: () => child.exitCode !== null }
      }),
      // SIGTERM, so that it takes its Postgres with it.
      ({ child, closed }) =>
        Effect.promise(() => {
          child.kill("SIGTERM")
          return closed
        })
    )
    yield* eventually(() => demo.ended() || demo.output.text.includes("Listening on"))
    assert.isFalse(demo.ended(), demo.output.text)
    const origin = `http://127.0.0.1:${port}`
    const call = (method: string, path: string, headers: Record<string, string> = {}, body?: unknown) =>
      Effect.promise(async () => {
        const response = await fetch(origin + path, {
          method,
          headers: { "content-type": "application/json", ...headers },
          body: body === undefined ? null : JSON.stringify(body)
        })
        const text = await response.text()
        const isJson = response.headers.get("content-type") === "application/json"
        return { status: response.status, text, json: isJson ? JSON.parse(text) : undefined }
      })
    const stop = Effect.promise(() => {
      demo.child.kill("SIGTERM")
      return demo.closed
    })
    return { origin, call, stop, output: demo.output }
  })

const freePort = Effect.callback<number>((resume) => {
  const server = createServer().listen(0, "127.0.0.1", () => {
    const address = server.address()
    server.close(() => resume(Effect.succeed(address !== null && typeof address === "object" ? address.port : 0)))
  })
})

const Identities = Schema.Array(
  Schema.Struct({ name: Schema.String, headers: Schema.Record(Schema.String, Schema.String) })
)

const tokenShape = /eyJ[\w-]+\.[\w-]+/

describe("the demo", () => {
  it.live("shows itself on a workspace of its own, and ends with 0", () =>
    Effect.gen(function* () {
      const { call, origin, output, stop } = yield* startDemo()
      yield* eventually(() => output.text.includes("/docs"))
      assert.include(output.text, "DATABRICKS_HOST is not set")

      const people = Schema.decodeUnknownSync(Identities)((yield* call("GET", "/demo/identities")).json)
      assert.deepStrictEqual(
        people.map((_) => _.name),
        ["alice@example.com", "bob@example.com"]
      )
      for (const { headers, name } of people) {
        const whoami = yield* call("GET", "/api/whoami", headers)
        assert.strictEqual(whoami.status, 200, whoami.text)
        assert.deepInclude(whoami.json, { userId: headers["x-forwarded-user"], email: name, context: "user" })
        assert.isString(whoami.json.workspaceId)
        assert.isString(whoami.json.warehouseId)
        const mine = yield* call("POST", "/users/me/data", headers, { greeting: "good day" })
        assert.deepStrictEqual(mine.json, { rows: [{ caller: name, greeting: "GOOD DAY" }] })
        const curl = output.text.split("\n").find((_) => _.includes("/api/whoami") && _.includes(name))
        for (const value of Object.values(headers).slice(0, 3)) assert.include(curl, value)
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
      assert.notMatch((yield* call("GET", "/docs")).text, /<(script|link)[^>]+(src|href)="?https?:/)

      const spans = yield* call("GET", "/demo/spans")
      assert.include(spans.text, `"execution.context":"user","caller.id":"${people[1]!.headers["x-forwarded-user"]}"`)
      assert.notMatch(spans.text, tokenShape)

      // A name of elsewhere that points here gets no token.
      const rebound = yield* Effect.callback<number | undefined>((resume) => {
        request(`${origin}/demo/identities`, { headers: { host: "evil.example" } }, (answer) => {
          answer.resume()
          resume(Effect.succeed(answer.statusCode))
        }).end()
      })
      assert.strictEqual(rebound, 403)

      assert.strictEqual(yield* stop, 0)
      // Tokens are in the lines to paste and in no line of the log.
      for (const line of output.text.split("\n")) {
        if (!line.startsWith("  curl ")) assert.notMatch(line, tokenShape)
      }
    })
  )

  it.live("runs as the service principal without a token in development, and says so", () =>
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

  it.live("has nothing for show where a workspace is set", () =>
    Effect.gen(function* () {
      const workspace = yield* LocalWorkspace.LocalWorkspace
      const { call, output, stop } = yield* startDemo(workspace.env)
      const mine = yield* call("POST", "/users/me/data", yield* workspace.headers("bob@example.com"), {})
      assert.deepStrictEqual(mine.json, { rows: [{ caller: "bob@example.com", greeting: "HELLO" }] })
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
