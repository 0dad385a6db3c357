import { assert, describe, it } from "@effect/vitest"
import { LocalWorkspace } from "effect-databricks/testing"
import { Effect, Fiber } from "effect"
import { cookieOf, startDemo } from "../fixtures/demo.ts"
import { alice, bob, requestOf } from "../fixtures/people.ts"

const owners = (orders: ReadonlyArray<{ readonly owner: string }>) => orders.map((_) => _.owner)

describe("The demo's orders desk", () => {
  it.live("shows users their own orders, and the service principal all of them", () =>
    Effect.gen(function* () {
      const { call, direct } = yield* startDemo()
      const [ofAlice, ofBob] = [cookieOf(alice), cookieOf(bob)]
      const order = (headers: Record<string, string>, body: unknown) => call("POST", "/api/orders", headers, body)

      const first = yield* order(ofAlice, { item: " Tea ", amount: 2 })
      assert.strictEqual(first.status, 201, first.text)
      assert.deepInclude(first.json, { owner: alice, item: "Tea", amount: 2 })
      assert.isString(first.json.id)
      assert.match(first.json.createdAt, /^\d{4}-\d\d-\d\dT[\d:.]+Z$/)
      yield* order(ofBob, { item: "Ink", amount: 12 })
      // Whose an order is, is not for the one who orders to say.
      const forged = yield* order(ofAlice, { item: "Cup", amount: 1, owner: bob })
      assert.strictEqual(forged.json.owner, alice)

      const mine = yield* Effect.forEach([ofAlice, ofBob], (headers) => call("GET", "/api/orders", headers))
      assert.deepStrictEqual(
        mine.map(({ json }) => owners(json)),
        [[alice, alice], [bob]]
      )
      // Whoever asks, it is the service principal that looks.
      const all = yield* call("GET", "/api/system/orders", ofAlice)
      assert.deepStrictEqual(owners(all.json), [alice, bob, alice])
      assert.deepStrictEqual(all.json[2], first.json)

      const wrong = [
        [{ item: "Tea", amount: 0 }, /^body\.amount: /],
        [{ item: "Tea", amount: -3 }, /^body\.amount: /],
        [{ item: "Tea", amount: 1.5 }, /^body\.amount: /],
        [{ item: "Tea", amount: "2" }, /^body\.amount: /],
        [{ item: "Tea", amount: 2 ** 31 }, /^body\.amount: /],
        [{ item: "", amount: 1 }, /^body\.item: /],
        [{ item: " \n", amount: 1 }, /^body\.item: /],
        [{ item: "x".repeat(201), amount: 1 }, /^body\.item: /],
        [{ amount: 1 }, /^body\.item: /],
        [{ item: "Tea\0", amount: 1 }, /encoding/]
      ] as const
      for (const [body, message] of wrong) {
        const { json, status } = yield* order(ofAlice, body)
        assert.strictEqual(status, 400, JSON.stringify(body))
        assert.match(json.message, message)
      }
      for (const method of ["GET", "POST"]) {
        const nobody = yield* call(
          method,
          `${direct}/api/orders`,
          {},
          method === "POST" ? { item: "Tea", amount: 1 } : undefined
        )
        assert.deepStrictEqual([nobody.status, nobody.json._tag], [401, "AuthenticationError"])
      }
      assert.strictEqual((yield* call("GET", "/api/system/orders", ofBob)).json.length, 3)
    })
  )

  it.live(
    "serves 500 users at once within the budget of 50 connections",
    () =>
      Effect.gen(function* () {
        const { call, statusOf } = yield* startDemo()
        const burst = call("POST", "/demo/burst", cookieOf(alice))
        const watch = Effect.map(call("GET", "/demo/lakebase", cookieOf(alice)), ({ json }) => json)
        const seen: Array<any> = [yield* watch] // oxlint-disable-line typescript/no-explicit-any -- it is JSON
        const watching = yield* Effect.forkChild(
          Effect.forever(
            Effect.delay(
              Effect.map(watch, (now) => seen.push(now)),
              "10 millis"
            ),
            { disableYield: false }
          )
        )
        // One of two gets to run; the other is told at once.
        const bursts = yield* Effect.all([burst, burst], { concurrency: 2 })
        yield* Fiber.interrupt(watching)
        const [done, refused] = bursts.toSorted((a, b) => a.status - b.status)
        assert.deepInclude(done!.json, { users: 500, succeeded: 500, failed: 0 })
        assert.deepStrictEqual([refused!.status, refused!.json._tag], [409, "BurstRunning"])

        const { limits, users } = yield* watch
        assert.strictEqual(limits.maxConnections, 50)
        const highest = Math.max(...seen.map((_) => _.users.listed + _.service.listed))
        assert.isAtMost(highest, limits.maxConnections)
        for (const { users } of seen) {
          assert.strictEqual(users.opening + users.used + users.idle, users.total)
          assert.isAtLeast(users.used, 0)
        }
        assert.isAtLeast(highest, 10, "nobody was seen to work")
        assert.isAbove(Math.max(...seen.map((_) => _.users.waiting)), 0, "nobody was seen to wait")
        assert.isAtLeast(users.evictions, 500 - limits.maxConnections)
        assert.deepInclude((yield* burst).json, { succeeded: 500 })

        // A page of elsewhere has no cookie here, and may not use another name for this machine.
        assert.strictEqual(yield* statusOf("POST", "/demo/burst", { origin: "https://evil.example" }), 401)
        assert.strictEqual(yield* statusOf("GET", "/demo/lakebase", { host: "evil.example", ...cookieOf(alice) }), 403)
      }),
    180_000
  )

  it.live("works on a configured workspace and database, without the /demo routes", () =>
    Effect.gen(function* () {
      const workspace = yield* LocalWorkspace.LocalWorkspace
      const ofBob = yield* requestOf(bob)
      // Two instances, which make the table at the same time.
      const instances = yield* Effect.all([startDemo(workspace.env), startDemo(workspace.env)], { concurrency: 2 })
      for (const { call } of instances) {
        assert.strictEqual((yield* call("POST", "/api/orders", ofBob, { item: "Ink", amount: 1 })).status, 201)
      }
      const [{ call, stop }] = instances
      assert.strictEqual((yield* call("GET", "/api/orders", ofBob)).json.length, 2)
      assert.deepStrictEqual((yield* call("GET", "/api/orders", yield* requestOf(alice))).json, [])
      for (const path of ["/demo/lakebase", "/budget", "/budget.js", "/demo/people"]) {
        assert.strictEqual((yield* call("GET", path)).status, 404, path)
      }
      assert.strictEqual((yield* call("POST", "/demo/burst")).status, 404)
      const page = yield* call("GET", "/orders")
      assert.include(page.text, "/orders.js")
      assert.notInclude(page.text, "/demo/")
      assert.strictEqual((yield* call("GET", "/orders.js")).status, 200)
      assert.strictEqual(yield* stop, 0)

      const again = yield* startDemo(workspace.env)
      assert.strictEqual((yield* again.call("GET", "/api/system/orders")).json.length, 2)
    }).pipe(Effect.provide(LocalWorkspace.layer()))
  )

  it.live("has no routes without a database, and none of the other subjects without their settings", () =>
    Effect.gen(function* () {
      const { PGHOST: _, ...env } = (yield* LocalWorkspace.LocalWorkspace).env
      const { call } = yield* startDemo(env)
      const routes = ["/api/orders", "/api/system/orders", "/orders", "/orders.js", "/api/files", "/files", "/files.js"]
      for (const path of [...routes, "/api/runs/1/output", "/job", "/genie", "/chat"]) {
        assert.strictEqual((yield* call("GET", path)).status, 404, path)
      }
      const { paths } = (yield* call("GET", "/openapi.json")).json
      assert.deepStrictEqual(Object.keys(paths), ["/api/whoami", "/users/me/data", "/system/data", "/health"])
      assert.notInclude((yield* call("GET", "/")).text, "/orders")
    }).pipe(Effect.provide(LocalWorkspace.layer()))
  )
})
