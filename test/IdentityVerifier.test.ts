import { assert, layer } from "@effect/vitest"
import { Clock, Effect, Exit, Fiber, Layer, Redacted } from "effect"
import { TestClock } from "effect/testing"
import { asUser, ForwardedHeaders, ServiceContext, UserContext } from "effect-databricks"
import { LocalWorkspace } from "effect-databricks/testing"
import { inspect } from "node:util"
import { alice, bob, requestOf } from "./fixtures/people.ts"
import * as RawServer from "./fixtures/rawServer.ts"
import { hurried } from "./fixtures/start.ts"
import { serviceContext } from "./fixtures/workspace.ts"

const me = "/api/2.0/preview/scim/v2/Me"

const whoami = (headers: Record<string, string>) => Effect.provide(UserContext, asUser(headers))

/** How often the workspace was asked while an effect ran. */
const questions = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.gen(function* () {
    const { requests } = yield* LocalWorkspace.LocalWorkspace
    const asked = Effect.map(requests, (_) => _.filter(({ path }) => path === me).length)
    const before = yield* asked
    const result = yield* effect
    return [(yield* asked) - before, result] as const
  })

/** Lets real I/O go on until the workspace has been asked `count` times more. */
const untilAsked = (count: number) =>
  Effect.gen(function* () {
    const { requests } = yield* LocalWorkspace.LocalWorkspace
    const before = (yield* requests).length
    return Effect.repeat(
      Effect.promise(() => new Promise<void>((resolve) => setImmediate(resolve))),
      {
        until: () => Effect.map(requests, (_) => _.length >= before + count)
      }
    )
  })

const everything = (value: unknown) =>
  inspect(value, { depth: 12, showHidden: true, getters: true }) + JSON.stringify(value) + String(value)

const otherApp = "0b7a3a5e-4f7c-4d9a-9d0e-1f2a3b4c5d6e"

const Workspace = serviceContext().pipe(
  Layer.provideMerge(LocalWorkspace.layer({ users: [alice, bob, otherApp].map((userName) => ({ userName })) }))
)

layer(Workspace)("IdentityVerifier", (it) => {
  it.effect("identifies the user by the access token", () =>
    Effect.gen(function* () {
      const { workspaceId } = yield* LocalWorkspace.LocalWorkspace
      const request = yield* requestOf(alice)
      const user = yield* whoami(request)
      assert.deepInclude(user, {
        context: "user",
        id: request["x-forwarded-user"]!,
        userName: alice,
        email: alice,
        oboDevFallback: false
      })
      assert.strictEqual(user.workspaceId, workspaceId)
      assert.strictEqual(user.id, `${user.scimId}@${workspaceId}`)
      const sent = Redacted.value(yield* user.authorization)
      assert.strictEqual(sent, `Bearer ${request["x-forwarded-access-token"]}`)
    })
  )

  it.effect("asks the workspace once per token for 50 requests at once", () =>
    Effect.gen(function* () {
      const people = [alice, bob]
      const requests = yield* Effect.forEach(people, (user) => requestOf(user))
      const calls = Array.from({ length: 50 }, (_, i) => whoami(requests[i % 2]!))
      const [asked, users] = yield* questions(Effect.all(calls, { concurrency: "unbounded" }))
      assert.strictEqual(asked, 2)
      for (const [i, user] of users.entries()) {
        assert.strictEqual(user.userName, people[i % 2])
      }
    })
  )

  it.effect("completes a lookup for other requests when its first request is interrupted", () =>
    Effect.gen(function* () {
      const { misbehave } = yield* LocalWorkspace.LocalWorkspace
      const request = yield* requestOf(alice)
      yield* misbehave({ kind: "delay", path: me, duration: "3 seconds", times: 1 })
      const [asked, user] = yield* questions(
        Effect.gen(function* () {
          const arrived = yield* untilAsked(1)
          const first = yield* Effect.forkChild(whoami(request))
          yield* arrived
          const second = yield* Effect.forkChild(whoami(request), { startImmediately: true })
          yield* Fiber.interrupt(first)
          yield* TestClock.adjust("3 seconds")
          return yield* Fiber.join(second)
        })
      )
      assert.strictEqual(user.userName, alice)
      assert.strictEqual(asked, 1)
    })
  )

  it.effect("asks again when the token has expired, and rejects it", () =>
    Effect.gen(function* () {
      const request = yield* requestOf(alice, { ttl: "10 minutes" })
      assert.strictEqual((yield* questions(whoami(request)))[0], 1)
      yield* TestClock.adjust("599 seconds")
      assert.strictEqual((yield* questions(whoami(request)))[0], 0)
      yield* TestClock.adjust("1 second")
      const [asked, error] = yield* questions(Effect.flip(whoami(request)))
      assert.strictEqual(asked, 1)
      assert.strictEqual(error._tag, "AuthenticationError")
      assert.strictEqual(
        error.message,
        "The workspace does not accept the access token, which is wrong or expired: sign in again"
      )
    })
  )

  it.effect("asks again about a rejected token after 5 seconds", () =>
    Effect.gen(function* () {
      const invalid = { ...(yield* requestOf(alice)), "x-forwarded-access-token": "a.b.c" }
      const refused = Effect.map(questions(Effect.flip(whoami(invalid))), ([asked, { _tag }]) => [asked, _tag])
      assert.deepStrictEqual(yield* refused, [1, "AuthenticationError"])
      yield* TestClock.adjust("4999 millis")
      assert.deepStrictEqual(yield* refused, [0, "AuthenticationError"])
      yield* TestClock.adjust("1 millis")
      assert.deepStrictEqual(yield* refused, [1, "AuthenticationError"])
    })
  )

  it.effect("keeps verified tokens valid during an outage, and asks again after it", () =>
    Effect.gen(function* () {
      const { misbehave } = yield* LocalWorkspace.LocalWorkspace
      const verified = yield* requestOf(alice)
      const unknown = yield* requestOf(bob)
      yield* whoami(verified)
      const outages = [
        [3, { kind: "drop" }],
        [3, { kind: "answer", status: 503 }],
        [3, { kind: "answer", status: 429 }],
        [3, { kind: "answer", status: 500 }],
        [1, { kind: "answer", status: 503, headers: { "retry-after": "60" } }],
        [1, { kind: "answer", status: 404 }],
        [1, { kind: "truncate" }]
      ] as const
      for (const [attempts, outage] of outages) {
        yield* Effect.gen(function* () {
          yield* misbehave({ path: me, ...outage })
          const [asked, error] = yield* questions(hurried(Effect.flip(whoami(unknown))))
          assert.strictEqual(asked, attempts)
          assert.strictEqual(error._tag, "IdentityUnavailableError")
          assert.match(error.message, /^The workspace could not verify the sender of this request: /)
          assert.strictEqual((yield* questions(whoami(verified)))[0], 0)
        }).pipe(Effect.scoped)
      }
      assert.strictEqual((yield* questions(whoami(unknown)))[0], 1)
    })
  )

  it.effect("fails with IdentityUnavailableError when no answer comes within 10 seconds", () =>
    Effect.gen(function* () {
      const { misbehave } = yield* LocalWorkspace.LocalWorkspace
      const request = yield* requestOf(alice)
      yield* misbehave({ kind: "hang", path: me, times: 1 })
      const arrived = yield* untilAsked(1)
      const waiting = yield* Effect.forkChild(Effect.flip(whoami(request)))
      yield* arrived
      yield* TestClock.adjust("10 seconds")
      const error = yield* Fiber.join(waiting)
      assert.strictEqual(error._tag, "IdentityUnavailableError")
      assert.include(error.message, "no response within 10s")
      yield* whoami(request)
    })
  )

  it.effect("asks again after 5 minutes about a token without an expiry", () =>
    Effect.gen(function* () {
      let asked = 0
      const { origin } = yield* RawServer.http((_, response) => {
        asked++
        response
          .writeHead(200, { "x-databricks-org-id": "1" })
          .end(JSON.stringify({ id: "7", userName: alice, emails: [{ value: "a.smith@example.com" }] }))
      })
      const options = { host: origin, token: Redacted.make("t") }
      yield* Effect.gen(function* () {
        asked = 0
        for (const token of ["opaque", "a.bm90IGpzb24.c", `a.${btoa('{"exp":"soon"}')}.c`, "a.%%%.c", "..", "."]) {
          const request = { "x-forwarded-user": "7@1", "x-forwarded-access-token": token }
          asked = 0
          yield* whoami(request)
          yield* TestClock.adjust("299 seconds")
          yield* whoami(request)
          assert.strictEqual(asked, 1, token)
          yield* TestClock.adjust("1 second")
          yield* whoami(request)
          assert.strictEqual(asked, 2, token)
        }
        const email = (address: string) =>
          whoami({ "x-forwarded-user": "7@1", "x-forwarded-access-token": "..", "x-forwarded-email": address })
        assert.strictEqual((yield* email("A.Smith@example.com")).userName, alice, "a secondary address")
        yield* Effect.flip(email("b.smith@example.com"))
      }).pipe(Effect.provide(ServiceContext.layer(options), { local: true }))
    })
  )

  it.effect("rejects headers that name another user or workspace than the token's", () =>
    Effect.gen(function* () {
      const { workspaceId } = yield* LocalWorkspace.LocalWorkspace
      const { "x-forwarded-email": email, ...request } = yield* requestOf(alice)
      const [id] = request["x-forwarded-user"]!.split("@")
      for (const more of [
        { "x-forwarded-email": bob },
        { "x-forwarded-email": bob, "x-forwarded-user": alice },
        { "x-forwarded-email": email!, "x-forwarded-user": bob },
        { "x-forwarded-user": bob },
        { "x-forwarded-user": `${id}1@${workspaceId}` },
        { "x-forwarded-user": `0${id}@${workspaceId}` },
        { "x-forwarded-user": `${id}@1` },
        { "x-forwarded-user": `${id}@${workspaceId} ` },
        { "x-forwarded-user": `${workspaceId}@${id}` },
        { "x-forwarded-user": "1001@4242" }
      ]) {
        const error = yield* Effect.flip(whoami({ ...request, ...more }))
        assert.strictEqual(error._tag, "IdentityMismatchError", JSON.stringify(more))
        assert.strictEqual(
          error.message,
          `The forwarded headers name another person than the holder of the access token, ${id}@${workspaceId}`
        )
      }
    })
  )

  it.effect("takes caller.id from x-forwarded-user only where it names the token's holder", () =>
    Effect.gen(function* () {
      const request = yield* requestOf(alice)
      const { scimId } = yield* whoami(request)
      const ids = {
        [request["x-forwarded-user"]!]: request["x-forwarded-user"]!,
        [alice]: alice,
        "Alice@Example.com": "Alice@Example.com",
        // Names that prove nothing.
        bob: scimId,
        "Bob Smith": scimId,
        "1001": scimId,
        "1001@": scimId,
        "@4242": scimId,
        "1001@4242@1": scimId,
        "１００１@4242": scimId,
        [bob.toUpperCase().replace("@", " at ")]: scimId
      }
      for (const [header, id] of Object.entries(ids)) {
        const user = yield* whoami({ ...request, "x-forwarded-user": header, "x-forwarded-preferred-username": bob })
        assert.deepInclude(user, { id, scimId, userName: alice }, header)
      }
    })
  )

  it.effect("rejects a deactivated user, and asks again after 5 seconds", () =>
    Effect.gen(function* () {
      const { updateUser } = yield* LocalWorkspace.LocalWorkspace
      yield* Effect.acquireRelease(
        updateUser(bob, { active: false }),
        () => Effect.orDie(updateUser(bob, { active: true })) // a finalizer cannot fail
      )
      const request = yield* requestOf(bob)
      const refused = Effect.map(questions(Effect.flip(whoami(request))), ([asked, { _tag, message }]) => [
        asked,
        _tag,
        message
      ])
      const message = "The user of the access token has been deactivated in the workspace"
      assert.deepStrictEqual(yield* refused, [1, "AuthenticationError", message])
      yield* TestClock.adjust("4999 millis")
      assert.deepStrictEqual(yield* refused, [0, "AuthenticationError", message])
      yield* updateUser(bob, { active: true })
      yield* TestClock.adjust("1 millis")
      assert.strictEqual((yield* whoami(request)).userName, bob)
    }).pipe(Effect.scoped)
  )

  it.effect("admits a user if SCIM says active or leaves it out, and refuses every other", () =>
    Effect.gen(function* () {
      const { misbehave } = yield* LocalWorkspace.LocalWorkspace
      const { scimId } = yield* whoami(yield* requestOf(alice))
      const admits = (active: unknown) =>
        Effect.gen(function* () {
          const body = JSON.stringify({ id: scimId, userName: alice, active })
          yield* misbehave({ kind: "answer", status: 200, path: me, body, times: 1 })
          return Exit.isSuccess(yield* Effect.exit(whoami(yield* requestOf(alice))))
        }).pipe(Effect.scoped)
      for (const active of [true, undefined, null]) assert.isTrue(yield* admits(active), String(active))
      for (const active of [false, "false", "True", 0, "", []]) assert.isFalse(yield* admits(active), String(active))
    })
  )

  it.effect("rejects the app's own token, and admits another service principal's", () =>
    Effect.gen(function* () {
      const { headers, host, servicePrincipal, token } = yield* LocalWorkspace.LocalWorkspace
      const own = yield* headers(servicePrincipal.clientId)
      for (const request of [
        own,
        { ...own, "x-forwarded-user": "app", "x-forwarded-email": servicePrincipal.clientId },
        { ...(yield* requestOf(alice)), "x-forwarded-access-token": own["x-forwarded-access-token"]! }
      ]) {
        const error = yield* Effect.flip(whoami(request))
        assert.strictEqual(error._tag, "AuthenticationError")
        assert.include(error.message, "the app's own service principal, which is not a user")
      }
      assert.deepStrictEqual((yield* questions(Effect.flip(whoami(own))))[0], 0)
      const user = yield* whoami(yield* headers(otherApp))
      assert.deepInclude(user, { context: "user", userName: otherApp, email: undefined })
      // Whose credentials a developer runs the application with is a person.
      const options = { host, token: yield* token(alice) }
      const developer = whoami(yield* requestOf(alice))
      const again = yield* Effect.provide(developer, ServiceContext.layer(options), { local: true })
      assert.strictEqual(again.userName, alice)
    })
  )

  it.effect("asks again at the token's end by the monotonic clock when the system's is set back", () =>
    Effect.gen(function* () {
      const request = yield* requestOf(alice, { ttl: "10 minutes" })
      assert.strictEqual((yield* questions(whoami(request)))[0], 1)
      yield* TestClock.adjust("-1 hour")
      yield* TestClock.adjust("599 seconds")
      assert.strictEqual((yield* questions(whoami(request)))[0], 0)
      yield* TestClock.adjust("1 second")
      assert.strictEqual((yield* questions(whoami(request)))[0], 1)
    })
  )

  it.effect("asks again once when the clock is set forward and back", () =>
    Effect.gen(function* () {
      const { misbehave } = yield* LocalWorkspace.LocalWorkspace
      const request = yield* requestOf(alice)
      const { scimId } = yield* whoami(request)
      yield* TestClock.setTime((yield* Clock.currentTimeMillis) + 7_200_000)
      yield* misbehave({
        kind: "answer",
        status: 200,
        path: me,
        body: JSON.stringify({ id: scimId, userName: alice }),
        times: 1
      })
      assert.strictEqual((yield* questions(whoami(request)))[0], 1)
      yield* TestClock.adjust("-2 hours")
      assert.strictEqual((yield* questions(whoami(request)))[0], 1)
      assert.strictEqual((yield* questions(whoami(request)))[0], 0)
    }).pipe(Effect.scoped)
  )

  it.effect("rejects a token without the scope iam.current-user:read, and names the scope", () =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(whoami(yield* requestOf(alice, { scopes: ["sql"] })))
      assert.strictEqual(error._tag, "AuthenticationError")
      assert.include(error.message, `needs the scope "iam.current-user:read"`)
    })
  )

  it.effect("trusts the headers and asks nothing when identity is trusted", () =>
    Effect.gen(function* () {
      const { host, servicePrincipal, token, workspaceId } = yield* LocalWorkspace.LocalWorkspace
      const options = { host, token: yield* token(servicePrincipal.clientId), identity: "trusted" as const }
      yield* Effect.gen(function* () {
        const request = yield* requestOf(alice)
        const [asked, user] = yield* questions(whoami({ ...request, "x-forwarded-email": "carol@example.com" }))
        assert.strictEqual(asked, 0)
        assert.deepInclude(user, { id: request["x-forwarded-user"]!, userName: "carol@example.com", context: "user" })
        const bare = (user: string) => whoami({ "x-forwarded-user": user, "x-forwarded-access-token": "t" })
        const id = `7@${workspaceId}`
        assert.deepInclude(yield* bare(id), { id, workspaceId, scimId: id, userName: id, email: undefined })
        assert.strictEqual((yield* Effect.flip(bare("7@1")))._tag, "IdentityMismatchError")
        for (const app of [`${servicePrincipal.id}@${workspaceId}`, servicePrincipal.clientId]) {
          assert.strictEqual((yield* Effect.flip(bare(app)))._tag, "AuthenticationError")
        }
      }).pipe(Effect.provide(ServiceContext.layer(options), { local: true }))
    })
  )

  it.effect("shows no token in users, cache keys or errors", () =>
    Effect.gen(function* () {
      const { misbehave } = yield* LocalWorkspace.LocalWorkspace
      const service = yield* ServiceContext.ServiceContext
      const request = yield* requestOf(alice)
      const token = request["x-forwarded-access-token"]!
      const shown: Array<unknown> = [yield* whoami(request), yield* ForwardedHeaders.decode(request)]
      for (const fault of [{ kind: "drop" }, { kind: "answer", status: 403, body: "no" }] as const) {
        const failing = yield* requestOf(bob)
        yield* Effect.scoped(
          Effect.gen(function* () {
            yield* misbehave({ path: me, ...fault })
            const exit = yield* Effect.exit(hurried(whoami(failing)))
            assert.isTrue(Exit.isFailure(exit))
            assert.notInclude(everything(exit), failing["x-forwarded-access-token"]!)
          })
        )
      }
      for (const value of [...shown, service, service.identityVerifier]) assert.notInclude(everything(value), token)
    })
  )
})
