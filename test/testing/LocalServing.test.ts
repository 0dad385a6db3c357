import { assert, layer } from "@effect/vitest"
import { LocalServing, LocalWorkspace } from "effect-databricks/testing"
import { Effect } from "effect"
import { call } from "../fixtures/localWorkspace.ts"
import { alice, bob } from "../fixtures/people.ts"

const scripted = LocalServing.chat([{ text: "first" }, LocalServing.refuse(429, "slow down", { retryAfter: 3 })])
const hers = LocalServing.endpoint((body) => Effect.succeed({ got: body }), { users: [alice] })
const late = LocalServing.endpoint(() => ({}), { states: [{ ready: "NOT_READY" }, { ready: "READY" }] })

const invoke = (name: string, body: unknown, user = alice) =>
  call(`/serving-endpoints/${name}/invocations`, { body, user })

const ask = (text: string) => ({ messages: [{ role: "user", content: text }] })

layer(LocalWorkspace.layer({ serving: { scripted, hers, late } }), {
  timeout: "60 seconds",
  excludeTestServices: true
})("LocalServing", (it) => {
  it.effect("answers by its script, refuses with status and Retry-After, and records the bodies", () =>
    Effect.gen(function* () {
      const first = yield* invoke("scripted", ask("one"))
      assert.strictEqual(first.json.choices[0].message.content, "first")
      const second = yield* invoke("scripted", { ...ask("two"), stream: true }, bob)
      assert.strictEqual(second.status, 429)
      assert.strictEqual(second.headers.get("retry-after"), "3")
      const third = yield* invoke("scripted", ask("three"))
      assert.strictEqual(third.status, 400)
      assert.include(third.json.message, "has 2 turns")
      assert.strictEqual((yield* invoke("scripted", { prompt: "no messages" })).status, 400)
      const calls = yield* scripted.calls
      assert.deepStrictEqual(
        calls.map(({ user }) => user),
        [alice, bob, alice, alice]
      )
      assert.deepStrictEqual(calls[1]!.body, { ...ask("two"), stream: true })
    })
  )

  it.effect("lets its users query it, and hides it from others in the list", () =>
    Effect.gen(function* () {
      assert.deepStrictEqual((yield* invoke("hers", { a: 1 })).json, { got: { a: 1 } })
      assert.strictEqual((yield* invoke("hers", {}, bob)).status, 403)
      assert.lengthOf(yield* hers.calls, 1)
      const names = (user: string) =>
        Effect.map(call("/api/2.0/serving-endpoints", { user }), ({ json }) =>
          json.endpoints.map(({ name }: { name: string }) => name)
        )
      assert.deepStrictEqual(yield* names(alice), ["scripted", "hers", "late"])
      assert.deepStrictEqual(yield* names(bob), ["scripted", "late"])
    })
  )

  it.effect("refuses requests until it is ready, and answers what is no JSON with 400", () =>
    Effect.gen(function* () {
      assert.strictEqual((yield* invoke("late", {})).status, 503)
      yield* call("/api/2.0/serving-endpoints/late")
      assert.strictEqual((yield* invoke("late", {})).status, 200)
      assert.strictEqual((yield* invoke("late", "{")).status, 400)
    })
  )
})
