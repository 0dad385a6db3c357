import { assert, describe, layer } from "@effect/vitest"
import { Effect, Fiber, Option, Redacted } from "effect"
import { TestClock } from "effect/testing"
import { LocalWorkspace } from "effect-databricks/testing"
import { eventually } from "./fixtures/eventually.ts"
import { discovery, hurried, me, refusal, start, warehouses } from "./fixtures/start.ts"

const Workspace = LocalWorkspace.LocalWorkspace

const token = "/oidc/v1/token"

const faults: Record<string, LocalWorkspace.Misbehaviour> = {
  "429 with Retry-After": { kind: "answer", status: 429, headers: { "retry-after": "1" } },
  429: { kind: "answer", status: 429 },
  503: { kind: "answer", status: 503 },
  "503 of HTML": { kind: "answer", status: 503, headers: { "content-type": "text/html" }, body: "<html>Later</html>" },
  408: { kind: "answer", status: 408 },
  500: { kind: "answer", status: 500 },
  502: { kind: "answer", status: 502 },
  504: { kind: "answer", status: 504 },
  "a reset": { kind: "drop" },
  "a reset after it was carried out": { kind: "drop", when: "after" }
}

layer(LocalWorkspace.layer())("ServiceContext", (it) => {
  for (const [what, fault] of Object.entries(faults)) {
    it.effect(`starts although SCIM Me, sign-in and warehouse list each begin with ${what}, up to 4 times`, () =>
      Effect.gen(function* () {
        const { env, misbehave, requests } = yield* Workspace
        for (const path of [token, me, warehouses]) {
          for (const times of [1, 4]) {
            const before = (yield* requests).length
            yield* Effect.gen(function* () {
              yield* misbehave({ ...fault, path, times })
              const environment = { ...env, NODE_ENV: "development", DATABRICKS_WAREHOUSE_ID: "" }
              assert.isTrue(Option.isSome((yield* hurried(start(environment))).warehouseId), path)
            }).pipe(Effect.scoped)
            const asked = (yield* requests).slice(before).filter((_) => _.path.startsWith(path))
            assert.isAtLeast(asked.length, times + 1, path)
          }
        }
      })
    )
  }

  describe("start that fails", () => {
    it.effect("stops asking when the next attempt would begin after 10 s, and reports the last answer", () =>
      Effect.gen(function* () {
        const { env, host, misbehave, requests } = yield* Workspace
        const busy = "GET /api/2.0/preview/scim/v2/Me answered 503: warming up"
        for (const [path, said] of [
          [me, busy],
          [token, busy.replace(/^GET \S+/, "POST /oidc/v1/token")],
          [discovery, busy.replace(/^GET \S+/, `GET ${discovery}`)]
        ] as const) {
          const before = (yield* requests).length
          const got = yield* Effect.gen(function* () {
            // Discovery is for a host that refuses at the documented endpoint.
            if (path === discovery) yield* misbehave({ kind: "answer", path: token, status: 404 })
            yield* misbehave({ kind: "answer", path, status: 503, body: "warming up" })
            return yield* hurried(refusal(env))
          }).pipe(Effect.scoped)
          assert.strictEqual(got, `${host} failed (${said}): try again later`)
          const asked = (yield* requests).slice(before).filter((_) => _.path === path).length
          // About 8 on average: half of 100 ms, 200 ms, 400 ms, … at a time.
          assert.isAtLeast(asked, 4)
          assert.isAtMost(asked, 40)
        }
      })
    )

    it.effect("reports the last answer when later attempts get none within the 10 s", () =>
      Effect.gen(function* () {
        const { env, host, misbehave, requests } = yield* Workspace
        yield* misbehave({ kind: "answer", path: me, status: 429, body: "slow down", times: 1 })
        yield* misbehave({ kind: "hang", path: me })
        const asked = Effect.map(requests, (_) => _.filter(({ path }) => path === me).length)
        const before = yield* asked
        const starting = yield* Effect.forkChild(refusal(env))
        yield* eventually(asked, (_) => _ === before + 1)
        while ((yield* asked) < before + 2) {
          yield* TestClock.adjust("10 millis")
          yield* Effect.promise(() => new Promise((resolve) => setTimeout(resolve, 5)))
        }
        yield* TestClock.adjust("10 seconds")
        assert.strictEqual(
          yield* Fiber.join(starting),
          `${host} failed (GET ${me} answered 429: slow down): try again later`
        )
      }).pipe(Effect.scoped)
    )

    it.effect("asks once for a host name, of the workspace or of the proxy, that is not known", () =>
      Effect.gen(function* () {
        const { env, host } = yield* Workspace
        // Too long for a name, so that the resolver knows without asking a network.
        const nowhere = `${"a".repeat(64)}.invalid`
        for (const [settings, said] of [
          [{ ...env, DATABRICKS_HOST: nowhere }, `https://${nowhere} cannot be reached`],
          [{ ...env, HTTP_PROXY: `http://${nowhere}` }, `${host} cannot be reached (the proxy in HTTP_PROXY cannot be`]
        ] as const) {
          // Its clock stands still: a second attempt would never come.
          const got = yield* Effect.raceFirst(refusal(settings), Effect.as(Effect.sleep("1 hour"), "none"))
          assert.include(got, said)
        }
      })
    )

    it.effect("asks once when the permission is missing, or an answer is not a workspace's", () =>
      Effect.gen(function* () {
        const { env, misbehave, requests } = yield* Workspace
        for (const fault of [
          { kind: "answer", status: 404 },
          { kind: "answer", status: 200, body: "<html>" },
          { kind: "answer", status: 403, body: `{"error_code":"PERMISSION_DENIED","message":"no"}` }
        ] as const) {
          const before = (yield* requests).length
          yield* Effect.scoped(Effect.andThen(misbehave({ ...fault, path: me }), refusal(env)))
          assert.lengthOf(
            (yield* requests).slice(before).filter((_) => _.path === me),
            1
          )
        }
      })
    )
  })

  it.effect("starts with a token whose expires_in is missing, a string, 0, negative or no number", () =>
    Effect.gen(function* () {
      const workspace = yield* Workspace
      for (const expires_in of [undefined, null, "3600", "3600s", "", "soon", 0, -1, "0", 1e300, [], {}]) {
        const access_token = yield* workspace.token(workspace.servicePrincipal.clientId)
        yield* Effect.gen(function* () {
          const body = JSON.stringify({ access_token: Redacted.value(access_token), token_type: "Bearer", expires_in })
          yield* workspace.misbehave({ kind: "answer", path: token, status: 200, body })
          const { principal } = yield* start(workspace.env)
          const before = (yield* workspace.requests).length
          yield* principal.authorization
          assert.lengthOf((yield* workspace.requests).slice(before), 0, `${String(expires_in)}: it is kept for a while`)
        }).pipe(Effect.scoped)
      }
    })
  )
})
