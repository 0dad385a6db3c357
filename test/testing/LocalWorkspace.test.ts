import { WorkspaceClient } from "@databricks/sdk-experimental"
import { assert, describe, it, layer } from "@effect/vitest"
import { Effect, Exit, Fiber, Redacted, Scope } from "effect"
import { TestClock } from "effect/testing"
import { execFileSync } from "node:child_process"
import { connect } from "node:net"
import * as Local from "../../src/testing/LocalWorkspace.ts"
import { eventually } from "../fixtures/eventually.ts"
import { call, execute, poll, terminal, until } from "../fixtures/localWorkspace.ts"
import { alice, bob } from "../fixtures/people.ts"

const patClient = Effect.fnUntraced(function* (user: string) {
  const workspace = yield* Local.LocalWorkspace
  const token = Redacted.value(yield* workspace.token(user))
  return new WorkspaceClient({ host: workspace.host, token, authType: "pat", loaders: [] })
})

const postgresOn = (port: number) =>
  execFileSync("ps", ["-eo", "args"], { encoding: "utf8" })
    .split("\n")
    .filter((line) => line.includes(`port=${port}`)).length

/** Sends the requests GET /1, GET /2 and so on, one behind the other on one connection. */
const pipelined = (port: number, count: number) =>
  new Promise<void>((resolve, reject) => {
    const socket = connect(port, "127.0.0.1").on("close", () => resolve())
    socket.on("error", reject).resume()
    for (let i = 1; i <= count; i++) {
      const connection = i === count ? "close" : "keep-alive"
      socket.write(`GET /${i} HTTP/1.1\r\nHost: localhost\r\nConnection: ${connection}\r\n\r\n`)
    }
  })

layer(Local.layer())("LocalWorkspace", (it) => {
  describe("with the Databricks SDK", () => {
    it.effect("identifies the user of a token and the service principal of a secret", () =>
      Effect.gen(function* () {
        const workspace = yield* Local.LocalWorkspace
        const user = yield* patClient(bob)
        const service = new WorkspaceClient({
          host: workspace.host,
          clientId: workspace.servicePrincipal.clientId,
          clientSecret: Redacted.value(workspace.servicePrincipal.clientSecret),
          authType: "oauth-m2m",
          loaders: []
        })
        const [me, app] = yield* Effect.promise(() => Promise.all([user.currentUser.me(), service.currentUser.me()]))
        assert.strictEqual(me.userName, bob)
        assert.strictEqual(app.userName, workspace.servicePrincipal.clientId)
        assert.strictEqual(app.id, workspace.servicePrincipal.id)
      })
    )

    it.effect("starts a stopped warehouse, and then runs the statement that waited for it", () =>
      Effect.gen(function* () {
        const client = yield* patClient(alice)
        const stopped = (yield* Local.LocalWorkspace).warehouses[1]?.id ?? ""
        const get = Effect.promise(() => client.warehouses.get({ id: stopped }, undefined))
        assert.strictEqual((yield* get).state, "STOPPED")
        const waiting = yield* execute("SELECT 1", { warehouse_id: stopped, wait_timeout: "0s" })
        assert.strictEqual(waiting.status.state, "PENDING")
        yield* Effect.repeat(get, { until: ({ state }) => state === "STARTING" })
        yield* Effect.promise(() => client.warehouses.start({ id: stopped }, undefined))
        assert.strictEqual((yield* poll(waiting.statement_id)).json.status.state, "PENDING")
        yield* TestClock.adjust("500 millis")
        assert.strictEqual((yield* get).state, "RUNNING")
        assert.strictEqual((yield* until(waiting.statement_id, terminal)).status.state, "SUCCEEDED")
      })
    )

    it.effect("executes a statement with parameters", () =>
      Effect.gen(function* () {
        const client = yield* patClient(alice)
        const { warehouseId } = yield* Local.LocalWorkspace
        const answer = yield* Effect.promise(() =>
          client.statementExecution.executeStatement(
            {
              statement: "SELECT :n + 1 AS n, :s AS s, :missing AS missing",
              warehouse_id: warehouseId,
              parameters: [
                { name: "n", type: "BIGINT", value: "41" },
                { name: "s", value: "it's" },
                { name: "missing" }
              ]
            },
            undefined
          )
        )
        assert.strictEqual(answer.status?.state, "SUCCEEDED")
        assert.deepStrictEqual(answer.result?.data_array, [["42", "it's", null] as never])
      })
    )
  })

  describe("misbehave", () => {
    it.effect("answers with the given response as often as told, until its scope closes", () =>
      Effect.gen(function* () {
        const { misbehave } = yield* Local.LocalWorkspace
        const path = "/api/2.0/sql/warehouses"
        yield* misbehave({ path, times: 1, kind: "answer", status: 429, headers: { "retry-after": "7" }, body: "{}" })
        const limited = yield* call(path)
        assert.deepStrictEqual([limited.status, limited.headers.get("retry-after")], [429, "7"])
        assert.strictEqual((yield* call(path)).status, 200)
        const inside = Effect.andThen(misbehave({ kind: "answer", status: 503 }), call(path))
        assert.strictEqual((yield* Effect.scoped(inside)).status, 503)
        assert.strictEqual((yield* call(path)).status, 200)
      })
    )

    it.effect("truncates an answer, drops a connection and lets a request hang", () =>
      Effect.gen(function* () {
        const { host, misbehave, requests } = yield* Local.LocalWorkspace
        const path = "/api/2.0/preview/scim/v2/Me"
        const whole = (yield* call(path)).text
        yield* misbehave({ path, times: 1, kind: "truncate" })
        const half = yield* Effect.exit(call(path))
        assert.isTrue(Exit.isFailure(half), "half a JSON text does not parse")
        yield* misbehave({ path, times: 1, kind: "drop" })
        assert.isTrue(Exit.isFailure(yield* Effect.exit(call(path))))
        yield* misbehave({ path, times: 1, kind: "hang" })
        const before = (yield* requests).length
        const given = new AbortController()
        const hung = fetch(host + path, { signal: given.signal }).catch(() => "aborted")
        yield* eventually(requests, (_) => _.length > before)
        // Whoever comes later is answered earlier.
        assert.strictEqual((yield* call(path)).text, whole)
        given.abort()
        assert.strictEqual(yield* Effect.promise(() => hung), "aborted")
      })
    )

    it.effect("delays an answer on the test's clock, and keeps a statement pending", () =>
      Effect.gen(function* () {
        const { misbehave, requests } = yield* Local.LocalWorkspace
        const before = (yield* requests).length
        yield* misbehave({ path: "/api/2.0/sql/warehouses", times: 1, kind: "delay", duration: "1 hour" })
        const token = yield* (yield* Local.LocalWorkspace).token(alice, { ttl: "2 hours" })
        const slow = yield* Effect.forkChild(call("/api/2.0/sql/warehouses", { token }))
        yield* Effect.repeat(Effect.andThen(call("/api/2.0/preview/scim/v2/Me"), requests), {
          until: (all) => all.slice(before).some(({ path }) => path === "/api/2.0/sql/warehouses")
        })
        yield* TestClock.adjust("1 hour")
        assert.strictEqual((yield* Fiber.join(slow)).status, 200)
        yield* misbehave({ path: "/api/2.0/sql/statements", times: 1, kind: "pending", polls: 2 })
        const { statement_id: id, status } = yield* execute("SELECT 1")
        assert.strictEqual(status.state, "PENDING")
        assert.strictEqual((yield* poll(id)).json.status.state, "PENDING")
        assert.strictEqual((yield* poll(id)).json.status.state, "PENDING")
        assert.strictEqual((yield* until(id, terminal)).status.state, "SUCCEEDED")
      })
    )
  })

  describe("requests", () => {
    it.effect("records the user, path and connection of a request, and not its token", () =>
      Effect.gen(function* () {
        const { connections, requests } = yield* Local.LocalWorkspace
        yield* call("/api/2.0/preview/scim/v2/Me", { user: bob })
        const last = (yield* requests).at(-1)
        assert.deepInclude(last, { method: "GET", path: "/api/2.0/preview/scim/v2/Me", user: bob })
        assert.notInclude(JSON.stringify(last), "eyJ")
        assert.isAtMost(last?.connection ?? Infinity, yield* connections)
        assert.isAtLeast(last?.connection ?? 0, 1)
      })
    )

    it.effect("records the body of a request, without the tokens and secrets in it", () =>
      Effect.gen(function* () {
        const { env, requests, token } = yield* Local.LocalWorkspace
        yield* execute("SELECT 'of the body'")
        const bodyOf = (path: string) =>
          Effect.map(requests, (all) => all.findLast((_) => _.path.startsWith(path))?.body ?? "")
        assert.include(JSON.parse(yield* bodyOf("/api/2.0/sql/statements")), { statement: "SELECT 'of the body'" })

        const secret = Redacted.value(yield* token(alice))
        yield* execute(`SELECT '${secret}'`)
        assert.include(yield* bodyOf("/api/2.0/sql/statements"), "SELECT '<redacted>'")

        const client = { client_id: env["DATABRICKS_CLIENT_ID"]!, client_secret: env["DATABRICKS_CLIENT_SECRET"]! }
        const body = new URLSearchParams({ grant_type: "client_credentials", ...client })
        yield* Effect.promise(() => fetch(`${env["DATABRICKS_HOST"]}/oidc/v1/token`, { method: "POST", body }))
        const form = yield* bodyOf("/oidc/v1/token")
        assert.include(form, "client_secret=<redacted>")
        assert.notInclude(JSON.stringify(yield* requests), client.client_secret)
      })
    )

    it.effect("records the first 16,384 characters of a body, and that of a request which a fault answers", () =>
      Effect.gen(function* () {
        const { misbehave, requests } = yield* Local.LocalWorkspace
        yield* misbehave({ path: "/api/2.0/sql/statements", times: 1, kind: "answer", status: 503 })
        yield* Effect.exit(execute(`SELECT '${"a".repeat(20_000)}'`))
        const body = (yield* requests).at(-1)?.body ?? ""
        assert.strictEqual(body.length, 16_385)
        assert.isTrue(body.endsWith("a…"))
      })
    )

    it.effect("records as aborted a request whose client leaves before it has read a long body, and no other", () =>
      Effect.gen(function* () {
        const { host, misbehave, requests } = yield* Local.LocalWorkspace
        const aborted = (path: string) => Effect.map(requests, (all) => all.find((_) => _.path === path)?.aborted)
        yield* misbehave({ path: "/long", kind: "answer", status: 200, body: "x".repeat(40_000_000) })
        for (const path of ["/long/read", "/long/left"]) {
          const response = yield* Effect.promise(() => fetch(host + path))
          yield* Effect.promise<unknown>(() =>
            path === "/long/left" ? response.body!.cancel() : response.arrayBuffer()
          )
        }
        yield* eventually(aborted("/long/left"))
        assert.isFalse(yield* aborted("/long/read"))
      })
    )

    it.effect("keeps the last 10,000 requests", () =>
      Effect.gen(function* () {
        const { host, requests } = yield* Local.LocalWorkspace
        const count = 10_001
        yield* Effect.promise(() => pipelined(Number(new URL(host).port), count))
        const paths = (yield* requests).map((_) => _.path)
        assert.strictEqual(paths.length, 10_000)
        assert.deepStrictEqual([paths[0], paths.at(-1)], ["/2", `/${count}`])
      })
    )
  })
})

describe("LocalWorkspace.make", () => {
  it.live("leaves no process behind when it closes during a statement and a request", () =>
    Effect.gen(function* () {
      const scope = yield* Scope.make()
      const workspace = yield* Scope.provide(Local.make(), scope)
      const here = Effect.provideService(Local.LocalWorkspace, workspace)
      yield* here(execute("SELECT pg_sleep(1000)", { wait_timeout: "0s" }))
      yield* Scope.provide(workspace.misbehave({ kind: "hang" }), scope)
      const hanging = fetch(workspace.host).catch(() => "closed")
      yield* eventually(workspace.requests, (_) => _.at(-1)?.path === "/")
      assert.isAtLeast(postgresOn(workspace.postgres.port), 1)
      yield* Scope.close(scope, Exit.void)
      assert.strictEqual(postgresOn(workspace.postgres.port), 0)
      assert.strictEqual(yield* Effect.promise(() => hanging), "closed")
      const refused = yield* Effect.promise(() => fetch(workspace.host).catch(() => "refused"))
      assert.strictEqual(refused, "refused")
    })
  )

  it.live("starts three workspaces at once, of which none accepts another's token", () =>
    Effect.gen(function* () {
      const workspaces = yield* Effect.all([Local.make(), Local.make(), Local.make()], { concurrency: 3 })
      assert.strictEqual(new Set(workspaces.map(({ host }) => host)).size, 3)
      const [first, second] = workspaces
      assert.isDefined(first)
      assert.isDefined(second)
      const foreign = yield* first.token(alice)
      const answer = yield* Effect.provideService(
        call("/api/2.0/sql/warehouses", { token: foreign }),
        Local.LocalWorkspace,
        second
      )
      assert.strictEqual(answer.status, 403)
    }).pipe(Effect.scoped)
  )
})
